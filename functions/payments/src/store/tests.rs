use aws_sdk_dynamodb::types::AttributeValue;
use futures::future::join_all;

use super::*;
use crate::{
    domain::{Charge, IntentState, PaymentInput, Rejected, Secret, Status},
    handler::{self, RecordError},
    testing::{DEADLINE, Fixture, correlation},
};

impl Fixture {
    fn charge_requested(&self, token: &str) -> PaymentInput {
        let take = self.take_of("pm_card_visa", token);
        let deadline = self.start.as_second() + DEADLINE;
        PaymentInput::ChargeRequested {
            user_id: take.user_id,
            correlation_id: take.context.correlation_id,
            charge: Charge { amount: take.amount, payment_method: take.payment_method, deadline },
            token: Secret::new(token),
        }
    }

    async fn record(&self, known: Option<Payment>, input: &PaymentInput) -> Payment {
        handler::record(&self.payments.recorder.store, &self.order, known, input, self.event_context())
            .await
            .unwrap()
    }

    fn undo_requested(&self) -> PaymentInput {
        PaymentInput::UndoRequested { user_id: self.user.clone(), correlation_id: correlation() }
    }
}

fn succeeded() -> PaymentInput {
    PaymentInput::IntentObserved { intent_id: "pi_1".to_owned(), state: IntentState::Succeeded }
}

#[tokio::test]
async fn what_is_written_is_what_is_read_and_tokens_are_a_set() {
    let fixture = Fixture::new().await;
    let first = fixture.record(None, &fixture.charge_requested("t1")).await;
    let second = fixture.record(Some(first), &fixture.charge_requested("t2")).await;
    assert_eq!(fixture.payment().await, second);
    assert_eq!(second.version, 2);

    let key = payment_key(&fixture.order);
    let read = fixture.table.client.get_item().table_name(&fixture.table.name).set_key(Some(key));
    let item = read.send().await.unwrap().item.unwrap();
    let AttributeValue::Ss(tokens) = &item["tokens"] else { panic!("no set: {:?}", item["tokens"]) };
    assert_eq!(tokens.len(), 2);
}

#[tokio::test]
async fn a_new_payment_costs_one_call_and_a_wrong_guess_a_read_more() {
    let fixture = Fixture::new().await;
    fixture.record(None, &fixture.charge_requested("t1")).await;
    assert_eq!(fixture.faults.calls(), ["PutItem"]);
    fixture.record(None, &fixture.charge_requested("t2")).await;
    assert_eq!(fixture.faults.calls(), ["PutItem", "PutItem", "GetItem", "PutItem"]);
}

#[tokio::test]
async fn a_write_whose_answer_was_lost_is_found_to_be_done() {
    let fixture = Fixture::new().await;
    fixture.faults.lose_answers("PutItem", 1);
    let payment = fixture.record(None, &fixture.charge_requested("t1")).await;
    let made = PaymentInput::IntentCreated { id: "pi_1".to_owned() };
    let payment = fixture.record(Some(payment), &made).await;
    fixture.faults.lose_answers("PutItem", 1);
    let payment = fixture.record(Some(payment), &succeeded()).await;
    assert_eq!((payment.status, payment.version), (Status::Succeeded, 3));
    assert_eq!(fixture.last_event().await.unwrap().event_type, "payment.succeeded");
}

#[tokio::test]
async fn a_write_without_an_event_leaves_none_of_the_write_before() {
    let fixture = Fixture::new().await;
    let payment = fixture.record(None, &fixture.charge_requested("t1")).await;
    let payment = fixture.record(Some(payment), &PaymentInput::IntentCreated { id: "pi_1".to_owned() }).await;
    let payment = fixture.record(Some(payment), &succeeded()).await;
    assert!(fixture.last_event().await.is_some());
    fixture.record(Some(payment), &fixture.charge_requested("t2")).await;
    assert!(fixture.last_event().await.is_none());
}

#[tokio::test]
async fn who_decided_on_an_old_view_decides_again_on_the_new_one() {
    let fixture = Fixture::new().await;
    let payment = fixture.record(None, &fixture.charge_requested("t1")).await;
    let stale = fixture.record(Some(payment), &PaymentInput::IntentCreated { id: "pi_1".to_owned() }).await;
    fixture.record(Some(stale.clone()), &fixture.undo_requested()).await;
    let payment = fixture.record(Some(stale), &succeeded()).await;
    assert_eq!(payment.status, Status::Refunding, "money on an undone order is refunded");
}

#[tokio::test]
async fn writers_at_the_same_moment_all_have_their_say() {
    let fixture = Fixture::new().await;
    let tokens: Vec<String> = (0..5).map(|n| format!("t{n}")).collect();
    join_all(
        tokens.iter().map(|token| async { fixture.record(None, &fixture.charge_requested(token)).await }),
    )
    .await;
    let payment = fixture.payment().await;
    assert_eq!(payment.tokens.len(), 5);
    assert_eq!(payment.version, 5);
}

#[tokio::test]
async fn a_fact_without_a_payment_is_refused_and_writes_nothing() {
    let fixture = Fixture::new().await;
    let refused = handler::record(
        &fixture.payments.recorder.store,
        &fixture.order,
        None,
        &succeeded(),
        fixture.event_context(),
    )
    .await;
    assert!(matches!(refused, Err(RecordError::Rejected(Rejected::NoPayment))));
    assert_eq!(fixture.payments.recorder.store.get(&fixture.order).await.unwrap(), None);
}
