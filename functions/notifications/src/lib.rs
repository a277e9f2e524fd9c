//! Owns the messages to customers, with a copy of their contact data and the record of what was sent. It
//! listens to `user.*` and to events of orders, payments and shipments, and publishes
//! `notification.sent` and `notification.failed`.
//!
//! Each channel has its own queue, circuit breaker and rate limit (`provider_guard`), which all instances share. SES
//! reports bounces and complaints through a third queue.

mod consumer;
mod domain;
mod email;
mod feedback;
mod handler;
mod provider;
mod provider_guard;
mod queue;
mod sms;
mod store;

pub use consumer::{EMAIL_EVENT_TYPES, SMS_EVENT_TYPES};
pub use email::EmailSender;
pub use handler::Notifier;
pub use provider_guard::ProviderGuard;
pub use queue::Queues;
pub use sms::SmsSender;
pub use store::Store;
