//! The events in the outboxes of a stream's records, and what became of the records.

use std::collections::{BTreeSet, HashSet};

use contracts::Envelope;

use crate::{dynamodb::OUTBOX, stream::StreamRecord};

/// One event on its way out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outgoing {
    /// The source of the event: a record's sequence number, or an item's partition key.
    pub origin: String,
    /// The event, parsed.
    pub event: Envelope,
    /// The event as it is in the outbox, and goes to the topic.
    pub body: String,
}

impl Outgoing {
    pub(super) fn read(origin: &str, body: &str) -> Result<Self, RelayError> {
        let event = serde_json::from_str(body).map_err(RelayError::Malformed)?;
        Ok(Self { origin: origin.to_owned(), event, body: body.to_owned() })
    }
}

/// Why an event was not published.
#[derive(Debug, thiserror::Error)]
pub enum RelayError {
    /// Final: the item must be corrected by a person.
    #[error("an outbox is not a list of event envelopes")]
    Malformed(#[source] serde_json::Error),
    /// May pass by itself.
    #[error("the topic did not take a call")]
    Publish(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// The result of processing records, by sequence number. Records that are not named are done.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Handled {
    /// Failed for a transient reason. Lambda delivers them again, with all records after the first of them.
    pub failed: BTreeSet<String>,
    /// Cannot be processed by this code, however often it tries. They are parked.
    pub unprocessable: BTreeSet<String>,
}

impl From<BTreeSet<String>> for Handled {
    fn from(failed: BTreeSet<String>) -> Self {
        Self { failed, unprocessable: BTreeSet::new() }
    }
}

impl Handled {
    /// Whether all records are done.
    pub fn is_empty(&self) -> bool {
        self.failed.is_empty() && self.unprocessable.is_empty()
    }

    /// Adds the results of other records, or of other work on the same ones.
    pub fn extend(&mut self, other: Self) {
        self.failed.extend(other.failed);
        self.unprocessable.extend(other.unprocessable);
    }
}

impl StreamRecord {
    /// The new events of this record, in their order.
    ///
    /// # Errors
    /// When the outbox is not a list of envelopes.
    pub fn new_events(&self) -> Result<Vec<Outgoing>, RelayError> {
        let Some(new) = self.dynamodb.new_image.as_ref().filter(|_| self.event_name != "REMOVE") else {
            return Ok(Vec::new());
        };
        // An outbox that could not be parsed was not published.
        let old = self.dynamodb.old_image.as_ref().and_then(|old| old.strings(OUTBOX).ok());
        let old: HashSet<String> = old.unwrap_or_default().into_iter().collect();
        new.strings(OUTBOX)
            .map_err(RelayError::Malformed)?
            .iter()
            // A change that leaves the outbox as it is brings the same events in its new image. They were
            // published with the earlier record.
            .filter(|body| !old.contains(*body))
            .map(|body| Outgoing::read(&self.dynamodb.sequence_number, body))
            .collect()
    }
}
