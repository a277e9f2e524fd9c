//! The arguments of each task, with sample values in place of the expressions, must parse as a command of
//! `contracts::saga`.

use contracts::saga::{
    Call, Compensations, Context, FulfillmentCommand, InventoryCommand, OrderCommand, PaymentCommand, STEPS,
    SagaCommand, SagaInput, UndoOutcome,
    steps::{REFUND_PAYMENT, RELEASE_INVENTORY},
    undos,
};
use serde::de::DeserializeOwned;
use serde_json::{Value, from_value, json};
use statemachine::ORDER_SAGA;

/// Null when the input has none.
const TRACEPARENT: &str = "$exists($states.context.Execution.Input.traceparent) ? $states.context.Execution.Input.traceparent : null";

/// An execution's input, as the orders relay makes it.
fn input() -> Value {
    json!({
        "order_id": "ord_01890a5dac96774bbcceb302099a8057",
        "user_id": "usr_01890a5dac96774bbcceb302099a8057",
        "correlation_id": "checkout-1",
        "traceparent": "00-5759e988bd862e3fe1be46a994272793-53995c3f42cd8ad8-01",
        "items": [{ "sku": "MUG-1", "quantity": 2 }],
        "total": { "amount": 4200, "currency": "USD" },
        "payment_method": "pm_card_visa",
        "shipping_address": {
            "name": "Ada", "line1": "1 Main St", "city": "Berlin", "postal_code": "10115", "country": "DE",
        },
    })
}

/// The value that Step Functions would put in the place of an expression.
fn evaluate(expression: &str) -> Value {
    if let Some(field) = expression.strip_prefix("$states.context.Execution.Input.") {
        return input().get(field).unwrap_or_else(|| panic!("{field} is not in the saga's input")).clone();
    }
    match expression {
        TRACEPARENT => input()["traceparent"].clone(),
        "$states.context.Task.Token" => json!("token"),
        "$states.context.State.EnteredTime" => json!("2026-11-28T12:00:00.123Z"),
        // CompleteOrder is entered with the output of ScheduleShipment.
        "$states.input" => json!({
            "shipment_id": "shp_1", "carrier": "ground", "tracking_number": "T1", "estimated_delivery": "2026-12-01",
        }),
        "$failure" => json!({ "step": "TakePayment", "error": "PaymentDeclined", "cause": "" }),
        "$failure.error" => json!("PaymentDeclined"),
        "$undone" => json!(
            Compensations::default()
                .with(&REFUND_PAYMENT, UndoOutcome::Failed)
                .with(&RELEASE_INVENTORY, UndoOutcome::Released)
        ),
        other => panic!("no sample for {other}"),
    }
}

fn filled(template: &Value) -> Value {
    match template {
        Value::String(text) => match text.strip_prefix("{%").and_then(|rest| rest.strip_suffix("%}")) {
            Some(expression) => evaluate(expression.trim()),
            None => template.clone(),
        },
        Value::Object(fields) => fields.iter().map(|(name, value)| (name.clone(), filled(value))).collect(),
        other => other.clone(),
    }
}

fn arguments(state: &str) -> Value {
    let definition: Value = serde_json::from_str(ORDER_SAGA).expect("the definition is JSON");
    definition["States"][state]["Arguments"].clone()
}

/// What a task sends, with samples in place of the expressions.
fn payload(state: &str, context: Context) -> Value {
    let arguments = arguments(state);
    let name = context.function().trim_end_matches("-commands");
    let name = format!("{}{}", name[..1].to_uppercase(), &name[1..]);
    let queued = STEPS.iter().any(|step| step.name == state && step.call != Call::Invoke);
    let (to, address, payload) = match queued {
        true => ("QueueUrl", format!("${{{name}QueueUrl}}"), "MessageBody"),
        false => ("FunctionName", format!("${{{name}CommandsArn}}"), "Payload"),
    };
    assert_eq!(arguments[to], address, "{state}");
    filled(&arguments[payload])
}

fn action<C: SagaCommand + DeserializeOwned>(payload: Value) -> serde_json::Result<&'static str> {
    from_value::<C>(payload).map(|command| command.action())
}

#[test]
fn the_sample_is_a_saga_input() {
    from_value::<SagaInput>(input()).expect("the contract reads it");
}

#[test]
fn each_context_can_read_its_commands() {
    let steps = STEPS.iter().map(|step| (step.name, step.context));
    let undos = undos().map(|undo| (undo.name, undo.context));
    let ends = ["AbortOrder", "CancelOrder"].map(|state| (state, Context::Orders));
    for (state, context) in steps.chain(undos).chain(ends) {
        let payload = payload(state, context);
        let action = match context {
            Context::Inventory => action::<InventoryCommand>(payload.clone()),
            Context::Orders => action::<OrderCommand>(payload.clone()),
            Context::Payments => action::<PaymentCommand>(payload.clone()),
            Context::Fulfillment => action::<FulfillmentCommand>(payload.clone()),
        };
        match action {
            Ok(action) => assert_eq!(action, state, "a state and its action have one name"),
            Err(error) => panic!("{state} sends what its command cannot read: {error}\n{payload:#}"),
        }
    }
}

#[test]
fn payments_can_read_its_message() {
    assert_eq!(arguments("TakePayment")["QueueUrl"], "${PaymentsQueueUrl}");
    let message = payload("TakePayment", Context::Payments);
    let command = from_value::<PaymentCommand>(message).expect("payments reads it");
    let PaymentCommand::TakePayment(take) = command else { panic!("another command") };
    assert_eq!(take.task_token, "token");
    let entered = take.entered_at.expect("the deadline counts from when the state was entered");
    assert_eq!(entered.to_string(), "2026-11-28T12:00:00.123Z");
}
