//! The record of each message. A message is leased before it is sent and recorded after. After a crash in
//! between it is sent once more, and never a third time, since whether it was sent is unknown.

use aws_sdk_dynamodb::types::{ReturnValue, ReturnValuesOnConditionCheckFailure};
use contracts::{
    EventId,
    events::{Channel, Undelivered},
};
use jiff::Timestamp;
use lambda_kit::dynamodb::{
    Conflict, EXPIRES_AT, Expression, Item, OUTBOX, TableError, condition_failed, key, number, number_of,
    outbox, refused_item, string,
};

use super::{RECORD_SECONDS, Store};
use crate::domain::{DeliveryOutcome, Notification};

/// How long one try may hold a message, in seconds.
// The lease is longer than the function's timeout (30 s), so that no other instance sends while it runs. It is
// shorter than the queue's visibility timeout (180 s), so that the retry after a crash is not refused.
pub const LEASE_SECONDS: i64 = 60;

/// Tries with an unknown result: the first, and one repeat of it.
const MAX_UNCERTAIN_ATTEMPTS: u32 = 2;

/// The sort key of an e-mail's record.
const EMAIL: &str = "EMAIL";
const STATE: &str = "state";
const SENDING: &str = "sending";
/// Certainly not sent; it will be retried.
const WAITING: &str = "waiting";
const SENT: &str = "sent";
const FAILED: &str = "failed";
const GIVEN_UP: &str = "given_up";
/// A later notification made it unnecessary before it was due, or its customer is gone.
const SUPERSEDED: &str = "superseded";
const HOLDER: &str = "holder";
const LEASE_UNTIL: &str = "lease_until";
// The attribute keeps its first name, because stored items have it.
const PUBLISHED: &str = "told";

/// Whether a message may be sent now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Lease {
    /// `published` events have been published about it.
    Held { published: u64 },
    /// It was sent, can never be sent, or is no longer necessary.
    Done,
    /// Another attempt is running, or crashed less than a lease ago.
    Busy,
    /// Two attempts ended without a record of the result.
    Uncertain,
}

impl Store {
    /// Leases a message for one try. `holder` identifies this try.
    pub async fn lease(
        &self,
        notification: Notification<'_>,
        holder: &str,
        now: Timestamp,
    ) -> Result<Lease, TableError> {
        let now = now.as_second();
        let answer = self
            .table
            .client
            .update_item()
            .table_name(&self.table.name)
            .set_key(Some(message_key(notification)))
            // `unsure` counts this attempt before it sends, because an attempt that dies cannot count itself.
            .update_expression(
                "SET #state = :sending, holder = :holder, lease_until = :until, expires_at = :expires, \
                 unsure = if_not_exists(unsure, :none) + :one",
            )
            // `given_up` may be leased again: an operator has redriven the dead letter.
            .condition_expression(
                "attribute_not_exists(pk) OR #state IN (:waiting, :given_up) \
                 OR (#state = :sending AND lease_until <= :now AND unsure < :most)",
            )
            .return_values(ReturnValue::AllNew)
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
            .expression_attribute_names("#state", STATE)
            .expression_attribute_values(":sending", string(SENDING))
            .expression_attribute_values(":waiting", string(WAITING))
            .expression_attribute_values(":given_up", string(GIVEN_UP))
            .expression_attribute_values(":holder", string(holder))
            .expression_attribute_values(":until", number(now + LEASE_SECONDS))
            .expression_attribute_values(":expires", number(now + RECORD_SECONDS))
            .expression_attribute_values(":now", number(now))
            .expression_attribute_values(":none", number(0))
            .expression_attribute_values(":one", number(1))
            .expression_attribute_values(":most", number(MAX_UNCERTAIN_ATTEMPTS))
            .send()
            .await;
        match answer {
            Ok(answer) => Ok(Lease::Held { published: published(&answer.attributes.unwrap_or_default()) }),
            Err(error) if condition_failed(&error) => {
                Ok(refused_item(&error).map_or(Lease::Busy, |item| refused(item, holder, now)))
            }
            Err(error) => Err(TableError::call("leasing a message", error)),
        }
    }

    /// Marks a message as unnecessary, unless it was sent or is being sent. Idempotent.
    pub async fn supersede(&self, event_id: &EventId, now: Timestamp) -> Result<(), TableError> {
        const OPERATION: &str = "superseding a message";
        let mut item = key(format!("MESSAGE#{event_id}"), EMAIL);
        item.insert(STATE.to_owned(), string(SUPERSEDED));
        item.insert(EXPIRES_AT.to_owned(), number(now.as_second() + RECORD_SECONDS));
        let (Ok(()) | Err(Conflict)) = self.table.put_if(OPERATION, item, "attribute_not_exists(pk)").await?;
        Ok(())
    }

    /// Ends a message of a customer who is gone, unless it was sent or given up. Idempotent.
    pub async fn abandon(&self, notification: Notification<'_>) -> Result<(), TableError> {
        let update = Expression::new("SET #state = :superseded REMOVE holder, lease_until, unsure")
            .name("#state", STATE)
            .value(":superseded", string(SUPERSEDED));
        let unfinished = Expression::new("#state IN (:sending, :waiting)")
            .value(":sending", string(SENDING))
            .value(":waiting", string(WAITING));
        let (Ok(()) | Err(Conflict)) = self
            .table
            .update_if("abandoning a message", message_key(notification), update, unfinished)
            .await?;
        Ok(())
    }

    /// Whether a message was marked as unnecessary.
    pub async fn is_superseded(&self, notification: Notification<'_>) -> Result<bool, TableError> {
        let item = self.table.get_item("reading a message", message_key(notification)).await?;
        Ok(item.is_some_and(|item| item.get(STATE) == Some(&string(SUPERSEDED))))
    }

    /// The number of events that have been published about a message.
    pub async fn published_count(&self, notification: Notification<'_>) -> Result<u64, TableError> {
        let item = self.table.get_item("reading a message", message_key(notification)).await?;
        Ok(item.as_ref().map_or(0, published))
    }

    /// Releases a message that was not sent.
    pub async fn release(&self, notification: Notification<'_>) -> Result<(), TableError> {
        let update =
            Expression::new("SET #state = :waiting, unsure = unsure - :one REMOVE holder, lease_until")
                .name("#state", STATE)
                .value(":waiting", string(WAITING))
                .value(":one", number(1));
        let held = Expression::new("#state = :sending AND unsure > :none")
            .value(":sending", string(SENDING))
            .value(":none", number(0));
        // Idempotent: a repeat after a lost answer conflicts, because it was done.
        let (Ok(()) | Err(Conflict)) =
            self.table.update_if("releasing a message", message_key(notification), update, held).await?;
        Ok(())
    }

    /// Records the result of a message, with its event if it has one. `published` events have been published about it.
    ///
    /// A result of "sent" or "can never be sent" is final: a try that could not read the table changes
    /// nothing.
    pub async fn record_outcome(
        &self,
        notification: Notification<'_>,
        outcome: &DeliveryOutcome,
        published: u64,
        now: Timestamp,
    ) -> Result<(), TableError> {
        const OPERATION: &str = "recording a message";
        let event =
            notification.event(outcome, published + 1, now).map_err(|e| TableError::item(OPERATION, e))?;
        let (state, result, provider) = match outcome {
            DeliveryOutcome::Sent { by, provider_id } => (SENT, provider_id.as_str(), Some(*by)),
            DeliveryOutcome::Failed(reason) => (FAILED, name(*reason), None),
            DeliveryOutcome::GivenUp(reason) => (GIVEN_UP, name(*reason), None),
        };
        let events = outbox(event.as_slice()).map_err(|e| TableError::item(OPERATION, e))?;
        let sent_by = provider.map(|_| ", provider = :provider").unwrap_or_default();
        let update = Expression::new(format!(
            "SET #state = :state, #result = :result, ended_at = :now, expires_at = :expires, {PUBLISHED} = :told, \
             #outbox = :outbox{sent_by} REMOVE {LEASE_UNTIL}, {HOLDER}, unsure"
        ))
        .name("#state", STATE)
        .name("#result", "result")
        .name("#outbox", OUTBOX)
        .value(":state", string(state))
        .value(":result", string(result))
        .value(":now", number(now.as_second()))
        // A message that is given up may never have been leased.
        .value(":expires", number(now.as_second() + RECORD_SECONDS))
        .value(":told", number(published + 1))
        .value(":outbox", events);
        let update = match provider {
            Some(provider) => update.value(":provider", string(provider.as_str())),
            None => update,
        };
        let not_final = Expression::new("attribute_not_exists(#state) OR NOT #state IN (:sent, :failed)")
            .value(":sent", string(SENT))
            .value(":failed", string(FAILED));
        let (Ok(()) | Err(Conflict)) =
            self.table.update_if(OPERATION, message_key(notification), update, not_final).await?;
        Ok(())
    }
}

fn refused(item: &Item, holder: &str, now: i64) -> Lease {
    let is = |name, value| item.get(name) == Some(&string(value));
    match () {
        () if is(STATE, SENT) || is(STATE, FAILED) || is(STATE, SUPERSEDED) => Lease::Done,
        // Our own write, whose answer was lost.
        () if is(HOLDER, holder) => Lease::Held { published: published(item) },
        () if number_of(item, LEASE_UNTIL).is_some_and(|until: i64| until > now) => Lease::Busy,
        () => Lease::Uncertain,
    }
}

fn published(item: &Item) -> u64 {
    number_of(item, PUBLISHED).unwrap_or(0)
}

const fn name(reason: Undelivered) -> &'static str {
    match reason {
        Undelivered::InvalidAddress => "invalid_address",
        Undelivered::Suppressed => "suppressed",
        Undelivered::Provider => "provider",
        Undelivered::Uncertain => "uncertain",
    }
}

fn message_key(notification: Notification<'_>) -> Item {
    let channel = match notification.channel {
        Channel::Email => EMAIL,
        Channel::Sms => "SMS",
    };
    key(format!("MESSAGE#{}", notification.id()), channel)
}
