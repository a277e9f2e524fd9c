//! The API's requests and responses, with the fields that these clients use.

use contracts::{Money, OrderId, OrderLine, OrderStatus, ShippingAddress, Sku, UserId};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// A customer who registers.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct NewAccount<'a> {
    pub email: &'a str,
    pub password: &'a str,
    pub name: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub phone: Option<&'a str>,
}

#[derive(Debug, Clone, Deserialize)]
pub struct User {
    pub user_id: UserId,
}

#[derive(Debug, Clone, Deserialize)]
pub struct Tokens {
    pub access_token: String,
    pub refresh_token: String,
}

/// One page of a list.
#[derive(Debug, Clone, Deserialize)]
pub struct Page<T> {
    pub items: Vec<T>,
    #[serde(default)]
    pub next_cursor: Option<String>,
}

#[derive(Debug, Clone, Deserialize)]
pub struct Product {
    pub sku: Sku,
    pub name: String,
    pub price: Money,
}

#[derive(Debug, Clone, Deserialize)]
pub struct Stock {
    pub available: u64,
}

#[derive(Debug, Clone, Serialize)]
pub struct NewOrder {
    pub items: Vec<OrderLine>,
    pub payment_method: String,
    pub shipping_address: ShippingAddress,
}

#[derive(Debug, Clone, Deserialize)]
pub struct Placed {
    pub order_id: OrderId,
    pub status: OrderStatus,
    pub total: Money,
}

#[derive(Debug, Clone, Deserialize)]
pub struct Order {
    pub order_id: OrderId,
    pub status: OrderStatus,
    pub version: u64,
    pub total: Money,
    /// Its events, without their data.
    pub timeline: Vec<OrderEvent>,
}

#[derive(Debug, Clone, Deserialize)]
pub struct OrderEvent {
    /// The order's version after it.
    pub version: u64,
    pub event_type: String,
    pub status: OrderStatus,
    #[serde(default)]
    pub data: Value,
}

/// A payment as its customer sees it.
#[derive(Debug, Clone, Deserialize)]
pub struct Payment {
    pub status: String,
    pub amount: Money,
    pub refunded: Money,
    /// The action that the payment requires of the customer.
    pub next_action: Option<NextAction>,
}

/// In the terms of the gateway's own client library.
#[derive(Debug, Clone, Deserialize)]
pub struct NextAction {
    pub payment_intent: String,
    pub client_secret: String,
}

#[derive(Debug, Clone, Deserialize)]
pub struct Ticket {
    pub ticket: String,
    pub expires_in: u64,
    pub url: String,
}
