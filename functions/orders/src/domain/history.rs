//! An order's history: its commits, each the events of one command, and the fold over them.

use contracts::{CorrelationId, DecodeError, Envelope, NewEvent, OrderId, OrderStatus, UserId};
use jiff::Timestamp;

use super::{Event, Order, Placed, SOURCE, apply, order::advance};

/// The events that one command appended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Commit {
    /// The version that its first event made.
    pub first_version: u64,
    pub command_id: String,
    pub events: Vec<Envelope>,
}

/// An event of the past with the status that it led to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recorded {
    pub envelope: Envelope,
    pub status: OrderStatus,
}

/// All that happened to an order that was placed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct History {
    pub order_id: OrderId,
    pub user_id: UserId,
    pub order: Placed,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
    pub events: Vec<Recorded>,
    command_ids: Vec<String>,
}

/// Why commits are not the history of an order. Nothing may be decided on them.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    #[error("version {expected} is missing, {found} was found in its place")]
    Gap { expected: u64, found: u64 },
    #[error("version {found} is there twice")]
    Overlap { found: u64 },
    #[error("the commit of version {first_version} is empty")]
    EmptyCommit { first_version: u64 },
    #[error("an event of {source_context} about {subject} is not this order's")]
    Foreign { source_context: String, subject: String },
    #[error("the history does not begin with the order's creation by a customer")]
    NoBeginning,
    #[error("an event cannot be read")]
    Event(#[from] DecodeError),
}

impl Commit {
    /// The commit of `events` on an order of version `version`.
    ///
    /// # Errors
    /// When an event has no JSON form.
    pub fn new(
        version: u64,
        command_id: String,
        events: &[Event],
        context: EventContext<'_>,
    ) -> Result<Self, serde_json::Error> {
        let first_version = version + 1;
        let events = (first_version..)
            .zip(events)
            .map(|(sequence, event)| {
                event.wrap(NewEvent {
                    source: SOURCE,
                    subject: context.order_id.as_str(),
                    sequence,
                    occurred_at: context.occurred_at,
                    correlation_id: context.correlation_id,
                    causation_id: &command_id,
                    user_id: Some(context.user_id),
                })
            })
            .collect::<Result<_, _>>()?;
        Ok(Self { first_version, command_id, events })
    }

    /// The version after it.
    pub fn last_version(&self) -> u64 {
        self.events.last().map_or(self.first_version, |event| event.sequence)
    }
}

/// The common fields of a commit's envelopes.
#[derive(Debug, Clone, Copy)]
pub struct EventContext<'a> {
    pub order_id: &'a OrderId,
    pub user_id: &'a UserId,
    pub correlation_id: &'a CorrelationId,
    pub occurred_at: Timestamp,
}

impl History {
    /// Folds these commits, in order, into a history; `None` when there are none.
    ///
    /// # Errors
    /// When they leave a gap, overlap, or cannot be parsed.
    pub fn replay(
        order_id: &OrderId,
        commits: impl IntoIterator<Item = Commit>,
    ) -> Result<Option<Self>, ReplayError> {
        let mut commits = commits.into_iter();
        let Some(first) = commits.next() else { return Ok(None) };
        commits.try_fold(Self::begin(order_id, first)?, Self::then).map(Some)
    }

    fn begin(order_id: &OrderId, mut commit: Commit) -> Result<Self, ReplayError> {
        check_version(1, commit.first_version)?;
        if commit.events.is_empty() {
            return Err(ReplayError::EmptyCommit { first_version: 1 });
        }
        let envelope = commit.events.remove(0);
        check(order_id, 1, &envelope)?;
        let Order::Placed(order) = apply(Order::NotPlaced, &Event::read(&envelope)?) else {
            return Err(ReplayError::NoBeginning);
        };
        let user_id = envelope.metadata.user_id.clone().ok_or(ReplayError::NoBeginning)?;
        let created_at = envelope.occurred_at;
        let begun = Self {
            order_id: order_id.clone(),
            user_id,
            created_at,
            updated_at: created_at,
            events: vec![Recorded { status: order.status, envelope }],
            order,
            command_ids: vec![],
        };
        begun.append(commit)
    }

    /// The history with one more commit.
    ///
    /// # Errors
    /// When the commit does not follow the last one, or cannot be read.
    pub fn then(self, commit: Commit) -> Result<Self, ReplayError> {
        check_version(self.order.version + 1, commit.first_version)?;
        if commit.events.is_empty() {
            return Err(ReplayError::EmptyCommit { first_version: commit.first_version });
        }
        self.append(commit)
    }

    fn append(mut self, commit: Commit) -> Result<Self, ReplayError> {
        for envelope in commit.events {
            check(&self.order_id, self.order.version + 1, &envelope)?;
            self.order = advance(self.order, &Event::read(&envelope)?);
            self.updated_at = envelope.occurred_at;
            self.events.push(Recorded { status: self.order.status, envelope });
        }
        self.command_ids.push(commit.command_id);
        Ok(self)
    }

    /// Whether this command has been executed before.
    pub fn has_executed(&self, command_id: &str) -> bool {
        self.command_ids.iter().any(|id| id == command_id)
    }

    /// The history up to that time; `None` when the order was not placed yet.
    pub fn until(&self, at: Timestamp) -> Option<Self> {
        let past = self.events.iter().take_while(|event| event.envelope.occurred_at <= at);
        let events: Vec<Envelope> = past.map(|event| event.envelope.clone()).collect();
        // One commit holds all of them: the fold does not depend on how the events were divided.
        let whole = Commit { first_version: 1, command_id: String::new(), events };
        // The whole history could be replayed, so a part of it can be, too. Only an empty part yields
        // nothing.
        Self::replay(&self.order_id, [whole]).ok().flatten()
    }
}

fn check_version(expected: u64, found: u64) -> Result<(), ReplayError> {
    match found.cmp(&expected) {
        std::cmp::Ordering::Equal => Ok(()),
        std::cmp::Ordering::Greater => Err(ReplayError::Gap { expected, found }),
        std::cmp::Ordering::Less => Err(ReplayError::Overlap { found }),
    }
}

fn check(order_id: &OrderId, expected: u64, envelope: &Envelope) -> Result<(), ReplayError> {
    if envelope.source != SOURCE || envelope.subject != order_id.as_str() {
        return Err(ReplayError::Foreign {
            source_context: envelope.source.clone(),
            subject: envelope.subject.clone(),
        });
    }
    check_version(expected, envelope.sequence)
}

#[cfg(test)]
mod tests {
    use contracts::OrderStatus;
    use rstest::rstest;

    use super::*;
    use crate::{
        domain::Command,
        testing::{at, cancel, commits, order_id, place},
    };

    fn three_commits() -> Vec<Commit> {
        commits(vec![place(), Command::RecordReservation, cancel("TakePayment", "PaymentDeclined")])
    }

    #[test]
    fn a_history_is_the_fold_of_its_commits() {
        let history = History::replay(&order_id(), three_commits()).unwrap().unwrap();
        assert_eq!(history.order.version, 5);
        assert_eq!(history.order.status, OrderStatus::OrderCancelled);
        assert!(history.has_executed(&format!("{}.RecordReservation", order_id())));
        assert!(!history.has_executed(&format!("{}.CompleteOrder", order_id())));
        assert!(History::replay(&order_id(), []).unwrap().is_none());
    }

    #[rstest]
    #[case::a_commit_is_missing(vec![0, 2], "version 2 is missing, 4 was found in its place")]
    #[case::the_first_is_missing(vec![1, 2], "version 1 is missing, 2 was found in its place")]
    #[case::a_commit_is_there_twice(vec![0, 1, 1], "version 2 is there twice")]
    #[case::the_first_is_there_twice(vec![0, 0], "version 1 is there twice")]
    fn a_gap_or_an_overlap_is_an_error(#[case] order: Vec<usize>, #[case] expected: &str) {
        let all = three_commits();
        let error = History::replay(&order_id(), order.into_iter().map(|i| all[i].clone())).unwrap_err();
        assert_eq!(error.to_string(), expected);
    }

    #[test]
    fn a_gap_inside_a_commit_is_an_error_too() {
        let mut all = three_commits();
        all[1].events.remove(0);
        let error = History::replay(&order_id(), all).unwrap_err();
        assert_eq!(error.to_string(), "version 2 is missing, 3 was found in its place");
    }

    #[test]
    fn a_history_of_something_else_is_an_error() {
        let mut foreign = three_commits();
        foreign[1].events[0].subject = "ord_of_somebody_else".to_owned();
        assert!(matches!(History::replay(&order_id(), foreign), Err(ReplayError::Foreign { .. })));

        let mut empty = three_commits();
        empty[2].events.clear();
        assert!(matches!(History::replay(&order_id(), empty), Err(ReplayError::EmptyCommit { .. })));

        let mut unknown = three_commits();
        unknown[1].events[0].event_type = "order.teleported".to_owned();
        assert!(matches!(History::replay(&order_id(), unknown), Err(ReplayError::Event(_))));
    }

    #[test]
    fn the_past_is_folded_up_to_its_time() {
        let history = History::replay(&order_id(), three_commits()).unwrap().unwrap();
        let status = |seconds| history.until(at(seconds)).map(|past| past.order.status);
        assert_eq!(status(-1), None);
        assert_eq!(status(0), Some(OrderStatus::OrderCreated));
        assert_eq!(status(1), Some(OrderStatus::PaymentPending));
        assert_eq!(status(2), Some(OrderStatus::OrderCancelled));
        assert_eq!(history.until(at(9)).unwrap().order, history.order);
    }
}
