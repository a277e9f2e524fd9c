//! An order that has not ended: what it waits for.

use contracts::OrderStatus;
use contracts::saga::{self, steps};
use jiff::Timestamp;

use super::{Finding, GRACE, Urgency, age, section, status, tail};
use crate::saga::{Execution, Saga, Visit};
use crate::sources::Sources;

const GATEWAY: &str = "payments/gateway";
const PAYMENTS: &str = "payments-commands";
/// How long a try may take: the function's timeout of 30 s, and the task's 5 s more.
const TRY: i64 = 35;

/// `is_explained`: a parked record or a dead letter was found, which says already why the saga waits.
pub fn saga(sources: &Sources, is_explained: bool) -> Option<Finding> {
    match sources.saga.as_ref()? {
        Saga::NotStarted if is_explained => None,
        Saga::NotStarted => not_started(sources),
        Saga::Started(execution) if execution.is_running() => {
            let visit = execution.current()?;
            if visit.state == steps::TAKE_PAYMENT.name {
                payment(sources, visit, is_explained)
            } else {
                step(sources, visit)
            }
        }
        Saga::Started(execution) => Some(ended(sources, execution)),
    }
}

fn not_started(sources: &Sources) -> Option<Finding> {
    const RELAY: &str = "orders-relay";
    let placed = sources.events().first()?.occurred_at;
    if age(sources, placed) < GRACE {
        return None;
    }
    let finding = Finding::new(Urgency::Stuck, "The saga was never started", section::STUCK)
        .since(Some(placed))
        .because("Step Functions knows no execution of the order; orders-relay starts it when the table's stream invokes it");
    let finding = obstacle(sources, RELAY, finding).logged_by(sources, RELAY);
    Some(finding.run(format!("cargo ops saga check --older-than 0{}", sources.option)))
}

/// Adds what keeps a function from running, with the section and the command for it.
pub fn obstacle(sources: &Sources, name: &str, mut finding: Finding) -> Finding {
    let Some(function) = sources.function(name) else { return finding };
    if function.concurrency == Some(0) {
        finding.runbook = section::THROTTLED;
        finding =
            finding.because(format!("{name} is switched off: its reserved concurrency is 0")).run(format!(
                "aws lambda delete-function-concurrency --function-name ordersaga-{}-{name}",
                sources.stage
            ));
    }
    let Some(mapping) = &function.mapping else {
        return finding;
    };
    if mapping.state != "Enabled" {
        let reads_stream = name.ends_with("-relay");
        finding.runbook = if reads_stream { section::ITERATOR_AGE } else { section::MESSAGES_WAIT };
        finding = finding
            .because(format!("nothing invokes {name}: its event source mapping is {}", mapping.state))
            .run(format!("aws lambda update-event-source-mapping --uuid {} --enabled", mapping.uuid));
    } else if !is_fine(&mapping.last_result) {
        finding = finding
            .because(format!("the last result of {name}'s event source mapping: {}", mapping.last_result));
    }
    finding
}

/// Results of a mapping that say nothing of a failure (EventSourceMappingConfiguration, Lambda API reference).
fn is_fine(result: &str) -> bool {
    result.is_empty() || ["OK", "No records processed"].iter().any(|fine| result.starts_with(fine))
}

/// The payment is taken by queue: payments answers when it is decided.
fn payment(sources: &Sources, visit: &Visit, is_explained: bool) -> Option<Finding> {
    let since = Some(visit.entered_at);
    let late = age(sources, visit.entered_at) > GRACE;
    match sources.payment.as_ref()? {
        None if is_explained || !late => None,
        None => {
            let title = "Payments has not handled the command TakePayment";
            let finding = Finding::new(Urgency::Stuck, title, section::MESSAGES_WAIT).since(since).because(
                "there is no payment of the order: its message waits in the queue payments-commands",
            );
            let finding = obstacle(sources, PAYMENTS, finding).logged_by(sources, PAYMENTS);
            Some(finding.run(tail(sources, PAYMENTS)))
        }
        Some(payment) if payment.status != "pending" => late.then(|| {
            let title = format!("The payment is decided ({}), and the saga has no answer", payment.status);
            let finding = Finding::new(Urgency::Stuck, title, section::STUCK).since(since);
            let finding = obstacle(sources, PAYMENTS, finding).logged_by(sources, PAYMENTS);
            finding.run(tail(sources, PAYMENTS))
        }),
        Some(payment) => {
            let deadline =
                payment.charge.as_ref().and_then(|charge| Timestamp::from_second(charge.deadline).ok());
            let until =
                deadline.map_or_else(String::new, |at| format!("it waits until its deadline, {at:.0}"));
            if let Some(who) = &payment.waiting {
                let title = match who.as_str() {
                    "customer" => "The customer has to confirm the payment at the bank (3-D Secure)",
                    _ => "The bank has not decided on the payment yet",
                };
                let finding = Finding::new(Urgency::Waits, title, section::STUCK).since(since).because(until);
                return Some(finding.run(format!("cargo ops saga list{}", sources.option)));
            }
            if let Some(finding) = breaker(sources, GATEWAY, "the payment") {
                return Some(finding.since(since).because(until).logged_by(sources, PAYMENTS));
            }
            let misused =
                sources.complaints(PAYMENTS).iter().any(|line| line.message.contains("does not take our"));
            let section = if misused { section::MISUSED } else { section::BREAKER };
            late.then(|| {
                let finding = Finding::new(Urgency::Stuck, "The gateway has not taken the payment", section);
                let finding = finding.since(since).because(until);
                obstacle(sources, PAYMENTS, finding).logged_by(sources, PAYMENTS).run(tail(sources, PAYMENTS))
            })
        }
    }
}

/// A breaker that stops the calls that `what` needs.
pub fn breaker(sources: &Sources, name: &str, what: &str) -> Option<Finding> {
    let breaker = sources.stopping_breaker(name)?;
    let option = &sources.option;
    let by_operator = breaker.mode == "forced-open";
    let state = if by_operator { "forced open by an operator" } else { breaker.state.as_str() };
    let finding = Finding::new(
        Urgency::Stuck,
        format!("The circuit breaker {name} is {state}, so {what} waits"),
        section::BREAKER,
    );
    Some(if by_operator {
        finding.run(format!("cargo ops breaker set {name} normal{option}"))
    } else {
        finding.run(format!("cargo ops breaker list{option}"))
    })
}

/// A step or an undo that a function does when it is invoked.
fn step(sources: &Sources, visit: &Visit) -> Option<Finding> {
    let is_undo = undo(&visit.state).is_some();
    let function = function(&visit.state)?;
    let kind = if is_undo { "undo" } else { "step" };
    let Some(last) = visit.failures.last() else {
        let slow = age(sources, visit.entered_at).as_secs() > TRY;
        return slow.then(|| {
            let title = format!("The {kind} {} has no answer from {function}", visit.state);
            let finding = Finding::new(Urgency::Stuck, title, section::FAIL).since(Some(visit.entered_at));
            obstacle(sources, function, finding).logged_by(sources, function).run(tail(sources, function))
        });
    };
    let throttled = ["TooManyRequests", "Throttl"].iter().any(|name| last.error.contains(name));
    let crashed = ["Lambda.", "Runtime.", "States.Timeout"].iter().any(|name| last.error.starts_with(name));
    let section = match () {
        () if throttled => section::THROTTLED,
        () if crashed => section::FAIL,
        () if is_undo => section::ATTENTION,
        () => section::STEPS_FAIL,
    };
    let title = format!("The {kind} {} fails in {function} and is tried again", visit.state);
    let mut finding = Finding::new(Urgency::Stuck, title, section)
        .since(visit.failures.first().map(|first| first.at))
        .because(format!(
            "{} tries failed, the last one at {:.0}: {}",
            visit.failures.len(),
            last.at,
            last.said()
        ))
        .because(if is_undo {
            "an undo is tried for hours; then the order needs attention"
        } else {
            "a step is tried until the order's time is up; then the order is undone and cancelled"
        });
    finding = obstacle(sources, function, finding).logged_by(sources, function);
    if function == PAYMENTS
        && let Some(breaker) = sources.stopping_breaker(GATEWAY)
    {
        finding = finding
            .because(format!("the circuit breaker {GATEWAY} is {} ({})", breaker.state, breaker.mode))
            .run(format!("cargo ops breaker list{}", sources.option));
    }
    Some(finding.run(tail(sources, function)))
}

/// The execution has ended, and the order has not.
fn ended(sources: &Sources, execution: &Execution) -> Finding {
    let (order, option) = (&sources.order_id, &sources.option);
    let retry = format!("cargo ops saga retry {order}{option}");
    let error = execution.error.as_deref().unwrap_or_default();
    if status(sources) == Some(OrderStatus::NeedsAttention) {
        let recorded =
            sources.events().iter().rev().find(|event| event.event_type == "order.compensation_failed");
        let failed: Vec<&str> = recorded
            .and_then(|event| event.data["failed"].as_array())
            .into_iter()
            .flatten()
            .filter_map(|name| name.as_str())
            .collect();
        let title = format!("The order needs attention: not undone: {}", failed.join(", "));
        let mut finding = Finding::new(Urgency::Stuck, title, section::ATTENTION)
            .since(recorded.map(|event| event.occurred_at));
        for undo in steps::undos().filter(|undo| failed.contains(&undo.part)) {
            if let Some(last) = execution.last_failure(undo.name) {
                finding = finding.because(format!("{}: {}", undo.name, last.said()));
            }
            let function = undo.context.function();
            finding = obstacle(sources, function, finding).logged_by(sources, function);
        }
        if failed.contains(&"payment")
            && let Some(Some(payment)) = &sources.payment
        {
            finding = finding.because(format!("the payment is {}", payment.status));
            if payment.status == "refund_failed" {
                finding.runbook = section::REFUND;
            }
            if let Some(breaker) = sources.stopping_breaker(GATEWAY) {
                finding = finding.because(format!("the circuit breaker {GATEWAY} is {}", breaker.state));
            }
        }
        return finding.run(retry);
    }
    let section = if error == saga::SAGA_UNRESOLVED { section::UNRESOLVED } else { section::STUCK };
    let title = format!("The execution has ended ({} {error}), and the order has not", execution.status);
    let finding = Finding::new(Urgency::Stuck, title, section).since(execution.ended_at);
    let finding =
        finding.because("orders-reconciler rolls the order back at its next run, or when it is started now");
    let function = "orders-commands";
    obstacle(sources, function, finding)
        .logged_by(sources, function)
        .logged_by(sources, "orders-reconciler")
        .run(format!("cargo ops saga check --older-than 0{option}"))
}

fn undo(state: &str) -> Option<&'static steps::Undo> {
    steps::undos().find(|undo| undo.name == state)
}

/// The function that does what a state asks for. States that only choose have none.
fn function(state: &str) -> Option<&'static str> {
    let step = steps::STEPS.iter().find(|step| step.name == state);
    match (step, undo(state)) {
        (Some(step), _) => Some(step.context.function()),
        (None, Some(undo)) => Some(undo.context.function()),
        (None, None) => {
            ["AbortOrder", "CancelOrder"].contains(&state).then(|| steps::Context::Orders.function())
        }
    }
}
