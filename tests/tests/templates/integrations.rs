//! What leaves a function, with its limits: the table in README.md.

use std::time::Duration;

use lambda_kit::limits::{
    ATTEMPT_TIMEOUT, BREAKER, EMAIL_CALL, EMAIL_CONCURRENCY, GATEWAY_CALL, LIMIT_CLASSES, LIMITER,
    LimitClass, LimitedBy, MAX_ATTEMPTS, PAYMENTS_CONCURRENCY, PUSH_ATTEMPTS, REALTIME_CONCURRENCY,
    SAGA_ATTEMPTS, SAGA_TASK, SEND, SEND_BY_SMTP, SMS_CALL, SMS_CONCURRENCY, SMTP_CALL, SWITCH_READ,
    UNDO_CONCURRENCY,
};

/// A call that one part of the platform makes, and what happens while the callee is slow or down.
#[derive(Debug, Clone, Copy)]
pub struct Integration {
    pub of: &'static str,
    /// The timeout of one try.
    pub timeout: Duration,
    /// Tries, the first included, and the pauses between them.
    pub attempts: (u32, &'static str),
    /// The name of its circuit breaker.
    pub breaker: Option<&'static str>,
    pub bulkhead: Option<Bulkhead>,
    pub fallback: &'static str,
}

/// The limit on concurrent calls.
#[derive(Debug, Clone, Copy)]
pub enum Bulkhead {
    /// The template's maximum concurrency for this queue.
    Queue { most: u32, template: &'static str, queue: &'static str },
    /// Instances that a parameter can reserve for these functions. None by default, because a new account has
    /// no room for it.
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
        fallback: "the SMTP server, if one is set; dead-letter queue, `cargo ops dlq redrive`",
    },
    Integration {
        of: "e-mail (SMTP), while the breaker of SES is open",
        timeout: SMTP_CALL,
        attempts: (SEND_BY_SMTP.tries, "the message comes back, 5 times"),
        breaker: Some("smtp"),
        bulkhead: Some(Bulkhead::Queue {
            most: EMAIL_CONCURRENCY,
            template: "notifications",
            queue: "EmailQueue",
        }),
        fallback: "the message waits; dead-letter queue, `cargo ops dlq redrive`",
    },
    Integration {
        of: "SMS (SNS)",
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
        breaker: Some("users, orders, payments, fulfillment, catalog, inventory"),
        bulkhead: Some(Bulkhead::Reserved(&[("storefront-api", 50)])),
        fallback: "the last answer, if it is the same for all customers; else the part is left out and named in `degraded`",
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
        fallback: "failing open: the request is served",
    },
    Integration {
        of: "a feature switch (SSM)",
        timeout: SWITCH_READ,
        attempts: (1, "–"),
        breaker: None,
        bulkhead: None,
        fallback: "the last known position holds; a part whose switch was never read is on",
    },
    Integration {
        of: "a breaker's own state",
        timeout: BREAKER.read,
        attempts: (1, "–"),
        breaker: None,
        bulkhead: None,
        fallback: "failing open: the call is made",
    },
];

/// The classes of rate limits as the table in README.md.
pub fn rate_limits() -> String {
    let mut table = String::from("| class | counted by | at once | then | routes |\n|---|---|---|---|---|\n");
    for LimitClass { name, by, rate, routes } in LIMIT_CLASSES {
        let by = match by {
            LimitedBy::User => "user",
            LimitedBy::Network => "network",
        };
        let then = match rate.interval.as_secs() {
            0 | 1 => format!("{} a second", Duration::from_secs(1).as_nanos() / rate.interval.as_nanos()),
            60 => "1 a minute".to_owned(),
            seconds => format!("1 in {seconds} s"),
        };
        table += &format!("| `{name}` | {by} | {} | {then} | {routes} |\n", rate.burst);
    }
    table
}

/// [`INTEGRATIONS`] as the table in README.md.
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
