//! Queries between contexts outside the saga: a direct Lambda invocation, allowed by IAM. Queries change
//! nothing.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{Availability, OrderId, OrderLine, OrderStatus, Sku};

/// Orders that one query may name.
// Each takes a read of its own, and the function has 30 s for all of them.
pub const ORDER_STATUSES_MAX: usize = 50;

/// A query to any context.
pub trait ContextQuery {
    /// The `action` names that are queries.
    const ACTIONS: &'static [&'static str];
    /// The query's `action` name.
    fn action(&self) -> &'static str;
}

/// Queries that orders-commands answers, in addition to the saga's commands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "action")]
pub enum OrderQuery {
    /// The statuses of these orders: at most `ORDER_STATUSES_MAX`, without duplicates. The answer is an
    /// `OrderStatuses`.
    OrderStatuses {
        /// The orders, each once.
        order_ids: Vec<OrderId>,
    },
}

impl ContextQuery for OrderQuery {
    const ACTIONS: &'static [&'static str] = &["OrderStatuses"];

    fn action(&self) -> &'static str {
        match self {
            Self::OrderStatuses { .. } => "OrderStatuses",
        }
    }
}

/// The answer to `OrderQuery::OrderStatuses`, from consistent reads.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrderStatuses {
    /// In the order of the query. An order that does not exist is left out.
    pub orders: Vec<OrderStanding>,
}

/// The status of one order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrderStanding {
    /// One of the orders that the query names.
    pub order_id: OrderId,
    /// After the order's last event.
    pub status: OrderStatus,
    /// The number of the order's events.
    pub version: u64,
    /// When its last event happened.
    pub updated_at: Timestamp,
}

/// Orders that one query about payments may name.
pub const PAYMENT_STATUSES_MAX: usize = 50;

/// Queries that payments-commands answers, in addition to the saga's commands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "action")]
pub enum PaymentQuery {
    /// The payments of these orders: at most `PAYMENT_STATUSES_MAX`. The answer is a `PaymentStatuses`.
    PaymentStatuses {
        /// The orders whose payments are wanted.
        order_ids: Vec<OrderId>,
    },
}

impl ContextQuery for PaymentQuery {
    const ACTIONS: &'static [&'static str] = &["PaymentStatuses"];

    fn action(&self) -> &'static str {
        match self {
            Self::PaymentStatuses { .. } => "PaymentStatuses",
        }
    }
}

/// The answer to `PaymentQuery::PaymentStatuses`, from consistent reads.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PaymentStatuses {
    /// In the order of the query. An order without a payment is left out.
    pub payments: Vec<PaymentStanding>,
}

/// The payment status of one order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PaymentStanding {
    /// One of the orders that the query names.
    pub order_id: OrderId,
    /// True when the shop holds none of the customer's money and can take none any more.
    pub at_rest: bool,
}

/// Queries that inventory-commands answers, in addition to the saga's commands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "action")]
pub enum InventoryQuery {
    /// Whether these quantities can be sold now, for at most as many SKUs as an order has lines. The answer
    /// is an `Availabilities`.
    Availabilities {
        /// The quantities that are wanted.
        items: Vec<OrderLine>,
    },
}

impl ContextQuery for InventoryQuery {
    const ACTIONS: &'static [&'static str] = &["Availabilities"];

    fn action(&self) -> &'static str {
        match self {
            Self::Availabilities { .. } => "Availabilities",
        }
    }
}

/// The answer to `InventoryQuery::Availabilities`. It reserves nothing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Availabilities {
    /// In the order of the query.
    pub items: Vec<SkuAvailability>,
}

/// Whether a quantity of one SKU can be sold now. `out_of_stock` also when less than the quantity is left,
/// and when the SKU has no stock at all.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SkuAvailability {
    /// One of the SKUs that the query names.
    pub sku: Sku,
    /// Of the quantity that the query names.
    pub availability: Availability,
}

/// Queries that fulfillment-commands answers, in addition to the saga's commands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "action")]
pub enum FulfillmentQuery {
    /// Whether the carrier delivers to this country (ISO 3166-1 alpha-2). Answered by `CountryServed`.
    CountryServed {
        /// Two letters, upper case.
        country: String,
    },
}

impl ContextQuery for FulfillmentQuery {
    const ACTIONS: &'static [&'static str] = &["CountryServed"];

    fn action(&self) -> &'static str {
        match self {
            Self::CountryServed { .. } => "CountryServed",
        }
    }
}

/// The answer to `FulfillmentQuery::CountryServed`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct CountryServed {
    /// False also for a code that is no country.
    pub served: bool,
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_question_and_its_answer_on_the_wire() {
        let order_id = OrderId::try_from("ord_0123456789abcdef0123456789abcdef").unwrap();
        let question = OrderQuery::OrderStatuses { order_ids: vec![order_id.clone()] };
        assert!(OrderQuery::ACTIONS.contains(&question.action()));
        assert_eq!(
            serde_json::to_value(&question).unwrap(),
            json!({"action": "OrderStatuses", "order_ids": [order_id]})
        );
        let answer = json!({"orders": [{
            "order_id": order_id, "status": "OrderCompleted", "version": 6, "updated_at": "2026-11-20T12:00:00Z"
        }]});
        let read: OrderStatuses = serde_json::from_value(answer.clone()).unwrap();
        assert_eq!(read.orders[0].status, OrderStatus::OrderCompleted);
        assert_eq!(serde_json::to_value(&read).unwrap(), answer);
    }

    #[test]
    fn a_question_about_payments_and_its_answer_on_the_wire() {
        let order_id = OrderId::try_from("ord_0123456789abcdef0123456789abcdef").unwrap();
        let question = PaymentQuery::PaymentStatuses { order_ids: vec![order_id.clone()] };
        assert!(PaymentQuery::ACTIONS.contains(&question.action()));
        assert_eq!(
            serde_json::to_value(&question).unwrap(),
            json!({"action": "PaymentStatuses", "order_ids": [order_id]})
        );
        let answer = json!({"payments": [{"order_id": order_id, "at_rest": false}]});
        let read: PaymentStatuses = serde_json::from_value(answer.clone()).unwrap();
        assert_eq!(serde_json::to_value(&read).unwrap(), answer);
    }

    #[test]
    fn questions_before_an_order_and_their_answers_on_the_wire() {
        let sku = Sku::try_from("MUG").unwrap();
        let question = InventoryQuery::Availabilities { items: vec![OrderLine { sku, quantity: 2 }] };
        assert!(InventoryQuery::ACTIONS.contains(&question.action()));
        assert_eq!(
            serde_json::to_value(&question).unwrap(),
            json!({"action": "Availabilities", "items": [{"sku": "MUG", "quantity": 2}]})
        );
        let answer = json!({"items": [{"sku": "MUG", "availability": "low_stock"}]});
        let read: Availabilities = serde_json::from_value(answer.clone()).unwrap();
        assert_eq!(serde_json::to_value(&read).unwrap(), answer);

        let question = FulfillmentQuery::CountryServed { country: "DE".to_owned() };
        assert!(FulfillmentQuery::ACTIONS.contains(&question.action()));
        assert_eq!(
            serde_json::to_value(&question).unwrap(),
            json!({"action": "CountryServed", "country": "DE"})
        );
        assert_eq!(serde_json::to_value(CountryServed { served: true }).unwrap(), json!({"served": true}));
    }
}
