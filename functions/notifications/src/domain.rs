//! Pure: who is notified, and the content of the messages.

mod account_message;
mod contact;
mod email_message;
mod order_update;
mod record;
mod text;

pub use account_message::{account_email, account_text};
pub use contact::{Contact, StoredContact};
pub use email_message::{EmailMessage, order_email, status_email};
pub use order_update::OrderUpdate;
pub use record::{About, DeliveryOutcome, Notification, Provider};
pub use text::text;
