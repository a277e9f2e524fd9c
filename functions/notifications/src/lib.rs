//! Owns the messages to customers, with a copy of their contact data and the record of what was sent. It
//! listens to `user.*` and to events of orders, payments and shipments, and publishes
//! `notification.sent` and `notification.failed`.
//!
//! Each channel has its own queue, circuit breaker and rate limit (`gate`), which all instances share. SES
//! reports bounces and complaints through a third queue.

mod consumer;
mod domain;
mod email;
mod feedback;
mod gate;
mod provider;
mod queue;
mod sms;
mod store;

pub use consumer::{EMAIL_EVENT_TYPES, Notifier, SMS_EVENT_TYPES};
pub use email::Mailer;
pub use gate::Gate;
pub use queue::Queues;
pub use sms::Texter;
pub use store::Store;
