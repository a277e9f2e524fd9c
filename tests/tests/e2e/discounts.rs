//! Discount codes: usage limits, their release when an order is cancelled, and orders that cost nothing.

use contracts::{OrderId, OrderStatus, Sku};
use futures::future::try_join_all;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use shop_client::{Answer, NewOrder, card};

use crate::fixture::{Customer, Fixture, PRICE, Result, address, buy, unique};
use crate::harness::Outcome;

crate::tests![
    of_twenty_orders_for_five_uses_exactly_five_have_the_code,
    a_cancelled_order_gives_its_code_back,
    an_order_that_costs_nothing_completes_without_the_gateway,
    an_order_that_costs_nothing_is_undone_without_the_gateway,
    a_code_is_made_listed_and_ended,
];

/// A code of a test's own.
async fn make(fixture: &Fixture, mut terms: Value) -> Result<String> {
    let code = unique("C").replace('-', "_");
    terms["code"] = json!(code);
    let made: Value = fixture.admin.call(Method::POST, "/v1/discounts").json(&terms).send().await?.read()?;
    assert_eq!((&made["code"], &made["used"]), (&json!(code), &json!(0)));
    Ok(code)
}

/// The number of orders with this code.
async fn used(fixture: &Fixture, code: &str) -> Result<Value> {
    let mut cursor = String::new();
    loop {
        let page: Value = fixture.admin.get(&format!("/v1/discounts?limit=2{cursor}")).await?;
        let found = page["items"].as_array().into_iter().flatten().find(|discount| discount["code"] == code);
        match (found, page["next_cursor"].as_str()) {
            (Some(discount), _) => return Ok(discount["used"].clone()),
            (None, Some(next)) => cursor = format!("&cursor={next}"),
            (None, None) => return Ok(Value::Null),
        }
    }
}

async fn order(customer: &Customer, order: &NewOrder, code: &str, key: &str) -> Result<Answer> {
    let mut body = serde_json::to_value(order).expect("an order has a JSON form");
    body["discount_code"] = json!(code);
    let call = customer.shop.call(Method::POST, "/v1/orders").header("idempotency-key", key);
    call.json(&body).send().await
}

fn id(placed: &Value) -> OrderId {
    OrderId::try_from(placed["order_id"].as_str().unwrap_or_default()).expect("an order's id")
}

fn is_refused_for_its_code(answer: &Answer) -> bool {
    answer.status == StatusCode::UNPROCESSABLE_ENTITY
        && answer.value()["errors"][0]["field"] == "discount_code"
}

async fn of_twenty_orders_for_five_uses_exactly_five_have_the_code(fixture: Fixture) -> Outcome {
    let code = make(&fixture, json!({"percentage": 10, "total_limit": 5, "per_customer_limit": 3})).await?;
    let (customers, sku) =
        (try_join_all((0..2).map(|_| fixture.customer())).await?, fixture.product(100).await?);
    let (buy, keys) = (buy(&sku), (0..20).map(|_| unique("key")).collect::<Vec<_>>());
    let orders = keys.iter().enumerate().map(|(n, key)| order(&customers[n % 2], &buy, &code, key));
    let answers = try_join_all(orders).await?;
    let (placed, refused): (Vec<&Answer>, Vec<&Answer>) =
        answers.iter().partition(|answer| answer.status == StatusCode::ACCEPTED);
    assert_eq!(placed.len(), 5);
    assert!(refused.into_iter().all(is_refused_for_its_code));
    assert_eq!(used(&fixture, &code).await?, 5);

    // Repeating the requests changes nothing, and those that were placed get the first answer.
    for (n, key) in keys.iter().enumerate() {
        let again = order(&customers[n % 2], &buy, &code, key).await?;
        assert_eq!(
            (again.status, again.value()["order_id"].clone()),
            (answers[n].status, answers[n].value()["order_id"].clone())
        );
    }
    assert_eq!(used(&fixture, &code).await?, 5);
    Ok(())
}

async fn a_cancelled_order_gives_its_code_back(fixture: Fixture) -> Outcome {
    let code =
        make(&fixture, json!({"amount": {"amount": 250, "currency": "USD"}, "total_limit": 1})).await?;
    let (customer, sku) = (fixture.customer().await?, fixture.product(5).await?);
    let declined = NewOrder { payment_method: card::DECLINED.to_owned(), ..buy(&sku) };
    let first: Value = order(&customer, &declined, &code, &unique("key")).await?.read()?;
    assert_eq!(first["total"]["amount"], PRICE - 250);
    assert_eq!(customer.ended(&id(&first)).await?.status, OrderStatus::OrderCancelled);
    assert_eq!(used(&fixture, &code).await?, 0);

    let second: Value = order(&customer, &buy(&sku), &code, &unique("key")).await?.read()?;
    assert_eq!(second["discount"], json!({"code": code, "amount": {"amount": 250, "currency": "USD"}}));
    let ended = customer.ended(&id(&second)).await?;
    assert_eq!((ended.status, ended.total.amount), (OrderStatus::OrderCompleted, PRICE - 250));
    let taken: Vec<i64> = fixture.taken(&id(&second)).await?.iter().map(|intent| intent.amount).collect();
    assert_eq!(taken, [PRICE - 250]);
    assert_eq!(used(&fixture, &code).await?, 1);
    assert!(is_refused_for_its_code(&order(&customer, &buy(&sku), &code, &unique("key")).await?));
    Ok(())
}

async fn an_order_that_costs_nothing_completes_without_the_gateway(fixture: Fixture) -> Outcome {
    let (customer, sku) = (fixture.customer().await?, fixture.product(5).await?);
    let code = make(&fixture, json!({"percentage": 100})).await?;
    // A card that would be declined is not charged.
    let free = NewOrder { payment_method: card::DECLINED.to_owned(), ..buy(&sku) };
    let placed: Value = order(&customer, &free, &code, &unique("key")).await?.read()?;
    assert_eq!(placed["total"]["amount"], 0);
    let ended = customer.ended(&id(&placed)).await?;
    assert_eq!(ended.status, OrderStatus::OrderCompleted);
    let payment = customer.shop.payment(&id(&placed)).await?;
    assert_eq!((payment.status.as_str(), payment.amount.amount), ("succeeded", 0));
    assert!(fixture.gateway.intents_of(&id(&placed)).await?.is_empty());
    Ok(())
}

async fn an_order_that_costs_nothing_is_undone_without_the_gateway(fixture: Fixture) -> Outcome {
    let (customer, sku) = (fixture.customer().await?, fixture.product(5).await?);
    let code = make(&fixture, json!({"percentage": 100, "per_customer_limit": 1})).await?;
    let nowhere = NewOrder { shipping_address: address("AQ"), ..buy(&sku) };
    let placed: Value = order(&customer, &nowhere, &code, &unique("key")).await?.read()?;
    assert_eq!(customer.ended(&id(&placed)).await?.status, OrderStatus::OrderCancelled);
    assert!(fixture.gateway.intents_of(&id(&placed)).await?.is_empty());
    assert_eq!(fixture.available(&sku).await?, 5);
    assert_eq!(used(&fixture, &code).await?, 0);
    Ok(())
}

async fn a_code_is_made_listed_and_ended(fixture: Fixture) -> Outcome {
    let customer = fixture.customer().await?;
    let code = make(&fixture, json!({"percentage": 5})).await?;
    let path = format!("/v1/discounts/{code}");
    for (method, path) in [(Method::GET, "/v1/discounts"), (Method::DELETE, path.as_str())] {
        assert_eq!(customer.shop.call(method, path).send().await?.status, StatusCode::FORBIDDEN);
    }
    let again = json!({"code": code.to_lowercase(), "percentage": 5});
    let taken = fixture.admin.call(Method::POST, "/v1/discounts").json(&again).send().await?;
    assert_eq!(taken.status, StatusCode::CONFLICT);
    for expected in [StatusCode::NO_CONTENT, StatusCode::NOT_FOUND] {
        assert_eq!(fixture.admin.call(Method::DELETE, &path).send().await?.status, expected);
    }
    assert_eq!(used(&fixture, &code).await?, Value::Null);
    let nothing = Sku::try_from("NO-SUCH-THING").expect("letters and hyphens");
    let refused = order(&customer, &buy(&nothing), &code, &unique("key")).await?;
    assert!(is_refused_for_its_code(&refused));
    Ok(())
}
