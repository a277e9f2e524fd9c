//! A reservation: `none → held | rejected | released`, `held → committed | released`, and nothing else.

use contracts::{
    CorrelationId, Envelope, EventPayload, NewEvent, OrderId, OrderLine, Sku, UserId,
    events::{InventoryCommitted, InventoryNotAvailable, InventoryReleased, InventoryReserved},
};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::SOURCE;

/// A quantity taken from one shard of a SKU's stock.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Allocation {
    pub sku: Sku,
    pub shard: u32,
    pub quantity: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// The stock is taken until the order ends.
    Held,
    /// There was too little stock. Stored, so that a repeat gets the same answer.
    Rejected,
    /// Returned or never taken. In both cases nothing may be taken for this order any more.
    Released,
    /// Sold.
    Committed,
}

/// The stock that is held for one order, and the shards that it was taken from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reservation {
    pub order_id: OrderId,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user_id: Option<UserId>,
    pub correlation_id: CorrelationId,
    pub status: Status,
    /// Kept after a release, as the record of the change of stock.
    pub taken: Vec<Allocation>,
    /// The SKUs with too little stock.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub short: Vec<Sku>,
    /// Counts the writes, from 1. It is the `sequence` of the event of a write.
    pub version: u64,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    Reserve { taken: Vec<Allocation> },
    Reject { short: Vec<Sku> },
    Release,
    Commit,
}

/// The event or command that caused a change, and the time of the change.
#[derive(Debug, Clone)]
pub struct EventContext {
    pub order_id: OrderId,
    pub user_id: Option<UserId>,
    pub correlation_id: CorrelationId,
    /// The id of the event or command.
    pub causation_id: String,
    pub at: Timestamp,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// The reservation is already in the state that the command wants.
    Keep(Reservation),
    Write(Change),
}

/// One write: all of it or nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// The version that the decision is based on; `None` when there was no reservation.
    pub expected: Option<u64>,
    pub reservation: Reservation,
    pub moves: Vec<Move>,
    event_kind: Option<EventKind>,
    causation_id: String,
}

/// A change of one shard's stock: a negative one takes, a positive one returns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Move {
    pub sku: Sku,
    pub shard: u32,
    pub delta: i64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum EventKind {
    Reserved,
    NotAvailable,
    Released,
    Committed,
}

/// Why the reservation's state does not allow a command.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Rejected {
    #[error("there is too little stock of {}", list(.short))]
    NotAvailable { short: Vec<Sku> },
    #[error("the order's stock was released before")]
    AlreadyReleased,
    #[error("the order's stock is sold and cannot be released")]
    AlreadyCommitted,
    #[error("nothing was reserved for the order")]
    NothingReserved,
    #[error("the order's stock is {0:?} and cannot be sold")]
    NotHeld(Status),
}

fn list(skus: &[Sku]) -> String {
    skus.iter().map(Sku::as_str).collect::<Vec<_>>().join(", ")
}

/// Decides how `command` changes the reservation, or why it may not. Total and deterministic: a repeated
/// command is `Keep`.
///
/// # Errors
/// When the state does not allow the command.
pub fn decide(
    current: Option<&Reservation>,
    command: Command,
    context: &EventContext,
) -> Result<Decision, Rejected> {
    let Some(current) = current else { return first(command, context).map(Decision::Write) };
    match (current.status, command) {
        (Status::Held, Command::Release) => {
            let change = next(current, Status::Released, EventKind::Released, context);
            let moves = current.taken.iter().map(|taken| taken.moved(1)).collect();
            Ok(Decision::Write(Change { moves, ..change }))
        }
        (Status::Held, Command::Commit) => {
            Ok(Decision::Write(next(current, Status::Committed, EventKind::Committed, context)))
        }
        // An earlier try may have taken the stock and lost its answer. The next try then finds too little
        // stock and rejects, although the order has its own. So a held reservation is kept.
        (Status::Held, Command::Reserve { .. } | Command::Reject { .. })
        | (Status::Committed, Command::Reserve { .. } | Command::Reject { .. } | Command::Commit)
        | (Status::Rejected | Status::Released, Command::Release) => Ok(Decision::Keep(current.clone())),
        // The first answer stays, even when stock has been added since. The saga has acted on it.
        (Status::Rejected, Command::Reserve { .. } | Command::Reject { .. }) => {
            Err(Rejected::NotAvailable { short: current.short.clone() })
        }
        (Status::Released, Command::Reserve { .. } | Command::Reject { .. }) => {
            Err(Rejected::AlreadyReleased)
        }
        // The goods are sold and may be on their way. Their stock must not be sold a second time.
        (Status::Committed, Command::Release) => Err(Rejected::AlreadyCommitted),
        (status @ (Status::Rejected | Status::Released), Command::Commit) => Err(Rejected::NotHeld(status)),
    }
}

/// The first write of a reservation.
fn first(command: Command, context: &EventContext) -> Result<Change, Rejected> {
    let (status, taken, short, event_kind) = match command {
        Command::Reserve { taken } => (Status::Held, taken, Vec::new(), Some(EventKind::Reserved)),
        Command::Reject { short } => (Status::Rejected, Vec::new(), short, Some(EventKind::NotAvailable)),
        // The mark that makes a late reserve fail. No stock changed, so there is no event.
        Command::Release => (Status::Released, Vec::new(), Vec::new(), None),
        Command::Commit => return Err(Rejected::NothingReserved),
    };
    let moves = taken.iter().map(|taken| taken.moved(-1)).collect();
    let reservation = Reservation {
        order_id: context.order_id.clone(),
        user_id: context.user_id.clone(),
        correlation_id: context.correlation_id.clone(),
        status,
        taken,
        short,
        version: 1,
        created_at: context.at,
        updated_at: context.at,
    };
    Ok(Change { expected: None, reservation, moves, event_kind, causation_id: context.causation_id.clone() })
}

/// A later write, which moves no stock.
fn next(current: &Reservation, status: Status, event_kind: EventKind, context: &EventContext) -> Change {
    Change {
        expected: Some(current.version),
        reservation: Reservation {
            status,
            version: current.version + 1,
            correlation_id: context.correlation_id.clone(),
            updated_at: context.at,
            ..current.clone()
        },
        moves: Vec::new(),
        event_kind: Some(event_kind),
        causation_id: context.causation_id.clone(),
    }
}

impl Allocation {
    fn moved(&self, sign: i64) -> Move {
        Move { sku: self.sku.clone(), shard: self.shard, delta: sign * i64::from(self.quantity) }
    }
}

impl Reservation {
    /// Whether stock was returned, and not only a late reserve prevented.
    pub fn released_stock(&self) -> bool {
        self.status == Status::Released && !self.taken.is_empty()
    }

    /// The order's lines, merged by SKU.
    fn lines(&self) -> Vec<OrderLine> {
        let mut lines: Vec<OrderLine> = Vec::new();
        for taken in &self.taken {
            match lines.iter_mut().find(|line| line.sku == taken.sku) {
                Some(line) => line.quantity += taken.quantity,
                None => lines.push(OrderLine { sku: taken.sku.clone(), quantity: taken.quantity }),
            }
        }
        lines
    }
}

impl Change {
    /// The events of this write: none or one.
    ///
    /// # Errors
    /// When a payload has no JSON form.
    pub fn events(&self) -> Result<Vec<Envelope>, serde_json::Error> {
        let order_id = self.reservation.order_id.clone();
        let event = match self.event_kind {
            None => return Ok(Vec::new()),
            Some(EventKind::Reserved) => {
                self.event(&InventoryReserved { order_id, items: self.reservation.lines() })
            }
            Some(EventKind::NotAvailable) => {
                self.event(&InventoryNotAvailable { order_id, skus: self.reservation.short.clone() })
            }
            Some(EventKind::Released) => self.event(&InventoryReleased { order_id }),
            Some(EventKind::Committed) => self.event(&InventoryCommitted { order_id }),
        };
        Ok(vec![event?])
    }

    fn event<P: EventPayload>(&self, payload: &P) -> Result<Envelope, serde_json::Error> {
        let reservation = &self.reservation;
        Envelope::new(
            NewEvent {
                source: SOURCE,
                subject: reservation.order_id.as_str(),
                sequence: reservation.version,
                occurred_at: reservation.updated_at,
                correlation_id: &reservation.correlation_id,
                causation_id: &self.causation_id,
                user_id: reservation.user_id.as_ref(),
            },
            payload,
        )
    }
}

#[cfg(test)]
mod tests;
