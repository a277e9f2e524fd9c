//! Feedback of SES about sent e-mails: bounces and complaints.

use contracts::{UserId, metrics};
use jiff::{SignedDuration, Timestamp};
use lambda_kit::{dynamodb::TableError, telemetry};
use serde::Deserialize;

use crate::{email::USER_TAG, store::Store};

/// An event of SES (Developer guide, "Contents of event data"), with the fields that are read.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct MailEvent {
    event_type: String,
    #[serde(default)]
    bounce: Option<Bounce>,
    #[serde(default)]
    complaint: Option<Complaint>,
    mail: Mail,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Bounce {
    bounce_type: String,
    #[serde(default)]
    bounce_sub_type: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Complaint {
    /// Missing when the recipient's provider sends no report.
    #[serde(default)]
    complaint_feedback_type: Option<String>,
}

#[derive(Deserialize)]
struct Mail {
    /// When it was sent.
    #[serde(default)]
    timestamp: Option<Timestamp>,
    /// Each e-mail has one address.
    destination: Vec<String>,
    #[serde(default)]
    tags: std::collections::BTreeMap<String, Vec<String>>,
}

/// The kind of a bounce that may pass.
const UNDELIVERED: &str = "undelivered";

/// How long after an e-mail the contact of its user may still come.
// The event with the contact comes within seconds, and after a failure within hours. Without one after a day, the user was
// deleted, and the mark of that has expired.
const CONTACT_WAITS: SignedDuration = SignedDuration::from_hours(24);

#[derive(Debug, thiserror::Error)]
pub enum FeedbackError {
    /// Without the parser's error text, which quotes the input.
    #[error("the message is not an event of SES")]
    Form,
    #[error("the contact of the user is not stored yet")]
    UnknownUser,
    #[error(transparent)]
    Table(#[from] TableError),
}

/// Stops e-mail to an address after a permanent bounce or a complaint. Another bounce, such as a full mailbox, is counted
/// and changes nothing: SES has given the e-mail up after several tries, and the next one may arrive.
///
/// # Errors
/// When it must be retried.
pub async fn handle(store: &Store, body: &str, now: Timestamp) -> Result<(), FeedbackError> {
    let event: MailEvent = serde_json::from_str(body).map_err(|_| FeedbackError::Form)?;
    let Some(kind) = kind(&event) else { return Ok(()) };
    if kind == UNDELIVERED {
        let reason = event.bounce.map(|bounce| bounce.bounce_sub_type);
        tracing::info!(reason, "an e-mail was not delivered, its address gets further ones");
        telemetry::emit_by(&metrics::EMAIL_FEEDBACK, kind, 1);
        return Ok(());
    }
    let user = event.mail.tags.get(USER_TAG).and_then(|tags| tags.first());
    let user = user.and_then(|user| UserId::try_from(user.as_str()).ok());
    let (Some(user), Some(address)) = (user, event.mail.destination.first()) else {
        // This is no error, because a retry would find no user either.
        tracing::warn!(kind, "the feedback names no known user or address");
        telemetry::emit_by(&metrics::EMAIL_FEEDBACK, kind, 1);
        return Ok(());
    };
    let is_known = store.suppress(&user, address).await?;
    let is_new = event.mail.timestamp.is_some_and(|sent_at| now.duration_since(sent_at) < CONTACT_WAITS);
    if !is_known && is_new {
        // A new user's code comes before the event with the contact, and so may its bounce.
        return Err(FeedbackError::UnknownUser);
    }
    // After the write, because a message whose write fails is retried, and must be counted once.
    telemetry::emit_by(&metrics::EMAIL_FEEDBACK, kind, 1);
    tracing::info!(kind, user_id = user.as_str(), "e-mail to the address is stopped");
    Ok(())
}

/// The event's kind in the metric. `None` when it says nothing of the address.
fn kind(event: &MailEvent) -> Option<&'static str> {
    let is_permanent = event.bounce.as_ref().is_some_and(|bounce| bounce.bounce_type == "Permanent");
    let report = event.complaint.as_ref().and_then(|complaint| complaint.complaint_feedback_type.as_deref());
    match (event.event_type.as_str(), report) {
        ("Bounce", _) if is_permanent => Some("bounced"),
        ("Bounce", _) => Some(UNDELIVERED),
        // The recipient says that an e-mail is no spam, although it was taken for it.
        ("Complaint", Some("not-spam")) => None,
        ("Complaint", _) => Some("complained"),
        _ => None,
    }
}
