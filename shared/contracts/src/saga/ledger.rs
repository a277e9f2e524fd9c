//! The types of the saga's ledger (`steps.rs`), and what follows from the ledger.

use std::collections::BTreeSet;

use serde::Serialize;

use super::{
    COMPENSATION_FAILED, CommandContext, ORDER_CANCEL_REQUESTED, SAGA_UNRESOLVED,
    steps::{Context, GENERAL_REASONS, STEPS, TAKE_PAYMENT, UndoOutcome},
};
use crate::UserId;

/// One step of the saga.
#[derive(Debug)]
pub struct Step {
    /// The state's name in the state machine, and the command's action.
    pub name: &'static str,
    pub context: Context,
    pub call: Call,
    /// The command's fields beside the ids of order, user and correlation.
    pub fields: &'static [Field],
    /// The errors by which the context refuses the step for good, so that a retry cannot succeed. Every step may
    /// also answer `OrderCancelRequested`, which undoes the order.
    pub refusals: &'static [Refusal],
    pub undo: Option<&'static Undo>,
    /// The customer's view of the step.
    pub progress: &'static Progress,
    /// What the step does, for readers of the definition and of statemachine/README.md.
    pub does: &'static str,
    /// Why the step may be repeated, and why it is refused after its undo. For the same readers.
    pub safe_because: &'static str,
}

/// How the state machine calls a step. It invokes the undos.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Call {
    /// Invokes the context's command function, which answers.
    Invoke,
    /// Sends a message with a task token to the context's queue. The context completes the task later and owns
    /// the deadline. The state's timeout is only a backstop behind it, and is recorded as `timeout_error`.
    Queue { timeout_seconds: u32, timeout_error: &'static str },
}

/// A field of a step's command.
#[derive(Debug)]
pub struct Field {
    pub name: &'static str,
    pub source: Source,
}

/// Where the state machine takes the value of a field from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// This field of `SagaInput`.
    Input(&'static str),
    /// The answer of an earlier step, by the step's name.
    Answer(&'static str),
    TaskToken,
    /// The time at which the state was entered.
    EnteredTime,
}

/// A final refusal of a step.
#[derive(Debug)]
pub struct Refusal {
    pub reason: Reason,
    /// Why the step needs no undo after this error. `None` when its effect is unknown: then the undo runs.
    pub needs_no_undo: Option<&'static str>,
}

/// The undo of a step.
#[derive(Debug)]
pub struct Undo {
    /// The state's name in the state machine, and the command's action.
    pub name: &'static str,
    /// The undo's name in `Compensations` and in `order.compensation_failed`.
    pub part: &'static str,
    pub context: Context,
    /// Whether the command carries the name of the error that started the undo, as `reason`.
    pub takes_reason: bool,
    /// The errors by which the context refuses the undo for good. The undo then counts as failed.
    pub refusals: &'static [&'static str],
    /// The outcomes when there was something to undo.
    pub done: &'static [UndoOutcome],
    /// The outcome when there was nothing to undo.
    pub nothing_done: UndoOutcome,
    /// What the undo does, for readers of the definition.
    pub does: &'static str,
}

/// The reason of a cancelled order.
#[derive(Debug, PartialEq, Eq)]
pub struct Reason {
    /// The error's name, in events and reports.
    pub name: &'static str,
    /// `None` for a fault of ours that has no text of its own.
    pub explanation: Option<Explanation>,
}

/// What the customer reads about the reason of a cancelled order.
#[derive(Debug, PartialEq, Eq)]
pub struct Explanation {
    /// A sentence of the e-mail.
    pub email: &'static str,
    /// A sentence of the e-mail about the customer's money.
    pub money: &'static str,
    /// A clause on the shop's page, after "Cancelled: ".
    pub page: &'static str,
}

/// One line of the list on the shop's page that shows how far an order is. Several steps may share a line.
#[derive(Debug, PartialEq, Eq)]
pub struct Progress {
    pub name: &'static str,
    /// The line while a step of it runs.
    pub running: &'static str,
    /// The line after a step of it has failed; `None` for the name.
    pub failed: Option<&'static str>,
    /// The types of the events that say so.
    pub done_events: &'static [&'static str],
    pub failed_events: &'static [&'static str],
    pub undone_events: &'static [&'static str],
}

/// The command of any undo, for a caller outside the saga. Each context reads it as its own command.
#[derive(Debug, Serialize)]
pub struct UndoCommand {
    pub action: &'static str,
    #[serde(flatten)]
    pub context: CommandContext,
    pub user_id: UserId,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

impl Undo {
    /// The command for this order. `reason` is the name of the error that started the undo.
    pub fn command(&self, context: CommandContext, user_id: UserId, reason: &str) -> UndoCommand {
        let reason = self.takes_reason.then(|| reason.to_owned());
        UndoCommand { action: self.name, context, user_id, reason }
    }
}

/// The undos in the order in which a failed saga runs them: the reverse of their steps.
pub fn undos() -> impl Iterator<Item = &'static Undo> {
    STEPS.iter().rev().filter_map(|step| step.undo)
}

/// The reasons of cancelled orders that have a name of their own: each refusal, and those that any step may have.
pub fn reasons() -> impl Iterator<Item = &'static Reason> {
    let refusals = STEPS.iter().flat_map(|step| step.refusals).map(|refusal| &refusal.reason);
    refusals.chain(GENERAL_REASONS)
}

/// Whether the step is before the one that takes the payment.
pub fn is_before_payment(step: &str) -> bool {
    let names = STEPS.iter().map(|step| step.name);
    names.take_while(|name| *name != TAKE_PAYMENT.name).any(|name| name == step)
}

/// All error names that the state machine distinguishes.
pub fn error_names() -> BTreeSet<&'static str> {
    let refusals = STEPS.iter().flat_map(|step| step.refusals).map(|refusal| refusal.reason.name);
    let undos = undos().flat_map(|undo| undo.refusals).copied();
    let ends = [ORDER_CANCEL_REQUESTED, COMPENSATION_FAILED, SAGA_UNRESOLVED];
    refusals.chain(undos).chain(ends).collect()
}
