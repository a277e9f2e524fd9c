//! Handles each message of the queues: stores a contact, or notifies a customer.

mod deliver;
mod intake;

pub use intake::{EMAIL_EVENT_TYPES, SMS_EVENT_TYPES};

use contracts::{DecodeError, InvalidId};
use lambda_kit::{dynamodb::TableError, sqs::MessageError};

use crate::{
    email::EmailSender,
    provider::SendError,
    provider_guard::ProviderGuard,
    queue::{QueueError, Queues},
    sms::SmsSender,
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
    #[error("another instance is sending this message")]
    Busy,
    #[error("two attempts ended before they recorded whether they sent this message")]
    Uncertain,
    #[error("the event cannot be read")]
    Decode(#[from] DecodeError),
    #[error("the subject is not an order or a user")]
    Subject(#[from] InvalidId),
    #[error("the message cannot be rendered")]
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

/// Notifies customers by e-mail and SMS.
#[derive(Debug, Clone)]
pub struct Notifier {
    pub store: Store,
    pub queues: Queues,
    pub email_sender: EmailSender,
    pub email_guard: ProviderGuard,
    pub sms_sender: SmsSender,
    pub sms_guard: ProviderGuard,
}
