//! AWS's prices in us-east-1 (arm64 for Lambda), without free tiers and discounts.

use std::fmt;
use std::iter::Sum;

/// The date of these prices. They change; each has its source.
pub const AS_OF: &str = "2026-11-29";

const PICODOLLARS: u64 = 1_000_000_000_000;
const MILLION: u64 = 1_000_000;
/// A GB, wherever AWS bills by it.
const GB: u64 = 1 << 30;

/// A list price in picodollars for a number of units. No listed price is smaller, so all values are integers.
#[derive(Debug, PartialEq, Eq)]
pub struct Price {
    pub service: &'static str,
    pub what: &'static str,
    picodollars: u64,
    per: u64,
    /// `per`, as the source words it.
    block: &'static str,
    pub source: &'static str,
}

pub const TRANSITION: Price = Price {
    service: "Step Functions",
    what: "state transitions",
    picodollars: PICODOLLARS / 40,
    per: 1000,
    block: "1,000 state transitions",
    source: "https://aws.amazon.com/step-functions/pricing/",
};
pub const INVOCATION: Price = Price {
    service: "Lambda",
    what: "invocations",
    picodollars: PICODOLLARS / 5,
    per: MILLION,
    block: "million requests",
    source: "https://aws.amazon.com/lambda/pricing/",
};
/// Counted in MB-milliseconds, of which a GB-second has 1024 × 1000.
pub const MEMORY_TIME: Price = Price {
    service: "Lambda",
    what: "MB-ms",
    picodollars: 13_333_400,
    per: 1_024_000,
    block: "GB-second, arm64, first 7.5 billion",
    source: "https://aws.amazon.com/lambda/pricing/",
};
pub const WRITE_UNIT: Price = Price {
    service: "DynamoDB",
    what: "write units",
    picodollars: PICODOLLARS / 8 * 5,
    per: MILLION,
    block: "million write request units",
    source: "https://aws.amazon.com/dynamodb/pricing/on-demand/",
};
/// Counted in halves.
pub const HALF_READ_UNIT: Price = Price {
    service: "DynamoDB",
    what: "half read units",
    picodollars: PICODOLLARS / 8,
    per: 2 * MILLION,
    block: "million read request units",
    source: "https://aws.amazon.com/dynamodb/pricing/on-demand/",
};
pub const FIFO_PUBLISH: Price = Price {
    service: "SNS",
    what: "messages published (FIFO)",
    picodollars: PICODOLLARS / 10 * 3,
    per: MILLION,
    block: "million published messages",
    source: "https://aws.amazon.com/sns/pricing/",
};
pub const FIFO_PUBLISH_BYTE: Price = Price {
    service: "SNS",
    what: "bytes published (FIFO)",
    picodollars: PICODOLLARS / 1000 * 17,
    per: GB,
    block: "GB published",
    source: "https://aws.amazon.com/sns/pricing/",
};
pub const FIFO_DELIVERY: Price = Price {
    service: "SNS",
    what: "messages delivered (FIFO)",
    picodollars: PICODOLLARS / 100,
    per: MILLION,
    block: "million subscription messages",
    source: "https://aws.amazon.com/sns/pricing/",
};
pub const FIFO_DELIVERY_BYTE: Price = Price {
    service: "SNS",
    what: "bytes delivered (FIFO)",
    picodollars: PICODOLLARS / 1000,
    per: GB,
    block: "GB delivered",
    source: "https://aws.amazon.com/sns/pricing/",
};
pub const QUEUE_REQUEST: Price = Price {
    service: "SQS",
    what: "requests (standard)",
    picodollars: PICODOLLARS / 10 * 4,
    per: MILLION,
    block: "million requests",
    source: "https://aws.amazon.com/sqs/pricing/",
};
pub const FIFO_QUEUE_REQUEST: Price = Price {
    service: "SQS",
    what: "requests (FIFO)",
    picodollars: PICODOLLARS / 2,
    per: MILLION,
    block: "million requests",
    source: "https://aws.amazon.com/sqs/pricing/",
};
pub const HTTP_REQUEST: Price = Price {
    service: "API Gateway",
    what: "HTTP requests",
    picodollars: PICODOLLARS,
    per: MILLION,
    block: "million requests",
    source: "https://aws.amazon.com/api-gateway/pricing/",
};
pub const EMAIL: Price = Price {
    service: "SES",
    what: "e-mails",
    picodollars: PICODOLLARS / 10,
    per: 1000,
    block: "1,000 e-mails",
    source: "https://aws.amazon.com/ses/pricing/",
};
pub const LOG_BYTE: Price = Price {
    service: "CloudWatch",
    what: "bytes of logs",
    picodollars: PICODOLLARS / 2,
    per: GB,
    block: "GB taken in",
    source: "https://aws.amazon.com/cloudwatch/pricing/",
};

pub const WEBSOCKET_MESSAGE: Price = Price {
    service: "API Gateway",
    what: "WebSocket messages",
    picodollars: PICODOLLARS,
    per: MILLION,
    block: "million messages",
    source: "https://aws.amazon.com/api-gateway/pricing/",
};
pub const CONNECTION_MINUTE: Price = Price {
    service: "API Gateway",
    what: "WebSocket minutes",
    picodollars: PICODOLLARS / 4,
    per: MILLION,
    block: "million connection minutes",
    source: "https://aws.amazon.com/api-gateway/pricing/",
};
pub const SIGNATURE: Price = Price {
    service: "KMS",
    what: "signatures (ECC)",
    picodollars: PICODOLLARS / 100 * 15,
    per: 10_000,
    block: "10,000 asymmetric requests",
    source: "https://aws.amazon.com/kms/pricing/",
};
/// Of a trace that is recorded; retrieving one costs extra.
pub const TRACE: Price = Price {
    service: "X-Ray",
    what: "traces",
    picodollars: PICODOLLARS * 5,
    per: MILLION,
    block: "million traces recorded",
    source: "https://aws.amazon.com/xray/pricing/",
};
pub const TABLE_BYTE: Price = Price {
    service: "DynamoDB",
    what: "bytes kept",
    picodollars: PICODOLLARS / 4,
    per: GB,
    block: "GB and month",
    source: "https://aws.amazon.com/dynamodb/pricing/on-demand/",
};
pub const BACKUP_BYTE: Price = Price {
    service: "DynamoDB",
    what: "bytes in backups (PITR)",
    picodollars: PICODOLLARS / 5,
    per: GB,
    block: "GB and month",
    source: "https://aws.amazon.com/dynamodb/pricing/on-demand/",
};
pub const KEPT_LOG_BYTE: Price = Price {
    service: "CloudWatch",
    what: "bytes of logs kept",
    picodollars: PICODOLLARS / 100 * 3,
    per: GB,
    block: "GB and month",
    source: "https://aws.amazon.com/cloudwatch/pricing/",
};
/// Of a metric that functions record, in the months that they record it.
pub const METRIC: Price = Price {
    service: "CloudWatch",
    what: "metrics of our own",
    picodollars: PICODOLLARS / 10 * 3,
    per: 1,
    block: "metric and month, first 10,000",
    source: "https://aws.amazon.com/cloudwatch/pricing/",
};
pub const ALARM: Price = Price {
    service: "CloudWatch",
    what: "metrics of alarms",
    picodollars: PICODOLLARS / 10,
    per: 1,
    block: "alarm metric and month",
    source: "https://aws.amazon.com/cloudwatch/pricing/",
};
pub const DASHBOARD: Price = Price {
    service: "CloudWatch",
    what: "dashboards",
    picodollars: PICODOLLARS * 3,
    per: 1,
    block: "dashboard and month",
    source: "https://aws.amazon.com/cloudwatch/pricing/",
};
pub const KEY: Price = Price {
    service: "KMS",
    what: "keys",
    picodollars: PICODOLLARS,
    per: 1,
    block: "key and month",
    source: "https://aws.amazon.com/kms/pricing/",
};
pub const SECRET: Price = Price {
    service: "Secrets Manager",
    what: "secrets",
    picodollars: PICODOLLARS / 10 * 4,
    per: 1,
    block: "secret and month",
    source: "https://aws.amazon.com/secrets-manager/pricing/",
};
pub const SCHEDULED_RUN: Price = Price {
    service: "EventBridge",
    what: "scheduled runs",
    picodollars: PICODOLLARS,
    per: MILLION,
    block: "million invocations of a schedule",
    source: "https://aws.amazon.com/eventbridge/pricing/",
};

pub const ALL: [&Price; 27] = [
    &TRANSITION,
    &INVOCATION,
    &MEMORY_TIME,
    &WRITE_UNIT,
    &HALF_READ_UNIT,
    &TABLE_BYTE,
    &BACKUP_BYTE,
    &FIFO_PUBLISH,
    &FIFO_PUBLISH_BYTE,
    &FIFO_DELIVERY,
    &FIFO_DELIVERY_BYTE,
    &QUEUE_REQUEST,
    &FIFO_QUEUE_REQUEST,
    &HTTP_REQUEST,
    &WEBSOCKET_MESSAGE,
    &CONNECTION_MINUTE,
    &EMAIL,
    &SIGNATURE,
    &KEY,
    &SECRET,
    &TRACE,
    &LOG_BYTE,
    &KEPT_LOG_BYTE,
    &METRIC,
    &ALARM,
    &DASHBOARD,
    &SCHEDULED_RUN,
];

/// An amount in millionths of a dollar.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize,
)]
#[serde(transparent)]
pub struct Microdollars(pub u64);

impl Price {
    /// The cost of a million orders with this quantity each: one order's picodollars are a million orders'
    /// microdollars, rounded to the nearest.
    pub fn of_a_million_orders(&self, quantity: u64) -> Microdollars {
        let (quantity, price, per) =
            (u128::from(quantity), u128::from(self.picodollars), u128::from(self.per));
        let picodollars = (quantity * price + per / 2) / per;
        // More would be 18 dollars an order.
        Microdollars(u64::try_from(picodollars).unwrap_or(u64::MAX))
    }

    /// The cost of this quantity, rounded to the nearest microdollar.
    pub fn of(&self, quantity: u64) -> Microdollars {
        let (quantity, price, per) =
            (u128::from(quantity), u128::from(self.picodollars), u128::from(self.per));
        let parts = per * u128::from(MILLION);
        Microdollars(u64::try_from((quantity * price + parts / 2) / parts).unwrap_or(u64::MAX))
    }

    /// `$0.025 per 1,000 state transitions`
    pub fn listed(&self) -> String {
        let (dollars, rest) = (self.picodollars / PICODOLLARS, self.picodollars % PICODOLLARS);
        let digits = format!("{rest:012}");
        let digits = digits.trim_end_matches('0');
        let point = if digits.is_empty() { "" } else { "." };
        format!("${dollars}{point}{digits} per {}", self.block)
    }
}

impl Microdollars {
    /// The percentage of `whole`.
    pub fn percent_of(self, whole: Self) -> u64 {
        (self.0 * 100 + whole.0 / 2) / whole.0.max(1)
    }
}

impl Sum for Microdollars {
    fn sum<I: Iterator<Item = Self>>(amounts: I) -> Self {
        Self(amounts.map(|amount| amount.0).sum())
    }
}

/// `$12.35`
impl fmt::Display for Microdollars {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let cents = (self.0 + 5_000) / 10_000;
        f.pad(&format!("${}.{:02}", cents / 100, cents % 100))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_million_orders_cost_what_the_list_says() {
        let cost = |price: &Price, quantity| price.of_a_million_orders(quantity).to_string();
        // $0.025 per 1,000: five million are 125.
        assert_eq!(cost(&TRANSITION, 5), "$125.00");
        assert_eq!(cost(&INVOCATION, 10), "$2.00");
        // 256 MB for 4 s are a GB-second; a million of them are $13.3334.
        assert_eq!(cost(&MEMORY_TIME, 256 * 4000), "$13.33");
        assert_eq!(MEMORY_TIME.of_a_million_orders(256 * 4000), Microdollars(13_333_400));
        assert_eq!(cost(&WRITE_UNIT, 8), "$5.00");
        // Eight strongly consistent reads.
        assert_eq!(cost(&HALF_READ_UNIT, 16), "$1.00");
        assert_eq!(cost(&FIFO_PUBLISH, 10), "$3.00");
        assert_eq!(cost(&FIFO_DELIVERY, 10), "$0.10");
        assert_eq!(cost(&QUEUE_REQUEST, 10), "$4.00");
        assert_eq!(cost(&FIFO_QUEUE_REQUEST, 10), "$5.00");
        assert_eq!(cost(&HTTP_REQUEST, 1), "$1.00");
        assert_eq!(cost(&EMAIL, 1), "$100.00");
        // A KB of logs an order is a million KB: 0.9537 GB.
        assert_eq!(cost(&LOG_BYTE, 1024), "$0.48");
        assert_eq!(cost(&FIFO_PUBLISH_BYTE, 1 << 10), "$0.02");
        assert_eq!(cost(&FIFO_DELIVERY_BYTE, 1 << 20), "$0.98");
        assert_eq!(cost(&SIGNATURE, 1), "$15.00");
        assert_eq!(cost(&TRACE, 2), "$10.00");
        assert_eq!(cost(&CONNECTION_MINUTE, 4), "$1.00");
    }

    #[test]
    fn a_month_costs_what_it_uses() {
        assert_eq!(METRIC.of(100).to_string(), "$30.00");
        assert_eq!(QUEUE_REQUEST.of(6_480_000).to_string(), "$2.59");
        assert_eq!(INVOCATION.of(0), Microdollars(0));
    }

    #[test]
    fn a_price_reads_as_it_is_listed() {
        assert_eq!(TRANSITION.listed(), "$0.025 per 1,000 state transitions");
        assert_eq!(HTTP_REQUEST.listed(), "$1 per million requests");
        assert_eq!(MEMORY_TIME.listed(), "$0.0000133334 per GB-second, arm64, first 7.5 billion");
        assert_eq!(HALF_READ_UNIT.listed(), "$0.125 per million read request units");
        assert!(ALL.iter().all(|price| price.source.starts_with("https://aws.amazon.com/")));
    }

    #[test]
    fn amounts_are_added_and_compared_whole() {
        let sum: Microdollars = [Microdollars(4_999), Microdollars(1)].into_iter().sum();
        assert_eq!(sum.to_string(), "$0.01");
        assert_eq!(Microdollars(1).percent_of(Microdollars(3)), 33);
        assert_eq!(Microdollars(0).percent_of(Microdollars(0)), 0);
    }
}
