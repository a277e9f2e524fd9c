//! The reads of a login, and the count of failed ones.

use std::time::Duration;

use aws_sdk_dynamodb::types::KeysAndAttributes;
use lambda_kit::dynamodb::{Item, PK, TableError, condition_failed, key, number};

use super::{CONFLICT_TRIES, Store, account_key};
use crate::domain::{Account, Email, Failures, Source, WINDOW};

/// Tries of a lookup whose first answer was incomplete, and the pause between them: DynamoDB leaves keys out
/// while it throttles.
const LOOKUPS: usize = 2;
const LOOKUP_PAUSE: Duration = Duration::from_millis(100);

/// Whether a successful login has reset the failures.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Forgiven {
    Yes,
    TooMany,
}

/// The stored data that a login needs before it checks the password.
#[derive(Debug, Default)]
pub struct Known {
    pub account: Option<Account>,
    failures: Vec<(String, Failures)>,
}

impl Known {
    pub fn failures(&self, source: &Source) -> Failures {
        let digest = source.digest();
        self.failures.iter().find(|(of, _)| *of == digest).map(|(_, failures)| *failures).unwrap_or_default()
    }
}

impl Store {
    /// The account of an e-mail address and the failures of these sources, in one call.
    ///
    /// # Errors
    /// When the table does not answer, or an item cannot be read.
    pub async fn known(&self, email: Option<&Email>, sources: &[Source]) -> Result<Known, TableError> {
        const OPERATION: &str = "looking for an account and its failed logins";
        let keys: Vec<Item> =
            email.map(account_key).into_iter().chain(sources.iter().map(failures_key)).collect();
        let mut known = Known::default();
        if keys.is_empty() {
            return Ok(known);
        }
        let wanted = KeysAndAttributes::builder().set_keys(Some(keys)).consistent_read(true).build();
        let mut wanted = Some(wanted.map_err(|e| TableError::call(OPERATION, e))?);
        for attempt in 0..LOOKUPS {
            let Some(keys) = wanted.take() else { break };
            if attempt > 0 {
                tokio::time::sleep(LOOKUP_PAUSE).await;
            }
            let call = self.table.client.batch_get_item().request_items(&self.table.name, keys);
            let answer = call.send().await.map_err(|e| TableError::call(OPERATION, e))?;
            for item in answer.responses.unwrap_or_default().into_values().flatten() {
                known.read(item).map_err(|e| TableError::item(OPERATION, e))?;
            }
            let rest = answer.unprocessed_keys.unwrap_or_default().into_values().next();
            wanted = rest.filter(|rest| !rest.keys.is_empty());
        }
        match wanted {
            None => Ok(known),
            Some(_) => Err(TableError::call(OPERATION, "the table left out a part of it")),
        }
    }

    /// Counts one more failed login. If the answer is lost, it may be counted twice.
    ///
    /// # Errors
    /// When the table does not answer, or too many requests count at the same time.
    pub async fn note_failure(&self, source: &Source, now: i64) -> Result<(), TableError> {
        const OPERATION: &str = "counting a failed login";
        let mut last = None;
        for _ in 0..CONFLICT_TRIES {
            let update = |expression: &str, condition: &str| {
                self.table
                    .client
                    .update_item()
                    .table_name(&self.table.name)
                    .set_key(Some(failures_key(source)))
                    .update_expression(expression)
                    .condition_expression(condition)
                    .expression_attribute_values(":one", number(1))
                    .expression_attribute_values(":until", number(now + WINDOW))
                    .expression_attribute_values(":now", number(now))
            };
            // The second is for a count that is over and that DynamoDB has not deleted yet.
            for (expression, condition) in [
                (
                    "SET expires_at = :until ADD failures :one",
                    "attribute_not_exists(pk) OR expires_at > :now",
                ),
                ("SET expires_at = :until, failures = :one", "expires_at <= :now"),
            ] {
                match update(expression, condition).send().await {
                    Ok(_) => return Ok(()),
                    Err(error) if condition_failed(&error) => last = Some(error),
                    Err(error) => return Err(TableError::call(OPERATION, error)),
                }
            }
        }
        Err(last.map_or_else(
            || TableError::call(OPERATION, "not tried"),
            |error| TableError::call(OPERATION, error),
        ))
    }

    /// Forgets the failures of this source, unless there were `limit` of them.
    ///
    /// # Errors
    /// When the table does not answer.
    pub async fn forgive(&self, source: &Source, limit: u32, now: i64) -> Result<Forgiven, TableError> {
        let delete = self
            .table
            .client
            .delete_item()
            .table_name(&self.table.name)
            .set_key(Some(failures_key(source)))
            .condition_expression("attribute_not_exists(pk) OR failures < :limit OR expires_at <= :now")
            .expression_attribute_values(":limit", number(limit))
            .expression_attribute_values(":now", number(now));
        match delete.send().await {
            Ok(_) => Ok(Forgiven::Yes),
            Err(error) if condition_failed(&error) => Ok(Forgiven::TooMany),
            Err(error) => Err(TableError::call("forgetting failed logins", error)),
        }
    }
}

impl Known {
    fn read(&mut self, item: Item) -> Result<(), serde_dynamo::Error> {
        let digest = item.get(PK).and_then(|pk| pk.as_s().ok()?.strip_prefix(LOGIN)).map(str::to_owned);
        match digest {
            Some(digest) => self.failures.push((digest, serde_dynamo::from_item(item)?)),
            None => self.account = Some(serde_dynamo::from_item(item)?),
        }
        Ok(())
    }
}

const LOGIN: &str = "LOGIN#";

pub(super) fn failures_key(source: &Source) -> Item {
    key(format!("{LOGIN}{}", source.digest()), "FAILURES")
}
