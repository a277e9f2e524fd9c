//! The limits of the platform: timeouts, concurrency, rates and sizes. Each is defined here once;
//! README.md prints the table, and `tests/tests/templates` compares the limits with the templates.

use std::{num::NonZeroU32, time::Duration};

use jiff::SignedDuration;

// Timeouts, from the outside in: each limit is met before the one around it.

/// A client waits so long for the API.
pub const CLIENT: Duration = Duration::from_secs(5);
/// API Gateway waits so long for a function.
pub const API_INTEGRATION: Duration = Duration::from_secs(4);
/// A function behind the API may run so long.
pub const API_FUNCTION: Duration = Duration::from_secs(3);
/// One try of an AWS call.
pub const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(1);
/// Tries per AWS call, the first included.
pub const MAX_ATTEMPTS: u32 = 3;
/// The ceiling of the first back-off; the SDK draws uniformly below it (full jitter) and doubles it.
pub const INITIAL_BACKOFF: Duration = Duration::from_millis(100);
/// Tries of a post to a WebSocket connection. Others wait for the slowest one, and a client that is closed instead comes
/// back by itself.
pub const PUSH_ATTEMPTS: u32 = 2;
/// The state machine waits so long for a step or an undo: longer than the function that does it may run.
pub const SAGA_TASK: Duration = Duration::from_secs(35);
/// A function that works on commands, events or a stream may run so long.
pub const COMMAND_FUNCTION: Duration = Duration::from_secs(30);
/// A function that a schedule starts may run so long: nobody waits for it, and what it leaves the next run does.
pub const SCHEDULED_FUNCTION: Duration = Duration::from_secs(300);
/// One call of the payment gateway, from the first byte sent to the last one read.
pub const GATEWAY_CALL: Duration = Duration::from_secs(12);
/// One e-mail handed to the provider.
pub const EMAIL_CALL: Duration = Duration::from_secs(5);
/// One text message handed to the provider.
pub const SMS_CALL: Duration = Duration::from_secs(5);
/// What was read last is told for so long while it cannot be read, by a process and by caches in front of it: for as long
/// as an order waits for its stock.
pub const LAST_KNOWN: Duration = Duration::from_secs(30 * 60);
/// A read is waited for so long when there is something to tell without it: one try of an AWS call, and the start of a
/// second. The rest of an API function's time is for what else the answer needs.
pub const LAST_KNOWN_PATIENCE: Duration = Duration::from_millis(1500);
/// Connecting to a provider outside AWS, or to SES.
pub const CONNECT: Duration = Duration::from_secs(1);
/// The state machine tries a step so often, the first time included, before it asks whether the order still has time.
pub const SAGA_ATTEMPTS: u32 = 15;
/// Customer and bank have so long for a payment.
pub const PAYMENT_DEADLINE: Duration = Duration::from_secs(15 * 60);
/// The state machine's backstop behind the deadline.
pub const SAGA_PAYMENT: Duration = Duration::from_secs(20 * 60);

// Bulkheads: how many instances a queue may keep busy.

pub const PAYMENTS_CONCURRENCY: u32 = 10;
/// Of instances that are reserved for a function with a queue, so many are left for who invokes it directly: undos.
pub const UNDO_CONCURRENCY: u32 = 5;
pub const EMAIL_CONCURRENCY: u32 = 5;
pub const SMS_CONCURRENCY: u32 = 5;
pub const REALTIME_CONCURRENCY: u32 = 20;

// Rates.

/// How often one caller may ask: so many at once, and then so many a second.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RateLimit {
    pub burst: u32,
    pub per_second: NonZeroU32,
}

impl RateLimit {
    const fn new(burst: u32, per_second: u32) -> Self {
        Self { burst, per_second: NonZeroU32::new(per_second).expect("a rate of some") }
    }

    /// How long an empty bucket takes to fill.
    pub fn refill(self) -> SignedDuration {
        SignedDuration::from_secs(i64::from(self.burst))
            / i32::try_from(self.per_second.get()).unwrap_or(i32::MAX)
    }
}

/// POST /v1/orders: more than anybody buys, and a stolen account cannot empty the shop.
pub const ORDERS_PER_USER: RateLimit = RateLimit::new(40, 1);
/// POST /v1/quotes: a page asks whenever the basket changes. Each quote asks inventory and fulfillment, whose capacity
/// orders need.
pub const QUOTES_PER_USER: RateLimit = RateLimit::new(60, 2);
/// /v1/auth: an office behind one address can log in; who tries passwords gets ten a second.
pub const AUTH_PER_ADDRESS: RateLimit = RateLimit::new(200, 10);
/// A limit that takes longer to answer is not waited for: it must not slow down what it protects.
pub const LIMITER: Duration = ATTEMPT_TIMEOUT;

/// How often a queue of notifications hands an event out before its dead-letter queue takes it.
pub const NOTIFICATION_RECEIVES: u32 = 5;

/// How one message is handed to its provider, within one invocation.
#[derive(Debug, Clone, Copy)]
pub struct Send {
    /// Calls of the provider, as long as it refuses for the moment.
    pub tries: u32,
    /// Before the second call, uniformly drawn from none to this (full jitter), and doubled before each further one.
    pub first_pause: Duration,
    /// From the message's arrival to the end of the last call: what is left of the function's time is for the record.
    pub budget: Duration,
}

pub const SEND: Send = Send {
    // Of a provider that fails 30 % of its calls, one message in 1,400 comes again; and the breaker, which counts a
    // message with all its tries as one call, stays closed.
    tries: 6,
    first_pause: Duration::from_millis(50),
    budget: Duration::from_secs(25),
};

// Sizes.

/// A request's body.
pub const BODY_BYTES: usize = 64 * 1024;
/// A frame that a client sends through the WebSocket.
pub const FRAME_BYTES: usize = 32 * 1024;

/// What one part calls, and what holds when that is slow or down.
#[derive(Debug, Clone, Copy)]
pub struct Integration {
    pub of: &'static str,
    /// One try of it.
    pub timeout: Duration,
    /// Tries, the first included, and what is between them.
    pub attempts: (u32, &'static str),
    /// The name of its circuit breaker.
    pub breaker: Option<&'static str>,
    pub bulkhead: Option<Bulkhead>,
    pub fallback: &'static str,
}

/// How many may be at it at once.
#[derive(Debug, Clone, Copy)]
pub enum Bulkhead {
    /// Instances that this queue of the template keeps busy at most.
    Queue { most: u32, template: &'static str, queue: &'static str },
    /// Instances that may be reserved for these functions, by a parameter; none by default, because a new account has no
    /// room for it.
    Reserved(&'static [(&'static str, u32)]),
}

/// Every call that leaves a function, and each step that the state machine waits for.
pub const INTEGRATIONS: &[Integration] = &[
    Integration {
        of: "AWS (DynamoDB, SQS, SNS, Step Functions, KMS)",
        timeout: ATTEMPT_TIMEOUT,
        attempts: (MAX_ATTEMPTS, "100 ms, ×2, full jitter"),
        breaker: None,
        bulkhead: None,
        fallback: "the API answers 503 with `Retry-After`; queues, streams and the saga try again",
    },
    Integration {
        of: "a step of the saga",
        timeout: SAGA_TASK,
        attempts: (SAGA_ATTEMPTS, "1 s, ×2, at most 30 s, full jitter"),
        breaker: None,
        bulkhead: Some(Bulkhead::Reserved(&[
            ("payments-commands", PAYMENTS_CONCURRENCY + UNDO_CONCURRENCY),
            ("inventory-commands", 20),
            ("orders-api", 50),
        ])),
        fallback: "the order waits for 30 minutes; then what was done is undone, and undos are tried for hours",
    },
    Integration {
        of: "payment gateway",
        timeout: GATEWAY_CALL,
        attempts: (1, "the message comes back after a growing time"),
        breaker: Some("gateway"),
        bulkhead: Some(Bulkhead::Queue {
            most: PAYMENTS_CONCURRENCY,
            template: "payments",
            queue: "CommandsQueue",
        }),
        fallback: "the order waits, until its payment's deadline of 15 minutes",
    },
    Integration {
        of: "e-mail (SES)",
        timeout: EMAIL_CALL,
        attempts: (SEND.tries, "50 ms, ×2, full jitter; then the message comes back, 5 times"),
        breaker: Some("email"),
        bulkhead: Some(Bulkhead::Queue {
            most: EMAIL_CONCURRENCY,
            template: "notifications",
            queue: "EmailQueue",
        }),
        fallback: "dead-letter queue, `cargo ops dlq redrive`",
    },
    Integration {
        of: "text messages (SNS)",
        timeout: SMS_CALL,
        attempts: (SEND.tries, "50 ms, ×2, full jitter"),
        breaker: Some("sms"),
        bulkhead: Some(Bulkhead::Queue {
            most: SMS_CONCURRENCY,
            template: "notifications",
            queue: "SmsQueue",
        }),
        fallback: "the same text goes by e-mail",
    },
    Integration {
        of: "a context, by the storefront",
        timeout: ATTEMPT_TIMEOUT,
        attempts: (1, "–"),
        breaker: Some("users, orders, payments, fulfillment, catalog"),
        bulkhead: None,
        fallback: "what was read last, where it is everybody's; else the part is left out, and named in `degraded`",
    },
    Integration {
        of: "inventory and fulfillment, for a quote",
        timeout: ATTEMPT_TIMEOUT,
        attempts: (1, "–"),
        breaker: None,
        bulkhead: None,
        fallback: "stock as it was known last, at best as `low_stock`, with `as_of`, else `unknown`; `serviceable` is null",
    },
    Integration {
        of: "the tables of inventory and the catalogue, for what everyone may read",
        timeout: ATTEMPT_TIMEOUT,
        attempts: (MAX_ATTEMPTS, "100 ms, ×2, full jitter; 1.5 s in all where something is known"),
        breaker: None,
        bulkhead: None,
        fallback: "what this instance read last within 30 minutes, at best as `low_stock`, with `as_of`; else 503",
    },
    Integration {
        of: "inventory, by the catalogue: whether it answers",
        timeout: ATTEMPT_TIMEOUT,
        attempts: (1, "–"),
        breaker: None,
        bulkhead: None,
        fallback: "the catalogue's copy, at best as `low_stock`, with `as_of`",
    },
    Integration {
        of: "WebSocket connections",
        timeout: ATTEMPT_TIMEOUT,
        attempts: (PUSH_ATTEMPTS, "100 ms, full jitter"),
        breaker: None,
        bulkhead: Some(Bulkhead::Queue {
            most: REALTIME_CONCURRENCY,
            template: "realtime",
            queue: "LineQueue",
        }),
        fallback: "replay on reconnect, and polling",
    },
    Integration {
        of: "a rate limit's bucket",
        timeout: LIMITER,
        attempts: (1, "–"),
        breaker: None,
        bulkhead: None,
        fallback: "the request goes ahead",
    },
    Integration {
        of: "a breaker's own state",
        timeout: BREAKER.read,
        attempts: (1, "–"),
        breaker: None,
        bulkhead: None,
        fallback: "the call goes ahead",
    },
];

/// [`INTEGRATIONS`] as the README has them.
pub fn table() -> String {
    let mut table = String::from(
        "| call | one try | tries | circuit breaker | at once | when it fails |\n|---|---|---|---|---|---|\n",
    );
    for Integration { of, timeout, attempts: (attempts, pause), breaker, bulkhead, fallback } in INTEGRATIONS
    {
        let timeout = match timeout.as_millis() {
            millis if millis % 1000 == 0 => format!("{} s", millis / 1000),
            millis => format!("{millis} ms"),
        };
        let breaker = breaker.map_or("–".to_owned(), |name| format!("`{name}`"));
        let bulkhead = match bulkhead {
            None => "–".to_owned(),
            Some(Bulkhead::Queue { most, .. }) => format!("{most}"),
            Some(Bulkhead::Reserved(functions)) => {
                let named = functions.iter().map(|(function, most)| format!("{function} {most}"));
                format!("by a parameter: {}", named.collect::<Vec<_>>().join(", "))
            }
        };
        table +=
            &format!("| {of} | {timeout} | {attempts}: {pause} | {breaker} | {bulkhead} | {fallback} |\n");
    }
    table.replace("1: – |", "1 |")
}

/// The circuit breaker, the same for every dependency.
#[derive(Debug, Clone, Copy)]
pub struct Breaker {
    /// So many failures within `failures_within` open it,
    pub failures: usize,
    pub failures_within: Duration,
    /// and so does this part of the calls of `window`, once there are `window_calls`.
    pub window_percent: u64,
    pub window_calls: u64,
    pub window: Duration,
    /// How long it stays open before probes may show that the dependency is back.
    pub open: Duration,
    /// It closes step by step: so many probes may be under way in each step, and as many successes end the step. The
    /// last one closes it. A probe that fails opens it again.
    pub probes: [usize; 3],
    /// A probe that has not reported after this is dead, and its slot is free again.
    pub probe_lease: Duration,
    /// How long a call that finds all probes out is told to wait.
    pub probing: Duration,
    /// What was sent back meanwhile returns spread over so long after the wait that it was told (full jitter).
    pub spread: Duration,
    /// For so long an instance believes what it has read.
    pub believed: Duration,
    /// A read of the item that takes longer is given up, and the call goes ahead.
    pub read: Duration,
    /// A write of the item that takes longer is given up.
    pub write: Duration,
}

pub const BREAKER: Breaker = Breaker {
    failures: 5,
    failures_within: Duration::from_secs(10),
    window_percent: 30,
    window_calls: 20,
    // Longer than the 10 s of the first rule, which sees no more than 4 failures in any 10 s: at a few orders a second
    // a minute holds enough calls for a percentage, and what was wrong a minute ago is no reason to open now.
    window: Duration::from_secs(60),
    open: Duration::from_secs(30),
    // Three show that it is back. Twice as many, twice, show that it bears more than three.
    probes: [3, 6, 12],
    // Longer than the longest call that is guarded, the gateway's 12 s, and the writes around it.
    probe_lease: Duration::from_secs(20),
    // Nearly all probes end within a few seconds, long before their lease; the next look finds which way they went.
    probing: Duration::from_secs(5),
    // As long as the calls were collected for while it was open: they come back at the rate at which they came.
    spread: Duration::from_secs(30),
    // The calls of one order follow each other within it and share one read; another instance's opening is noticed a
    // second late, which is little beside the 10 s that it takes to open.
    believed: Duration::from_secs(1),
    // DynamoDB answers within 10 ms nearly always. One that does not must not slow down what works.
    read: Duration::from_millis(200),
    write: ATTEMPT_TIMEOUT,
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_limit_is_met_before_the_one_around_it() {
        let chains: [&[Duration]; 5] = [
            &[CLIENT, API_INTEGRATION, API_FUNCTION, LAST_KNOWN_PATIENCE, ATTEMPT_TIMEOUT],
            &[SAGA_TASK, COMMAND_FUNCTION, GATEWAY_CALL, EMAIL_CALL, CONNECT],
            &[COMMAND_FUNCTION, SEND.budget, SMS_CALL, CONNECT],
            &[SAGA_PAYMENT, PAYMENT_DEADLINE],
            &[BREAKER.open, BREAKER.probe_lease, GATEWAY_CALL + BREAKER.write, BREAKER.probing, BREAKER.read],
        ];
        for chain in chains {
            assert!(chain.is_sorted_by(|outer, inner| outer > inner), "{chain:?}");
        }
    }
}
