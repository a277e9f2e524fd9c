//! The envelope of every event.

use jiff::Timestamp;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::Value;

use crate::{CorrelationId, EventId, UserId};

/// A payload of one event type and version.
pub trait EventPayload: Serialize + DeserializeOwned {
    /// `context.fact`, in the past tense.
    const TYPE: &'static str;
    /// Counts the incompatible changes of the payload, from 1.
    const VERSION: u32;

    /// Reads the payload of an event of `version`, which may be an older one.
    ///
    /// # Errors
    /// When `data` is not the payload of such an event.
    fn read(version: u32, data: &Value) -> Result<Self, serde_json::Error> {
        if version == Self::VERSION { Self::deserialize(data) } else { Self::upcast(version, data) }
    }

    /// Converts a payload of an older version to this one.
    ///
    /// # Errors
    /// When there is no such version, or `data` is not the payload of such an event.
    fn upcast(version: u32, _data: &Value) -> Result<Self, serde_json::Error> {
        Err(serde::de::Error::custom(format!("there is no version {version} of {}", Self::TYPE)))
    }
}

/// A fact that happened in one context, as all others read it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Envelope {
    /// Derived from source, subject and sequence, so that a repeated command makes the same event.
    pub event_id: EventId,
    /// `context.fact`, in the past tense: [`EventPayload::TYPE`].
    pub event_type: String,
    /// The version of `data`: [`EventPayload::VERSION`].
    pub event_version: u32,
    /// When the fact was stored, by the clock of the function that stored it.
    pub occurred_at: Timestamp,
    /// The context that the fact belongs to.
    pub source: String,
    /// What the fact is about: an order id, a user id or a SKU. Events of one subject stay in order.
    pub subject: String,
    /// Counts from 1 per subject and source.
    pub sequence: u64,
    /// The same for everything that one request caused.
    pub correlation_id: CorrelationId,
    /// The id of the event or command that caused this one.
    pub causation_id: String,
    /// The span that the event comes from (W3C Trace Context), if its trace was sampled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub traceparent: Option<String>,
    /// The payload, in the form of `event_type` and `event_version`.
    pub data: Value,
    /// What consumers need of every event, whatever its payload.
    pub metadata: Metadata,
}

/// Fields that all events share and no payload has.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Metadata {
    /// The user whose thing the subject is, where there is one.
    pub user_id: Option<UserId>,
    /// For a shop with several tenants. Not set today.
    pub tenant_id: Option<String>,
}

/// The fields of a new envelope, except the payload.
#[derive(Debug, Clone)]
pub struct NewEvent<'a> {
    /// The context that publishes the event.
    pub source: &'a str,
    /// What the event is about: an order id, a user id or a SKU.
    pub subject: &'a str,
    /// Counts the events of this source about this subject, from 1.
    pub sequence: u64,
    /// When the fact is stored.
    pub occurred_at: Timestamp,
    /// That of the request or event that caused this one.
    pub correlation_id: &'a CorrelationId,
    /// The id of the event or command that caused this one.
    pub causation_id: &'a str,
    /// The user whose thing the subject is, where there is one.
    pub user_id: Option<&'a UserId>,
}

/// Why an envelope does not have the wanted payload.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    /// The event has another type.
    #[error("expected a {expected} event, got {actual}")]
    WrongType {
        /// The type that the caller reads.
        expected: &'static str,
        /// The type of the event.
        actual: String,
    },
    /// A later release published the event. It can be read after an update.
    #[error("{event_type} version {version} is newer than this reader")]
    UnknownVersion {
        /// The type of the event.
        event_type: String,
        /// The version of the event.
        version: u32,
    },
    /// `data` does not have the form of its type and version.
    #[error("the payload of {event_type} cannot be read")]
    Payload {
        /// The type of the event.
        event_type: String,
        /// The parser's error. It quotes the payload, so it may hold personal data.
        #[source]
        source: serde_json::Error,
    },
}

impl Envelope {
    /// Wraps a payload. The event's id is derived from source, subject and sequence.
    ///
    /// # Errors
    /// When the payload has no JSON form (a map with keys that are no strings).
    pub fn new<P: EventPayload>(event: NewEvent<'_>, payload: &P) -> Result<Self, serde_json::Error> {
        Ok(Self {
            event_id: EventId::derive(event.source, event.subject, event.sequence),
            event_type: P::TYPE.to_owned(),
            event_version: P::VERSION,
            occurred_at: event.occurred_at,
            source: event.source.to_owned(),
            subject: event.subject.to_owned(),
            sequence: event.sequence,
            correlation_id: event.correlation_id.clone(),
            causation_id: event.causation_id.to_owned(),
            traceparent: None,
            data: serde_json::to_value(payload)?,
            metadata: Metadata { user_id: event.user_id.cloned(), tenant_id: None },
        })
    }

    /// The payload as `P`.
    ///
    /// # Errors
    /// When the event has another type or a version newer than `P`'s, or when its payload cannot be read as a
    /// `P` of that version.
    pub fn decode<P: EventPayload>(&self) -> Result<P, DecodeError> {
        if self.event_type != P::TYPE {
            return Err(DecodeError::WrongType { expected: P::TYPE, actual: self.event_type.clone() });
        }
        // The payload is not guessed: a field may mean something else in the newer version. The message fails
        // and is kept, until a release that knows the version handles it.
        if self.event_version > P::VERSION {
            return Err(DecodeError::UnknownVersion {
                event_type: self.event_type.clone(),
                version: self.event_version,
            });
        }
        P::read(self.event_version, &self.data)
            .map_err(|source| DecodeError::Payload { event_type: self.event_type.clone(), source })
    }
}
