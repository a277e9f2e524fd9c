//! What a payment owes: to those who wait, and at the gateway.

use contracts::saga::{ORDER_CANCEL_REQUESTED, PAYMENT_DECLINED, PAYMENT_TIMEOUT, UndoOutcome};
use jiff::{SignedDuration, Timestamp};

use super::{Charge, Operation, Payment, Status};

/// The first look comes within so many seconds, the next ones within twice as many each. Drawn evenly from that time
/// (full jitter), since what made one payment wait makes many wait.
const FIRST_LOOK_SECONDS: i64 = 5;
/// The saga waits for the result: a lost webhook, or a gateway that is back, is noticed within a minute.
const LONGEST_WAIT_SECONDS: i64 = 60;
/// The saga does not wait any more, only money may have to go back.
const LONGEST_WAIT_AFTER_DEADLINE_SECONDS: i64 = 900;
/// The most that SQS delays a message (`DelaySeconds`, SQS API reference).
const LONGEST_DELAY_SECONDS: i64 = 900;

/// What the saga's step is answered with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    Paid,
    /// A name of the saga's contract, and what it says beside.
    NotPaid {
        error: &'static str,
        cause: String,
    },
}

/// What is to be done at the gateway, or what time itself has done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Work {
    Nothing,
    /// Make an intent.
    Create(Charge),
    /// Find out what became of the intent, and confirm it if nobody has.
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
    /// What was to be taken, in minor units.
    pub fn total(&self) -> i64 {
        self.charge.as_ref().map_or(0, |charge| charge.amount.amount)
    }

    /// What was paid to the customer past the gateway, in minor units.
    fn settled(&self) -> i64 {
        self.settlements.iter().map(|settlement| settlement.amount).sum()
    }

    /// What is with the customer again, in minor units.
    pub fn given_back(&self) -> i64 {
        self.refunded + self.settled()
    }

    /// What can still be owed to the customer by a refund that fails, in minor units.
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

    /// What everyone who waits is to be told, once it is known.
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

    /// What is owed at `now`.
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

    /// How the undo ended, or nothing while it has not: then work is owed.
    pub fn undo_outcome(&self) -> Option<UndoOutcome> {
        match self.status {
            Status::Refunded => Some(UndoOutcome::Refunded),
            Status::Voided | Status::Declined | Status::TimedOut if self.open_intent().is_some() => None,
            Status::Voided if self.intent.is_some() => Some(UndoOutcome::Voided),
            Status::Voided | Status::Declined | Status::TimedOut => Some(UndoOutcome::NothingTaken),
            Status::Pending | Status::Succeeded | Status::Refunding | Status::RefundFailed => None,
        }
    }

    /// How long until the payment is looked at again, after it was looked at `looks` times: at least `least`, and then
    /// what `draw` draws up to a ceiling of seconds, which doubles with each look. Not past the deadline while it is open.
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
