//! The obligations of a payment: answers to task tokens, and actions at the gateway.

use contracts::saga::{ORDER_CANCEL_REQUESTED, PAYMENT_DECLINED, PAYMENT_TIMEOUT, UndoOutcome};
use jiff::{SignedDuration, Timestamp};

use super::{Charge, Operation, Payment, Status};

/// The ceiling of the first check's delay in seconds. It doubles for each further check, and the delay is
/// drawn uniformly below it (full jitter), because a cause that delays one payment delays many.
const FIRST_LOOK_SECONDS: i64 = 5;
/// The saga waits for the result: a lost webhook, or a gateway that is back, is noticed within a minute.
const LONGEST_WAIT_SECONDS: i64 = 60;
/// The saga does not wait any more, only money may have to go back.
const LONGEST_WAIT_AFTER_DEADLINE_SECONDS: i64 = 900;
/// The most that SQS delays a message (`DelaySeconds`, SQS API reference).
const LONGEST_DELAY_SECONDS: i64 = 900;

/// The result for the saga's step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    Paid,
    /// An error name of the saga's contract, with its cause.
    NotPaid {
        error: &'static str,
        cause: String,
    },
}

/// The next action at the gateway, or a change that is due because of time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Work {
    Nothing,
    /// Make an intent.
    Create(Charge),
    /// Find out what happened to the intent, and confirm it if that was not done.
    Collect {
        intent_id: String,
    },
    /// See to it that the intent takes no money any more.
    Close {
        intent_id: String,
    },
    Refund {
        intent_id: String,
    },
    /// Record that the deadline is over: there is nothing to close.
    Expire,
}

impl Payment {
    /// The amount to charge, in minor units.
    pub fn total(&self) -> i64 {
        self.charge.as_ref().map_or(0, |charge| charge.amount.amount)
    }

    /// The amount that was paid to the customer outside the gateway, in minor units.
    fn settled(&self) -> i64 {
        self.settlements.iter().map(|settlement| settlement.amount).sum()
    }

    /// The amount that the customer has back, in minor units.
    pub fn given_back(&self) -> i64 {
        self.refunded + self.settled()
    }

    /// The amount that may still be owed to the customer when refunds fail, in minor units.
    pub(super) fn refundable(&self) -> i64 {
        (self.total() - self.settled()).max(0)
    }

    pub(super) fn is_free(&self) -> bool {
        self.total() == 0
    }

    pub(super) fn is_late(&self, now: Timestamp) -> bool {
        self.charge.as_ref().is_some_and(|charge| now.as_second() >= charge.deadline)
    }

    /// The intent's id while money may still be taken by it.
    pub(super) fn open_intent(&self) -> Option<String> {
        self.intent.as_ref().filter(|intent| intent.open).map(|intent| intent.id.clone())
    }

    /// The result for all task tokens, once it is known.
    pub fn verdict(&self) -> Option<Verdict> {
        let not_paid = |error, cause: &str| Some(Verdict::NotPaid { error, cause: cause.to_owned() });
        match self.status {
            Status::Pending => None,
            Status::Succeeded => Some(Verdict::Paid),
            Status::Declined => {
                not_paid(PAYMENT_DECLINED, self.decline_code.as_deref().unwrap_or("the gateway cancelled it"))
            }
            Status::TimedOut => not_paid(PAYMENT_TIMEOUT, "not paid before the deadline"),
            // A part that the staff gave back, and that came back: the order is paid all the same.
            Status::RefundFailed
                if self.refund_cause.is_none() && self.refunded + self.returned < self.total() =>
            {
                Some(Verdict::Paid)
            }
            Status::Voided | Status::Refunding | Status::Refunded | Status::RefundFailed => {
                not_paid(ORDER_CANCEL_REQUESTED, "the order was taken back")
            }
        }
    }

    /// The action that is due at `now`.
    pub fn owes(&self, now: Timestamp) -> Work {
        let close = || self.open_intent().map_or(Work::Nothing, |intent_id| Work::Close { intent_id });
        match (self.status, &self.charge, &self.intent) {
            (Status::Pending, _, Some(_)) if self.is_late(now) => close(),
            (Status::Pending, _, None) if self.is_late(now) => Work::Expire,
            (Status::Pending, _, Some(intent)) => Work::Collect { intent_id: intent.id.clone() },
            (Status::Pending, Some(charge), None) => Work::Create(charge.clone()),
            (Status::Declined | Status::TimedOut | Status::Voided, _, _) => close(),
            // The gateway gives back all that it has left: some of that is with the customer, and the rest is a person's.
            (Status::Refunding, _, Some(_)) if !self.settlements.is_empty() => Work::Nothing,
            (Status::Refunding, _, Some(intent)) => Work::Refund { intent_id: intent.id.clone() },
            (Status::Pending | Status::Refunding, _, None)
            // A refund that failed would fail again: a person decides.
            | (Status::Succeeded | Status::Refunded | Status::RefundFailed, _, _) => Work::Nothing,
        }
    }

    /// How the undo ended; `None` while it has not, and work is owed.
    pub fn undo_outcome(&self) -> Option<UndoOutcome> {
        match self.status {
            Status::Refunded => Some(UndoOutcome::Refunded),
            Status::Voided | Status::Declined | Status::TimedOut if self.open_intent().is_some() => None,
            Status::Voided if self.intent.is_some() => Some(UndoOutcome::Voided),
            Status::Voided | Status::Declined | Status::TimedOut => Some(UndoOutcome::NothingTaken),
            Status::Pending | Status::Succeeded | Status::Refunding | Status::RefundFailed => None,
        }
    }

    /// The delay until the next check, after `looks` checks: at least `least`, and up to a ceiling that
    /// doubles with each check, drawn by `draw`. Not past the deadline while the payment is open.
    pub fn next_look(
        &self,
        looks: u32,
        least: SignedDuration,
        now: Timestamp,
        draw: impl FnOnce(i64) -> i64,
    ) -> SignedDuration {
        let doubled = FIRST_LOOK_SECONDS.saturating_mul(1_i64 << looks.min(10));
        let wait = |ceiling: i64| least.as_secs().saturating_add(draw(doubled.min(ceiling)));
        let seconds = match &self.charge {
            Some(charge) if self.status == Status::Pending => {
                wait(LONGEST_WAIT_SECONDS).min((charge.deadline - now.as_second()).max(1))
            }
            _ => wait(LONGEST_WAIT_AFTER_DEADLINE_SECONDS),
        };
        SignedDuration::from_secs(seconds.clamp(1, LONGEST_DELAY_SECONDS))
    }

    /// The key of this operation's current attempt.
    pub fn idempotency_key(&self, operation: Operation) -> String {
        format!("{}.{}.{}", self.order_id, operation.as_str(), self.attempts.of(operation))
    }
}
