use std::collections::BTreeSet;

use serde::de::DeserializeOwned;
use serde_json::{Value, from_value, json, to_value};

use super::{steps::*, *};
use crate::UserId;

fn context() -> CommandContext {
    from_value(json!({"order_id": "ord_0123456789abcdef0123456789abcdef", "correlation_id": "cor-1"}))
        .unwrap()
}

#[test]
fn compensations_are_on_the_wire_as_they_were_before_the_ledger() {
    let wire = json!({"shipment": "not_needed", "payment": "failed", "inventory": "released"});
    let read: Compensations = from_value(wire.clone()).unwrap();
    let made = Compensations::default()
        .with(&REFUND_PAYMENT, UndoOutcome::Failed)
        .with(&RELEASE_INVENTORY, UndoOutcome::Released);
    assert_eq!(read, made);
    let written = to_value(&made).unwrap();
    for part in ["shipment", "payment", "inventory"] {
        assert_eq!(written[part], wire[part]);
    }
    assert_eq!(written.as_object().unwrap().len(), undos().count(), "every undo is named");
}

#[test]
fn an_undo_that_is_not_named_was_not_needed() {
    let read: Compensations = from_value(json!({"payment": "refunded"})).unwrap();
    assert_eq!(read.outcome(&REFUND_PAYMENT), UndoOutcome::Refunded);
    assert_eq!(read.outcome(&CANCEL_SHIPMENT), UndoOutcome::NotNeeded);
    assert_eq!(read.clone().with(&REFUND_PAYMENT, UndoOutcome::NotNeeded), Compensations::default());
}

#[test]
fn an_undo_that_the_ledger_does_not_have_is_refused() {
    let error = from_value::<Compensations>(json!({"parcel": "failed"})).unwrap_err();
    assert!(error.to_string().contains("no undo of `parcel`"), "{error}");
}

#[test]
fn each_outcome_is_on_the_wire_as_it_is_named() {
    for undo in undos() {
        let own = undo.done.iter().chain([&undo.nothing_done]);
        for outcome in own.chain(&[UndoOutcome::NotNeeded, UndoOutcome::Failed]) {
            assert_eq!(to_value(outcome).unwrap(), outcome.as_str());
        }
    }
}

#[test]
fn each_name_of_the_ledger_stands_once() {
    fn each_once<'a>(mut names: impl Iterator<Item = &'a str>) -> bool {
        let mut seen = BTreeSet::new();
        names.all(|name| seen.insert(name))
    }
    assert!(each_once(STEPS.iter().map(|step| step.name).chain(undos().map(|undo| undo.name))));
    assert!(each_once(undos().map(|undo| undo.part)));
    assert!(each_once(reasons().map(|reason| reason.name)));
    assert!(each_once(PROGRESS.iter().map(|progress| progress.name)));
}

#[test]
fn each_step_is_on_a_line_of_the_customers_list() {
    for step in STEPS {
        assert!(PROGRESS.contains(&step.progress), "{}", step.name);
    }
}

#[test]
fn the_steps_before_the_payment_took_no_money() {
    assert!(is_before_payment(RESERVE_INVENTORY.name) && is_before_payment(RECORD_RESERVATION.name));
    assert!(!is_before_payment(TAKE_PAYMENT.name) && !is_before_payment(COMPLETE_ORDER.name));
    assert!(!is_before_payment("Saga"), "the failed step of a lost saga is unknown");
}

/// The action of the command that this payload is read as.
fn read<C: SagaCommand + DeserializeOwned>(payload: Value) -> (&'static str, CommandContext) {
    let command = from_value::<C>(payload).unwrap();
    (command.action(), command.context().clone())
}

#[test]
fn each_context_reads_the_command_of_its_undo() {
    let user_id = from_value::<UserId>(json!("usr_0123456789abcdef0123456789abcdef")).unwrap();
    for undo in undos() {
        let payload = to_value(undo.command(context(), user_id.clone(), PAYMENT_DECLINED)).unwrap();
        let command = match undo.context {
            Context::Inventory => read::<InventoryCommand>(payload),
            Context::Orders => read::<OrderCommand>(payload),
            Context::Payments => read::<PaymentCommand>(payload),
            Context::Fulfillment => read::<FulfillmentCommand>(payload),
        };
        assert_eq!(command, (undo.name, context()));
    }
}

#[test]
fn the_payment_is_told_why_it_is_undone() {
    let user_id = from_value::<UserId>(json!("usr_0123456789abcdef0123456789abcdef")).unwrap();
    let payload = to_value(REFUND_PAYMENT.command(context(), user_id, SHIPMENT_REJECTED)).unwrap();
    assert_eq!(payload["reason"], SHIPMENT_REJECTED);
}
