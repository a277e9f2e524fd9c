//! Feedback of SES about sent e-mails: bounces and complaints.

use contracts::UserId;
use lambda_kit::{
    dynamodb::TableError,
    telemetry::{self, Outcome},
};
use serde::Deserialize;
use std::time::Duration;

use crate::{email::USER_TAG, store::Store};

/// An event of SES (Developer guide, "Contents of event data"), with the fields that are read.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct MailEvent {
    event_type: String,
    #[serde(default)]
    bounce: Option<Bounce>,
    mail: Mail,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Bounce {
    bounce_type: String,
}

#[derive(Deserialize)]
struct Mail {
    /// Each e-mail has one address.
    destination: Vec<String>,
    #[serde(default)]
    tags: std::collections::BTreeMap<String, Vec<String>>,
}

#[derive(Debug, thiserror::Error)]
pub enum FeedbackError {
    /// Without the parser's error text, which quotes the input.
    #[error("the message is not an event of SES")]
    Form,
    #[error(transparent)]
    Table(#[from] TableError),
}

/// Stops e-mail to an address after a permanent bounce or a complaint. Other events, such as a full mailbox,
/// change nothing.
pub async fn handle(store: &Store, body: &str) -> Result<(), FeedbackError> {
    let event: MailEvent = serde_json::from_str(body).map_err(|_| FeedbackError::Form)?;
    let kind = match (event.event_type.as_str(), &event.bounce) {
        ("Bounce", Some(bounce)) if bounce.bounce_type == "Permanent" => "email.bounced",
        ("Complaint", _) => "email.complained",
        _ => return Ok(()),
    };
    let user = event.mail.tags.get(USER_TAG).and_then(|tags| tags.first());
    let user = user.and_then(|user| UserId::try_from(user.as_str()).ok());
    let (Some(user), Some(address)) = (user, event.mail.destination.first()) else {
        // This is no error, because a retry would find no user either.
        tracing::warn!(kind, "the feedback names no known user or address");
        telemetry::record(kind, Outcome::Refused, Duration::ZERO);
        return Ok(());
    };
    store.suppress(&user, address).await?;
    // After the write, because a message whose write fails is retried, and must be counted once.
    telemetry::record(kind, Outcome::Refused, Duration::ZERO);
    tracing::info!(kind, user_id = user.as_str(), "e-mail to the address is stopped");
    Ok(())
}
