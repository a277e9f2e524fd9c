//! What goes wrong with a call. The kinds are those of the simulation (tests/simulation/README.md).

use std::fmt;
use std::str::FromStr;

use clap::ValueEnum;

/// How a call goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub enum Kind {
    /// The service answers with an error, and does nothing.
    Refused,
    /// The service answers that there are too many requests, and does nothing.
    Throttled,
    /// The connection ends before the service has the request.
    Reset,
    /// The service does what it is called for, and the connection ends before its answer.
    Lost,
    /// The service does what it is called for, and the answer comes after the caller has given up.
    Late,
    /// The calling function ends before the service has the request.
    EndsBefore,
    /// The service does what it is called for, and the calling function ends.
    EndsAfter,
}

impl Kind {
    /// Whether the service gets the request.
    pub const fn has_effect(self) -> bool {
        matches!(self, Self::Lost | Self::Late | Self::EndsAfter)
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // No kind is skipped, so each has a value.
        f.write_str(self.to_possible_value().as_ref().map_or("", |value| value.get_name()))
    }
}

/// One call of an order: `inventory-commands.dynamodb.TransactWriteItems.1`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct CallName {
    /// The function, or `payments` for a call to the gateway.
    pub caller: String,
    pub service: String,
    pub operation: String,
    /// From 1 on: which of the order's calls with this caller, service and operation.
    // Calls of different functions overlap, so a number over all of them would name another call in the next run.
    pub number: u32,
}

impl fmt::Display for CallName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { caller, service, operation, number } = self;
        write!(f, "{caller}.{service}.{operation}.{number}")
    }
}

impl FromStr for CallName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parts: Vec<&str> = text.split('.').collect();
        let [caller, service, operation, number] = parts[..] else { return Err(not_a_call(text)) };
        let number = number.parse().ok().filter(|number| *number > 0).ok_or_else(|| not_a_call(text))?;
        if [caller, service, operation].contains(&"") {
            return Err(not_a_call(text));
        }
        Ok(Self {
            caller: caller.to_owned(),
            service: service.to_owned(),
            operation: operation.to_owned(),
            number,
        })
    }
}

fn not_a_call(text: &str) -> String {
    format!(
        "`{text}` names no call. A call is <function>.<service>.<operation>.<number>, for example \
         inventory-commands.dynamodb.TransactWriteItems.1; --list prints those of each scenario"
    )
}

/// One call and its fault: `inventory-commands.dynamodb.TransactWriteItems.1:lost`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Fault {
    pub call: CallName,
    pub kind: Kind,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.call, self.kind)
    }
}

impl FromStr for Fault {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (call, kind) = text.rsplit_once(':').ok_or_else(|| {
            format!("`{text}` is no fault. A fault is <call>:<kind>, and the kinds are {}", kinds())
        })?;
        let kind =
            Kind::from_str(kind, false).map_err(|_| format!("`{kind}` is no kind of fault: {}", kinds()))?;
        Ok(Self { call: call.parse()?, kind })
    }
}

fn kinds() -> String {
    let names: Vec<String> = Kind::value_variants().iter().map(Kind::to_string).collect();
    names.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_is_read_as_it_is_written() {
        for kind in Kind::value_variants() {
            let text = format!("payments.stripe.POST-payment_intents-confirm.2:{kind}");
            assert_eq!(text.parse::<Fault>().map(|fault| fault.to_string()), Ok(text));
        }
    }

    #[test]
    fn what_names_no_fault_is_refused_with_what_does() {
        for wrong in
            ["", "lost", "a.b.c:lost", "a.b.c.0:lost", "a.b.c.x:lost", "a..c.1:lost", "a.b.c.1.2:lost"]
        {
            assert!(wrong.parse::<Fault>().is_err(), "{wrong}");
        }
        let error = "a.b.c.1:gone".parse::<Fault>().unwrap_err();
        assert!(error.contains("ends-before"), "{error}");
    }
}
