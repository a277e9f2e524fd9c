use axum::http::StatusCode;
use contracts::UserId;
use jiff::{SignedDuration, Timestamp};
use lambda_kit::testing::{App, Response, Tokens};
use rstest::rstest;
use serde_json::{Value, json};

use super::*;
use crate::testing::{DEADLINE, Fixture, sign};

mod audit;
mod dashboard;
mod refunds;

impl Fixture {
    fn app(&self, tokens: &Tokens) -> App {
        App::new(routes(self.api()), tokens.verifier())
    }

    async fn get(&self, tokens: &Tokens, bearer: &str, order: &str) -> Response {
        self.app(tokens).get(&format!("/v1/payments/{order}"), bearer).await
    }

    async fn webhook(&self, signature: Option<&str>, body: Vec<u8>) -> Response {
        let signature = signature.map(|signature| ("stripe-signature", signature));
        self.app(&Tokens::new()).call("POST", "/v1/payments/webhook", signature.as_slice(), body).await
    }

    /// A webhook as Stripe would send it now.
    async fn event(&self, kind: &str, object: Value) -> StatusCode {
        let body = json!({"id": "evt_1", "type": kind, "data": {"object": object}}).to_string();
        let signature = sign("whsec_one", Timestamp::now().as_second(), body.as_bytes());
        self.webhook(Some(&signature), body.into_bytes()).await.status
    }

    fn failures(&self) -> Vec<Option<String>> {
        self.aws.results().into_iter().map(|(_, error)| error).collect()
    }
}

#[tokio::test]
async fn a_customer_sees_their_payment_and_what_to_do_for_it_and_others_see_nothing() {
    let (fixture, tokens) = (Fixture::new().await, Tokens::new());
    let order = fixture.order.as_str();
    let mine = tokens.user(&fixture.user);
    assert_eq!(fixture.get(&tokens, &mine, order).await.status, StatusCode::NOT_FOUND);

    fixture.take("pm_3ds", "t1").await.unwrap();
    let expected = json!({
        "order_id": order,
        "status": "pending",
        "amount": {"amount": 4200, "currency": "USD"},
        "refunded": {"amount": 0, "currency": "USD"},
        "next_action": {
            "type": "use_stripe_sdk",
            "payment_intent": "pi_1",
            "client_secret": "pi_1_secret_of_the_customer",
        },
    });
    assert_eq!(fixture.get(&tokens, &mine, order).await.body, expected);
    let mut to_staff = expected.clone();
    to_staff.as_object_mut().unwrap().remove("next_action");
    for staff in [Role::Admin, Role::Support] {
        let seen = fixture.get(&tokens, &tokens.staff(staff), order).await.body;
        assert_eq!(seen, to_staff, "the secret is the customer's");
    }
    for other in [tokens.user(&UserId::generate()), tokens.staff(Role::Fulfillment)] {
        assert_eq!(fixture.get(&tokens, &other, order).await.status, StatusCode::NOT_FOUND);
    }
    assert_eq!(fixture.get(&tokens, &mine, "ord_1").await.status, StatusCode::NOT_FOUND);
    assert_eq!(fixture.get(&tokens, "Bearer x", order).await.status, StatusCode::UNAUTHORIZED);
    assert_eq!(
        fixture.get(&tokens, &tokens.expired(&fixture.user), order).await.status,
        StatusCode::UNAUTHORIZED
    );

    fixture.stripe.set_status("pi_1", "succeeded");
    fixture.check_at(5).await.unwrap();
    fixture.undo().await.unwrap();
    let refunded = fixture.get(&tokens, &mine, order).await.body;
    assert_eq!((&refunded["status"], &refunded["refunded"]["amount"]), (&json!("refunded"), &json!(4200)));
    assert_eq!(refunded.get("next_action"), None);
}

#[tokio::test]
async fn an_undo_before_any_payment_shows_no_payment() {
    let (fixture, tokens) = (Fixture::new().await, Tokens::new());
    fixture.undo().await.unwrap();
    let answer = fixture.get(&tokens, &tokens.user(&fixture.user), fixture.order.as_str()).await;
    assert_eq!(answer.status, StatusCode::NOT_FOUND);
}

#[rstest]
#[case("GET", "/v1/payments", StatusCode::NOT_FOUND)]
#[case("GET", "/v1/payments/webhook", StatusCode::METHOD_NOT_ALLOWED)]
#[case("POST", "/v1/payments/ord_1", StatusCode::METHOD_NOT_ALLOWED)]
#[case("GET", "/v1/payments/ord_1/x", StatusCode::NOT_FOUND)]
#[case("GET", "/v1/payments/ord_1", StatusCode::UNAUTHORIZED)]
#[tokio::test]
async fn other_requests_are_refused_with_a_problem(
    #[case] method: &str,
    #[case] path: &str,
    #[case] status: StatusCode,
) {
    let fixture = Fixture::new().await;
    let answer = fixture.app(&Tokens::new()).call(method, path, &[], "").await;
    assert_eq!(answer.status, status);
    assert_eq!(answer.body["status"], status.as_u16());
}

#[rstest]
#[case::none(None)]
#[case::malformed(Some("t=1"))]
#[case::forged(Some("forged"))]
#[case::old(Some("old"))]
#[tokio::test]
async fn a_webhook_that_is_not_signed_by_the_gateway_now_is_refused_and_changes_nothing(
    #[case] kind: Option<&str>,
) {
    let fixture = Fixture::new().await;
    fixture.take("pm_3ds", "t1").await.unwrap();
    fixture.stripe.set_status("pi_1", "succeeded");
    let event = json!({
        "id": "evt_1", "type": "payment_intent.succeeded", "data": {"object": fixture.stripe.object("pi_1")}
    });
    let body = event.to_string().into_bytes();
    let now = Timestamp::now();
    let signature = kind.map(|kind| match kind {
        "forged" => sign("whsec_theirs", now.as_second(), &body),
        "old" => sign("whsec_one", (now - SignedDuration::from_secs(301)).as_second(), &body),
        other => other.to_owned(),
    });
    let answer = fixture.webhook(signature.as_deref(), body).await;
    assert_eq!(answer.status, StatusCode::BAD_REQUEST);
    assert_eq!(fixture.status().await, Status::Pending);
    assert_eq!(fixture.aws.results(), []);
}

#[tokio::test]
async fn forged_webhooks_do_not_make_the_secret_be_read_each_time() {
    let fixture = Fixture::new().await;
    for _ in 0..5 {
        assert_eq!(fixture.webhook(Some("t=1,v1=00"), vec![]).await.status, StatusCode::BAD_REQUEST);
    }
    assert_eq!(fixture.aws.secret_reads(), 1);
}

#[tokio::test]
async fn a_signed_body_that_is_no_event_or_too_large_is_refused() {
    let fixture = Fixture::new().await;
    let now = Timestamp::now().as_second();
    let signed = async |body: Vec<u8>| {
        fixture.webhook(Some(&sign("whsec_two", now, &body)), body.clone()).await.status
    };
    assert_eq!(signed(b"{}".to_vec()).await, StatusCode::BAD_REQUEST);
    assert_eq!(signed(vec![b' '; 64 * 1024 + 1]).await, StatusCode::PAYLOAD_TOO_LARGE);
}

#[rstest]
#[case::of_another_type("customer.created", json!({"id": "cus_1"}))]
#[case::of_another_accounts_intent("payment_intent.succeeded", json!({"id": "pi_9", "status": "succeeded"}))]
#[case::of_an_order_that_there_is_not(
    "payment_intent.succeeded",
    json!({"id": "pi_9", "status": "succeeded", "metadata": {"order_id": "ord_0123456789abcdef0123456789abcdef"}})
)]
#[tokio::test]
async fn an_event_that_is_not_about_a_payment_of_ours_is_taken_and_forgotten(
    #[case] kind: &str,
    #[case] object: Value,
) {
    let fixture = Fixture::new().await;
    assert_eq!(fixture.event(kind, object).await, StatusCode::OK);
    assert_eq!(fixture.faults.calls().iter().filter(|call| *call == "PutItem").count(), 0);
}

#[tokio::test]
async fn a_customer_who_finishes_late_is_noticed_by_the_webhook_and_repeats_change_nothing() {
    let fixture = Fixture::new().await;
    fixture.take("pm_3ds", "t1").await.unwrap();
    fixture.stripe.set_status("pi_1", "succeeded");
    assert_eq!(
        fixture.event("payment_intent.succeeded", fixture.stripe.object("pi_1")).await,
        StatusCode::OK
    );
    assert_eq!(fixture.failures(), [None]);
    assert_eq!(fixture.last_event().await.unwrap().causation_id, "evt_1");
    let version = fixture.payment().await.version;
    assert_eq!(
        fixture.event("payment_intent.succeeded", fixture.stripe.object("pi_1")).await,
        StatusCode::OK
    );
    assert_eq!(fixture.payment().await.version, version);
    assert_eq!(
        fixture.failures(),
        [None, None],
        "a repeat answers, too: the first may have died before it did"
    );
}

#[tokio::test]
async fn a_webhook_before_the_gateways_own_answer_answers_the_step_and_the_answer_changes_nothing() {
    let fixture = Fixture::new().await;
    // The intent was confirmed, and the answer was lost, so the worker does not know.
    fixture.stripe.fail("confirm", &[crate::testing::Fault::LostAnswer]);
    fixture.take("pm_card_visa", "t1").await.unwrap();
    assert_eq!(
        fixture.event("payment_intent.succeeded", fixture.stripe.object("pi_1")).await,
        StatusCode::OK
    );
    assert_eq!(fixture.failures(), [None]);
    fixture.check_at(5).await.unwrap();
    assert_eq!(fixture.status().await, Status::Succeeded);
    assert_eq!(fixture.stripe.money_held(), 4200);
    assert!(!fixture.stripe.calls().contains(&"retrieve".to_owned()), "nothing is owed any more");
}

#[tokio::test]
async fn webhooks_in_the_wrong_order_do_not_take_a_success_back() {
    let fixture = Fixture::new().await;
    fixture.take("pm_3ds", "t1").await.unwrap();
    let before = fixture.stripe.object("pi_1");
    fixture.stripe.set_status("pi_1", "succeeded");
    fixture.event("payment_intent.succeeded", fixture.stripe.object("pi_1")).await;
    assert_eq!(fixture.event("payment_intent.requires_action", before).await, StatusCode::OK);
    assert_eq!(fixture.status().await, Status::Succeeded);
}

#[tokio::test]
async fn a_failure_by_webhook_fails_the_step_at_once_and_leaves_the_closing_to_the_queue() {
    let fixture = Fixture::new().await;
    fixture.take("pm_3ds", "t1").await.unwrap();
    fixture.stripe.set_status("pi_1", "requires_payment_method");
    let calls = fixture.stripe.calls();
    fixture.event("payment_intent.payment_failed", fixture.stripe.object("pi_1")).await;
    assert_eq!(fixture.failures(), [Some("PaymentDeclined".to_owned())]);
    assert_eq!(fixture.stripe.calls(), calls, "no gateway call within a webhook's 3 s");
    assert_eq!(fixture.aws.sent().last().unwrap().1, 0);
    fixture.check_at(1).await.unwrap();
    assert_eq!(fixture.stripe.open(), 0);
}

#[tokio::test]
async fn late_money_after_a_time_out_is_given_back_by_the_queue() {
    let fixture = Fixture::new().await;
    fixture.take("pm_slow", "t1").await.unwrap();
    fixture.check_at(DEADLINE).await.unwrap();
    fixture.stripe.set_status("pi_1", "succeeded");
    fixture.event("payment_intent.succeeded", fixture.stripe.object("pi_1")).await;
    assert_eq!(fixture.status().await, Status::Refunding);
    fixture.check_at(DEADLINE + 1).await.unwrap();
    assert_eq!((fixture.status().await, fixture.stripe.money_held()), (Status::Refunded, 0));
}

#[tokio::test]
async fn a_webhook_that_cannot_answer_the_saga_fails_and_is_retried() {
    let fixture = Fixture::new().await;
    fixture.take("pm_3ds", "t1").await.unwrap();
    fixture.stripe.set_status("pi_1", "succeeded");
    fixture.aws.refuse("t1", 400, "AccessDeniedException");
    let object = fixture.stripe.object("pi_1");
    assert_eq!(
        fixture.event("payment_intent.succeeded", object.clone()).await,
        StatusCode::SERVICE_UNAVAILABLE
    );
    assert_eq!(fixture.event("payment_intent.succeeded", object).await, StatusCode::OK);
    assert_eq!(fixture.failures(), [None]);
}
