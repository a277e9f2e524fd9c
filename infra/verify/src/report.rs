//! What was counted, and what is wrong.

use std::{collections::BTreeMap, fmt};

use serde::Serialize;

/// A rule that every stage keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Rule {
    /// Items have the form that the rules read.
    Item,
    /// An order's events have no gap, follow each other as the saga allows, and are its own.
    History,
    /// An order ends within its deadline, once.
    Ending,
    /// A completed order is paid with its total, and a cancelled one costs nothing: by the record of payments.
    Payment,
    /// The same by the gateway's books, and one live charge at most.
    Charge,
    /// A completed order has a shipment, and a cancelled one has none.
    Shipment,
    /// A completed order's stock is sold, and a cancelled one's is released.
    Reservation,
    /// The stock on hand, held and sold is what was put in; no shard is below zero.
    Stock,
    /// The moves of a SKU add up to its stock.
    Moves,
    /// A discount code is used by the orders that have it.
    Discount,
    /// The lists show an order as it is.
    View,
    /// A customer gets one final e-mail about an order.
    Letter,
    /// Relays have processed every record.
    Relay,
    /// What is kept for an order belongs to an order.
    Owner,
}

impl Rule {
    /// Every rule.
    pub const ALL: [Self; 14] = [
        Self::Item,
        Self::History,
        Self::Ending,
        Self::Payment,
        Self::Charge,
        Self::Shipment,
        Self::Reservation,
        Self::Stock,
        Self::Moves,
        Self::Discount,
        Self::View,
        Self::Letter,
        Self::Relay,
        Self::Owner,
    ];

    /// As it is printed, and as `--json` has it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Item => "item",
            Self::History => "history",
            Self::Ending => "ending",
            Self::Payment => "payment",
            Self::Charge => "charge",
            Self::Shipment => "shipment",
            Self::Reservation => "reservation",
            Self::Stock => "stock",
            Self::Moves => "moves",
            Self::Discount => "discount",
            Self::View => "view",
            Self::Letter => "letter",
            Self::Relay => "relay",
            Self::Owner => "owner",
        }
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A rule that is broken, and what breaks it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Violation {
    pub rule: Rule,
    /// An order id, a SKU, a code, or the name of a context.
    pub subject: String,
    pub expected: String,
    pub found: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { rule, subject, expected, found } = self;
        write!(f, "{rule}: {subject}: expected {expected}, found {found}")
    }
}

/// How an order ended, or how far it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum End {
    Completed,
    Cancelled,
    /// An undo failed: a person has to look.
    NeedsAttention,
    /// Under way.
    Open,
}

/// What was looked at.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    pub items: u64,
    pub orders: BTreeMap<End, u64>,
    /// Of orders.
    pub events: u64,
    /// By currency, in minor units.
    pub money: BTreeMap<String, Sums>,
    pub stock: Stock,
    /// Orders that ended so shortly before that only their history was checked.
    pub not_settled: u64,
    /// SKUs and codes that changed so shortly before that they were not compared.
    pub moving: u64,
}

/// Money by the records of payments.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Sums {
    pub taken: i64,
    pub refunded: i64,
}

/// Pieces of all SKUs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Stock {
    pub skus: u64,
    pub on_hand: i64,
    pub held: i64,
    pub sold: i64,
}

/// The result of verifying a stage.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Report {
    pub counts: Counts,
    /// None when every rule is kept. By rule, then by subject.
    pub violations: Vec<Violation>,
}

impl Report {
    pub(crate) fn violate(
        &mut self,
        rule: Rule,
        subject: impl Into<String>,
        expected: impl Into<String>,
        found: impl Into<String>,
    ) {
        let (subject, expected, found) = (subject.into(), expected.into(), found.into());
        self.violations.push(Violation { rule, subject, expected, found });
    }
}
