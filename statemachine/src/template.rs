//! The parts of infra/orders.yaml that name the functions and queues of the ledger.

use std::collections::BTreeSet;

use contracts::{
    FUNCTION_ALIAS,
    saga::{Call, Context, STEPS, undos},
};

use crate::definition::{function_arn, queue_url};

/// What the definition's `${…}` stand for.
pub fn substitutions() -> String {
    let functions =
        invoked().into_iter().map(|context| format!("{}: {}", function_arn(context), function(context)));
    let queues = queues().into_iter().map(queue_url).map(|name| format!("{name}: !Ref {name}"));
    let wait = "OrderWaitMinutes: !Ref OrderWaitMinutes".to_owned();
    functions.chain(queues).chain([wait]).collect::<Vec<_>>().join("\n")
}

/// The functions that the state machine invokes.
pub fn functions() -> String {
    list(invoked().into_iter().map(function))
}

/// The queues that the state machine sends to. Only their URLs are parameters, and a policy needs ARNs.
pub fn queue_arns() -> String {
    list(queues().into_iter().map(|context| arn("sqs", context)))
}

/// The functions that the reconciler invokes: the undos, and payments for the state of an order's money.
pub fn reconciler_functions() -> String {
    let contexts: BTreeSet<Context> = undos().map(|undo| undo.context).chain([Context::Payments]).collect();
    list(contexts.into_iter().map(function))
}

fn invoked() -> BTreeSet<Context> {
    let steps = STEPS.iter().filter(|step| step.call == Call::Invoke).map(|step| step.context);
    // CompleteOrder's abort and CancelOrder are commands of orders.
    steps.chain(undos().map(|undo| undo.context)).chain([Context::Orders]).collect()
}

fn queues() -> BTreeSet<Context> {
    STEPS.iter().filter(|step| step.call != Call::Invoke).map(|step| step.context).collect()
}

/// The ARN of the alias of a context's command function. Orders' own function is a resource of the template.
fn function(context: Context) -> String {
    match context {
        Context::Orders => "!Ref OrdersCommands.Alias".to_owned(),
        _ => format!("{}:{FUNCTION_ALIAS}", arn("lambda", context)),
    }
}

/// By its name: a function's and a queue's are the same.
fn arn(service: &str, context: Context) -> String {
    let kind = if service == "lambda" { "function:" } else { "" };
    format!(
        "!Sub arn:${{AWS::Partition}}:{service}:${{AWS::Region}}:${{AWS::AccountId}}:{kind}ordersaga-${{Stage}}-{}",
        context.function()
    )
}

fn list(items: impl Iterator<Item = String>) -> String {
    items.map(|item| format!("- {item}")).collect::<Vec<_>>().join("\n")
}
