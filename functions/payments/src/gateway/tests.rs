use contracts::Currency;
use rstest::rstest;
use serde_json::json;
use wiremock::{
    Mock, MockServer, ResponseTemplate,
    matchers::{header, method, path, query_param},
};

use super::*;
use crate::{
    domain::{IntentState, PaymentInput},
    testing::{CALL, FAST, Fixture},
};

fn gateway(fixture: &Fixture, server: &MockServer) -> Gateway {
    gateway_at(fixture, &server.uri())
}

fn gateway_at(fixture: &Fixture, url: &str) -> Gateway {
    Gateway::new(
        url,
        Timeouts { connect: CALL, call: CALL },
        Arc::clone(&fixture.secrets),
        fixture.breaker(),
        fixture.limits(FAST),
    )
}

/// A payment for calls of the gateway, for which its state does not matter.
async fn undone_payment(fixture: &Fixture) -> Payment {
    let undo = PaymentInput::UndoRequested {
        user_id: fixture.user.clone(),
        correlation_id: crate::testing::correlation(),
    };
    crate::handler::record(
        &fixture.payments.recorder.store,
        &fixture.order,
        None,
        &undo,
        fixture.event_context(),
    )
    .await
    .unwrap()
}

async fn answering(status: u16, body: serde_json::Value) -> MockServer {
    let server = MockServer::start().await;
    Mock::given(wiremock::matchers::any())
        .respond_with(ResponseTemplate::new(status).set_body_json(body))
        .mount(&server)
        .await;
    server
}

#[rstest]
#[case::bank_said_no(402, json!({"error": {"type": "card_error", "code": "card_declined", "decline_code": "lost_card"}}), "the payment was declined: lost_card", false, false)]
#[case::as_localstripe_says_it(402, json!({"error": {"type": "invalid_request_error", "code": "card_declined"}}), "the payment was declined: card_declined", false, false)]
#[case::no_such_card(400, json!({"error": {"type": "invalid_request_error", "code": "resource_missing", "param": "payment_method"}}), "the payment was declined: resource_missing", false, false)]
#[case::no_card(400, json!({"error": {"type": "invalid_request_error", "code": "payment_intent_incompatible_payment_method"}}), "the payment was declined: payment_intent_incompatible_payment_method", false, false)]
#[case::not_there(400, json!({"error": {"type": "invalid_request_error", "code": "resource_missing", "param": "intent"}}), "the gateway refused with 400: resource_missing", false, false)]
#[case::done(400, json!({"error": {"type": "invalid_request_error", "code": "charge_already_refunded"}}), "the gateway refused with 400: charge_already_refunded", false, false)]
#[case::account(400, json!({"error": {"type": "invalid_request_error", "code": "testmode_charges_only"}}), "the gateway rejected our request: 400 testmode_charges_only", true, true)]
#[case::no_cards_at_all(400, json!({"error": {"type": "invalid_request_error", "code": "payment_intent_invalid_parameter", "param": "payment_method_types"}}), "the gateway rejected our request: 400 payment_intent_invalid_parameter", true, true)]
#[case::too_small(400, json!({"error": {"type": "invalid_request_error", "code": "amount_too_small"}}), "the gateway rejected our request: 400 amount_too_small", true, true)]
#[case::another_form(400, json!({"error": {"type": "idempotency_error"}}), "the gateway rejected our request: 400 idempotency_error", true, true)]
#[case::without_a_code(400, json!({"error": {"type": "invalid_request_error"}}), "the gateway rejected our request: 400 invalid_request_error", true, true)]
#[case::not_known(404, json!("nothing"), "the gateway refused with 404: unknown", false, false)]
#[case::key(401, json!({}), "the gateway rejected our API key", true, false)]
#[case::rights(403, json!({}), "the gateway rejected our API key", true, false)]
#[case::in_use(409, json!({"error": {"code": "idempotency_key_in_use"}}), "the gateway is busy (409)", true, false)]
#[case::too_many(429, json!({}), "the gateway is busy (429)", true, false)]
#[case::broken(500, json!({"error": {"type": "api_error"}}), "the gateway failed with 500", true, true)]
#[case::proxy(503, json!("<html>"), "the gateway failed with 503", true, true)]
#[case::strange(200, json!({"object": "list"}), "the gateway's answer cannot be read", true, false)]
#[tokio::test]
async fn each_answer_means_one_thing(
    #[case] status: u16,
    #[case] body: serde_json::Value,
    #[case] text: &str,
    #[case] retryable: bool,
    #[case] is_cached_under_key: bool,
) {
    let fixture = Fixture::new().await;
    let server = answering(status, body).await;
    let error = gateway(&fixture, &server).retrieve("pi_1", CALL).await.unwrap_err();
    assert_eq!(error.to_string(), text);
    assert_eq!((error.is_retryable(), error.is_cached_under_key()), (retryable, is_cached_under_key));
}

#[tokio::test]
async fn a_gateway_that_is_not_there_or_too_slow_gives_no_answer() {
    let fixture = Fixture::new().await;
    let closed = gateway_at(&fixture, "http://127.0.0.1:9");
    assert!(matches!(closed.retrieve("pi_1", CALL).await, Err(GatewayError::NoAnswer(_))));

    let server = MockServer::start().await;
    let slow = ResponseTemplate::new(200).set_delay(std::time::Duration::from_secs(60));
    Mock::given(method("GET")).respond_with(slow).mount(&server).await;
    let error = gateway(&fixture, &server).retrieve("pi_1", CALL).await.unwrap_err();
    assert!(matches!(error, GatewayError::NoAnswer(_)) && error.is_retryable());
}

#[tokio::test]
async fn a_request_names_its_key_its_version_and_who_asks() {
    let fixture = Fixture::new().await;
    let server = MockServer::start().await;
    let intent = json!({"id": "pi_1", "status": "succeeded", "latest_charge": "ch_1"});
    Mock::given(method("POST"))
        .and(path("/v1/payment_intents/pi_1/confirm"))
        .and(header("authorization", "Bearer sk_test_right"))
        .and(header("stripe-version", "2024-06-20"))
        .and(header("content-type", "application/x-www-form-urlencoded"))
        .and(header("idempotency-key", format!("{}.confirm.1", fixture.order).as_str()))
        .respond_with(ResponseTemplate::new(200).set_body_json(&intent))
        .mount(&server)
        .await;
    Mock::given(method("GET"))
        .and(path("/v1/payment_intents/pi_1"))
        .and(query_param("expand[]", "latest_charge"))
        .respond_with(ResponseTemplate::new(200).set_body_json(&intent))
        .mount(&server)
        .await;
    let payment = undone_payment(&fixture).await;
    let gateway = gateway(&fixture, &server);
    let confirmed = gateway.confirm(&payment, "pi_1", CALL).await.unwrap();
    assert_eq!(confirmed.state(), IntentState::Succeeded);
    assert_eq!(gateway.retrieve("pi_1", CALL).await.unwrap().refunded(), 0);
}

#[rstest]
#[case::as_it_is(Money::new(4200, Currency::USD), Ok("amount=4200&currency=usd"))]
#[case::with_two_decimals(Money::new(4200, Currency::ISK), Ok("amount=420000&currency=isk"))]
#[case::without_decimals(Money::new(500_000, Currency::MGA), Ok("amount=5000&currency=mga"))]
#[case::in_tens(Money::new(1230, Currency::KWD), Ok("amount=1230&currency=kwd"))]
#[case::off_its_step(Money::new(1234, Currency::KWD), Err(()))]
#[case::too_small(Money::new(30, Currency::USD), Err(()))]
#[case::never_charged(Money::new(500, Currency::XAU), Err(()))]
#[tokio::test]
async fn a_charge_is_sent_in_the_gateways_units_or_not_at_all(
    #[case] amount: Money,
    #[case] sent: Result<&str, ()>,
) {
    let fixture = Fixture::new().await;
    let server = answering(200, json!({"id": "pi_1", "status": "requires_confirmation"})).await;
    let payment = undone_payment(&fixture).await;
    let charge = Charge { amount, payment_method: "pm_card_visa".to_owned(), deadline: 0 };
    let answer = gateway(&fixture, &server).create(&payment, &charge, CALL).await;
    let requests = server.received_requests().await.unwrap();
    match sent {
        Ok(form) => assert!(requests[0].body.starts_with(form.as_bytes()), "{requests:?}"),
        Err(()) => {
            assert!(matches!(answer, Err(GatewayError::Declined { .. })), "{answer:?}");
            assert!(requests.is_empty(), "{requests:?}");
        }
    }
}

#[rstest]
#[case(json!({"status": "requires_confirmation"}), IntentState::Unconfirmed)]
#[case(json!({"status": "processing"}), IntentState::Processing)]
#[case(json!({"status": "requires_capture"}), IntentState::Processing)]
#[case(json!({"status": "a_status_of_next_year"}), IntentState::Processing)]
#[case(json!({"status": "succeeded"}), IntentState::Succeeded)]
#[case(json!({"status": "canceled"}), IntentState::Canceled)]
#[case(
    json!({"status": "requires_payment_method", "last_payment_error": {"code": "card_declined", "decline_code": "fraudulent"}}),
    IntentState::Declined { code: "fraudulent".to_owned() }
)]
#[case(json!({"status": "requires_payment_method"}), IntentState::Declined { code: "unknown".to_owned() })]
fn each_status_of_an_intent_means_one_thing(
    #[case] mut object: serde_json::Value,
    #[case] state: IntentState,
) {
    object["id"] = json!("pi_1");
    let intent: IntentObject = serde_json::from_value(object).unwrap();
    assert_eq!(intent.state(), state);
}

#[test]
fn a_retrieved_intent_says_how_much_went_back() {
    let refunded = |charge: serde_json::Value| {
        let object = json!({"id": "pi_1", "status": "succeeded", "latest_charge": charge});
        serde_json::from_value::<IntentObject>(object).unwrap().refunded()
    };
    assert_eq!(refunded(json!({"amount": 5, "amount_refunded": 4})), 4);
    assert_eq!(refunded(json!({"amount_refunded": 4, "currency": "usd"})), 4);
    assert_eq!(refunded(json!({"amount_refunded": 500, "currency": "isk"})), 5);
    assert_eq!(refunded(json!({"amount_refunded": 5, "currency": "mga"})), 500);
    assert_eq!(refunded(json!("ch_1")), 0);
    assert_eq!(refunded(serde_json::Value::Null), 0);
}

#[tokio::test]
async fn a_gateway_without_a_key_in_the_secret_says_so_and_looks_again() {
    let fixture = Fixture::new().await;
    fixture.aws.set_secret(json!({"api_key": "", "webhook_secrets": []}));
    let error = fixture.payments.gateway.cancel("pi_1", CALL).await.unwrap_err();
    assert!(matches!(error, GatewayError::ApiKeyUnavailable(_)) && error.is_retryable());
    fixture.aws.set_secret(json!({"api_key": "sk_test_right", "webhook_secrets": []}));
    assert!(matches!(fixture.payments.gateway.cancel("pi_1", CALL).await, Err(GatewayError::Refused { .. })));
}
