//! The list of all metrics that functions emit. `lambda_kit::telemetry` emits them; infra/METRICS.md is written from
//! this list, and the alarms and dashboards in infra/ are checked against it.
//!
//! What AWS measures itself is not emitted again: the age and length of queues, the age of streams, throttles, errors
//! and durations of invocations.

use crate::saga::{
    INVENTORY_NOT_AVAILABLE, ORDER_CANCEL_REQUESTED, PAYMENT_DECLINED, PAYMENT_TIMEOUT, SAGA_ABORTED,
    SERVICE_UNAVAILABLE, SHIPMENT_REJECTED,
};

/// What a value of a metric counts or measures, as CloudWatch names units.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// A number of things.
    Count,
    /// A time.
    Milliseconds,
    /// An amount of memory.
    Megabytes,
    /// An amount of money in the currency's minor units, which CloudWatch has no unit for.
    None,
}

impl Unit {
    /// The unit as CloudWatch spells it (CloudWatch API reference, "MetricDatum").
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Count => "Count",
            Self::Milliseconds => "Milliseconds",
            Self::Megabytes => "Megabytes",
            Self::None => "None",
        }
    }
}

/// One time series of a metric. CloudWatch charges for each one that gets a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Series {
    /// The context that emits it. `None` when the values of all contexts are one series.
    pub service: Option<&'static str>,
    /// The value of the metric's dimension. `None` when the metric has no dimension besides the service.
    pub value: Option<&'static str>,
}

/// A metric of the namespace `Ordersaga/<stage>`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Metric {
    /// Its name in CloudWatch.
    pub name: &'static str,
    /// The dimension besides `Service`.
    pub dimension: Option<&'static str>,
    /// The unit of its values.
    pub unit: Unit,
    /// Everything that is emitted under this name. Another value of the dimension is emitted as [`OTHER`].
    pub series: &'static [Series],
    /// What it counts or measures.
    pub meaning: &'static str,
}

/// The value of a dimension that a metric's list does not have.
// A value from outside, such as a gateway's new word, must not make a series of its own for each spelling.
pub const OTHER: &str = "other";

impl Metric {
    /// The value as the metric's list has it, else [`OTHER`].
    pub fn listed(&self, value: &str) -> &'static str {
        self.series.iter().filter_map(|series| series.value).find(|listed| *listed == value).unwrap_or(OTHER)
    }

    /// The names of its dimensions, in the order in which they are emitted.
    pub fn dimensions(&self) -> Vec<&'static str> {
        let has_service = self.series.iter().any(|series| series.service.is_some());
        has_service.then_some("Service").into_iter().chain(self.dimension).collect()
    }
}

/// A count of one context.
const fn count(name: &'static str, series: &'static [Series], meaning: &'static str) -> Metric {
    Metric { name, dimension: None, unit: Unit::Count, series, meaning }
}

const fn count_by(
    dimension: &'static str,
    name: &'static str,
    series: &'static [Series],
    meaning: &'static str,
) -> Metric {
    Metric { name, dimension: Some(dimension), unit: Unit::Count, series, meaning }
}

const fn of(service: &'static str) -> Series {
    Series { service: Some(service), value: None }
}

const fn by(service: &'static str, value: &'static str) -> Series {
    Series { service: Some(service), value: Some(value) }
}

const fn anywhere(value: &'static str) -> Series {
    Series { service: None, value: Some(value) }
}

// --- Of every operation

/// The operation of every event that a context consumes.
// One for each type would be as many paid series as types, and most types take the same time.
pub const EVENTS: &str = "events";

/// Operations that fill an invocation of their function: batches of a stream, events of a queue, runs on a timer. AWS/Lambda
/// has their number and their time, by function, so that they have no [`DURATION`]. Their log lines have it.
const WHOLE_INVOCATIONS: [&str; 5] = [EVENTS, "relay", "ProjectOrders", "CheckSagas", "CheckPayments"];

/// Whether an operation has a [`DURATION`] of its own, and not only its function's in AWS/Lambda.
pub fn is_timed(operation: &str) -> bool {
    !WHOLE_INVOCATIONS.contains(&operation)
}

/// The time of one operation. Its number of samples (`SampleCount`) is the number of operations.
// A series `Count` of its own would say the same and cost as much again: one for each operation.
pub const DURATION: Metric = Metric {
    name: "Duration",
    dimension: Some("Operation"),
    unit: Unit::Milliseconds,
    series: &[],
    meaning: "The time of one operation: a route, a command, a message to a customer. Its statistic SampleCount is the \
              number of operations. Operations that fill an invocation of their function have none.",
};

/// The operations that failed by a fault of ours. There is no value while none fails.
pub const ERRORS: Metric = Metric {
    name: "Errors",
    dimension: Some("Operation"),
    unit: Unit::Count,
    series: &[],
    meaning: "Operations that failed by a fault of ours. It has no value while none fails, and refusals are no errors.",
};

/// The most memory that a function's process has used.
// One series for all: a function that grows is found in the log lines, and none uses a quarter of what it has.
pub const MEMORY_USED: Metric = Metric {
    name: "MemoryUsed",
    dimension: None,
    unit: Unit::Megabytes,
    series: &[Series { service: None, value: None }],
    meaning: "The most memory that a process has used, at most every 15 minutes for each process, over all contexts. The log \
              line names the function.",
};

// --- Of the business

/// Orders that were accepted.
pub const ORDERS_PLACED: Metric =
    count("OrdersPlaced", &[of("orders")], "Orders that were accepted. A repeated request is not counted.");

/// The time from an order's creation to its completion.
pub const ORDER_DURATION: Metric = Metric {
    name: "OrderDuration",
    dimension: None,
    unit: Unit::Milliseconds,
    series: &[of("orders")],
    meaning: "The time from an order's creation to its completion. Its SampleCount is the number of completed orders.",
};

/// Cancelled orders, by the reason that the order keeps.
pub const ORDERS_CANCELLED: Metric = count_by(
    "Reason",
    "OrdersCancelled",
    &[
        by("orders", INVENTORY_NOT_AVAILABLE),
        by("orders", PAYMENT_DECLINED),
        by("orders", PAYMENT_TIMEOUT),
        by("orders", SHIPMENT_REJECTED),
        by("orders", ORDER_CANCEL_REQUESTED),
        by("orders", SERVICE_UNAVAILABLE),
        by("orders", SAGA_ABORTED),
        by("orders", OTHER),
    ],
    "Orders that were cancelled and undone.",
);

/// What completed orders cost their customers.
pub const REVENUE: Metric = Metric {
    name: "Revenue",
    dimension: Some("Currency"),
    unit: Unit::None,
    series: &[
        by("orders", "USD"),
        by("orders", "EUR"),
        by("orders", "GBP"),
        by("orders", "CHF"),
        by("orders", "JPY"),
        by("orders", OTHER),
    ],
    meaning: "The totals of completed orders, in minor units (cents). The sales report has the exact sums; `other` adds up \
              different currencies.",
};

/// Undos that were tried until they were exhausted: orders that need a person.
pub const UNDOS_FAILED: Metric = count(
    "UndosFailed",
    &[of("orders")],
    "Cancellations with an undo that was exhausted. The order needs a person.",
);

/// Orders that end because a step failed for a technical reason.
pub const STEPS_FAILED: Metric = count(
    "StepsFailed",
    &[of("orders")],
    "Orders that end because a step of the saga failed by a fault of ours.",
);

/// Orders whose history cannot be read.
pub const ORDERS_UNREADABLE: Metric = count(
    "OrdersUnreadable",
    &[of("orders")],
    "Orders that the views omit, because their history cannot be read.",
);

/// What a run of the reconciler found. Zeros are not emitted.
pub const ORDERS_RECONCILED: Metric = count_by(
    "Result",
    "OrdersReconciled",
    &[
        by("orders", "overdue"),
        by("orders", "resolved"),
        by("orders", "unresolved"),
        by("orders", "money_not_back"),
        by("orders", "in_attention"),
    ],
    "Orders that a run of the reconciler found. A number of zero is not emitted.",
);

/// Reservations that hold stock for an order.
pub const RESERVATIONS_HELD: Metric =
    count("ReservationsHeld", &[of("inventory")], "Orders whose stock was reserved.");

/// Reservations that were refused, because there is too little stock.
pub const RESERVATIONS_REFUSED: Metric = count(
    "ReservationsRefused",
    &[of("inventory")],
    "Orders that were refused, because there is too little stock.",
);

/// What a sweep did with old reservations. Zeros are not emitted.
pub const RESERVATIONS_SWEPT: Metric = count_by(
    "Result",
    "ReservationsSwept",
    &[
        by("inventory", "committed"),
        by("inventory", "released"),
        by("inventory", "settled"),
        by("inventory", "open"),
        by("inventory", "attention"),
        by("inventory", "stuck"),
        by("inventory", "failed"),
    ],
    "Reservations of more than half an hour that a sweep found. A number of zero is not emitted.",
);

/// Payments by their result.
pub const PAYMENTS: Metric = count_by(
    "Result",
    "Payments",
    &[by("payments", "succeeded"), by("payments", "declined"), by("payments", "timed_out")],
    "Payments that came to a result.",
);

/// Requests that the gateway refused for a reason that is no card's.
pub const GATEWAY_MISUSED: Metric = count(
    "GatewayMisused",
    &[of("payments")],
    "Requests that the gateway refused for a reason other than the card: a key, an account, a parameter.",
);

/// Refunds that failed after the gateway had accepted them.
pub const REFUNDS_FAILED: Metric = count(
    "RefundsFailed",
    &[of("payments")],
    "Refunds that a customer's bank returned after they were made.",
);

/// Disputes, by the gateway's status.
pub const DISPUTES: Metric = count_by(
    "Status",
    "Disputes",
    &[
        by("payments", "needs_response"),
        by("payments", "under_review"),
        by("payments", "won"),
        by("payments", "lost"),
        by("payments", OTHER),
    ],
    "Changes of disputes, by the gateway's new status.",
);

/// What the daily comparison with the gateway found.
pub const PAYMENTS_DIFFERENT: Metric = count(
    "PaymentsDifferent",
    &[of("payments")],
    "Payments of a day that differ from the gateway's, once a day. It is at least 1 when a day was not compared completely.",
);

/// Messages to customers that a provider accepted.
pub const NOTIFICATIONS_SENT: Metric = count_by(
    "Channel",
    "NotificationsSent",
    &[by("notifications", "email"), by("notifications", "sms")],
    "Messages to customers that the provider accepted.",
);

/// Messages to customers that were given up.
pub const NOTIFICATIONS_FAILED: Metric = count_by(
    "Channel",
    "NotificationsFailed",
    &[by("notifications", "email"), by("notifications", "sms")],
    "Messages to customers that were given up: an invalid or suppressed address, or a provider that refused every try.",
);

/// Messages to customers that were sent long after their event.
pub const NOTIFICATIONS_LATE: Metric = count_by(
    "Channel",
    "NotificationsLate",
    &[by("notifications", "email"), by("notifications", "sms")],
    "Messages to customers that were sent more than five minutes after their event.",
);

/// E-mails that the second provider accepted.
pub const EMAILS_BY_SMTP: Metric = count(
    "EmailsBySmtp",
    &[of("notifications")],
    "E-mails to customers that the SMTP server accepted, while the circuit breaker of SES was open. They are in \
     NotificationsSent, too.",
);

/// Bounces and complaints.
pub const EMAIL_FEEDBACK: Metric = count_by(
    "Kind",
    "EmailFeedback",
    &[by("notifications", "bounced"), by("notifications", "complained"), by("notifications", "undelivered")],
    "Permanent bounces and complaints, after which an address gets no more e-mails; and e-mails that SES has given up, \
     for example because the mailbox is full.",
);

/// Messages that were dropped, because an unverified recipient had too many.
pub const MESSAGES_OVER_BUDGET: Metric = count(
    "MessagesOverBudget",
    &[of("notifications")],
    "Messages that were dropped, because an address that is not verified had too many.",
);

/// Frames that could not be pushed.
pub const PUSHES_FAILED: Metric = count(
    "PushesFailed",
    &[of("realtime")],
    "Pushes to a WebSocket connection that failed. A connection that its client has left is no failure.",
);

// --- Of what all contexts do

/// The number 1 while a breaker is open, and 0 when it closes.
pub const BREAKER_OPEN: Metric = count_by(
    "Breaker",
    "BreakerOpen",
    &[
        by("payments", "gateway"),
        by("notifications", "email"),
        by("notifications", "sms"),
        by("notifications", "smtp"),
        by("storefront", "users"),
        by("storefront", "orders"),
        by("storefront", "payments"),
        by("storefront", "fulfillment"),
        by("storefront", "catalog"),
        by("storefront", "inventory"),
    ],
    "1 when a circuit breaker opens and when it refuses a call, at most every ten seconds for each process; 0 when it \
     closes.",
);

/// Records of a stream that a relay can never process.
pub const RECORDS_PARKED: Metric = count(
    "RecordsParked",
    &[
        of("catalog"),
        of("fulfillment"),
        of("inventory"),
        of("notifications"),
        of("orders"),
        of("payments"),
        of("users"),
    ],
    "Records of a table's stream that the relay cannot process. Their events are not published.",
);

/// Events of a type that the consumer does not know.
pub const UNEXPECTED_EVENTS: Metric = count(
    "UnexpectedEvents",
    &[
        of("catalog"),
        of("fulfillment"),
        of("inventory"),
        of("notifications"),
        of("orders"),
        of("payments"),
        of("realtime"),
    ],
    "Events that a queue's filter let in, and that its consumer does not know.",
);

/// What someone does with an account.
pub const SECURITY_EVENTS: Metric = count_by(
    "Event",
    "SecurityEvents",
    &[
        anywhere("login_failed"),
        anywhere("login_locked_out"),
        anywhere("token_refused"),
        anywhere("refresh_token_reused"),
        anywhere("password_changed"),
        anywhere("password_reset_requested"),
        anywhere("password_reset"),
        anywhere("email_changed"),
        anywhere("sessions_ended"),
        anywhere("role_granted"),
        anywhere("role_revoked"),
        anywhere("account_suspended"),
        anywhere("account_restored"),
    ],
    "Attempts on accounts and changes of them, over all contexts. The log line `security event` names the context.",
);

/// All metrics, in the order of infra/METRICS.md.
pub const ALL: &[&Metric] = &[
    &DURATION,
    &ERRORS,
    &MEMORY_USED,
    &ORDERS_PLACED,
    &ORDER_DURATION,
    &ORDERS_CANCELLED,
    &REVENUE,
    &UNDOS_FAILED,
    &STEPS_FAILED,
    &ORDERS_UNREADABLE,
    &ORDERS_RECONCILED,
    &RESERVATIONS_HELD,
    &RESERVATIONS_REFUSED,
    &RESERVATIONS_SWEPT,
    &PAYMENTS,
    &GATEWAY_MISUSED,
    &REFUNDS_FAILED,
    &DISPUTES,
    &PAYMENTS_DIFFERENT,
    &NOTIFICATIONS_SENT,
    &NOTIFICATIONS_FAILED,
    &NOTIFICATIONS_LATE,
    &EMAILS_BY_SMTP,
    &EMAIL_FEEDBACK,
    &MESSAGES_OVER_BUDGET,
    &PUSHES_FAILED,
    &BREAKER_OPEN,
    &RECORDS_PARKED,
    &UNEXPECTED_EVENTS,
    &SECURITY_EVENTS,
];

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::saga::reasons;

    #[test]
    fn no_two_metrics_share_a_name() {
        let names: BTreeSet<&str> = ALL.iter().map(|metric| metric.name).collect();
        assert_eq!(names.len(), ALL.len());
    }

    #[test]
    fn the_series_of_a_metric_have_its_dimensions_and_no_others() {
        for metric in ALL {
            for series in metric.series {
                assert_eq!(series.value.is_some(), metric.dimension.is_some(), "{}", metric.name);
                assert_eq!(
                    series.service.is_some(),
                    metric.dimensions().contains(&"Service"),
                    "{}",
                    metric.name
                );
            }
        }
    }

    #[test]
    fn every_reason_of_a_cancelled_order_has_a_series() {
        for reason in reasons() {
            assert_eq!(ORDERS_CANCELLED.listed(reason.name), reason.name);
        }
    }

    #[test]
    fn a_value_that_is_not_listed_makes_no_series_of_its_own() {
        assert_eq!(DISPUTES.listed("warning_closed"), OTHER);
        assert_eq!(DISPUTES.listed("won"), "won");
    }
}
