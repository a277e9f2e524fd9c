//! Amounts: the shown total is what is paid, in the gateway's units, and amounts that cannot be charged are
//! refused.

use contracts::{OrderId, OrderStatus, Sku};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use shop_client::{Answer, NewOrder};

use crate::fixture::{Customer, Fixture, PRICE, Result, address, buy, eventually, unique};
use crate::harness::Outcome;

crate::tests![
    an_order_is_charged_in_the_gateways_units,
    what_cannot_be_charged_is_refused_where_it_is_made,
    what_was_shown_is_what_is_paid,
    a_quote_says_what_an_order_would_be,
    an_escaped_delimiter_is_a_part_of_the_path,
    a_product_is_sold_again_at_its_new_price,
];

fn product(sku: &Sku, amount: i64, currency: &str) -> Value {
    json!({
        "sku": sku, "name": "Test product", "description": "", "category": "test",
        "price": {"amount": amount, "currency": currency},
    })
}

async fn create(fixture: &Fixture, product: &Value) -> Result<Answer> {
    fixture.admin.call(Method::POST, "/v1/products").json(product).send().await
}

/// A product that can be ordered at this price.
async fn sold(fixture: &Fixture, amount: i64, currency: &str) -> Result<Sku> {
    let sku = Sku::try_from(unique("SKU")).expect("letters, digits and a hyphen");
    create(fixture, &product(&sku, amount, currency)).await?.read::<Value>()?;
    let path = format!("/v1/inventory/{sku}");
    fixture.admin.call(Method::PUT, &path).json(&json!({"available": 5})).send().await?.read::<Value>()?;
    let customer = fixture.customer().await?;
    eventually(&format!("orders have a price of {sku}"), async || customer.has_price(&sku, true).await)
        .await?;
    Ok(sku)
}

async fn post(customer: &Customer, path: &str, body: &Value) -> Result<Answer> {
    let call = customer.shop.call(Method::POST, path).header("idempotency-key", &unique("key"));
    call.json(body).send().await
}

fn body(order: &NewOrder) -> Value {
    serde_json::to_value(order).expect("an order has a JSON form")
}

async fn an_order_is_charged_in_the_gateways_units(fixture: Fixture) -> Outcome {
    let customer = fixture.customer().await?;
    for (amount, currency, at_gateway) in
        [(500_000, "MGA", 5000), (4200, "ISK", 420_000), (500, "JPY", 500), (1230, "KWD", 1230)]
    {
        let sku = sold(&fixture, amount, currency).await?;
        let placed: Value = post(&customer, "/v1/orders", &body(&buy(&sku))).await?.read()?;
        let id = OrderId::try_from(placed["order_id"].as_str().unwrap_or_default())?;
        let ended = customer.ended(&id).await?;
        assert_eq!((ended.status, ended.total.amount), (OrderStatus::OrderCompleted, amount), "{currency}");
        let taken: Vec<i64> = fixture.taken(&id).await?.iter().map(|intent| intent.amount).collect();
        assert_eq!(taken, [at_gateway], "{currency}");
    }
    Ok(())
}

async fn what_cannot_be_charged_is_refused_where_it_is_made(fixture: Fixture) -> Outcome {
    let sku = Sku::try_from(unique("SKU"))?;
    for (amount, currency) in [(1234, "KWD"), (500_050, "MGA"), (100, "XAU")] {
        let answer = create(&fixture, &product(&sku, amount, currency)).await?;
        assert_eq!(answer.status, StatusCode::UNPROCESSABLE_ENTITY, "{currency}");
        assert_eq!(answer.value()["errors"][0]["field"], "price");
    }
    let (customer, cheap) = (fixture.customer().await?, sold(&fixture, 30, "USD").await?);
    let refused = post(&customer, "/v1/orders", &body(&buy(&cheap))).await?;
    assert_eq!(
        (refused.status, &refused.value()["errors"][0]["field"]),
        (StatusCode::UNPROCESSABLE_ENTITY, &json!("items"))
    );
    Ok(())
}

async fn what_was_shown_is_what_is_paid(fixture: Fixture) -> Outcome {
    let (customer, sku) = (fixture.customer().await?, fixture.product(5).await?);
    let expecting = |amount: i64| {
        let mut order = body(&buy(&sku));
        order["expected_total"] = json!({"amount": amount, "currency": "USD"});
        order
    };
    let refused = post(&customer, "/v1/orders", &expecting(PRICE - 1)).await?;
    assert_eq!(
        (refused.status, &refused.value()["total"]),
        (StatusCode::CONFLICT, &json!({"amount": PRICE, "currency": "USD"}))
    );
    let orders: Value = customer.shop.get("/v1/orders").await?;
    assert_eq!(orders["items"], json!([]));
    let placed: Value = post(&customer, "/v1/orders", &expecting(PRICE)).await?.read()?;
    assert_eq!(placed["total"]["amount"], PRICE);
    Ok(())
}

async fn a_quote_says_what_an_order_would_be(fixture: Fixture) -> Outcome {
    let (customer, sku) = (fixture.customer().await?, fixture.product(5).await?);
    let quote: Value = post(&customer, "/v1/quotes", &body(&buy(&sku))).await?.read()?;
    assert_eq!(quote["total"], json!({"amount": PRICE, "currency": "USD"}));
    assert_eq!((&quote["availability"], &quote["serviceable"]), (&json!("low_stock"), &json!(true)));
    let nowhere = NewOrder { shipping_address: address("AQ"), ..buy(&sku) };
    let quote: Value = post(&customer, "/v1/quotes", &body(&nowhere)).await?.read()?;
    assert_eq!(quote["serviceable"], json!(false));
    let mut many = body(&buy(&sku));
    many["items"][0]["quantity"] = json!(6);
    let quote: Value = post(&customer, "/v1/quotes", &many).await?.read()?;
    assert_eq!(quote["availability"], "out_of_stock");
    let orders: Value = customer.shop.get("/v1/orders").await?;
    assert_eq!(orders["items"], json!([]));
    assert_eq!(fixture.available(&sku).await?, 5);
    Ok(())
}

/// Not `%23`: the emulator cuts a path off at an encoded `#` before a function sees it.
async fn an_escaped_delimiter_is_a_part_of_the_path(fixture: Fixture) -> Outcome {
    let sku = fixture.product(5).await?;
    for escaped in ["%3Fx=1", "%09", "%20", "%00", "%5Crelated", "%5C"] {
        let answer = fixture.shop.call(Method::GET, &format!("/v1/products/{sku}{escaped}")).send().await?;
        assert_eq!(answer.status, StatusCode::NOT_FOUND, "{escaped}");
        assert_eq!(answer.header("content-type"), Some("application/problem+json"), "{escaped}");
    }
    Ok(())
}

async fn a_product_is_sold_again_at_its_new_price(fixture: Fixture) -> Outcome {
    let (customer, sku) = (fixture.customer().await?, fixture.product(5).await?);
    let path = format!("/v1/products/{sku}");
    fixture.admin.call(Method::DELETE, &path).send().await?;
    let again: Value = create(&fixture, &product(&sku, PRICE + 100, "USD")).await?.read()?;
    assert_eq!(again["version"], 3);
    let mut order = body(&buy(&sku));
    order["expected_total"] = json!({"amount": PRICE + 100, "currency": "USD"});
    eventually("orders have the new price", async || {
        let answer = post(&customer, "/v1/orders", &order).await?;
        if answer.status == StatusCode::ACCEPTED { Ok(()) } else { Err(answer.value().to_string())? }
    })
    .await?;
    Ok(())
}
