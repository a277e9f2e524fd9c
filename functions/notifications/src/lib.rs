//! Owns the messages to customers, with a copy of their contact data and the record of what was sent. It
//! listens to `user.*` and to events of orders, payments and shipments, and publishes
//! `notification.sent` and `notification.failed`.
//!
//! Each channel has its own queue, circuit breaker and rate limit (`provider_guard`), which all instances share. While
//! the breaker of SES is open, e-mails go to an SMTP server, if one is set (`email_gate`). SES reports bounces and
//! complaints through a third queue; those of the SMTP server go to the sender's mailbox. Users sends codes and other
//! messages about accounts through a fourth queue, which keeps them for half an hour; no event and no table holds them.
//!
//! SMS about orders go to verified numbers only. E-mails about orders go to an address that is not verified, too, but
//! without the customer's name and within a budget for each recipient (`recipient_budget`).
//!
//! Customers are told that an order was received only if it has not ended after a minute (`handler/confirmation.rs`).
//!
//! When a user is erased, the contact is deleted. `user.registered` and `user.updated` with the person's name, address
//! and number stay in the e-mail queue while they are retried, and in its dead-letter queue until 14 days after they
//! were published; a redrive begins the 14 days anew. A redriven event of an erased user changes nothing.

mod consumer;
mod domain;
mod email;
mod email_gate;
mod feedback;
mod handler;
mod provider;
mod provider_guard;
mod queue;
mod recipient_budget;
mod sms;
mod smtp;
mod store;

pub use consumer::{EMAIL_EVENT_TYPES, SMS_EVENT_TYPES};
pub use email::EmailSender;
pub use email_gate::{EmailGate, Guarded};
pub use handler::Notifier;
pub use provider_guard::ProviderGuard;
pub use queue::Queues;
pub use recipient_budget::RecipientBudget;
pub use sms::SmsSender;
pub use smtp::SmtpSender;
pub use store::Store;
