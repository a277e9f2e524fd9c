//! The record of each message. A message is leased before it is sent and recorded after. After a crash in
//! between it is sent once more, and never a third time, since whether it was sent is unknown.

use aws_sdk_dynamodb::types::{AttributeValue, ReturnValue, ReturnValuesOnConditionCheckFailure};
use contracts::events::{Channel, Undelivered};
use jiff::Timestamp;
use lambda_kit::dynamodb::{
    Item, OUTBOX, TableError, condition_failed, key, number, outbox, refused_item, string,
};

use super::{RECORD_SECONDS, Store};
use crate::domain::{Ending, Notification};

/// How long one try may hold a message: longer than the function's timeout (30 s), so that no other instance
/// sends while it runs, and shorter than the queue's visibility timeout (180 s), so that the retry after a
/// crash is not refused.
pub const LEASE_SECONDS: i64 = 60;

/// Tries with an unknown result: the first, and one repeat of it.
const UNSURE: u32 = 2;

const STATE: &str = "state";
const SENDING: &str = "sending";
/// Certainly not sent; it will be retried.
const WAITING: &str = "waiting";
const SENT: &str = "sent";
const FAILED: &str = "failed";
const GIVEN_UP: &str = "given_up";
const HOLDER: &str = "holder";
const LEASE_UNTIL: &str = "lease_until";
const TOLD: &str = "told";

/// Whether a message may be sent now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Lease {
    /// `told` events have been published about it.
    Held { told: u64 },
    /// It was sent, or can never be sent.
    Done,
    /// Another try is running, or has crashed a moment ago.
    Busy,
    /// Two tries died at it.
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
            .update_expression(
                "SET #state = :sending, holder = :holder, lease_until = :until, expires_at = :expires, \
                 unsure = if_not_exists(unsure, :none) + :one",
            )
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
            .expression_attribute_values(":most", number(UNSURE))
            .send()
            .await;
        match answer {
            Ok(answer) => Ok(Lease::Held { told: told(&answer.attributes.unwrap_or_default()) }),
            Err(error) if condition_failed(&error) => {
                Ok(refused_item(&error).map_or(Lease::Busy, |item| refused(item, holder, now)))
            }
            Err(error) => Err(TableError::call("leasing a message", error)),
        }
    }

    /// The number of events that have been published about a message.
    pub async fn told(&self, notification: Notification<'_>) -> Result<u64, TableError> {
        let item = self.get("reading a message", message_key(notification)).await?;
        Ok(item.as_ref().map_or(0, told))
    }

    /// Releases a message that was not sent.
    pub async fn release(&self, notification: Notification<'_>) -> Result<(), TableError> {
        let update = self
            .table
            .client
            .update_item()
            .table_name(&self.table.name)
            .set_key(Some(message_key(notification)))
            .update_expression("SET #state = :waiting, unsure = unsure - :one REMOVE holder, lease_until")
            // Idempotent: a repeat after a lost answer finds it done.
            .condition_expression("#state = :sending AND unsure > :none")
            .expression_attribute_names("#state", STATE)
            .expression_attribute_values(":waiting", string(WAITING))
            .expression_attribute_values(":sending", string(SENDING))
            .expression_attribute_values(":none", number(0))
            .expression_attribute_values(":one", number(1));
        match update.send().await {
            Err(error) if !condition_failed(&error) => Err(TableError::call("giving a message back", error)),
            _ => Ok(()),
        }
    }

    /// Records the result of a message, with its event. `told` events have been published about it.
    ///
    /// A result of "sent" or "can never be sent" is final: a try that could not read the table changes
    /// nothing.
    pub async fn end(
        &self,
        notification: Notification<'_>,
        ending: &Ending,
        told: u64,
        now: Timestamp,
    ) -> Result<(), TableError> {
        const OPERATION: &str = "recording a message";
        let event = notification.event(ending, told + 1, now).map_err(|e| TableError::item(OPERATION, e))?;
        let (state, result) = match ending {
            Ending::Sent { provider_id, .. } => (SENT, provider_id.as_str()),
            Ending::Failed(reason) => (FAILED, name(*reason)),
            Ending::GivenUp(reason) => (GIVEN_UP, name(*reason)),
        };
        let update = self
            .table
            .client
            .update_item()
            .table_name(&self.table.name)
            .set_key(Some(message_key(notification)))
            .condition_expression("attribute_not_exists(#state) OR NOT #state IN (:sent, :failed)")
            .expression_attribute_values(":sent", string(SENT))
            .expression_attribute_values(":failed", string(FAILED))
            .update_expression(format!(
                "SET #state = :state, #result = :result, ended_at = :now, {TOLD} = :told, #outbox = :outbox \
                 REMOVE {LEASE_UNTIL}, {HOLDER}, unsure"
            ))
            .expression_attribute_names("#state", STATE)
            .expression_attribute_names("#result", "result")
            .expression_attribute_names("#outbox", OUTBOX)
            .expression_attribute_values(":state", string(state))
            .expression_attribute_values(":result", string(result))
            .expression_attribute_values(":now", number(now.as_second()))
            .expression_attribute_values(":told", number(told + 1))
            .expression_attribute_values(
                ":outbox",
                outbox(&[event]).map_err(|e| TableError::item(OPERATION, e))?,
            );
        match update.send().await {
            Err(error) if !condition_failed(&error) => Err(TableError::call(OPERATION, error)),
            _ => Ok(()),
        }
    }
}

fn refused(item: &Item, holder: &str, now: i64) -> Lease {
    let is = |name, value| item.get(name) == Some(&string(value));
    match () {
        () if is(STATE, SENT) || is(STATE, FAILED) => Lease::Done,
        // Our own write, whose answer was lost.
        () if is(HOLDER, holder) => Lease::Held { told: told(item) },
        () if integer(item, LEASE_UNTIL).is_some_and(|until| until > now) => Lease::Busy,
        () => Lease::Uncertain,
    }
}

fn told(item: &Item) -> u64 {
    integer(item, TOLD).unwrap_or(0).try_into().unwrap_or(0)
}

fn integer(item: &Item, name: &str) -> Option<i64> {
    item.get(name).and_then(|value| AttributeValue::as_n(value).ok())?.parse().ok()
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
        Channel::Email => "EMAIL",
        Channel::Sms => "SMS",
    };
    key(format!("MESSAGE#{}", notification.about_id()), channel)
}
