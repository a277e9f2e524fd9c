//! Handles each message of the queues: stores a contact, or notifies a customer.

mod intake;
mod tell;

pub use intake::{EMAIL_EVENT_TYPES, SMS_EVENT_TYPES};

use contracts::{DecodeError, InvalidId};
use lambda_kit::{dynamodb::TableError, sqs::MessageError};

use crate::{
    email::Mailer,
    gate::Gate,
    provider::SendError,
    queue::{QueueError, Queues},
    sms::Texter,
    store::Store,
};

/// Why an event is retried.
#[derive(Debug, thiserror::Error)]
enum NotifyError {
    /// Without the parser's error text, which quotes the input.
    #[error("the contact data cannot be read")]
    Contact,
    #[error("the event names no user")]
    NoUser,
    /// The order's event overtook `user.registered`, which will arrive.
    #[error("the user is not known yet")]
    UnknownUser,
    #[error("another try is at this message")]
    Busy,
    #[error("two tries ended while they sent this message, and it is unknown whether they did")]
    Uncertain,
    #[error("the event cannot be read")]
    Decode(#[from] DecodeError),
    #[error("the subject is not an order or a user")]
    Subject(#[from] InvalidId),
    #[error("the message cannot be written")]
    Render(#[from] askama::Error),
    #[error(transparent)]
    Send(#[from] SendError),
    #[error(transparent)]
    Table(#[from] TableError),
    #[error(transparent)]
    Queue(#[from] QueueError),
}

impl From<NotifyError> for MessageError {
    fn from(error: NotifyError) -> Self {
        Self::handler(error)
    }
}

impl NotifyError {
    /// Whether a retry is refused as long as the message is leased.
    const fn waits_for_a_lease(&self) -> bool {
        match self {
            Self::Busy => true,
            Self::Send(error) => error.is_uncertain(),
            _ => false,
        }
    }
}

/// Notifies customers by e-mail and text message.
#[derive(Debug, Clone)]
pub struct Notifier {
    pub store: Store,
    pub queues: Queues,
    pub mailer: Mailer,
    pub email: Gate,
    pub texter: Texter,
    pub sms: Gate,
}
