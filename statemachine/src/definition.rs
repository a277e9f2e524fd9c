//! The state machine's definition: Amazon States Language with JSONata.
//!
//! The steps of the ledger follow each other. A step that fails leads to the undo of the last step that may have
//! happened, each undo to the one before it, and the last undo to CancelOrder.

use contracts::saga::{
    COMPENSATION_FAILED, Call, Context, Field, FieldSource, FinalRefusal, ORDER_CANCEL_REQUESTED,
    SAGA_UNRESOLVED, SERVICE_UNAVAILABLE, STEPS, Step, Undo, UndoOutcome, is_before_payment,
    steps::TAKE_PAYMENT, undos,
};

use crate::json::Json;

/// A command function's 30 s, and 5 s more: a function's late success must not be taken for a failure.
const TASK_TIMEOUT_SECONDS: u32 = 35;
/// Retries of a step; a step that is still failing is entered again until the order's time is up.
const STEP_RETRIES: Retries = Retries { longest_pause_seconds: 30, attempts: 14 };
/// Retries of undos, of AbortOrder and of CancelOrder: four to eight hours, since nothing follows them but a person.
const UNDO_RETRIES: Retries = Retries { longest_pause_seconds: 300, attempts: 100 };

pub const ABORT_ORDER: &str = "AbortOrder";
pub const CANCEL_ORDER: &str = "CancelOrder";
pub const COMPLETED: &str = "Completed";
pub const HAD_IT_COMPLETED: &str = "HadItCompleted";

const INVOKE: &str = "arn:aws:states:::lambda:invoke";
const SEND_AND_WAIT: &str = "arn:aws:states:::sqs:sendMessage.waitForTaskToken";
const ALL: &str = "States.ALL";
const ERROR: &str = "$states.errorOutput.Error";
/// A timeout has no cause. A cause may be as long as a stack trace, and a state's data is limited.
const CAUSE: &str =
    "{% $exists($states.errorOutput.Cause) ? $substring($states.errorOutput.Cause, 0, 500) : '' %}";

struct Retries {
    longest_pause_seconds: u32,
    attempts: u32,
}

pub fn definition() -> Json {
    let states: Vec<(String, Json)> =
        steps().chain(completion()).chain(undo_states()).chain(ends()).collect();
    Json::object()
        .with(
            "Comment",
            "One order, from the reservation of its stock to its completion, and back when a step fails. Generated: see \
             README.md. No TimeoutSeconds for the whole: it would end an execution without its undos.",
        )
        .with("QueryLanguage", "JSONata")
        .with("StartAt", STEPS[0].name)
        .with("States", Json::Object(states))
}

/// The substitution for the ARN of a context's command function.
pub fn function_arn(context: Context) -> String {
    format!("{}Arn", pascal(context.function()))
}

/// The substitution for the URL of a context's queue.
pub fn queue_url(context: Context) -> String {
    format!("{}QueueUrl", pascal(context.function().trim_end_matches("-commands")))
}

/// The state that enters a step again.
fn again(step: &Step) -> String {
    format!("{}Again", step.name)
}

/// `inventory-commands` as `InventoryCommands`.
fn pascal(name: &str) -> String {
    let words = name.split('-').filter_map(|word| word.split_at_checked(1));
    words.map(|(first, rest)| first.to_uppercase() + rest).collect()
}

/// The state after the failure of the last of these steps: the latest undo among them.
fn first_undo(steps: &[&Step]) -> &'static str {
    steps.iter().rev().find_map(|step| step.undo).map_or(CANCEL_ORDER, |undo| undo.name)
}

fn steps() -> impl Iterator<Item = (String, Json)> {
    STEPS.iter().enumerate().flat_map(|(position, step)| {
        let again = (step.call == Call::Invoke).then(|| (again(step), wait(position, step)));
        [(step.name.to_owned(), task(position, step))].into_iter().chain(again)
    })
}

fn task(position: usize, step: &Step) -> Json {
    let command = step
        .fields
        .iter()
        .fold(command(step.name, step.context), |command, field| command.with(field.name, source(field)));
    let does = format!("Step {}: {}.", position + 1, step.does);
    let (does, resource, arguments, timeout_seconds, retried) = match step.call {
        Call::Invoke => (does, INVOKE, invocation(step.context, command), TASK_TIMEOUT_SECONDS, ALL),
        // A timeout is no TaskFailed, so it is not retried.
        Call::Queue { timeout_seconds, timeout_error } => (
            format!(
                "{does} The timeout is a backstop behind the deadline of the context. It is recorded as {timeout_error} and \
                 not retried: a second message could repeat what the first one is about to do."
            ),
            SEND_AND_WAIT,
            Json::object()
                .with("QueueUrl", format!("${{{}}}", queue_url(step.context)))
                .with("MessageBody", command),
            timeout_seconds,
            "States.TaskFailed",
        ),
    };
    let refusals = step.refusals.iter().map(|refusal| refusal.reason.name).chain([ORDER_CANCEL_REQUESTED]);
    let state = Json::object()
        .with("Comment", does)
        .with("Type", "Task")
        .with("Resource", resource)
        .with("Arguments", arguments)
        .with_some(
            "Assign",
            (step.name == TAKE_PAYMENT.name).then(|| Json::object().with("paid_at", "{% $millis() %}")),
        )
        .with_some("Output", output(position, step))
        .with("TimeoutSeconds", timeout_seconds)
        .with("Retry", [not_retried(refusals.collect()), STEP_RETRIES.after(retried)])
        .with("Catch", catchers(position, step));
    match STEPS.get(position + 1) {
        Some(next) => state.with("Next", next.name),
        None => state.with("End", Json::True),
    }
}

/// The fields of every command, in the order of the contract. Orders know the order's customer.
fn command(action: &str, context: Context) -> Json {
    let user_id = (context != Context::Orders).then(|| input("user_id"));
    Json::object()
        .with("action", action)
        .with("order_id", input("order_id"))
        .with_some("user_id", user_id)
        .with("correlation_id", input("correlation_id"))
        .with("traceparent", traceparent())
}

/// Null without a sampled trace: an expression without a value would fail the execution.
fn traceparent() -> String {
    const PATH: &str = "$states.context.Execution.Input.traceparent";
    format!("{{% $exists({PATH}) ? {PATH} : null %}}")
}

fn invocation(context: Context, command: Json) -> Json {
    Json::object().with("FunctionName", format!("${{{}}}", function_arn(context))).with("Payload", command)
}

fn source(field: &Field) -> String {
    match field.source {
        FieldSource::Input(name) => input(name),
        // Every state between hands it on.
        FieldSource::Answer(_) => "{% $states.input %}".to_owned(),
        FieldSource::TaskToken => "{% $states.context.Task.Token %}".to_owned(),
        FieldSource::EnteredTime => "{% $states.context.State.EnteredTime %}".to_owned(),
    }
}

fn input(name: &str) -> String {
    format!("{{% $states.context.Execution.Input.{name} %}}")
}

/// Whether a step at this position or later takes the answer of a step that `is_of` accepts.
fn is_taken(from: usize, is_of: impl Fn(&str) -> bool) -> bool {
    let fields = STEPS.iter().skip(from).flat_map(|step| step.fields);
    fields.into_iter().any(|field| matches!(field.source, FieldSource::Answer(name) if is_of(name)))
}

/// Whether an earlier step has answered what a step at this position or later takes.
fn holds_answer(position: usize, from: usize) -> bool {
    is_taken(from, |name| STEPS[..position].iter().any(|earlier| earlier.name == name))
}

/// What the state after this one gets.
fn output(position: usize, step: &Step) -> Option<Json> {
    if position + 1 == STEPS.len() {
        return Some(completed());
    }
    if is_taken(position + 1, |name| name == step.name) {
        return Some("{% $states.result.Payload %}".into());
    }
    holds_answer(position, position + 1).then(|| "{% $states.input %}".into())
}

fn completed() -> Json {
    Json::object().with("order_id", input("order_id")).with("status", "OrderCompleted")
}

fn catchers(position: usize, step: &Step) -> Vec<Json> {
    let (before, from_here) = (first_undo(&STEPS[..position]), first_undo(&STEPS[..=position]));
    let error = format!("{{% {ERROR} %}}");
    let caught = |refusal: &FinalRefusal| {
        refusal.needs_no_undo.map(|why| {
            Json::object()
                .with("Comment", why)
                .with("ErrorEquals", [refusal.reason.name])
                .with("Assign", failure(step, &error, CAUSE))
                .with("Next", before)
        })
    };
    let mut catchers: Vec<Json> = step.refusals.iter().filter_map(caught).collect();
    match step.call {
        Call::Invoke => {
            let unknown = step.refusals.iter().filter(|refusal| refusal.needs_no_undo.is_none());
            let undone = unknown.map(|refusal| refusal.reason.name).chain([ORDER_CANCEL_REQUESTED]);
            catchers.push(
                Json::object()
                    .with("ErrorEquals", undone.collect::<Vec<_>>())
                    .with("Assign", failure(step, &error, CAUSE))
                    .with("Next", from_here),
            );
            // The customer's reason is one for all such errors. Which error it was comes first in the cause.
            let cause = format!("{{% $substring({ERROR} & ': ' & $states.errorOutput.Cause, 0, 500) %}}");
            let input = holds_answer(position, position).then_some("{% $states.input %}");
            catchers.push(
                Json::object()
                    .with("ErrorEquals", [ALL])
                    .with("Assign", failure(step, SERVICE_UNAVAILABLE, &cause))
                    .with_some("Output", input)
                    .with("Next", again(step)),
            );
        }
        Call::Queue { timeout_error, .. } => {
            let error = format!("{{% {ERROR} = 'States.Timeout' ? '{timeout_error}' : {ERROR} %}}");
            catchers.push(
                Json::object()
                    .with("ErrorEquals", [ALL])
                    .with("Assign", failure(step, &error, CAUSE))
                    .with("Next", from_here),
            );
        }
    }
    catchers
}

/// The variables of a failed order: the failure, and that no undo was needed yet.
fn failure(step: &Step, error: &str, cause: &str) -> Json {
    let failure = Json::object().with("step", step.name).with("error", error).with("cause", cause);
    let none =
        undos().fold(Json::object(), |none, undo| none.with(undo.part, UndoOutcome::NotNeeded.as_str()));
    Json::object().with("failure", failure).with("undone", none)
}

/// Enters a step again as long as its order has time. A retrier has no clock.
fn wait(position: usize, step: &Step) -> Json {
    let (comment, since) = if is_before_payment(step.name) {
        (
            "Its context is down. The order waits, until its time is up.",
            "$toMillis($states.context.Execution.StartTime)",
        )
    } else {
        ("Its context is down. A paid order waits as long once more, however late it was paid.", "$paid_at")
    };
    let is_last = position + 1 == STEPS.len();
    let condition = format!("{{% $millis() - {since} < ${{OrderWaitMinutes}} * 60000 %}}");
    Json::object()
        .with("Comment", comment)
        .with("Type", "Choice")
        .with("Choices", [Json::object().with("Condition", condition).with("Next", step.name)])
        .with("Default", if is_last { ABORT_ORDER } else { first_undo(&STEPS[..=position]) })
}

/// Finds out whether an order has completed whose last step lost its answer.
fn completion() -> [(String, Json); 3] {
    let abort = Json::object()
        .with(
            "Comment",
            "The last step may have completed the order and lost its answer; only the order knows. Requests a cancel unless \
             the order has completed, and answers which it is.",
        )
        .with("Type", "Task")
        .with("Resource", INVOKE)
        .with("Arguments", invocation(Context::Orders, command(ABORT_ORDER, Context::Orders)))
        .with("Output", "{% $states.result.Payload %}")
        .with("TimeoutSeconds", TASK_TIMEOUT_SECONDS)
        .with("Retry", [UNDO_RETRIES.after(ALL)])
        .with(
            "Catch",
            [Json::object()
                .with("Comment", "To undo an order that has completed would take back what was sold, so nothing is undone here.")
                .with("ErrorEquals", [ALL])
                .with("Next", SAGA_UNRESOLVED)],
        )
        .with("Next", HAD_IT_COMPLETED);
    let yes = Json::object()
        .with("Condition", "{% $states.input.completed = true %}")
        .with("Output", completed())
        .with("Next", COMPLETED);
    let no = Json::object()
        .with("Condition", "{% $states.input.completed = false %}")
        .with("Next", first_undo(&STEPS));
    let had_it = Json::object()
        .with("Comment", "An answer without `completed` is not taken for either.")
        .with("Type", "Choice")
        .with("Choices", [yes, no])
        .with("Default", SAGA_UNRESOLVED);
    [
        (ABORT_ORDER.to_owned(), abort),
        (HAD_IT_COMPLETED.to_owned(), had_it),
        (COMPLETED.to_owned(), Json::object().with("Type", "Succeed")),
    ]
}

/// Each undo, in the order in which they run.
fn undo_states() -> impl Iterator<Item = (String, Json)> {
    let next = undos().skip(1).map(|undo| undo.name).chain([CANCEL_ORDER]);
    undos().zip(next).map(|(undo, next)| (undo.name.to_owned(), undo_task(undo, next)))
}

fn undo_task(undo: &Undo, next: &str) -> Json {
    let (part, outcome) = (undo.part, "$states.result.Payload.outcome");
    let record = |outcome: &str| {
        let undone = format!("{{% $merge([$undone, {{ '{part}': {outcome} }}]) %}}");
        Json::object().with("undone", undone)
    };
    let reason = undo.takes_reason.then_some("{% $failure.error %}");
    let refusals = (!undo.refusals.is_empty()).then(|| not_retried(undo.refusals.to_vec()));
    let retriers: Vec<Json> = refusals.into_iter().chain([UNDO_RETRIES.after(ALL)]).collect();
    Json::object()
        .with("Comment", format!("Undo: {}.", undo.does))
        .with("Type", "Task")
        .with("Resource", INVOKE)
        .with(
            "Arguments",
            invocation(undo.context, command(undo.name, undo.context).with_some("reason", reason)),
        )
        .with("Assign", record(&format!("$exists({outcome}) ? {outcome} : 'failed'")))
        .with("TimeoutSeconds", TASK_TIMEOUT_SECONDS)
        .with("Retry", retriers)
        .with(
            "Catch",
            [Json::object().with("ErrorEquals", [ALL]).with("Assign", record("'failed'")).with("Next", next)],
        )
        .with("Next", next)
}

/// The end of every order that did not complete.
fn ends() -> [(String, Json); 3] {
    let command = command(CANCEL_ORDER, Context::Orders)
        .with("failure", "{% $failure %}")
        .with("compensations", "{% $undone %}");
    let output = Json::object()
        .with("order_id", input("order_id"))
        .with("status", "{% $states.result.Payload.status %}");
    let cancel = Json::object()
        .with(
            "Comment",
            "Ends every failed path: the reason, and what was undone or failed to be, in one commit. An order that was not \
             undone wholly is answered with an error, so that no other order pays for a state that looks at the answer.",
        )
        .with("Type", "Task")
        .with("Resource", INVOKE)
        .with("Arguments", invocation(Context::Orders, command))
        .with("Output", output)
        .with("TimeoutSeconds", TASK_TIMEOUT_SECONDS)
        .with("Retry", [not_retried(vec![COMPENSATION_FAILED]), UNDO_RETRIES.after(ALL)])
        .with(
            "Catch",
            [COMPENSATION_FAILED, ALL].map(|error| {
                let next = if error == ALL { SAGA_UNRESOLVED } else { error };
                Json::object().with("ErrorEquals", [error]).with("Next", next)
            }),
        )
        .with("End", Json::True);
    let failed = Json::object()
        .with("Comment", "The order says NeedsAttention, and which undo it was.")
        .with("Type", "Fail")
        .with("Error", COMPENSATION_FAILED)
        .with("Cause", "{% 'Not undone after hours of trying: ' & $string($undone) %}");
    let unresolved = Json::object()
        .with("Comment", "Orders could not be reached for hours, so the order does not say how it ended.")
        .with("Type", "Fail")
        .with("Error", SAGA_UNRESOLVED)
        .with(
            "Cause",
            "orders-commands did not answer for hours; the order still shows its last status. orders-reconciler takes it back, \
             or finds it completed, once orders can be reached.",
        );
    [
        (CANCEL_ORDER.to_owned(), cancel),
        (COMPENSATION_FAILED.to_owned(), failed),
        (SAGA_UNRESOLVED.to_owned(), unresolved),
    ]
}

/// A retrier for errors that are final.
fn not_retried(errors: Vec<&str>) -> Json {
    Json::object().with("ErrorEquals", errors).with("MaxAttempts", 0)
}

impl Retries {
    /// The retrier for these errors.
    fn after(&self, errors: &str) -> Json {
        Json::object()
            .with("ErrorEquals", [errors])
            .with("IntervalSeconds", 1)
            .with("BackoffRate", 2)
            .with("MaxDelaySeconds", self.longest_pause_seconds)
            .with("JitterStrategy", "FULL")
            .with("MaxAttempts", self.attempts)
    }
}
