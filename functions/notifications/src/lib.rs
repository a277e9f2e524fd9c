//! Notifications owns how customers are told: their contact data, copied from users, and what was sent to them. It
//! listens to `user.*`, and to what happens to orders, payments and shipments, and publishes `notification.sent` and
//! `notification.failed`.
//!
//! Each channel has a queue and a way out (`gate`) of its own: a breaker, and a rate that all instances share. SES tells
//! of bounces and complaints through a third queue.

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
