//! Who refunded a payment: each change of what has gone back has its entry.

use super::*;
use crate::{
    domain::{EventContext, FailedRefund, PaymentInput},
    testing::correlation,
};

impl Fixture {
    /// The actor, the action, `before`, `after` and the reason of each change, the newest first.
    async fn refund_changes(&self) -> Vec<Value> {
        let tokens = Tokens::new();
        let mut answer = self.get(&tokens, &tokens.admin(), &format!("{}/audit", self.order)).await;
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.body);
        let Value::Array(entries) = answer.body["items"].take() else { panic!("{}", answer.body) };
        let change = |entry: Value| {
            assert_eq!(
                (&entry["subject"], &entry["correlation_id"]),
                (&json!(self.order), &json!(correlation()))
            );
            json!([entry["actor"], entry["action"], entry["before"], entry["after"], entry["reason"]])
        };
        entries.into_iter().map(change).collect()
    }

    async fn apply_at(&self, second: i64, input: &PaymentInput) {
        let known = Some(self.payment().await);
        let context = EventContext { now: self.at(second).now, ..self.event_context() };
        self.payments.recorder.apply(&self.order, known, input, context).await.unwrap();
    }
}

fn usd(amount: i64) -> Value {
    json!({"amount": amount, "currency": "USD"})
}

#[tokio::test]
async fn a_refund_of_a_cancelled_order_is_the_systems() {
    let fixture = Fixture::new().await;
    fixture.take("pm_card_visa", "t1").await.unwrap();
    assert_eq!(fixture.refund_changes().await, Vec::<Value>::new(), "a charge is no refund");
    for _ in 0..2 {
        fixture.undo().await.unwrap();
    }
    let before = json!({"status": "refunding", "refunded": usd(0)});
    let after = json!({"status": "refunded", "refunded": usd(4200)});
    assert_eq!(fixture.refund_changes().await, [json!(["system", "payment.refunded", before, after, null])]);
}

#[tokio::test]
async fn a_refund_in_the_dashboard_is_an_operators() {
    let fixture = Fixture::new().await;
    fixture.take("pm_card_visa", "t1").await.unwrap();
    fixture.refund_in_dashboard(1200).await;
    let (before, after) = (json!({"refunded": usd(0)}), json!({"refunded": usd(1200)}));
    assert_eq!(
        fixture.refund_changes().await,
        [json!(["operator:gateway-dashboard", "payment.refunded", before, after, null])]
    );
}

#[tokio::test]
async fn a_refund_that_failed_and_its_settlement_have_an_entry_each_and_repeats_have_none() {
    let fixture = Fixture::new().await;
    fixture.take("pm_card_visa", "t1").await.unwrap();
    fixture.undo().await.unwrap();
    let failed = FailedRefund { id: "re_1".to_owned(), amount: 4200, reason: "closed".to_owned() };
    let settled = PaymentInput::SettlementRecorded {
        by: "arn:aws:iam::1:user/anna".to_owned(),
        note: "transfer 17".to_owned(),
    };
    for (second, input) in [(10, PaymentInput::RefundFailed(failed)), (20, settled)] {
        fixture.apply_at(second, &input).await;
        fixture.apply_at(second + 1, &input).await;
    }
    let state = |status: &str, refunded: i64, owed: i64| json!({"status": status, "refunded": usd(refunded), "owed": usd(owed)});
    let (paid, failed) = (state("refunded", 4200, 0), state("refund_failed", 0, 4200));
    let changes = fixture.refund_changes().await;
    assert_eq!(changes.len(), 3, "{changes:?}");
    assert_eq!(
        changes[..2],
        [
            json!([
                "operator:arn:aws:iam::1:user/anna",
                "payment.refund_settled",
                failed,
                paid,
                "transfer 17"
            ]),
            json!(["system", "payment.refund_failed", paid, failed, "closed"]),
        ]
    );
}

#[tokio::test]
async fn a_refund_whose_answer_is_lost_has_one_entry() {
    let fixture = Fixture::new().await;
    fixture.take("pm_card_visa", "t1").await.unwrap();
    fixture.faults.lose_answers("TransactWriteItems", lambda_kit::aws::MAX_ATTEMPTS);
    let input = PaymentInput::Refunded { amount: 1200 };
    let known = Some(fixture.payment().await);
    let recorder = &fixture.payments.recorder;
    assert!(recorder.apply(&fixture.order, known, &input, fixture.event_context()).await.is_err());
    fixture.apply_at(10, &input).await;
    assert_eq!(fixture.refund_changes().await.len(), 1);
}

#[rstest]
#[case::no_token(None, "", 401)]
#[case::a_customer(Some(false), "", 403)]
#[case::no_cursor(Some(true), "?cursor=x", 422)]
#[tokio::test]
async fn the_trail_is_for_administrators(
    #[case] admin: Option<bool>,
    #[case] query: &str,
    #[case] status: u16,
) {
    let (fixture, tokens) = (Fixture::new().await, Tokens::new());
    let bearer = match admin {
        Some(true) => tokens.admin(),
        Some(false) => tokens.user(&fixture.user),
        None => String::new(),
    };
    let answer = fixture.get(&tokens, &bearer, &format!("{}/audit{query}", fixture.order)).await;
    assert_eq!(answer.status.as_u16(), status, "{}", answer.body);
}

#[tokio::test]
async fn an_order_id_that_is_none_has_no_trail() {
    let (fixture, tokens) = (Fixture::new().await, Tokens::new());
    let answer = fixture.get(&tokens, &tokens.admin(), "ord_1/audit").await;
    assert_eq!(answer.status, StatusCode::NOT_FOUND);
}
