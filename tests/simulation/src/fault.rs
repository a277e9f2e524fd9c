//! What goes wrong with a call.

use std::{collections::BTreeMap, fmt, str::FromStr};

/// One call and its fault: `17:lost`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fault {
    /// Calls are numbered from 1, from the first order on.
    pub call: u64,
    pub kind: Kind,
}

/// How a call goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// The service answers with an error, and does nothing.
    Refused,
    /// The service answers that there are too many requests, and does nothing.
    Throttled,
    /// The connection ends before the service has the request.
    Reset,
    /// The service does what it is called for, and the connection ends before its answer.
    Lost,
    /// The service does what it is called for, and its answer comes after everyone has given up.
    Late,
    /// The calling function ends before the service has the request.
    EndsBefore,
    /// The service does what it is called for, and the calling function ends.
    EndsAfter,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::Refused,
        Self::Throttled,
        Self::Reset,
        Self::Lost,
        Self::Late,
        Self::EndsBefore,
        Self::EndsAfter,
    ];

    const fn as_str(self) -> &'static str {
        match self {
            Self::Refused => "refused",
            Self::Throttled => "throttled",
            Self::Reset => "reset",
            Self::Lost => "lost",
            Self::Late => "late",
            Self::EndsBefore => "ends-before",
            Self::EndsAfter => "ends-after",
        }
    }

    /// Whether the call has its effect.
    pub const fn has_effect(self) -> bool {
        matches!(self, Self::Lost | Self::Late | Self::EndsAfter)
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.call, self.kind)
    }
}

impl FromStr for Fault {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let kinds = || Kind::ALL.map(Kind::as_str).join(", ");
        let wrong = || format!("a fault is <call>:<kind>, for example 17:lost; the kinds are {}", kinds());
        let (call, kind) = text.split_once(':').ok_or_else(wrong)?;
        let call = call.parse().ok().filter(|call| *call > 0).ok_or_else(wrong)?;
        let kind = Kind::ALL.into_iter().find(|known| known.as_str() == kind).ok_or_else(wrong)?;
        Ok(Self { call, kind })
    }
}

/// The faults of a run by their calls.
#[derive(Debug, Default)]
pub struct Faults(BTreeMap<u64, Kind>);

impl Faults {
    pub fn new(faults: &[Fault]) -> Self {
        Self(faults.iter().map(|fault| (fault.call, fault.kind)).collect())
    }

    pub fn of(&self, call: u64) -> Option<Kind> {
        self.0.get(&call).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_is_read_as_it_is_written() {
        for kind in Kind::ALL {
            let fault = Fault { call: 17, kind };
            assert_eq!(fault.to_string().parse(), Ok(fault));
        }
        for wrong in ["17", "lost", "0:lost", "17:gone", ":lost"] {
            assert!(wrong.parse::<Fault>().is_err(), "{wrong}");
        }
    }
}
