//! The envelope of every event.

use jiff::Timestamp;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::Value;

use crate::{CorrelationId, EventId, UserId};

/// A payload of one event type and version.
pub trait EventPayload: Serialize + DeserializeOwned {
    /// `context.fact`, in the past tense.
    const TYPE: &'static str;
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
    pub event_id: EventId,
    pub event_type: String,
    pub event_version: u32,
    pub occurred_at: Timestamp,
    /// The context that the fact belongs to.
    pub source: String,
    /// What the fact is about: an order id, a user id or a SKU. Events of one subject stay in order.
    pub subject: String,
    /// Counts from 1 per subject and source.
    pub sequence: u64,
    pub correlation_id: CorrelationId,
    /// The id of the event or command that caused this one.
    pub causation_id: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub traceparent: Option<String>,
    pub data: Value,
    pub metadata: Metadata,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Metadata {
    /// The user whose thing the subject is, where there is one.
    pub user_id: Option<UserId>,
    pub tenant_id: Option<String>,
}

/// The fields of a new envelope, except the payload.
#[derive(Debug, Clone)]
pub struct NewEvent<'a> {
    pub source: &'a str,
    pub subject: &'a str,
    pub sequence: u64,
    pub occurred_at: Timestamp,
    pub correlation_id: &'a CorrelationId,
    pub causation_id: &'a str,
    pub user_id: Option<&'a UserId>,
}

#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    #[error("expected a {expected} event, got {actual}")]
    WrongType { expected: &'static str, actual: String },
    #[error("{event_type} version {version} is newer than this reader")]
    UnknownVersion { event_type: String, version: u32 },
    #[error("the payload of {event_type} cannot be read")]
    Payload {
        event_type: String,
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
