//! What is pending for a payment: the result for the saga's step, and the next action at the gateway.

use contracts::saga::{ORDER_CANCEL_REQUESTED, PAYMENT_DECLINED, PAYMENT_TIMEOUT, UndoOutcome};
use jiff::{SignedDuration, Timestamp};

use super::{Charge, Operation, Payment, Status};

/// The ceiling of the first check's delay in seconds. It doubles for each further check.
// The delay is drawn uniformly below it (full jitter), because a cause that delays one payment delays many.
const FIRST_POLL_SECONDS: i64 = 5;
/// The highest ceiling while the saga waits for the result.
// A lost webhook, or a gateway that is back, is noticed within a minute.
const MAX_POLL_SECONDS: i64 = 60;
/// The highest ceiling after that.
// The saga does not wait any more. Only money may have to go back.
const MAX_POLL_AFTER_DEADLINE_SECONDS: i64 = 900;
/// The most that SQS delays a message (`DelaySeconds`, SQS API reference).
const MAX_SQS_DELAY_SECONDS: i64 = 900;

/// The result for the saga's step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StepResult {
    Paid,
    /// An error name of the saga's contract, with its cause.
    NotPaid {
        error: &'static str,
        cause: String,
    },
}

/// The next action at the gateway, or a change that is due because of time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PendingAction {
    None,
    /// Make an intent.
    CreateIntent(Charge),
    /// Read the intent's state, and confirm the intent if that was not done.
    Confirm {
        intent_id: String,
    },
    /// Cancel the intent, so that it cannot take money any more.
    CancelIntent {
        intent_id: String,
    },
    Refund {
        intent_id: String,
    },
    /// Record that the deadline has passed. There is no intent to cancel.
    Expire,
}

impl PendingAction {
    /// Whether running it calls the gateway.
    pub const fn calls_gateway(&self) -> bool {
        match self {
            Self::None | Self::Expire => false,
            Self::CreateIntent(_)
            | Self::Confirm { .. }
            | Self::CancelIntent { .. }
            | Self::Refund { .. } => true,
        }
    }
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
    pub fn total_refunded(&self) -> i64 {
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
    pub fn step_result(&self) -> Option<StepResult> {
        let not_paid = |error, cause: &str| Some(StepResult::NotPaid { error, cause: cause.to_owned() });
        match self.status {
            Status::Pending => None,
            Status::Succeeded => Some(StepResult::Paid),
            Status::Declined => {
                not_paid(PAYMENT_DECLINED, self.decline_code.as_deref().unwrap_or("the gateway cancelled it"))
            }
            Status::TimedOut => not_paid(PAYMENT_TIMEOUT, "not paid before the deadline"),
            // Staff refunded a part and that refund failed. The order is still paid.
            Status::RefundFailed
                if self.refund_cause.is_none() && self.refunded + self.returned < self.total() =>
            {
                Some(StepResult::Paid)
            }
            Status::Voided | Status::Refunding | Status::Refunded | Status::RefundFailed => {
                not_paid(ORDER_CANCEL_REQUESTED, "the order was undone")
            }
        }
    }

    /// The action that is due at `now`.
    pub fn pending_action(&self, now: Timestamp) -> PendingAction {
        let cancel = || {
            self.open_intent()
                .map_or(PendingAction::None, |intent_id| PendingAction::CancelIntent { intent_id })
        };
        match (self.status, &self.charge, &self.intent) {
            // The deadline comes first. A message that waited for too long in the queue charges no card,
            // however late it is read.
            (Status::Pending, _, Some(_)) if self.is_late(now) => cancel(),
            (Status::Pending, _, None) if self.is_late(now) => PendingAction::Expire,
            (Status::Pending, _, Some(intent)) => PendingAction::Confirm { intent_id: intent.id.clone() },
            (Status::Pending, Some(charge), None) => PendingAction::CreateIntent(charge.clone()),
            (Status::Declined | Status::TimedOut | Status::Voided, _, _) => cancel(),
            // A refund at the gateway returns everything that is left there. The customer already has a part
            // of it by other means, so a person must refund the rest.
            (Status::Refunding, _, Some(_)) if !self.settlements.is_empty() => PendingAction::None,
            (Status::Refunding, _, Some(intent)) => PendingAction::Refund { intent_id: intent.id.clone() },
            (Status::Pending | Status::Refunding, _, None)
            // A refund that failed would fail again: a person decides.
            | (Status::Succeeded | Status::Refunded | Status::RefundFailed, _, _) => PendingAction::None,
        }
    }

    /// The outcome of the undo; `None` while an action is pending.
    pub fn undo_outcome(&self) -> Option<UndoOutcome> {
        match self.status {
            Status::Refunded => Some(UndoOutcome::Refunded),
            // The customer can still pay by an open intent, so the undo has not ended.
            Status::Voided | Status::Declined | Status::TimedOut if self.open_intent().is_some() => None,
            Status::Voided if self.intent.is_some() => Some(UndoOutcome::Voided),
            Status::Voided | Status::Declined | Status::TimedOut => Some(UndoOutcome::NothingTaken),
            Status::Pending | Status::Succeeded | Status::Refunding | Status::RefundFailed => None,
        }
    }

    /// The delay until the next check: at least `min_delay`, plus a random part that `draw` chooses below a
    /// ceiling. The ceiling doubles with each `attempt`. Never past the deadline while the payment is pending.
    pub fn next_poll_delay(
        &self,
        attempt: u32,
        min_delay: SignedDuration,
        now: Timestamp,
        draw: impl FnOnce(i64) -> i64,
    ) -> SignedDuration {
        let doubled = FIRST_POLL_SECONDS.saturating_mul(1_i64 << attempt.min(10));
        let wait = |ceiling: i64| min_delay.as_secs().saturating_add(draw(doubled.min(ceiling)));
        let seconds = match &self.charge {
            Some(charge) if self.status == Status::Pending => {
                wait(MAX_POLL_SECONDS).min((charge.deadline - now.as_second()).max(1))
            }
            _ => wait(MAX_POLL_AFTER_DEADLINE_SECONDS),
        };
        SignedDuration::from_secs(seconds.clamp(1, MAX_SQS_DELAY_SECONDS))
    }

    /// The key of this operation's current attempt.
    pub fn idempotency_key(&self, operation: Operation) -> String {
        // The number makes a new key after a failure. Stripe stores a failure under the key of its request,
        // and would return it for every further try.
        format!("{}.{}.{}", self.order_id, operation.as_str(), self.attempts.of(operation))
    }
}
