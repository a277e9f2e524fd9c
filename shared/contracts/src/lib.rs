//! Types that cross context boundaries: the event envelope and all event types, the saga's commands and error
//! names, ids, money and statuses. Pure data: no AWS, no I/O, no clock.

#![warn(missing_docs)]

mod account_message;
mod channel;
#[cfg(feature = "compatibility")]
pub mod compatibility;
mod currency;
mod event;
pub mod events;
mod failure;
mod ids;
pub mod metrics;
mod money;
mod order;
mod order_status;
pub mod query;
pub mod saga;
#[cfg(feature = "schema")]
pub mod schema;
mod sms_countries;
mod stock;
mod switch;

pub use account_message::{AccountContent, AccountMessage, Recipient};
pub use currency::{ChargeRule, NotChargeable, charge_rules};
pub use event::{DecodeError, Envelope, EventPayload, Metadata, NewEvent};
pub use ids::{
    CorrelationId, EventId, IdempotencyKey, InvalidId, MessageId, NotificationId, OrderId, SessionId, Sku,
    UserId,
};
pub use money::{Money, MoneyError};
pub use order::{OrderDiscount, OrderLine, PricedLine, ShippingAddress};
pub use order_status::OrderStatus;
pub use sms_countries::{InvalidSmsCountries, SmsCountries};
pub use stock::Availability;
pub use switch::{Position, Switch, UnknownPosition, UnknownSwitch};

pub use iso_currency::Currency;

/// The alias of every function, which requests, the saga, queues, streams, schedules and other functions call. A
/// deployment moves it to a new version (infra/README.md).
pub const FUNCTION_ALIAS: &str = "live";
