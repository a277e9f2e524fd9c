//! The attributes that the rules read. The heads of the contexts' `store.rs` say what else the tables have.

use contracts::Money;
use jiff::Timestamp;
use serde::Deserialize;

/// One write of an order: `ORDER#<id>` / `COMMIT#<first version>`.
#[derive(Debug, Clone, Deserialize)]
pub struct Commit {
    pub first_version: u64,
    pub last_version: u64,
    pub command_id: String,
    /// Envelopes as JSON.
    pub outbox: Vec<String>,
}

/// An order in its customer's list: `CUSTOMER#<user>` / `ORDER#<created at>#<id>`.
#[derive(Debug, Clone, Deserialize)]
pub struct View {
    pub version: u64,
    pub status: String,
}

/// That an order has a discount code: `DISCOUNT_USE#<order>` / `USE`.
#[derive(Debug, Clone, Deserialize)]
pub struct DiscountUse {
    pub code: String,
    pub user_id: String,
    /// Whether its customer's own counter counts it.
    #[serde(default)]
    pub counted: bool,
}

/// The uses of a code, of all customers or of one: `DISCOUNT#<CODE>` / `DISCOUNT`, `DISCOUNT#<CODE>#<user>` /
/// `CUSTOMER`.
#[derive(Debug, Clone, Deserialize)]
pub struct DiscountCounter {
    #[serde(default)]
    pub used: i64,
}

/// A shard of a SKU's stock: `STOCK#<sku>#<shard>` / `STOCK`.
#[derive(Debug, Clone, Deserialize)]
pub struct Shard {
    pub available: i64,
}

/// A change of a SKU's stock: `MOVES#…`.
#[derive(Debug, Clone, Deserialize)]
pub struct Moves {
    pub sku: String,
    pub kind: MoveKind,
    pub at: Timestamp,
    pub shards: Vec<ShardDelta>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MoveKind {
    Reserved,
    Released,
    Set,
    Adjusted,
    Rebalanced,
}

#[derive(Debug, Clone, Deserialize)]
pub struct ShardDelta {
    pub delta: i64,
}

/// The stock of an order: `RESERVATION#<order>` / `RESERVATION`.
#[derive(Debug, Clone, Deserialize)]
pub struct Reservation {
    pub status: ReservationStatus,
    pub taken: Vec<Allocation>,
    pub updated_at: Timestamp,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ReservationStatus {
    Held,
    Rejected,
    Released,
    Committed,
}

#[derive(Debug, Clone, Deserialize)]
pub struct Allocation {
    pub sku: String,
    pub quantity: i64,
}

/// The money of an order: `PAYMENT#<order>` / `PAYMENT`. Amounts without a currency are in minor units.
#[derive(Debug, Clone, Deserialize)]
pub struct Payment {
    pub status: PaymentStatus,
    pub charge: Option<Charge>,
    #[serde(default)]
    pub refunded: i64,
    pub refund_cause: Option<String>,
    /// Came back by failed refunds, and is owed to the customer.
    #[serde(default)]
    pub returned: i64,
    #[serde(default)]
    pub settlements: Vec<Amount>,
    #[serde(default)]
    pub disputes: Vec<Dispute>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PaymentStatus {
    Pending,
    Succeeded,
    Declined,
    TimedOut,
    Voided,
    Refunding,
    Refunded,
    RefundFailed,
}

#[derive(Debug, Clone, Deserialize)]
pub struct Charge {
    pub amount: Money,
}

#[derive(Debug, Clone, Deserialize)]
pub struct Amount {
    pub amount: i64,
}

#[derive(Debug, Clone, Deserialize)]
pub struct Dispute {
    pub amount: i64,
    pub status: String,
}

impl Payment {
    /// What was charged.
    pub fn total(&self) -> i64 {
        self.charge.as_ref().map_or(0, |charge| charge.amount.amount)
    }

    pub fn took_money(&self) -> bool {
        use PaymentStatus::{RefundFailed, Refunded, Refunding, Succeeded};
        matches!(self.status, Succeeded | Refunding | Refunded | RefundFailed)
    }

    /// Paid to the customer outside the gateway.
    pub fn settled(&self) -> i64 {
        self.settlements.iter().map(|settlement| settlement.amount).sum()
    }

    /// Given to the customer by the bank.
    pub fn lost(&self) -> i64 {
        self.disputes.iter().filter(|dispute| dispute.status == "lost").map(|dispute| dispute.amount).sum()
    }
}

/// The shipment of an order: `SHIPMENT#<order>` / `SHIPMENT`.
#[derive(Debug, Clone, Deserialize)]
pub struct Shipment {
    pub status: ShipmentStatus,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ShipmentStatus {
    Scheduled,
    Picked,
    Packed,
    Shipped,
    Delivered,
    Rejected,
    Cancelled,
}

impl ShipmentStatus {
    pub const fn is_booked(self) -> bool {
        !matches!(self, Self::Rejected | Self::Cancelled)
    }
}

/// A message about an event: `MESSAGE#<event>` / `EMAIL` or `SMS`.
#[derive(Debug, Clone, Deserialize)]
pub struct Message {
    pub state: MessageState,
    /// Unix seconds: 90 days after the last try began.
    pub expires_at: i64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MessageState {
    Sending,
    Waiting,
    Sent,
    Failed,
    GivenUp,
    /// An order confirmation that is not sent, because the order has ended meanwhile.
    Superseded,
}

/// A customer's contact data: `CONTACT#<user>` / `CONTACT`. Nothing of it, when the customer was deleted.
#[derive(Debug, Clone, Default, Deserialize)]
pub struct Contact {
    #[serde(default)]
    pub wants_email: bool,
    /// Of the event of users that it was copied from.
    #[serde(default)]
    pub sequence: u64,
    pub suppressed: Option<String>,
}

/// A charge in the gateway's books. Amounts in minor units.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Intent {
    pub order_id: String,
    pub status: IntentStatus,
    pub amount: i64,
    /// What of it went back, or is on its way.
    pub refunded: i64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IntentStatus {
    /// The money was taken.
    Succeeded,
    /// It may still be taken: the gateway waits for the bank or the customer.
    Open,
    /// No money was taken. A charge that was never confirmed is one of these.
    Ended,
}

impl IntentStatus {
    /// By the gateway's name (<https://docs.stripe.com/api/payment_intents/object>, `status`).
    pub fn of(status: &str) -> Self {
        match status {
            "succeeded" => Self::Succeeded,
            "requires_action" | "processing" | "requires_capture" => Self::Open,
            _ => Self::Ended,
        }
    }
}

/// The attributes that the rules read of the items of a context, their keys among them. Others hold personal data.
pub fn attributes(context: &str) -> &'static [&'static str] {
    match context {
        "orders" => &[
            "pk",
            "sk",
            "first_version",
            "last_version",
            "command_id",
            "outbox",
            "version",
            "status",
            "code",
            "user_id",
            "counted",
            "used",
        ],
        "inventory" => {
            &["pk", "sk", "available", "sku", "kind", "at", "shards", "status", "taken", "updated_at"]
        }
        "payments" => &[
            "pk",
            "sk",
            "status",
            "charge",
            "refunded",
            "refund_cause",
            "returned",
            "settlements",
            "disputes",
        ],
        "fulfillment" => &["pk", "sk", "status"],
        "notifications" => &["pk", "sk", "state", "expires_at", "wants_email", "sequence", "suppressed"],
        _ => &["pk", "sk"],
    }
}
