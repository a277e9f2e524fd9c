//! The audit trail and the moves of stock: who changed what, and what every piece was moved for.

use std::collections::BTreeSet;

use contracts::{OrderStatus, Sku};
use reqwest::Method;
use serde_json::{Value, json};
use shop_client::NewOrder;

use crate::fixture::{Fixture, PRICE, Result, address, buy, eventually, unique};
use crate::harness::Outcome;

crate::tests![
    changes_of_a_product_and_of_its_stock_are_one_trail,
    the_moves_of_a_sku_add_up_to_its_stock,
    a_code_and_a_refund_have_their_trail,
    a_cancel_by_the_staff_has_its_trail_and_the_customers_own_has_none,
];

/// The items of all pages of a list.
async fn items(fixture: &Fixture, path: &str) -> Result<Vec<Value>> {
    let (mut items, mut cursor) = (Vec::new(), String::new());
    loop {
        let mut page: Value = fixture.admin.get(&format!("{path}limit=2{cursor}")).await?;
        items.extend(page["items"].as_array_mut().map(std::mem::take).unwrap_or_default());
        match page["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => return Ok(items),
        }
    }
}

/// The entries of a subject, the newest first.
async fn trail(fixture: &Fixture, subject: &str) -> Result<Vec<Value>> {
    items(fixture, &format!("/v1/audit?subject={subject}&")).await
}

fn actions(entries: &[Value]) -> Vec<&str> {
    entries.iter().filter_map(|entry| entry["action"].as_str()).collect()
}

async fn adjust(fixture: &Fixture, sku: &Sku, delta: i64) -> Outcome {
    let call = fixture.admin.call(Method::POST, &format!("/v1/inventory/{sku}/adjustments"));
    let call =
        call.header("idempotency-key", &unique("key")).json(&json!({"delta": delta, "reason": "broken"}));
    call.send().await?.read::<Value>()?;
    Ok(())
}

async fn changes_of_a_product_and_of_its_stock_are_one_trail(fixture: Fixture) -> Outcome {
    let sku = fixture.product(10).await?;
    let dearer = json!({
        "name": "Test product", "category": "test", "price": {"amount": PRICE + 100, "currency": "USD"}
    });
    let change = fixture.admin.call(Method::PUT, &format!("/v1/products/{sku}")).header("if-match", "*");
    change.json(&dearer).send().await?.read::<Value>()?;
    adjust(&fixture, &sku, -3).await?;

    let entries = trail(&fixture, sku.as_str()).await?;
    assert_eq!(actions(&entries), ["stock.adjusted", "product.updated", "stock.set", "product.created"]);
    let admin: Value = fixture.admin.get("/v1/users/me").await?;
    for entry in &entries {
        assert_eq!((&entry["actor"], &entry["subject"]), (&admin["user_id"], &json!(sku)));
    }
    assert_eq!(entries[0]["reason"], "broken");
    assert_eq!(
        (&entries[0]["before"], &entries[0]["after"]),
        (&json!({"available": 10}), &json!({"available": 7}))
    );
    assert_eq!(entries[1]["before"], json!({"price": {"amount": PRICE, "currency": "USD"}}));
    assert_eq!(entries[1]["after"], json!({"price": dearer["price"]}));

    let said = fixture.ops(&["audit", sku.as_str()]).await?;
    assert!(said.contains("price: 12.50 USD → 13.50 USD") && said.contains("reason: broken"), "{said}");
    let lines = fixture.ops(&["audit", sku.as_str(), "--json"]).await?;
    let lines: Vec<Value> = lines.lines().map(serde_json::from_str).collect::<std::result::Result<_, _>>()?;
    assert_eq!(lines, entries);
    assert!(fixture.ops(&["audit", "no/such"]).await.is_err());
    Ok(())
}

async fn the_moves_of_a_sku_add_up_to_its_stock(fixture: Fixture) -> Outcome {
    let (customer, sku) = (fixture.customer().await?, fixture.product(20).await?);
    let spread = json!({"available": 20, "shards": 4});
    let set = fixture.admin.call(Method::PUT, &format!("/v1/inventory/{sku}"));
    set.json(&spread).send().await?.read::<Value>()?;
    adjust(&fixture, &sku, -2).await?;
    // One is sold, and one cannot be shipped, so that its pieces come back.
    for (country, status) in [("DE", OrderStatus::OrderCompleted), ("AQ", OrderStatus::OrderCancelled)] {
        let mut order = NewOrder { shipping_address: address(country), ..buy(&sku) };
        order.items[0].quantity = 6;
        let placed = customer.shop.place(&order, &unique("key")).await?;
        assert_eq!(customer.ended(&placed.order_id).await?.status, status);
    }
    // What orders took is copied from the stream, a moment after they took it.
    let rows = eventually(&format!("the moves of {sku} add up"), async || {
        let rows = items(&fixture, &format!("/v1/inventory/{sku}/moves?")).await?;
        let sum: i64 = rows.iter().filter_map(|row| row["delta"].as_i64()).sum();
        let returned = rows.iter().any(|row| row["kind"] == "released");
        if sum == 12 && returned { Ok(rows) } else { Err(json!(rows).to_string())? }
    })
    .await?;
    assert_eq!(fixture.available(&sku).await?, 12);
    let kinds: BTreeSet<_> = rows.iter().filter_map(|row| row["kind"].as_str()).collect();
    assert!(BTreeSet::from(["adjusted", "released", "reserved", "set"]).is_subset(&kinds), "{kinds:?}");
    Ok(())
}

async fn a_code_and_a_refund_have_their_trail(fixture: Fixture) -> Outcome {
    let code = unique("C").replace('-', "_");
    let terms = json!({"code": code, "percentage": 10});
    fixture.admin.call(Method::POST, "/v1/discounts").json(&terms).send().await?.read::<Value>()?;
    let ended = fixture.admin.call(Method::DELETE, &format!("/v1/discounts/{code}")).send().await?;
    assert_eq!(ended.status, 204);
    let entries = trail(&fixture, &code.to_lowercase()).await?;
    assert_eq!(actions(&entries), ["discount.ended", "discount.created"]);

    let (customer, sku) = (fixture.customer().await?, fixture.product(1).await?);
    let order = NewOrder { shipping_address: address("AQ"), ..buy(&sku) };
    let placed = customer.shop.place(&order, &unique("key")).await?;
    customer.ended(&placed.order_id).await?;
    let entries = trail(&fixture, placed.order_id.as_str()).await?;
    assert_eq!(actions(&entries), ["payment.refunded"]);
    assert_eq!(entries[0]["actor"], "system");
    assert_eq!(entries[0]["after"]["refunded"], json!({"amount": PRICE, "currency": "USD"}));
    Ok(())
}

async fn a_cancel_by_the_staff_has_its_trail_and_the_customers_own_has_none(fixture: Fixture) -> Outcome {
    let (customer, sku) = (fixture.customer().await?, fixture.product(2).await?);
    let admin: Value = fixture.admin.get("/v1/users/me").await?;
    for (shop, expected) in [(&fixture.admin, vec![&admin["user_id"]]), (&customer.shop, vec![])] {
        let (order, _) = customer.order_that_waits(&fixture, &sku).await?;
        let cancel = shop.call(Method::POST, &format!("/v1/orders/{order}/cancel")).send().await?;
        assert_eq!(cancel.status, 202);
        customer.ended(&order).await?;
        let entries = trail(&fixture, order.as_str()).await?;
        let requested = entries.iter().filter(|entry| entry["action"] == "order.cancel_requested");
        assert_eq!(requested.map(|entry| &entry["actor"]).collect::<Vec<_>>(), expected);
    }
    Ok(())
}
