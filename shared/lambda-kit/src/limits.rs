//! The limits of the platform: timeouts, concurrency, rates and sizes. Each is defined here once.
//! `tests/tests/templates` writes the table in README.md from them, and compares them with the templates.

use std::{num::NonZeroU32, time::Duration};

use jiff::SignedDuration;

// Timeouts, from the outside in: each is longer than the one inside it, so that the inner call fails first.

/// A client of the API waits this long for a response.
pub const CLIENT: Duration = Duration::from_secs(5);
/// API Gateway waits this long for a function.
pub const API_INTEGRATION: Duration = Duration::from_secs(4);
/// The timeout of a function behind the API.
pub const API_FUNCTION: Duration = Duration::from_secs(3);
/// One try of an AWS call.
pub const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(1);
/// Tries per AWS call, the first included.
pub const MAX_ATTEMPTS: u32 = 3;
/// The ceiling of the first back-off; the SDK draws uniformly below it (full jitter) and doubles it.
pub const INITIAL_BACKOFF: Duration = Duration::from_millis(100);
/// Tries of a post to a WebSocket connection, the first included.
// Others wait for the slowest connection, and a client whose connection is closed instead reconnects by itself.
pub const PUSH_ATTEMPTS: u32 = 2;
/// The state machine's timeout for a step or an undo, longer than that of the function that runs it.
pub const SAGA_TASK: Duration = Duration::from_secs(35);
/// The timeout of a function that handles commands, events or a stream.
pub const COMMAND_FUNCTION: Duration = Duration::from_secs(30);
/// The timeout of a function on a schedule.
// No caller waits for it, and the next run continues where it stopped.
pub const SCHEDULED_FUNCTION: Duration = Duration::from_secs(300);
/// The timeout of one call to the payment gateway, from the first byte sent to the last one read.
pub const GATEWAY_CALL: Duration = Duration::from_secs(12);
/// One e-mail handed to the provider.
pub const EMAIL_CALL: Duration = Duration::from_secs(5);
/// One e-mail handed to an SMTP server, from the connection to the answer.
// The conversation is a dozen round trips, where SES needs one request.
pub const SMTP_CALL: Duration = Duration::from_secs(10);
/// One SMS handed to the provider.
pub const SMS_CALL: Duration = Duration::from_secs(5);
/// How long the last known value is served while its source cannot be read, by a process and by caches in front
/// of it.
// It is as long as an order waits for its stock.
pub const LAST_KNOWN: Duration = Duration::from_secs(30 * 60);
/// How long a read may take when there is a last known value.
// It is time for one try of an AWS call and the start of a second. The rest of an API function's time is for
// the rest of the response.
pub const LAST_KNOWN_READ: Duration = Duration::from_millis(1500);
/// How long an instance uses the position of a feature switch that it has read.
// Parameter Store answers 40 reads a second for all functions of an account (Systems Manager endpoints and quotas,
// "Parameter Store throughput"). That is enough for 400 instances.
pub const SWITCH_CACHE: Duration = Duration::from_secs(10);
/// A read of a feature switch that takes longer is abandoned, and the last known position holds.
pub const SWITCH_READ: Duration = Duration::from_millis(500);
/// The timeout for connecting to a provider outside AWS, or to SES.
pub const CONNECT: Duration = Duration::from_secs(1);
/// Tries of a step by the state machine, the first included, before it checks whether the order still has
/// time.
pub const SAGA_ATTEMPTS: u32 = 15;
/// The time that customer and bank have for a payment.
pub const PAYMENT_DEADLINE: Duration = Duration::from_secs(15 * 60);
/// The state machine's own timeout for a payment, a backstop behind the deadline.
pub const SAGA_PAYMENT: Duration = Duration::from_secs(20 * 60);

// Bulkheads: the number of instances that a queue may keep busy.

/// payments-commands, which waits for the gateway most of its time.
pub const PAYMENTS_CONCURRENCY: u32 = 10;
/// The part of the reserved instances of a function with a queue that stays free for direct invocations,
/// which are undos.
pub const UNDO_CONCURRENCY: u32 = 5;
/// notifications-consumer on the e-mail queue.
pub const EMAIL_CONCURRENCY: u32 = 5;
/// notifications-consumer on the SMS queue.
pub const SMS_CONCURRENCY: u32 = 5;
/// realtime-consumer: as many orders as are pushed at the same time.
pub const REALTIME_CONCURRENCY: u32 = 20;

// Rates.

/// The rate that one caller is limited to: a burst, and then one request in each `interval`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RateLimit {
    /// Requests that a caller may make at once after a pause.
    pub burst: u32,
    /// The time after which one more request is allowed.
    pub interval: Duration,
}

impl RateLimit {
    /// `rate` requests a second after the burst.
    pub const fn per_second(burst: u32, rate: NonZeroU32) -> Self {
        let interval = Duration::from_secs(1).checked_div(rate.get()).expect("the divisor is not zero");
        Self { burst, interval }
    }

    /// One request in each `interval` after the burst.
    pub const fn every(burst: u32, interval: Duration) -> Self {
        Self { burst, interval }
    }

    /// The time that an empty bucket takes to fill.
    pub fn refill(self) -> SignedDuration {
        SignedDuration::try_from(self.interval.saturating_mul(self.burst)).unwrap_or(SignedDuration::MAX)
    }
}

/// Whose requests a limit counts together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LimitedBy {
    /// The user of the access token.
    User,
    /// The network of the client's address.
    Network,
}

/// A class of routes with one limit. Its routes share the caller's requests within one context.
#[derive(Debug, PartialEq, Eq)]
pub struct LimitClass {
    /// A part of the buckets' keys, and the name in openapi.json.
    pub name: &'static str,
    /// Whose requests are counted together.
    pub by: LimitedBy,
    /// The limit of one caller.
    pub rate: RateLimit,
    /// The routes, for README.md.
    pub routes: &'static str,
}

impl LimitClass {
    const fn user(name: &'static str, rate: RateLimit, routes: &'static str) -> Self {
        Self { name, by: LimitedBy::User, rate, routes }
    }

    const fn network(name: &'static str, rate: RateLimit, routes: &'static str) -> Self {
        Self { name, by: LimitedBy::Network, rate, routes }
    }
}

const fn rate(burst: u32, per_second: u32) -> RateLimit {
    RateLimit::per_second(burst, NonZeroU32::new(per_second).expect("the rate is not zero"))
}

/// POST /v1/orders.
// It is more than any customer buys, and too little for a stolen account to empty the shop.
pub const ORDERS: LimitClass = LimitClass::user("orders", rate(40, 1), "placing an order");
/// POST /v1/quotes.
// The page requests a quote whenever the basket changes. Each quote calls inventory and fulfillment, whose
// capacity orders need.
pub const QUOTES: LimitClass = LimitClass::user("quotes", rate(60, 2), "quotes");
/// Routes under /v1/auth.
// It is high enough for an office behind one address. The attempts on one account are counted separately.
pub const AUTH: LimitClass =
    LimitClass::network("auth", rate(200, 10), "registration, login, refresh, logout, forgotten passwords");
/// The export of one's personal data.
// One request may take 200 invocations. Five of them are 500 orders.
pub const EXPORT: LimitClass =
    LimitClass::user("export", RateLimit::every(5, Duration::from_secs(60)), "the export of personal data");
/// Tickets for the WebSocket.
// A page needs one for each connection, and reconnects after growing pauses.
pub const TICKETS: LimitClass = LimitClass::user("tickets", rate(20, 1), "tickets for the WebSocket");
/// The dashboard.
// One request takes up to nine invocations.
pub const DASHBOARD: LimitClass = LimitClass::user("dashboard", rate(20, 2), "the dashboard");
/// Changes of one's own account.
// Each change is an event, which other contexts store.
pub const PROFILE: LimitClass = LimitClass::user("profile", rate(20, 2), "changes of one's own account");
/// Other changes by customers and by the support.
// Each of them begins a compensation.
pub const CANCELS: LimitClass = LimitClass::user("cancels", rate(60, 2), "cancelling an order");
/// Lists of orders and discount codes, audit trails, moves of stock, and reports.
// One request reads up to 100 items.
pub const LISTS: LimitClass =
    LimitClass::user("lists", rate(120, 10), "lists of orders and codes, who changed what, reports");
/// One order, payment, shipment or profile.
// A client without a WebSocket polls every five seconds, for each open order.
pub const READS: LimitClass =
    LimitClass::user("reads", rate(600, 60), "one order, its events, payment or shipment; one's own profile");
/// What the staff changes.
// Imports of products and stocks come in bursts. A stolen token cannot change the whole catalogue in a minute.
pub const STAFF: LimitClass =
    LimitClass::user("staff", rate(500, 20), "changes of products, stocks, codes and shipments by the staff");
/// Lists of products.
// One list reads up to 100 products. The limit is high enough for a mobile operator's customers behind one address.
pub const CATALOG_LISTS: LimitClass =
    LimitClass::network("catalog-lists", rate(600, 40), "lists of products, searches, related products");
/// One product or stock.
// A page shows up to a hundred products.
pub const CATALOG_READS: LimitClass =
    LimitClass::network("catalog-reads", rate(1000, 100), "one product or its stock");
/// The health of all contexts.
// One report takes eight invocations. Each instance keeps its last report for some seconds.
pub const HEALTH: LimitClass = LimitClass::network("health", rate(120, 10), "the health of all contexts");

/// All classes.
pub const LIMIT_CLASSES: [&LimitClass; 14] = [
    &ORDERS,
    &QUOTES,
    &CANCELS,
    &AUTH,
    &PROFILE,
    &EXPORT,
    &DASHBOARD,
    &TICKETS,
    &READS,
    &LISTS,
    &CATALOG_READS,
    &CATALOG_LISTS,
    &STAFF,
    &HEALTH,
];

/// Accounts that may be registered from one network: `burst`, and then one a minute.
pub const fn registrations(burst: u32) -> RateLimit {
    RateLimit::every(burst, Duration::from_secs(60))
}
/// Tokens for a new password for one e-mail address.
// Each is good for half an hour, so that the owner has one that is good, however often a stranger asks for some.
pub const PASSWORD_RESETS: RateLimit = RateLimit::every(3, Duration::from_secs(20 * 60));
/// Messages to one recipient who has not shown that the address or number is theirs.
// It is enough for the messages about some orders, and not enough to fill the mailbox of a person who is no customer.
pub const UNVERIFIED_RECIPIENT: RateLimit = RateLimit::every(10, Duration::from_secs(10 * 60));
/// How long to wait for a limiter, which fails open after that.
// A limit must not slow down what it protects. With two calls of other contexts, one after the other, this fits into an
// API function's time.
pub const LIMITER: Duration = Duration::from_millis(500);

/// How often a notification queue delivers an event before it goes to the dead-letter queue.
pub const NOTIFICATION_RECEIVES: u32 = 5;

/// The delivery of one message to its provider, within one invocation.
#[derive(Debug, Clone, Copy)]
pub struct SendPolicy {
    /// Calls of the provider while it fails in a way that may pass.
    pub tries: u32,
    /// The ceiling of the pause before the second call, drawn uniformly below it (full jitter) and doubled
    /// for each further call.
    pub first_pause: Duration,
    /// The timeout of one call.
    pub call: Duration,
    /// From the arrival of the message to the end of the last call. The rest of the function's time is for
    /// storing the result.
    pub budget: Duration,
}

/// The delivery of e-mails by SES and of SMS.
pub const SEND: SendPolicy = SendPolicy {
    // With a provider that fails 30 % of its calls, one message in 1,400 is retried through the queue. The
    // breaker, which counts a message with all its tries as one call, stays closed.
    tries: 6,
    first_pause: Duration::from_millis(50),
    call: EMAIL_CALL,
    budget: Duration::from_secs(25),
};

/// The delivery of e-mails by SMTP.
// One call may take most of the time that a message has. The queue makes the further tries.
pub const SEND_BY_SMTP: SendPolicy = SendPolicy { tries: 1, call: SMTP_CALL, ..SEND };

// Sizes.

/// A request's body.
pub const BODY_BYTES: usize = 64 * 1024;
/// A frame that a client sends through the WebSocket.
pub const FRAME_BYTES: usize = 32 * 1024;

/// The circuit breaker, the same for every dependency.
#[derive(Debug, Clone, Copy)]
pub struct BreakerPolicy {
    /// This many failures within `failures_within` open it.
    pub failures: usize,
    /// The period of the first rule.
    pub failures_within: Duration,
    /// This percentage of failures among the calls in `window` opens it as well.
    pub window_percent: u64,
    /// The second rule applies from this many calls in `window`.
    pub window_calls: u64,
    /// The period of the second rule.
    pub window: Duration,
    /// How long it stays open before probes may test the dependency.
    pub open: Duration,
    /// It closes in steps. Each step allows this many concurrent probes and ends with as many successes; the
    /// last step closes it. A failed probe opens it again.
    pub probes: [usize; 3],
    /// A probe that has not reported after this time is lost, and its slot is free again.
    pub probe_lease: Duration,
    /// The retry delay of a call that finds no free probe.
    pub probing: Duration,
    /// Deferred work returns at a random time within this period after its retry delay (full jitter).
    pub spread: Duration,
    /// How long an instance uses the state that it has read.
    pub cache_ttl: Duration,
    /// A read of the item that takes longer is abandoned, and the call is made.
    pub read: Duration,
    /// A write of the item that takes longer is abandoned.
    pub write: Duration,
}

/// The rules of every circuit breaker.
pub const BREAKER: BreakerPolicy = BreakerPolicy {
    failures: 5,
    failures_within: Duration::from_secs(10),
    window_percent: 30,
    window_calls: 20,
    // Longer than the 10 s of the first rule, which tolerates 4 failures in any 10 s. At a few orders a
    // second, a minute holds enough calls for a percentage, and failures from more than a minute ago are no
    // reason to open now.
    window: Duration::from_secs(60),
    open: Duration::from_secs(30),
    // Three probes show that the dependency is back. Two steps of twice as many show that it bears more load.
    probes: [3, 6, 12],
    // Longer than the longest guarded call, the gateway's 12 s, and the writes around it.
    probe_lease: Duration::from_secs(20),
    // Nearly all probes end within a few seconds, long before their lease expires; the next try sees the
    // result.
    probing: Duration::from_secs(5),
    // As long as calls were deferred while it was open, so that they return at the rate at which they
    // arrived.
    spread: Duration::from_secs(30),
    // The calls of one order follow each other within this time and share one read. Another instance's
    // opening is noticed a second late, little compared with the 10 s that it takes to open.
    cache_ttl: Duration::from_secs(1),
    // DynamoDB nearly always answers within 10 ms. A slow answer must not slow down calls that work.
    read: Duration::from_millis(200),
    write: ATTEMPT_TIMEOUT,
};

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn each_limit_is_met_before_the_one_around_it() {
        let chains: [&[Duration]; 6] = [
            &[
                CLIENT,
                API_INTEGRATION,
                API_FUNCTION,
                LIMITER + 2 * ATTEMPT_TIMEOUT,
                LAST_KNOWN_READ,
                ATTEMPT_TIMEOUT,
            ],
            &[SAGA_TASK, COMMAND_FUNCTION, GATEWAY_CALL, EMAIL_CALL, CONNECT],
            &[COMMAND_FUNCTION, SEND.budget, SMS_CALL, CONNECT],
            &[BREAKER.probe_lease, SMTP_CALL + BREAKER.write, CONNECT],
            &[SAGA_PAYMENT, PAYMENT_DEADLINE],
            &[BREAKER.open, BREAKER.probe_lease, GATEWAY_CALL + BREAKER.write, BREAKER.probing, BREAKER.read],
        ];
        for chain in chains {
            assert!(chain.is_sorted_by(|outer, inner| outer > inner), "{chain:?}");
        }
    }

    #[test]
    fn an_empty_bucket_is_full_again_after_its_burst() {
        assert_eq!(ORDERS.rate.refill(), SignedDuration::from_secs(40));
        assert_eq!(AUTH.rate.refill(), SignedDuration::from_secs(20));
        assert_eq!(EXPORT.rate.refill(), SignedDuration::from_secs(300));
    }

    #[test]
    fn each_class_has_a_name_of_its_own() {
        let names: HashSet<&str> = LIMIT_CLASSES.iter().map(|class| class.name).collect();
        assert_eq!(names.len(), LIMIT_CLASSES.len());
    }
}
