//! The arguments of each task, with sample values in place of the expressions, must parse as a command of
//! `contracts::saga`.

use contracts::saga::{FulfillmentCommand, InventoryCommand, OrderCommand, PaymentCommand, SagaInput};
use serde_json::{Value, from_value, json};
use statemachine::ORDER_SAGA;

/// An execution's input, as the orders relay makes it.
fn input() -> Value {
    json!({
        "order_id": "ord_01890a5dac96774bbcceb302099a8057",
        "user_id": "usr_01890a5dac96774bbcceb302099a8057",
        "correlation_id": "checkout-1",
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
        "$states.context.Task.Token" => json!("token"),
        "$states.context.State.EnteredTime" => json!("2026-11-28T12:00:00.123Z"),
        // CompleteOrder is entered with the output of ScheduleShipment.
        "$states.input" => json!({
            "shipment_id": "shp_1", "carrier": "ground", "tracking_number": "T1", "estimated_delivery": "2026-12-01",
        }),
        "$failure" => json!({ "step": "TakePayment", "error": "PaymentDeclined", "cause": "" }),
        "$failure.error" => json!("PaymentDeclined"),
        "$undone" => json!({ "shipment": "not_needed", "payment": "failed", "inventory": "released" }),
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

#[track_caller]
fn sends(function: &str, states: &[&str], read: fn(Value) -> serde_json::Result<()>) {
    for state in states {
        let arguments = arguments(state);
        assert_eq!(arguments["FunctionName"], function, "{state}");
        let payload = filled(&arguments["Payload"]);
        assert_eq!(payload["action"], *state, "a state and its action have one name");
        if let Err(error) = read(payload.clone()) {
            panic!("{state} sends what its command cannot read: {error}\n{payload:#}");
        }
    }
}

#[test]
fn the_sample_is_a_saga_input() {
    from_value::<SagaInput>(input()).expect("the contract reads it");
}

#[test]
fn inventory_can_read_its_commands() {
    let states = ["ReserveInventory", "ReleaseInventory"];
    sends("${InventoryCommandsArn}", &states, |payload| from_value::<InventoryCommand>(payload).map(drop));
}

#[test]
fn orders_can_read_its_commands() {
    let states = ["RecordReservation", "CompleteOrder", "AbortOrder", "CancelOrder"];
    sends("${OrdersCommandsArn}", &states, |payload| from_value::<OrderCommand>(payload).map(drop));
}

#[test]
fn fulfillment_can_read_its_commands() {
    let states = ["ScheduleShipment", "CancelShipment"];
    sends("${FulfillmentCommandsArn}", &states, |payload| {
        from_value::<FulfillmentCommand>(payload).map(drop)
    });
}

#[test]
fn payments_can_read_its_undo() {
    let states = ["RefundPayment"];
    sends("${PaymentsCommandsArn}", &states, |payload| from_value::<PaymentCommand>(payload).map(drop));
}

#[test]
fn payments_can_read_its_message() {
    let arguments = arguments("TakePayment");
    assert_eq!(arguments["QueueUrl"], "${PaymentsQueueUrl}");
    let message = filled(&arguments["MessageBody"]);
    let command = from_value::<PaymentCommand>(message).expect("payments reads it");
    let PaymentCommand::TakePayment(take) = command else { panic!("another command") };
    assert_eq!(take.task_token, "token");
    let entered = take.entered_at.expect("the deadline counts from when the state was entered");
    assert_eq!(entered.to_string(), "2026-11-28T12:00:00.123Z");
}
