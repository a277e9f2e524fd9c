use axum::http::StatusCode;
use contracts::UserId;
use lambda_kit::testing::Response;
use rstest::rstest;
use serde_json::{Value, json};

use crate::{
    api::tests::{TestApi, api, two_mugs, with},
    domain::Command,
    testing::cancel,
};

impl TestApi {
    async fn admin(&self, method: &str, path: &str, body: &Value) -> Response {
        let token = self.tokens.admin();
        let headers = [("authorization", &*token), ("content-type", "application/json")];
        self.send(method, path, &headers, body.to_string()).await
    }

    pub async fn make(&self, discount: &Value) {
        let answer = self.admin("POST", "/v1/discounts", discount).await;
        assert_eq!(answer.status, StatusCode::CREATED, "{}", answer.body);
        self.faults.reset();
    }

    /// Anna orders two mugs, for 84 dollars, with a code.
    async fn order_with(&self, key: &str, code: &str) -> Response {
        self.order(key, &with("/discount_code", json!(code))).await
    }
}

fn ten_percent() -> Value {
    json!({"code": "Ten-Off", "percentage": 10})
}

#[tokio::test]
async fn an_order_with_a_code_says_what_was_taken_off_and_costs_one_call_no_more() {
    let api = api().await;
    api.make(&ten_percent()).await;
    let placed = api.order_with("k-1", "TEN-OFF").await;
    assert_eq!(placed.status, StatusCode::ACCEPTED, "{}", placed.body);
    let mut calls = api.faults.calls();
    calls.sort();
    // The customer's rate limit is checked concurrently with the look-up.
    assert_eq!(calls, ["BatchGetItem", "TransactWriteItems", "UpdateItem"]);
    assert_eq!(placed.body["total"], json!({"amount": 7560, "currency": "USD"}));
    let discount = json!({"code": "Ten-Off", "amount": {"amount": 840, "currency": "USD"}});
    assert_eq!(placed.body["discount"], discount);

    let path = format!("/v1/orders/{}", placed.body["order_id"].as_str().unwrap());
    let order = api.get(&api.anna(), &path).await.body;
    assert_eq!((&order["discount"], &order["total"]), (&discount, &placed.body["total"]));
    let events = api.get(&api.anna(), &format!("{path}/events")).await.body;
    let created = &events["items"][0]["data"];
    assert_eq!((&created["discount"], &created["total"]), (&discount, &placed.body["total"]));

    let plain = api.order("k-2", &two_mugs()).await.body;
    assert_eq!(plain.get("discount"), None);
}

#[tokio::test]
async fn a_repeat_is_answered_as_the_first_was_whatever_became_of_the_code() {
    let api = api().await;
    api.make(&json!({"code": "ONCE", "percentage": 10, "total_limit": 1})).await;
    let first = api.order_with("k-1", "ONCE").await;
    assert_eq!(api.order_with("k-2", "ONCE").await.invalid_fields(), ["discount_code"], "used up");
    for then in ["used up", "ended"] {
        let again = api.order_with("k-1", "ONCE").await;
        assert_eq!((again.status, &again.body), (StatusCode::ACCEPTED, &first.body), "{then}");
        assert_eq!(again.header("idempotent-replayed"), Some("true"));
        api.admin("DELETE", "/v1/discounts/once", &Value::Null).await;
    }
    let other = api.order("k-1", &two_mugs()).await;
    assert_eq!(other.status, StatusCode::UNPROCESSABLE_ENTITY, "the code is a part of the request");
}

#[rstest]
#[case::unknown(json!("NONE"), "is not known")]
#[case::ended(json!("ENDED"), "is no longer valid")]
#[case::over(json!("OVER"), "is no longer valid")]
#[case::to_come(json!("TO-COME"), "is not valid yet")]
#[case::for_more(json!("MINIMUM"), "is for orders of 84.01 USD or more")]
#[case::in_euros(json!("EUROS"), "is for orders in EUR, and this one is in USD")]
#[case::no_text(json!(10), "invalid type")]
#[tokio::test]
async fn a_code_that_is_not_taken_refuses_the_order_and_says_why(#[case] code: Value, #[case] why: &str) {
    let api = api().await;
    for discount in [
        json!({"code": "ENDED", "percentage": 10}),
        json!({"code": "OVER", "percentage": 10, "valid_until": "2020-01-01T00:00:00Z"}),
        json!({"code": "TO-COME", "percentage": 10, "valid_from": "2100-01-01T00:00:00Z"}),
        json!({"code": "MINIMUM", "percentage": 10, "minimum_total": {"amount": 8401, "currency": "USD"}}),
        json!({"code": "EUROS", "amount": {"amount": 500, "currency": "EUR"}}),
    ] {
        api.make(&discount).await;
    }
    api.admin("DELETE", "/v1/discounts/ENDED", &Value::Null).await;
    let answer = api.order("k-1", &with("/discount_code", code)).await;
    assert_eq!(
        (answer.status, answer.invalid_fields()),
        (StatusCode::UNPROCESSABLE_ENTITY, vec!["discount_code"])
    );
    let message = answer.body["errors"][0]["message"].as_str().unwrap();
    assert!(message.contains(why), "{message}");
    assert_eq!(api.commits().await, 0);
}

#[tokio::test]
async fn an_order_may_cost_nothing_and_a_null_code_is_none() {
    let api = api().await;
    api.make(&json!({"code": "GIFT", "amount": {"amount": 100_000, "currency": "USD"}})).await;
    let free = api.order_with("k-1", "GIFT").await.body;
    assert_eq!(free["total"]["amount"], 0);
    assert_eq!(free["discount"]["amount"]["amount"], 8400, "what it was worth, and no more");
    let plain = api.order("k-2", &with("/discount_code", Value::Null)).await;
    assert_eq!((plain.status, &plain.body["total"]["amount"]), (StatusCode::ACCEPTED, &json!(8400)));
}

#[tokio::test]
async fn codes_are_made_listed_page_by_page_and_ended() {
    let api = api().await;
    let full = json!({
        "code": "Full", "amount": {"amount": 500, "currency": "USD"},
        "minimum_total": {"amount": 1000, "currency": "USD"}, "valid_from": "2026-01-01T00:00:00Z",
        "valid_until": "2100-01-01T00:00:00Z", "total_limit": 10, "per_customer_limit": 2,
    });
    for discount in [&full, &ten_percent(), &json!({"code": "A", "percentage": 100})] {
        api.make(discount).await;
    }
    assert_eq!(
        api.admin("POST", "/v1/discounts", &json!({"code": "FULL", "percentage": 1})).await.status,
        StatusCode::CONFLICT
    );
    api.order_with("k-1", "full").await;

    let first = api.admin("GET", "/v1/discounts?limit=2", &Value::Null).await.body;
    let codes: Vec<&Value> = first["items"].as_array().unwrap().iter().map(|item| &item["code"]).collect();
    assert_eq!(codes, ["A", "Full"]);
    let shown = &first["items"][1];
    assert_eq!(shown["used"], 1);
    for (field, value) in full.as_object().unwrap() {
        assert_eq!(&shown[field], value, "{field}");
    }
    let cursor = first["next_cursor"].as_str().unwrap();
    let second = api.admin("GET", &format!("/v1/discounts?limit=2&cursor={cursor}"), &Value::Null).await.body;
    assert_eq!((&second["items"][0]["code"], &second["next_cursor"]), (&json!("Ten-Off"), &Value::Null));

    for expected in [StatusCode::NO_CONTENT, StatusCode::NOT_FOUND] {
        assert_eq!(api.admin("DELETE", "/v1/discounts/full", &Value::Null).await.status, expected);
    }
    let left = api.admin("GET", "/v1/discounts", &Value::Null).await.body;
    assert_eq!(left["items"].as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn a_cancelled_order_gives_its_code_back() {
    let api = api().await;
    api.make(&json!({"code": "ONCE", "percentage": 10, "per_customer_limit": 1})).await;
    let first = api.order_with("k-1", "ONCE").await;
    assert_eq!(api.order_with("k-2", "ONCE").await.invalid_fields(), ["discount_code"]);
    let id = contracts::OrderId::try_from(first.body["order_id"].as_str().unwrap()).unwrap();
    let declined: Command = cancel("TakePayment", "PaymentDeclined");
    let correlation_id = crate::testing::correlation_id();
    crate::handler::execute(&api.store, &id, &declined, &correlation_id, jiff::Timestamp::now())
        .await
        .unwrap();
    assert_eq!(api.order_with("k-2", "ONCE").await.status, StatusCode::ACCEPTED, "with the same key");
}

#[rstest]
#[case::nothing_off(json!({"code": "A"}), "percentage")]
#[case::two_reductions(json!({"code": "A", "percentage": 5, "amount": {"amount": 5, "currency": "USD"}}), "amount")]
#[case::none_of_it(json!({"code": "A", "percentage": 0}), "percentage")]
#[case::more_than_all(json!({"code": "A", "percentage": 101}), "percentage")]
#[case::a_fraction(json!({"code": "A", "percentage": 2.5}), "percentage")]
#[case::a_negative_amount(json!({"code": "A", "amount": {"amount": -5, "currency": "USD"}}), "amount")]
#[case::no_currency(json!({"code": "A", "amount": 5}), "amount")]
#[case::another_currency(
    json!({"code": "A", "amount": {"amount": 5, "currency": "USD"}, "minimum_total": {"amount": 5, "currency": "EUR"}}),
    "minimum_total"
)]
#[case::an_end_before_the_beginning(
    json!({"code": "A", "percentage": 5, "valid_from": "2026-01-02T00:00:00Z", "valid_until": "2026-01-02T00:00:00Z"}),
    "valid_until"
)]
#[case::no_time(json!({"code": "A", "percentage": 5, "valid_until": "tomorrow"}), "valid_until")]
#[case::never(json!({"code": "A", "percentage": 5, "total_limit": 0}), "total_limit")]
#[case::less_than_never(json!({"code": "A", "percentage": 5, "per_customer_limit": -1}), "per_customer_limit")]
#[case::a_space(json!({"code": "A B", "percentage": 5}), "code")]
#[case::no_code(json!({"percentage": 5}), "code")]
#[tokio::test]
async fn a_code_that_makes_no_sense_is_refused(#[case] discount: Value, #[case] field: &str) {
    let api = api().await;
    let answer = api.admin("POST", "/v1/discounts", &discount).await;
    let fields = answer.invalid_fields();
    assert_eq!(answer.status, StatusCode::UNPROCESSABLE_ENTITY, "{}", answer.body);
    assert!(fields.len() == 1 && fields[0].starts_with(field), "{fields:?}");
}

#[tokio::test]
async fn who_made_and_ended_a_code_is_in_the_audit_trail() {
    let api = api().await;
    let terms = json!({"code": "Ten-Off", "percentage": 10, "total_limit": 5});
    api.make(&terms).await;
    assert_eq!(api.admin("POST", "/v1/discounts", &ten_percent()).await.status, StatusCode::CONFLICT);
    for expected in [StatusCode::NO_CONTENT, StatusCode::NOT_FOUND] {
        assert_eq!(api.admin("DELETE", "/v1/discounts/ten-off", &Value::Null).await.status, expected);
    }
    // A code is the same in lower and in upper case.
    let answer = api.admin("GET", "/v1/discounts/tEN-oFF/audit", &Value::Null).await;
    let entries = answer.body["items"].as_array().unwrap();
    assert_eq!(entries.len(), 2, "a refused request has no entry: {}", answer.body);
    assert_eq!(
        json!([entries[0]["action"], entries[0]["before"], entries[0]["after"]]),
        json!(["discount.ended", {"ended": false}, {"ended": true}])
    );
    assert_eq!(json!([entries[1]["action"], entries[1]["before"]]), json!(["discount.created", null]));
    for (field, value) in terms.as_object().unwrap() {
        assert_eq!(&entries[1]["after"][field], value, "{field}");
    }
    for entry in entries {
        assert_eq!(entry["subject"], "TEN-OFF");
        assert!(entry["actor"].as_str().unwrap().starts_with("usr_"));
    }
}

#[rstest]
#[case("POST", "/v1/discounts")]
#[case("GET", "/v1/discounts")]
#[case("DELETE", "/v1/discounts/A")]
#[case("GET", "/v1/discounts/A/audit")]
#[case("GET", "/v1/orders/ord_0123456789abcdef0123456789abcdef/audit")]
#[tokio::test]
async fn codes_are_for_administrators(#[case] method: &str, #[case] path: &str) {
    let api = api().await;
    let user = api.tokens.user(&UserId::generate());
    for (headers, expected) in
        [(vec![], StatusCode::UNAUTHORIZED), (vec![("authorization", &*user)], StatusCode::FORBIDDEN)]
    {
        assert_eq!(api.send(method, path, &headers, ten_percent().to_string()).await.status, expected);
    }
}

#[rstest]
#[case("limit=0", "limit")]
#[case("limit=101", "limit")]
#[case("cursor=%21", "cursor")]
#[case("limit=x", "limit")]
#[case("limit=1&limit=2", "limit")]
#[tokio::test]
async fn a_page_that_there_is_not_is_refused(#[case] query: &str, #[case] field: &str) {
    let api = api().await;
    let answer = api.admin("GET", &format!("/v1/discounts?{query}"), &Value::Null).await;
    assert_eq!((answer.status, answer.invalid_fields()), (StatusCode::UNPROCESSABLE_ENTITY, vec![field]));
}

#[rstest]
#[case("Ten-Off ")]
#[case("\tTen-Off")]
#[case("\u{a0}ten-off\u{3000}")]
#[tokio::test]
async fn space_around_a_code_means_nothing(#[case] typed: &str) {
    let api = api().await;
    api.make(&ten_percent()).await;
    let placed = api.order_with("k-1", typed).await;
    assert_eq!(placed.status, StatusCode::ACCEPTED, "{}", placed.body);
    assert_eq!(placed.body["discount"]["code"], "Ten-Off");
}

#[tokio::test]
async fn a_code_that_leaves_less_than_a_payment_is_refused_and_is_not_used() {
    let api = api().await;
    api.make(&json!({"code": "ALMOST", "amount": {"amount": 8370, "currency": "USD"}})).await;
    let refused = api.order_with("k-1", "ALMOST").await;
    assert_eq!(
        (refused.status, refused.invalid_fields()),
        (StatusCode::UNPROCESSABLE_ENTITY, vec!["discount_code"])
    );
    assert_eq!(api.commits().await, 0);
    let codes = api.admin("GET", "/v1/discounts", &json!({})).await.body;
    assert_eq!(codes["items"][0]["used"], 0);
}

#[rstest]
#[case(json!({"amount": 1234, "currency": "KWD"}), 422)]
#[case(json!({"amount": 1230, "currency": "KWD"}), 201)]
#[case(json!({"amount": 150, "currency": "MGA"}), 422)]
#[case(json!({"amount": 500, "currency": "XAU"}), 422)]
#[case(json!({"amount": 1_000_000_000, "currency": "USD"}), 201)]
#[tokio::test]
async fn a_code_takes_off_what_can_be_charged(#[case] amount: Value, #[case] status: u16) {
    let api = api().await;
    let made = api.admin("POST", "/v1/discounts", &json!({"code": "ODD", "amount": amount})).await;
    assert_eq!(made.status.as_u16(), status, "{}", made.body);
    if status == 422 {
        assert_eq!(made.invalid_fields(), ["amount"]);
    }
}
