//! Pure: who is notified, and the content of the messages.

mod contact;
mod letter;
mod news;
mod record;
mod text;

pub use contact::{Contact, Person};
pub use letter::{Letter, compose, status_letter, welcome};
pub use news::News;
pub use record::{Ending, Notification};
pub use text::text;
