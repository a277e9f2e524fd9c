//! The parts of which the ledger's steps and undos are made (`steps.rs`).

/// How the state machine calls a step. It invokes the undos.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Call {
    /// Invokes the context's command function, which answers.
    Invoke,
    /// Sends a message with a task token to the context's queue. The context completes the task later and owns
    /// the deadline. The state's timeout is only a backstop behind it, and is recorded as `timeout_error`.
    Queue {
        /// From entering the state to the backstop's end.
        timeout_seconds: u32,
        /// The error name that the backstop's end is recorded as.
        timeout_error: &'static str,
    },
}

/// A field of a step's command.
#[derive(Debug)]
pub struct Field {
    /// The field's name in the command.
    pub name: &'static str,
    /// Where its value comes from.
    pub source: FieldSource,
}

/// Where the state machine takes the value of a field from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FieldSource {
    /// This field of `SagaInput`.
    Input(&'static str),
    /// The answer of an earlier step, by the step's name.
    Answer(&'static str),
    /// The token by which the context completes the step.
    TaskToken,
    /// The time at which the state was entered.
    EnteredTime,
}

/// A final refusal of a step.
#[derive(Debug)]
pub struct FinalRefusal {
    /// The error, and what the customer reads about it.
    pub reason: Reason,
    /// Why the step needs no undo after this error. `None` when its effect is unknown: then the undo runs.
    pub needs_no_undo: Option<&'static str>,
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
pub struct ProgressLine {
    /// The line once its steps are done.
    pub name: &'static str,
    /// The line while a step of it runs.
    pub running: &'static str,
    /// The line after a step of it has failed; `None` for the name.
    pub failed: Option<&'static str>,
    /// The types of the events that say that its steps are done.
    pub done_events: &'static [&'static str],
    /// The types of the events that say that a step of it failed.
    pub failed_events: &'static [&'static str],
    /// The types of the events that say that a step of it was undone.
    pub undone_events: &'static [&'static str],
}
