//! Amounts that can be charged, and totals that the customer has seen.

use contracts::{Currency, Money};

use super::*;

#[tokio::test]
async fn more_than_a_payment_takes_is_refused() {
    let api = api().await;
    api.store.record_price(&sku("CAR"), 1, Some(usd(100_000))).await.unwrap().unwrap();
    let answer = api.order("k-1", &body(json!([{"sku": "CAR", "quantity": 1000}]))).await;
    assert_eq!((answer.status, answer.invalid_fields()), (StatusCode::UNPROCESSABLE_ENTITY, vec!["items"]));
}

/// The API, and a product of this price.
async fn api_with_product(amount: i64, currency: Currency) -> TestApi {
    let api = api().await;
    api.store.record_price(&sku("ODD"), 1, Some(Money::new(amount, currency))).await.unwrap().unwrap();
    api
}

#[rstest]
#[case::less_than_a_payment(30, Currency::USD)]
#[case::off_its_step(1234, Currency::KWD)]
#[case::between_two_ariary(500_050, Currency::MGA)]
#[case::never_charged(500, Currency::XAU)]
#[case::more_than_the_gateway_takes(1_000_000, Currency::ISK)]
#[tokio::test]
async fn a_total_that_cannot_be_charged_is_refused(#[case] amount: i64, #[case] currency: Currency) {
    let api = api_with_product(amount, currency).await;
    let answer = api.order("k-1", &body(json!([{"sku": "ODD", "quantity": 1}]))).await;
    assert_eq!((answer.status, answer.invalid_fields()), (StatusCode::UNPROCESSABLE_ENTITY, vec!["items"]));
    assert_eq!(api.commits().await, 0);
}

#[rstest]
#[case::two_of_what_is_too_cheap_alone(30, Currency::USD, 2)]
#[case::in_tens(1230, Currency::KWD, 1)]
#[case::in_whole_ariary(500_000, Currency::MGA, 1)]
#[case::in_kronur(4200, Currency::ISK, 1)]
#[case::for_nothing(0, Currency::USD, 1)]
#[tokio::test]
async fn a_total_that_can_be_charged_is_taken(
    #[case] amount: i64,
    #[case] currency: Currency,
    #[case] quantity: i64,
) {
    let api = api_with_product(amount, currency).await;
    let answer = api.order("k-1", &body(json!([{"sku": "ODD", "quantity": quantity}]))).await;
    assert_eq!(answer.status, StatusCode::ACCEPTED, "{}", answer.body);
    assert_eq!(answer.body["total"]["amount"], amount * quantity);
}

fn expecting(amount: i64, currency: &str) -> Value {
    with("/expected_total", json!({"amount": amount, "currency": currency}))
}

#[tokio::test]
async fn an_order_with_the_expected_total_is_placed_with_no_call_more() {
    let api = api().await;
    let answer = api.order("k-1", &expecting(8400, "USD")).await;
    assert_eq!(answer.status, StatusCode::ACCEPTED, "{}", answer.body);
    assert_eq!(api.faults.calls().len(), 3);
}

#[rstest]
#[case::cheaper(8300, "USD")]
#[case::dearer(8500, "USD")]
#[case::in_another_currency(8400, "EUR")]
#[tokio::test]
async fn an_order_with_another_total_is_a_conflict_that_says_the_total(
    #[case] amount: i64,
    #[case] currency: &str,
) {
    let api = api().await;
    let answer = api.order("k-1", &expecting(amount, currency)).await;
    assert_eq!(answer.status, StatusCode::CONFLICT);
    assert_eq!(answer.header("content-type"), Some("application/problem+json"));
    assert_eq!(answer.body["total"], json!({"amount": 8400, "currency": "USD"}));
    assert_eq!(api.commits().await, 0);
    // The same key, once the customer has agreed.
    assert_eq!(api.order("k-1", &expecting(8400, "USD")).await.status, StatusCode::ACCEPTED);
}

#[tokio::test]
async fn a_repeat_is_the_first_order_whatever_the_price_is_now() {
    let api = api().await;
    let first = api.order("k-1", &expecting(8400, "USD")).await;
    api.store.record_price(&sku("MUG"), 2, Some(usd(4500))).await.unwrap().unwrap();
    let again = api.order("k-1", &expecting(8400, "USD")).await;
    assert_eq!((again.status, &again.body), (StatusCode::ACCEPTED, &first.body));
    let renewed = api.order("k-1", &expecting(9000, "USD")).await;
    assert_eq!((renewed.status, &renewed.body), (StatusCode::ACCEPTED, &first.body));
    assert_eq!(api.order("k-2", &expecting(8400, "USD")).await.status, StatusCode::CONFLICT);
}

#[rstest]
#[case::half_a_total(with("/expected_total", json!({"amount": 8400})), "expected_total.currency")]
#[case::no_currency(with("/expected_total", json!({"amount": 1, "currency": "XYZ"})), "expected_total.currency")]
#[case::in_words(with("/expected_total", json!("84 dollars")), "expected_total")]
#[case::a_fraction(with("/expected_total", json!({"amount": 84.5, "currency": "USD"})), "expected_total.amount")]
#[case::a_code_in_numbers(with("/discount_code", json!(5)), "discount_code")]
#[case::an_address_in_words(with("/shipping_address", json!("Berlin")), "shipping_address")]
#[case::a_name_in_numbers(with("/shipping_address/name", json!(5)), "shipping_address.name")]
#[case::a_list_for_a_line(with("/items/0", json!(["MUG"])), "items[0]")]
#[case::an_invisible_name(with("/shipping_address/name", json!("\u{200b}")), "shipping_address.name")]
#[case::a_name_of_two_lines(with("/shipping_address/name", json!("a\r\nb")), "shipping_address.name")]
#[case::no_postal_code(with("/shipping_address/postal_code", json!("")), "shipping_address.postal_code")]
#[tokio::test]
async fn a_field_that_cannot_be_read_is_named_as_it_was_sent(#[case] body: Value, #[case] field: &str) {
    let api = api().await;
    let answer = api.order("k-1", &body).await;
    assert_eq!((answer.status, answer.invalid_fields()), (StatusCode::UNPROCESSABLE_ENTITY, vec![field]));
    assert_eq!(api.commits().await, 0);
}

#[rstest]
#[case::an_empty_second_line(with("/shipping_address/line2", json!("")))]
#[case::an_empty_code(with("/discount_code", json!("")))]
#[case::a_blank_code(with("/discount_code", json!(" \u{a0}")))]
#[case::kosovo(with("/shipping_address/country", json!("XK")))]
#[case::in_lower_case(with("/shipping_address/country", json!("de")))]
#[case::expecting_nothing(with("/expected_total", Value::Null))]
#[tokio::test]
async fn what_a_form_sends_is_understood(#[case] body: Value) {
    let api = api().await;
    let answer = api.order("k-1", &body).await;
    assert_eq!(answer.status, StatusCode::ACCEPTED, "{}", answer.body);
}
