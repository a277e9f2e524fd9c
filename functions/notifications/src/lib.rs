//! Notifications owns how customers are told: their contact data, copied from users, and what was sent to them.
//! It listens to `user.registered`, `order.completed` and `order.cancelled`.

mod consumer;
mod domain;
mod email;
mod store;

pub use consumer::Notifier;
pub use domain::{Contact, Message, News, compose};
pub use email::Mailer;
pub use store::Store;
