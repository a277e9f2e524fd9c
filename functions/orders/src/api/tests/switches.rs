//! New orders and discount codes while an operator has turned them off.

use super::*;

fn with_code(code: &str) -> Value {
    with("/discount_code", json!(code))
}

impl TestApi {
    async fn code(&self, code: &str) {
        let headers = [("authorization", &*self.tokens.admin()), ("content-type", "application/json")];
        let terms = json!({"code": code, "percentage": 10}).to_string();
        assert_eq!(self.send("POST", "/v1/discounts", &headers, terms).await.status, StatusCode::CREATED);
    }
}

#[tokio::test]
async fn while_new_orders_are_off_they_are_refused_by_a_problem_of_its_own_type() {
    let api = api().await;
    api.rules.orders.set(Position::Off);
    let refused = api.order("k-1", &two_mugs()).await;
    refused.assert_problem(StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(
        (&refused.body["type"], &refused.body["title"]),
        (&json!("urn:ordersaga:problem:orders-refused"), &json!("No new orders are accepted"))
    );
    assert_eq!(refused.headers["retry-after"], "60");
    assert_eq!(api.commits().await, 0);

    api.rules.orders.set(Position::On);
    assert_eq!(api.order("k-1", &two_mugs()).await.status, StatusCode::ACCEPTED, "the same request");
}

#[tokio::test]
async fn an_order_that_is_placed_stays_placed_while_new_ones_are_off() {
    let api = api().await;
    let first = api.order("k-1", &two_mugs()).await;
    api.rules.orders.set(Position::Off);
    let repeat = api.order("k-1", &two_mugs()).await;
    assert_eq!((repeat.status, &repeat.body), (StatusCode::ACCEPTED, &first.body));
    let id = first.body["order_id"].as_str().unwrap();
    assert_eq!(api.get(&api.anna(), &format!("/v1/orders/{id}")).await.status, StatusCode::OK);
    let headers = [("authorization", &*api.anna()), ("content-type", "application/json")];
    let cancel = api.send("POST", &format!("/v1/orders/{id}/cancel"), &headers, "").await;
    assert_eq!(cancel.status, StatusCode::ACCEPTED, "{}", cancel.body);
}

#[tokio::test]
async fn while_discounts_are_off_orders_and_quotes_with_a_code_are_refused_and_others_are_not() {
    let api = api().await;
    api.code("AUTUMN10").await;
    let placed = api.order("k-1", &with_code("AUTUMN10")).await;
    assert_eq!(placed.status, StatusCode::ACCEPTED);
    api.rules.discounts.set(Position::Off);
    for path in ["/v1/orders", "/v1/quotes"] {
        let token = api.anna();
        let headers =
            [("authorization", &*token), ("idempotency-key", "k-2"), ("content-type", "application/json")];
        let refused = api.send("POST", path, &headers, with_code("AUTUMN10").to_string()).await;
        assert_eq!(
            (refused.status, refused.invalid_fields()),
            (StatusCode::UNPROCESSABLE_ENTITY, vec!["discount_code"]),
            "{path}"
        );
        assert_eq!(refused.body["errors"][0]["message"], "no discount codes are accepted at the moment");
    }
    assert_eq!(api.order("k-3", &two_mugs()).await.status, StatusCode::ACCEPTED);
    let repeat = api.order("k-1", &with_code("AUTUMN10")).await;
    assert_eq!((repeat.status, repeat.body), (StatusCode::ACCEPTED, placed.body), "it keeps its discount");
}
