//! Projections and the storefront's compositions: lists of orders, the sales report, replays, the dashboard
//! and the export.

use std::collections::BTreeMap;

use contracts::{OrderId, Sku};
use jiff::Timestamp;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use shop_client::{NewOrder, Shop, card};

use crate::fixture::{Customer, Fixture, Result, buy, eventually, unique};
use crate::harness::Outcome;

crate::tests![alone:
    a_customer_lists_their_orders_and_an_administrator_everybodys,
    the_sales_report_and_its_replay_say_what_happened,
    a_replay_brings_back_a_view_that_was_lost,
    a_dashboard_names_the_part_that_is_down,
    an_export_holds_what_the_system_knows_of_a_person,
];

async fn get(shop: &Shop, path: &str) -> Result<Value> {
    shop.call(Method::GET, path).send().await?.read()
}

/// Every page of a list, `limit` items at a time.
async fn all(shop: &Shop, path: &str, limit: usize) -> Result<Vec<Value>> {
    let (mut items, mut cursor) = (vec![], String::new());
    loop {
        let mut page = get(shop, &format!("{path}?limit={limit}{cursor}")).await?;
        if let Value::Array(more) = page["items"].take() {
            assert!(more.len() <= limit, "a page is as long as was asked for");
            items.extend(more);
        }
        match page["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => return Ok(items),
        }
    }
}

fn ids(orders: &[Value]) -> Vec<&str> {
    orders.iter().filter_map(|order| order["order_id"].as_str()).collect()
}

/// Places an order of one piece with this card and waits for its end.
async fn ended(customer: &Customer, sku: &Sku, card: &str) -> Outcome<OrderId> {
    let order = NewOrder { payment_method: card.to_owned(), ..buy(sku) };
    let order_id = customer.shop.place(&order, &unique("key")).await?.order_id;
    customer.ended(&order_id).await?;
    Ok(order_id)
}

/// Waits until the customer's list shows these orders with their ends, the newest first.
async fn listed(customer: &Customer, orders: &[&OrderId]) -> Result<()> {
    let expected: Vec<&str> = orders.iter().rev().map(|order| order.as_str()).collect();
    eventually("the list shows how the orders ended", async || {
        let items = all(&customer.shop, "/v1/orders", 2).await?;
        let over = items
            .iter()
            .all(|order| order["status"] == "OrderCompleted" || order["status"] == "OrderCancelled");
        if ids(&items) == expected && over { Ok(()) } else { Err(json!(items).to_string())? }
    })
    .await
}

async fn a_customer_lists_their_orders_and_an_administrator_everybodys(fixture: Fixture) -> Outcome {
    let (anna, ben, sku) = (fixture.customer().await?, fixture.customer().await?, fixture.product(2).await?);
    let completed = ended(&anna, &sku, card::GOOD).await?;
    let bens = ended(&ben, &sku, card::GOOD).await?;
    let [second, third] = [ended(&anna, &sku, card::GOOD).await?, ended(&anna, &sku, card::GOOD).await?];
    listed(&anna, &[&completed, &second, &third]).await?;
    let cancelled = get(&anna.shop, "/v1/orders?status=OrderCancelled").await?;
    assert_eq!(ids(cancelled["items"].as_array().unwrap_or(&vec![])), [third.as_str(), second.as_str()]);

    // A cursor of one customer does not open another one's list.
    let page = get(&anna.shop, "/v1/orders?limit=1").await?;
    let cursor = page["next_cursor"].as_str().unwrap_or_default();
    let answer = ben.shop.call(Method::GET, &format!("/v1/orders?cursor={cursor}")).send().await?;
    assert_eq!(answer.status, StatusCode::UNPROCESSABLE_ENTITY);
    let answer = ben.shop.call(Method::GET, &format!("/v1/orders?customer={}", anna.user_id)).send().await?;
    assert_eq!(answer.status, StatusCode::NOT_FOUND);

    // The index is a moment behind the views.
    let wanted = [&completed, &bens, &second, &third].map(OrderId::as_str);
    eventually("the administrator sees them all", async || {
        let orders = all(&fixture.admin, "/v1/orders", 100).await?;
        let found = ids(&orders);
        // The list is sorted by milliseconds.
        let created = |order: &Value| order["created_at"].as_str()?.parse::<Timestamp>().ok();
        let times: Vec<_> =
            orders.iter().map(|order| created(order).map(Timestamp::as_millisecond)).collect();
        assert!(
            times.iter().all(Option::is_some) && times.is_sorted_by(|one, other| one >= other),
            "{times:?}"
        );
        if wanted.iter().all(|order| found.contains(order)) { Ok(()) } else { Err("some are missing")? }
    })
    .await?;
    Ok(())
}

/// Orders, completions, cancellations and cents of each day, computed from the orders.
async fn told(fixture: &Fixture) -> Result<BTreeMap<String, [i64; 4]>> {
    let mut days: BTreeMap<String, [i64; 4]> = BTreeMap::new();
    for order in all(&fixture.admin, "/v1/orders", 100).await? {
        let mut cancelled = false;
        for event in order["timeline"].as_array().into_iter().flatten() {
            let day = event["occurred_at"].as_str().unwrap_or_default()[..10].to_owned();
            let cents = order["total"]["amount"].as_i64().unwrap_or_default();
            let adds = match event["event_type"].as_str() {
                Some("order.created") => [1, 0, 0, 0],
                Some("order.completed") => [0, 1, 0, cents],
                // An order that needed attention after it was cancelled is cancelled again: it counts once.
                Some("order.cancelled") if !std::mem::replace(&mut cancelled, true) => [0, 0, 1, 0],
                _ => continue,
            };
            let sums = days.entry(day).or_default();
            *sums = std::array::from_fn(|n| sums[n] + adds[n]);
        }
    }
    Ok(days)
}

/// The same figures from the report.
async fn reported(
    fixture: &Fixture,
    days: impl Iterator<Item = &String> + Clone,
) -> Result<BTreeMap<String, [i64; 4]>> {
    let (first, last) =
        (days.clone().min().cloned().unwrap_or_default(), days.max().cloned().unwrap_or_default());
    let report = get(&fixture.admin, &format!("/v2/reports/sales?from={first}&to={last}")).await?;
    let day = |day: &Value| {
        let number = |name: &str| day[name].as_i64().unwrap_or_default();
        let cancelled = day["cancellations"].as_array().into_iter().flatten();
        let cancelled = cancelled.filter_map(|reason| reason["orders"].as_i64()).sum();
        let revenue =
            day["revenue"].as_array().into_iter().flatten().filter_map(|money| money["amount"].as_i64());
        let date = day["date"].as_str().unwrap_or_default().to_owned();
        (date, [number("orders"), number("completed"), cancelled, revenue.sum()])
    };
    Ok(report["items"].as_array().into_iter().flatten().map(day).collect())
}

async fn report_is_right(fixture: &Fixture) -> Result<BTreeMap<String, [i64; 4]>> {
    eventually("the report says what happened", async || {
        let told = told(fixture).await?;
        let reported = reported(fixture, told.keys()).await?;
        if told == reported { Ok(told) } else { Err(format!("{told:?} is told, {reported:?} reported"))? }
    })
    .await
}

async fn the_sales_report_and_its_replay_say_what_happened(fixture: Fixture) -> Outcome {
    let (customer, sku) = (fixture.customer().await?, fixture.product(2).await?);
    let orders = [
        ended(&customer, &sku, card::GOOD).await?,
        ended(&customer, &sku, card::GOOD).await?,
        ended(&customer, &sku, card::GOOD).await?,
    ];
    listed(&customer, &orders.each_ref()).await?;
    let before = report_is_right(&fixture).await?;
    assert!(before.values().map(|[orders, ..]| orders).sum::<i64>() >= 3);
    let today = before.keys().last().cloned().unwrap_or_default();
    let report = get(&fixture.admin, &format!("/v2/reports/sales?from={today}&to={today}")).await?;
    let reasons = report["items"][0]["cancellations"].as_array().into_iter().flatten();
    let mut reasons = reasons.filter(|cancelled| cancelled["reason"] == "InventoryNotAvailable");
    assert!(reasons.any(|cancelled| cancelled["orders"].as_i64() >= Some(1)), "{report}");

    let said = fixture.ops(&["replay", "sales"]).await?;
    assert!(said.contains("orders counted"), "{said}");
    // The views of earlier tests' orders may still arrive, so this is not compared with the figures before.
    report_is_right(&fixture).await?;
    // And goes on from there.
    let later = ended(&customer, &sku, card::GOOD).await?;
    listed(&customer, &[orders.as_slice(), &[later]].concat().iter().collect::<Vec<_>>()).await?;
    assert_ne!(report_is_right(&fixture).await?, before);
    let answer =
        customer.shop.call(Method::GET, "/v2/reports/sales?from=2026-01-01&to=2026-01-01").send().await?;
    assert_eq!(answer.status, StatusCode::FORBIDDEN);
    Ok(())
}

async fn a_replay_brings_back_a_view_that_was_lost(fixture: Fixture) -> Outcome {
    let (customer, sku) = (fixture.customer().await?, fixture.product(1).await?);
    let order = ended(&customer, &sku, card::GOOD).await?;
    listed(&customer, &[&order]).await?;
    let before = get(&customer.shop, "/v1/orders").await?;
    let created_at = before["items"][0]["created_at"].as_str().unwrap_or_default();
    let at: jiff::Timestamp = created_at.parse()?;
    let key = json!({
        "pk": {"S": format!("CUSTOMER#{}", customer.user_id)},
        "sk": {"S": format!("ORDER#{at:.3}#{order}")},
    });
    let table = format!("ordersaga-{}-orders", fixture.outputs.stage);
    let delete = json!({"TableName": table, "Key": key});
    fixture.emulator.json("dynamodb", "DynamoDB_20120810.DeleteItem", &delete).await?;
    assert_eq!(get(&customer.shop, "/v1/orders").await?["items"], json!([]));
    fixture.ops(&["replay", "orders"]).await?;
    assert_eq!(get(&customer.shop, "/v1/orders").await?, before);
    // With the view went the note of how far the order is counted.
    fixture.ops(&["replay", "sales"]).await?;
    report_is_right(&fixture).await?;
    Ok(())
}

async fn a_dashboard_names_the_part_that_is_down(fixture: Fixture) -> Outcome {
    let (customer, sku) = (fixture.customer().await?, fixture.product(1).await?);
    let order = ended(&customer, &sku, card::GOOD).await?;
    listed(&customer, &[&order]).await?;
    // A function that has to start may be late once.
    let dashboard = eventually("nothing is missing", async || {
        let dashboard = get(&customer.shop, "/v1/dashboard").await?;
        if dashboard["degraded"] == json!([]) { Ok(dashboard) } else { Err(dashboard.to_string())? }
    })
    .await?;
    assert_eq!(dashboard["customer"]["email"], customer.email.as_str());
    assert_eq!(dashboard["recent_orders"][0]["order_id"], order.as_str());
    assert_eq!(dashboard["shipments"][0]["order_id"], order.as_str());
    assert!(
        dashboard["recommendations"].as_array().is_some_and(|products| !products.is_empty()),
        "{dashboard}"
    );

    fixture.switch_off("users-api").await?;
    let dashboard = get(&customer.shop, "/v1/dashboard").await?;
    assert_eq!((&dashboard["degraded"], &dashboard["customer"]), (&json!(["customer"]), &Value::Null));
    assert_eq!(dashboard["recent_orders"][0]["order_id"], order.as_str());
    let export = customer.shop.call(Method::GET, "/v1/users/me/export").send_once().await?;
    assert_eq!(export.status, StatusCode::SERVICE_UNAVAILABLE, "an export leaves nothing out");
    assert!(export.header("retry-after").is_some());
    fixture.switch_on("users-api").await?;

    fixture.switch_off("catalog-api").await?;
    let dashboard = get(&customer.shop, "/v1/dashboard").await?;
    assert_eq!(dashboard["degraded"], json!(["recommendations"]));
    fixture.switch_on("catalog-api").await?;
    Ok(())
}

async fn an_export_holds_what_the_system_knows_of_a_person(fixture: Fixture) -> Outcome {
    let (customer, sku) = (fixture.customer().await?, fixture.product(1).await?);
    let order = ended(&customer, &sku, card::GOOD).await?;
    listed(&customer, &[&order]).await?;
    let export = get(&customer.shop, "/v1/users/me/export").await?;
    assert_eq!((&export["profile"]["email"], &export["next_cursor"]), (&json!(customer.email), &Value::Null));
    let exported = &export["orders"][0];
    // The order has ended and has no address any more; the shipment still needs it.
    assert_eq!(exported["order"]["shipping_address"], Value::Null);
    assert_eq!(exported["shipment"]["shipping_address"]["line1"], "1 Test Street");
    assert_eq!(
        (&exported["order"]["order_id"], &exported["payment"]["status"]),
        (&json!(order), &json!("succeeded"))
    );
    let events = exported["events"].as_array().map(Vec::len);
    assert_eq!(events, Some(customer.history(&order).await?.len()));
    Ok(())
}
