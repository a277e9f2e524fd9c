//! The catalogue: finding products, changing them, and their effect on orders and other customers.

use contracts::{OrderStatus, Sku};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use shop_client::{Answer, NewOrder};

use crate::fixture::{Fixture, PRICE, Result, buy, eventually, one, unique};
use crate::harness::Outcome;

crate::tests![
    products_are_found_by_category_and_by_the_beginnings_of_words,
    a_change_is_made_to_the_version_that_was_seen,
    a_new_price_is_for_new_orders_and_an_order_keeps_its_own,
    products_of_one_order_are_related,
];

fn product(name: &str, category: &str, amount: i64) -> Value {
    json!({"name": name, "description": "", "category": category, "price": {"amount": amount, "currency": "USD"}})
}

async fn change(fixture: &Fixture, sku: &str, if_match: Option<&str>, body: &Value) -> Result<Answer> {
    let call = fixture.admin.call(Method::PUT, &format!("/v1/products/{sku}"));
    let call = if let Some(tag) = if_match { call.header("if-match", tag) } else { call };
    call.json(body).send().await
}

/// The SKUs of a list, in its order, and how many each page has.
async fn walk(fixture: &Fixture, query: &str, limit: usize) -> Result<(Vec<String>, Vec<usize>)> {
    let (mut skus, mut pages, mut cursor) = (vec![], vec![], String::new());
    loop {
        let page: Value = fixture.shop.get(&format!("/v1/products?limit={limit}&{query}{cursor}")).await?;
        let items: Vec<String> = page["items"].as_array().into_iter().flatten().map(sku_of).collect();
        pages.push(items.len());
        skus.extend(items);
        match page["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => return Ok((skus, pages)),
        }
    }
}

fn sku_of(product: &Value) -> String {
    product["sku"].as_str().unwrap_or_default().to_owned()
}

async fn products_are_found_by_category_and_by_the_beginnings_of_words(fixture: Fixture) -> Outcome {
    // Unique to this test.
    let (category, word) = (unique("Category"), unique("W").replace('-', ""));
    let mut skus: Vec<String> = (0..3).map(|_| unique("SKU")).collect();
    skus.sort();
    for (n, sku) in skus.iter().enumerate() {
        let mut new = product(&format!("Number {n}, {word}"), &category, PRICE);
        new["sku"] = json!(sku);
        fixture.admin.call(Method::POST, "/v1/products").json(&new).send().await?.read::<Value>()?;
    }
    let beginning = word[..20].to_lowercase();
    for query in [
        format!("category={category}"),
        format!("q={beginning}"),
        format!("q={beginning}&category={category}"),
        format!("q=number&category={category}"),
    ] {
        let (mut found, pages) = walk(&fixture, &query, 2).await?;
        found.sort();
        assert_eq!((&found, pages), (&skus, vec![2, 1]), "{query}");
    }
    let renamed = product("Another", &category, PRICE);
    assert_eq!(change(&fixture, &skus[1], Some("*"), &renamed).await?.status, StatusCode::OK);
    assert_eq!(walk(&fixture, &format!("q={beginning}"), 100).await?.0.len(), 2);
    assert_eq!(walk(&fixture, &format!("q=anoth&category={category}"), 100).await?.0, [skus[1].clone()]);
    let gone = format!("/v1/products/{}", skus[0]);
    assert_eq!(fixture.admin.call(Method::DELETE, &gone).send().await?.status, StatusCode::NO_CONTENT);
    assert_eq!(walk(&fixture, &format!("category={category}"), 100).await?.0, skus[1..]);
    let broken = fixture.shop.call(Method::GET, "/v1/products?cursor=abc").send().await?;
    assert_eq!(
        (broken.status, &broken.value()["errors"][0]["field"]),
        (StatusCode::UNPROCESSABLE_ENTITY, &json!("cursor"))
    );
    Ok(())
}

async fn a_change_is_made_to_the_version_that_was_seen(fixture: Fixture) -> Outcome {
    let sku = fixture.product(5).await?;
    let path = format!("/v1/products/{sku}");
    let seen = fixture.shop.call(Method::GET, &path).send().await?;
    let tag = seen.header("etag").unwrap_or_default().to_owned();
    assert_eq!(seen.header("cache-control"), Some("public, max-age=5, stale-if-error=1800"));
    let same = fixture.shop.call(Method::GET, &path).header("if-none-match", &tag).send().await?;
    assert!(
        [StatusCode::NOT_MODIFIED, StatusCode::OK].contains(&same.status),
        "its stock may have been told since"
    );

    let dearer = product("Test product", "test", PRICE + 1);
    for (if_match, expected) in [
        (None, StatusCode::PRECONDITION_REQUIRED),
        (Some(tag.as_str()), StatusCode::OK),
        (Some(tag.as_str()), StatusCode::PRECONDITION_FAILED),
    ] {
        assert_eq!(change(&fixture, sku.as_str(), if_match, &dearer).await?.status, expected);
    }
    let now: Value = fixture.shop.get(&path).await?;
    assert_eq!((&now["version"], &now["price"]["amount"]), (&json!(2), &json!(PRICE + 1)));
    Ok(())
}

async fn a_new_price_is_for_new_orders_and_an_order_keeps_its_own(fixture: Fixture) -> Outcome {
    let (customer, sku) = (fixture.customer().await?, fixture.product(20).await?);
    let (waiting, _) = customer.order_that_waits(&fixture, &sku).await?;
    let changed = change(&fixture, sku.as_str(), Some("*"), &product("Test product", "test", 990)).await?;
    assert_eq!(changed.status, StatusCode::OK);
    let placed = eventually("orders have the new price", async || {
        let placed = customer.shop.place(&buy(&sku), &unique("key")).await?;
        if placed.total.amount == 990 { Ok(placed) } else { Err(placed.total.to_string())? }
    })
    .await?;
    let ended = customer.ended(&placed.order_id).await?;
    assert_eq!((ended.status, ended.total.amount), (OrderStatus::OrderCompleted, 990));
    assert_eq!(customer.shop.order(&waiting).await?.total.amount, PRICE);
    assert_eq!(customer.shop.payment(&waiting).await?.amount.amount, PRICE);
    assert_eq!(customer.cancel(&waiting).await?, StatusCode::ACCEPTED);
    Ok(())
}

async fn products_of_one_order_are_related(fixture: Fixture) -> Outcome {
    let customer = fixture.customer().await?;
    let (left, right) = (fixture.product(5).await?, fixture.product(5).await?);
    let order = NewOrder { items: vec![one(&left), one(&right)], ..buy(&left) };
    let placed = customer.shop.place(&order, &unique("key")).await?;
    assert_eq!(customer.ended(&placed.order_id).await?.status, OrderStatus::OrderCompleted);
    let related = async |sku: &Sku| fixture.shop.get::<Value>(&format!("/v1/products/{sku}/related")).await;
    for (one, other) in [(&left, &right), (&right, &left)] {
        let list = eventually("the two are related", async || {
            let list = related(one).await?;
            if list["items"][0]["sku"] == other.as_str() { Ok(list) } else { Err(list.to_string())? }
        })
        .await?;
        assert_eq!((list["items"].as_array().map(Vec::len), &list["next_cursor"]), (Some(1), &Value::Null));
    }
    let unknown = fixture.shop.call(Method::GET, "/v1/products/NO-SUCH-THING/related").send().await?;
    assert_eq!(unknown.status, StatusCode::NOT_FOUND);
    Ok(())
}
