//! The order at one time.

use contracts::OrderStatus;
use jiff::Timestamp;
use serde::Serialize;

use crate::saga::Saga;
use crate::sources::Sources;

/// The states of an order and of everything that belongs to it, at one time. `None`: there was none yet, or its source
/// could not be read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Moment {
    /// The time.
    pub at: Timestamp,
    /// The order's status, as customers see it.
    pub order: Option<OrderStatus>,
    /// The number of its events.
    pub version: u64,
    /// The saga's state, or how the execution had ended.
    pub saga: Option<String>,
    /// The reservation's status.
    pub reservation: Option<String>,
    /// The payment's status.
    pub payment: Option<String>,
    /// The shipment's status.
    pub shipment: Option<String>,
    /// The number of messages that had been sent to the customer.
    pub messages: usize,
}

impl Moment {
    /// The order at `at`. Items hold their present state only, so their earlier ones are taken from events and frames.
    pub fn of(sources: &Sources, at: Timestamp) -> Self {
        let events = || sources.events().iter().filter(|event| event.occurred_at <= at);
        let sent = sources.messages.iter().flatten().filter(|message| message.state == "sent");
        Self {
            at,
            order: events().filter_map(|event| OrderStatus::after(&event.event_type)).next_back(),
            version: events().map(|event| event.sequence).next_back().unwrap_or_default(),
            saga: saga(sources, at),
            reservation: reservation(sources, at),
            payment: progress(sources, "payment", at).or_else(|| {
                let payment = sources.payment.as_ref()?.as_ref()?;
                (at >= sources.read_at).then(|| payment.status.clone())
            }),
            shipment: shipment(sources, at),
            messages: sent.filter(|message| message.ended_at.is_some_and(|ended| ended <= at)).count(),
        }
    }
}

fn saga(sources: &Sources, at: Timestamp) -> Option<String> {
    let Some(Saga::Started(execution)) = &sources.saga else { return None };
    if execution.started_at > at {
        return None;
    }
    match execution.ended_at {
        Some(ended) if ended <= at => Some(execution.status.to_lowercase()),
        _ => {
            let mut entered = execution.visits.iter().filter(|visit| visit.entered_at <= at);
            Some(entered.next_back().map_or_else(|| "started".to_owned(), |visit| visit.state.clone()))
        }
    }
}

fn reservation(sources: &Sources, at: Timestamp) -> Option<String> {
    let reservation = sources.reservation.as_ref()?.as_ref()?;
    if reservation.updated_at <= at {
        return Some(reservation.status.clone());
    }
    // Every later status follows `held`.
    (reservation.created_at <= at).then(|| "held".to_owned())
}

fn shipment(sources: &Sources, at: Timestamp) -> Option<String> {
    let known = sources.shipment.as_ref()?.as_ref();
    if let Some(shipment) = known.filter(|shipment| shipment.updated_at <= at) {
        return Some(shipment.status.clone());
    }
    progress(sources, "shipment", at)
}

/// The status after the last frame of this kind.
fn progress(sources: &Sources, kind: &str, at: Timestamp) -> Option<String> {
    let mut frames = sources.frames.iter().flatten();
    let last = frames.rfind(|frame| frame.kind == kind && frame.occurred_at <= at)?;
    last.event_type.split_once('.').map(|(_, fact)| fact.to_owned())
}
