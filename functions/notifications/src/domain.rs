//! Pure: who is told, and what the messages say.

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
