//! Notifications owns how customers are told: their contact data, copied from users, and what was sent to them.
//! It listens to `user.registered`, `order.completed`, `order.cancelled` and `payment.refunded`.

mod consumer;
mod domain;
mod email;
mod queue;
mod store;

pub use consumer::Notifier;
pub use domain::{Contact, Message, News, compose};
pub use email::Mailer;
pub use queue::OwnQueue;
pub use store::Store;
