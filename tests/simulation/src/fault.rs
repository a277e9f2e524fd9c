//! What goes wrong: a call in one of several ways, or a part of the platform for a time.

use std::{
    cell::{Cell, RefCell},
    collections::BTreeMap,
    fmt,
    str::FromStr,
    time::Duration,
};

use tokio::time::Instant;

/// A call, and what goes wrong from it on: `17:lost`, `17:away:stripe:600`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fault {
    /// Calls are numbered from 1, from the first order on.
    pub call: u64,
    pub effect: Effect,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// This call alone goes wrong.
    Once(Kind),
    /// A part of the platform goes wrong for a time, from this call on.
    Lasting(Lasting),
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
    /// The service is down for some seconds from this call on: longer than the tries of a client.
    Down,
    /// The service does what it is called for, and the connection ends before its answer.
    Lost,
    /// The service does what it is called for, and its answer comes after everyone has given up.
    Late,
    /// The connection ends, and the service gets the request minutes later.
    Delayed,
    /// The request is delivered twice, at almost the same time.
    Twice,
    /// The service does a part of a batch, and says so.
    Partial,
    /// The calling function ends before the service has the request.
    EndsBefore,
    /// The service does what it is called for, and the calling function ends.
    EndsAfter,
}

/// What goes wrong for a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lasting {
    pub kind: LastingKind,
    /// One of [`targets`].
    pub target: &'static str,
    /// How long it lasts. For a clock, how wrong it is, until the end of the run.
    pub seconds: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LastingKind {
    /// It does not answer: connections end before it has the request.
    Away,
    /// A quota of it is used up: it answers that there are too many requests.
    Full,
    /// The clocks of its functions are ahead.
    Ahead,
    /// The clocks of its functions are behind.
    Behind,
}

/// For how many seconds a service is down.
const DOWN: u32 = 3;
/// The services that may go wrong for a time.
const SERVICES: [&str; 10] =
    ["dynamodb", "sns", "sqs", "states", "stripe", "kms", "secretsmanager", "ssm", "email", "execute-api"];

/// The contexts, whose functions may go wrong for a time.
pub fn contexts() -> impl Iterator<Item = &'static str> {
    env!("SIMULATED_CONTEXTS").split(',')
}

/// All that may go wrong for a time.
pub fn targets() -> Vec<&'static str> {
    SERVICES.into_iter().chain(contexts()).collect()
}

impl Fault {
    /// Whether it is over within a minute.
    pub const fn is_short(&self) -> bool {
        match self.effect {
            Effect::Once(_) => true,
            Effect::Lasting(Lasting { kind, seconds, .. }) => !kind.is_clock() && seconds <= 60,
        }
    }
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 11] = [
        Self::Refused,
        Self::Throttled,
        Self::Reset,
        Self::Down,
        Self::Lost,
        Self::Late,
        Self::Delayed,
        Self::Twice,
        Self::Partial,
        Self::EndsBefore,
        Self::EndsAfter,
    ];

    const fn as_str(self) -> &'static str {
        match self {
            Self::Refused => "refused",
            Self::Throttled => "throttled",
            Self::Reset => "reset",
            Self::Down => "down",
            Self::Lost => "lost",
            Self::Late => "late",
            Self::Delayed => "delayed",
            Self::Twice => "twice",
            Self::Partial => "partial",
            Self::EndsBefore => "ends-before",
            Self::EndsAfter => "ends-after",
        }
    }
}

impl LastingKind {
    pub const ALL: [Self; 4] = [Self::Away, Self::Full, Self::Ahead, Self::Behind];

    const fn as_str(self) -> &'static str {
        match self {
            Self::Away => "away",
            Self::Full => "full",
            Self::Ahead => "ahead",
            Self::Behind => "behind",
        }
    }

    pub const fn is_clock(self) -> bool {
        matches!(self, Self::Ahead | Self::Behind)
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.effect {
            Effect::Once(kind) => write!(f, "{}:{kind}", self.call),
            Effect::Lasting(Lasting { kind, target, seconds }) => {
                write!(f, "{}:{}:{target}:{seconds}", self.call, kind.as_str())
            }
        }
    }
}

impl FromStr for Fault {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || {
            let lasting = LastingKind::ALL.map(LastingKind::as_str).join(", ");
            format!(
                "a fault is <call>:<kind>, for example 17:lost, with a kind of {}; or <call>:<kind>:<target>:<seconds>, for \
                 example 17:away:stripe:600, with a kind of {lasting} and a target of {}",
                Kind::ALL.map(Kind::as_str).join(", "),
                targets().join(", "),
            )
        };
        let parts: Vec<&str> = text.split(':').collect();
        let call = parts[0].parse().ok().filter(|call| *call > 0).ok_or_else(wrong)?;
        let effect = match parts[1..] {
            [kind] => Kind::ALL.into_iter().find(|known| known.as_str() == kind).map(Effect::Once),
            [kind, target, seconds] => {
                let kind = LastingKind::ALL.into_iter().find(|known| known.as_str() == kind);
                let target = targets().into_iter().find(|known| *known == target);
                let seconds = seconds.parse().ok();
                kind.zip(target)
                    .zip(seconds)
                    .map(|((kind, target), seconds)| Effect::Lasting(Lasting { kind, target, seconds }))
            }
            _ => None,
        };
        effect.map(|effect| Self { call, effect }).ok_or_else(wrong)
    }
}

/// A call as faults see it.
#[derive(Debug, Clone, Copy)]
pub struct Called<'a> {
    /// `dynamodb.PutItem`, `lambda.Invoke orders-views`, `POST /v1/orders`, `webhook charge.refunded`.
    pub operation: &'a str,
    pub by: By,
}

/// Who makes a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum By {
    Function,
    StateMachine,
    /// A queue, a stream, a schedule, the gateway or a customer: what repeats deliveries.
    Outside,
}

impl Called<'_> {
    /// In which ways this call goes wrong that differ from each other.
    pub fn kinds(self) -> Vec<Kind> {
        use Kind::{Delayed, EndsAfter, EndsBefore, Late, Lost, Partial, Refused, Reset, Throttled, Twice};
        let mut kinds = match self.by {
            By::Function => {
                vec![Refused, Throttled, Reset, Lost, Late, Delayed, EndsBefore, EndsAfter]
            }
            By::StateMachine => vec![Refused, Throttled, Reset, Lost, Late, Delayed],
            By::Outside => vec![Refused, Lost, Late, Delayed, Twice],
        };
        if self.by == By::Function && self.service().is_some() {
            kinds.push(Kind::Down);
        }
        let operation = self.operation.rsplit('.').next().unwrap_or_default();
        if ["BatchGetItem", "BatchWriteItem", "PublishBatch"].contains(&operation) {
            kinds.push(Partial);
        }
        kinds
    }

    /// The service that is called, if it is one that may be down.
    fn service(self) -> Option<&'static str> {
        let (service, _) = self.operation.split_once('.')?;
        SERVICES.into_iter().find(|known| *known == service)
    }

    /// Whether the call is one to `target`.
    fn is_to(self, target: &str) -> bool {
        if self.operation.split_once('.').is_some_and(|(service, _)| service == target) {
            return true;
        }
        let function = match self.operation.strip_prefix("lambda.Invoke ") {
            Some(name) => name.rsplit("ordersaga-local-").next().unwrap_or(name),
            None if self.operation.starts_with("webhook ") => "payments-api",
            None => self.operation,
        };
        function.strip_prefix(target).is_some_and(|rest| rest.starts_with('-'))
    }
}

/// At which rates calls go wrong by chance. Its numbers follow from a seed of its own, so that the same faults, listed
/// one by one, give the same run.
#[derive(Debug, Clone)]
pub struct Chances {
    pub seed: u64,
    /// Of ten thousand calls, this number goes wrong.
    pub once: u32,
    /// Of a million calls, this number begins something that lasts.
    pub lasting: u32,
}

/// The faults of a run.
#[derive(Debug, Default)]
pub struct Faults {
    /// By their calls.
    listed: BTreeMap<u64, Vec<Effect>>,
    chances: Option<(Chances, RefCell<fastrand::Rng>)>,
    /// What lasts, with its end.
    lasting: RefCell<Vec<(Lasting, Instant)>>,
    /// By chance.
    made: RefCell<Vec<Fault>>,
    calls: Cell<u64>,
    last: Cell<Option<Instant>>,
    is_over: Cell<bool>,
}

impl Faults {
    pub fn new(faults: &[Fault], chances: Option<Chances>) -> Self {
        let mut listed: BTreeMap<u64, Vec<Effect>> = BTreeMap::new();
        for fault in faults {
            listed.entry(fault.call).or_default().push(fault.effect);
        }
        let chances = chances.map(|chances| {
            let random = fastrand::Rng::with_seed(chances.seed ^ 0x6a09_e667_f3bc_c908);
            (chances, RefCell::new(random))
        });
        Self { listed, chances, ..Self::default() }
    }

    /// How a call goes wrong, if it does.
    pub fn of(&self, number: u64, called: Called<'_>) -> Option<Kind> {
        let mut once = None;
        for effect in
            self.listed.get(&number).into_iter().flatten().copied().chain(self.by_chance(number, called))
        {
            match (effect, called.service()) {
                (Effect::Once(Kind::Down), Some(target)) => {
                    self.begin(Lasting { kind: LastingKind::Away, target, seconds: DOWN });
                }
                (Effect::Once(kind), _) => once = Some(kind),
                (Effect::Lasting(lasting), _) => self.begin(lasting),
            }
        }
        let kind = self.lasting_kind(called).or(once)?;
        self.calls.set(self.calls.get() + 1);
        self.last.set(Some(Instant::now()));
        Some(kind)
    }

    fn begin(&self, lasting: Lasting) {
        let lasts = Duration::from_secs(lasting.seconds.into());
        self.lasting.borrow_mut().push((lasting, Instant::now() + lasts));
    }

    /// What begins at this call by chance.
    fn by_chance(&self, call: u64, called: Called<'_>) -> Option<Effect> {
        let (chances, random) = self.chances.as_ref().filter(|_| !self.is_over.get())?;
        let mut random = random.borrow_mut();
        let effect = if random.u32(..1_000_000) < chances.lasting {
            Effect::Lasting(any_lasting(&mut random))
        } else if random.u32(..10_000) < chances.once {
            Effect::Once(*random.choice(&called.kinds()).expect("each call has kinds"))
        } else {
            return None;
        };
        self.made.borrow_mut().push(Fault { call, effect });
        Some(effect)
    }

    fn lasting_kind(&self, called: Called<'_>) -> Option<Kind> {
        let mut lasting = self.lasting.borrow_mut();
        if lasting.is_empty() {
            return None;
        }
        let now = Instant::now();
        lasting.retain(|(lasting, end)| lasting.kind.is_clock() || *end > now);
        let hit =
            lasting.iter().find(|(lasting, _)| !lasting.kind.is_clock() && called.is_to(lasting.target));
        hit.map(|(lasting, _)| if lasting.kind == LastingKind::Full { Kind::Throttled } else { Kind::Reset })
    }

    /// How far the clock of a function is ahead, in seconds.
    pub fn skew(&self, function: &str) -> i64 {
        let lasting = self.lasting.borrow();
        let of_it = lasting.iter().filter(|(lasting, _)| {
            function.strip_prefix(lasting.target).is_some_and(|rest| rest.starts_with('-'))
        });
        of_it
            .map(|(lasting, _)| match lasting.kind {
                LastingKind::Ahead => i64::from(lasting.seconds),
                LastingKind::Behind => -i64::from(lasting.seconds),
                LastingKind::Away | LastingKind::Full => 0,
            })
            .sum()
    }

    /// Whether the clock of a function is wrong.
    pub fn has_wrong_clocks(&self) -> bool {
        self.lasting.borrow().iter().any(|(lasting, _)| lasting.kind.is_clock())
    }

    /// From here on nothing goes wrong by chance, and nothing that lasts goes on.
    pub fn end(&self) {
        self.is_over.set(true);
        self.lasting.borrow_mut().retain(|(lasting, _)| lasting.kind.is_clock());
    }

    /// How many calls have gone wrong.
    pub fn calls(&self) -> u64 {
        self.calls.get()
    }

    /// When a call went wrong last.
    pub fn last(&self) -> Option<Instant> {
        self.last.get()
    }

    /// The faults by chance, in their order.
    pub fn made(&self) -> Vec<Fault> {
        self.made.borrow().clone()
    }
}

/// Something that lasts: half a minute, or half an hour.
fn any_lasting(random: &mut fastrand::Rng) -> Lasting {
    let kind = *random.choice(&LastingKind::ALL).expect("there are some");
    if kind.is_clock() {
        let target = random.choice(contexts().collect::<Vec<_>>()).expect("there are some");
        return Lasting { kind, target, seconds: random.u32(1..=60) };
    }
    let target = random.choice(targets()).expect("there are some");
    let seconds = *random.choice(&[30, 120, 600, 1_800]).expect("there are some");
    Lasting { kind, target, seconds }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_is_read_as_it_is_written() {
        let once = Kind::ALL.map(Effect::Once).into_iter();
        let lasting =
            LastingKind::ALL.map(|kind| Effect::Lasting(Lasting { kind, target: "stripe", seconds: 9 }));
        for effect in once.chain(lasting) {
            let fault = Fault { call: 17, effect };
            assert_eq!(fault.to_string().parse(), Ok(fault));
        }
        for wrong in
            ["17", "lost", "0:lost", "17:gone", ":lost", "17:away", "17:away:moon:1", "17:away:sqs:x"]
        {
            assert!(wrong.parse::<Fault>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_context_is_called_by_its_functions_names_and_a_service_by_its_own() {
        let is_to = |operation, target| Called { operation, by: By::Outside }.is_to(target);
        assert!(is_to("lambda.Invoke payments-commands", "payments"));
        assert!(is_to("lambda.Invoke arn:aws:lambda:x:0:function:ordersaga-local-payments-api", "payments"));
        assert!(is_to("webhook charge.refunded", "payments"));
        assert!(is_to("orders-api POST /v1/orders", "orders"));
        assert!(is_to("sqs.SendMessage", "sqs"));
        assert!(!is_to("lambda.Invoke orders-commands", "payments"));
        assert!(!is_to("dynamodb.PutItem", "sqs"));
    }
}
