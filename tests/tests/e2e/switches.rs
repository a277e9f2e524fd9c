//! Feature switches: `cargo ops switch` turns parts of the platform off and on, and the audit trail has each change. Runs
//! alone, because a switch is for all customers.

use contracts::{OrderId, OrderStatus, Sku};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use shop_client::{Answer, NewOrder};

use crate::fixture::{Customer, Fixture, Result, address, buy, eventually, unique};
use crate::harness::Outcome;
use crate::outage::{answer, catalog_tells, quote, told};

crate::tests![alone:
    while_payments_are_paused_orders_wait_and_then_complete,
    while_new_orders_are_off_they_are_refused_and_each_change_is_in_the_audit_trail,
    while_discounts_are_off_codes_are_refused,
    while_sms_are_off_none_is_sent,
    while_limited_stock_is_off_stock_that_cannot_be_read_is_unknown,
];

const REASON: &str = "an end-to-end test";

/// One request without retries: a client repeats a request that got 503.
async fn order_once(customer: &Customer, order: &NewOrder, key: &str) -> Result<Answer> {
    let call = customer.shop.call(Method::POST, "/v1/orders").header("idempotency-key", key).json(order);
    call.send_once().await
}

/// Places orders until one of them is paused, and returns that one. Instances notice the switch within some seconds.
async fn paused_order(fixture: &Fixture, customer: &Customer, sku: &Sku) -> Result<OrderId> {
    eventually("a payment is paused", async || {
        let order = customer.shop.place(&buy(sku), &unique("key")).await?.order_id;
        let is_paused = eventually("the order is paid or paused", async || {
            let words = ["payments are paused", order.as_str()];
            if !fixture.log_lines("payments-commands", &words).await?.is_empty() {
                return Ok(true);
            }
            let status = customer.shop.order(&order).await?.status;
            if status.is_final() { Ok(false) } else { Err(status)? }
        })
        .await?;
        if is_paused { Ok(order) } else { Err("an order was paid")? }
    })
    .await
}

async fn while_payments_are_paused_orders_wait_and_then_complete(fixture: Fixture) -> Outcome {
    let (customer, sku) = (fixture.customer().await?, fixture.product(100).await?);
    fixture.set_switch("payments", "off", REASON).await?;
    let waiting = paused_order(&fixture, &customer, &sku).await?;
    let cancelled = customer.shop.place(&buy(&sku), &unique("key")).await?.order_id;
    eventually("the second order waits for its payment", async || {
        let status = customer.shop.order(&cancelled).await?.status;
        if status == OrderStatus::PaymentPending { Ok(()) } else { Err(status)? }
    })
    .await?;
    for order in [&waiting, &cancelled] {
        assert!(fixture.gateway.intents_of(order).await?.is_empty(), "{order}");
    }

    // A saga that is under way can be cancelled, also while payments are paused.
    customer.post(&format!("/v1/orders/{cancelled}/cancel"), &json!({})).await?;
    assert_eq!(customer.ended(&cancelled).await?.status, OrderStatus::OrderCancelled);

    fixture.set_switch("payments", "on", REASON).await?;
    assert_eq!(customer.ended(&waiting).await?.status, OrderStatus::OrderCompleted);
    assert_eq!(fixture.taken(&waiting).await?.len(), 1);
    Ok(())
}

async fn while_new_orders_are_off_they_are_refused_and_each_change_is_in_the_audit_trail(
    fixture: Fixture,
) -> Outcome {
    let (customer, sku) = (fixture.customer().await?, fixture.product(500).await?);
    let (key, earlier) = (unique("key"), buy(&sku));
    let placed = customer.shop.place(&earlier, &key).await?.order_id;
    let set = fixture.set_switch("orders", "off", REASON).await?;
    assert!(set.contains("orders         off  new orders are refused with 503"), "{set}");
    assert!(fixture.ops(&["switch", "list"]).await?.contains(set.trim_end()));

    let refused = eventually("orders are refused", async || {
        let answer = order_once(&customer, &buy(&sku), &unique("key")).await?;
        if answer.status == StatusCode::SERVICE_UNAVAILABLE { Ok(answer) } else { Err(answer.status)? }
    })
    .await?;
    assert_eq!(refused.value()["type"], "urn:ordersaga:problem:orders-refused");
    assert_eq!(refused.header("retry-after"), Some("60"));
    let repeat = order_once(&customer, &earlier, &key).await?;
    assert_eq!((repeat.status, &repeat.value()["order_id"]), (StatusCode::ACCEPTED, &json!(placed)));
    assert_eq!(customer.ended(&placed).await?.status, OrderStatus::OrderCompleted, "its saga goes on");

    let wrong = fixture.ops(&["switch", "set", "orders", "paused", "--reason", REASON]).await;
    assert!(wrong.unwrap_err().message().unwrap_or_default().contains("it is `on` or `off`"));
    assert!(fixture.ops(&["switch", "set", "orders", "on"]).await.is_err(), "a reason is required");
    fixture.set_switch("orders", "on", "it works again").await?;
    let already = fixture.set_switch("orders", "on", REASON).await?;
    assert!(already.contains("orders is on already"), "{already}");
    eventually("orders are accepted", async || {
        let answer = order_once(&customer, &buy(&sku), &unique("key")).await?;
        if answer.status == StatusCode::ACCEPTED { Ok(()) } else { Err(answer.status)? }
    })
    .await?;

    let lines = fixture.ops(&["audit", "switch/orders", "--json", "--limit", "2"]).await?;
    let entries: Vec<Value> =
        lines.lines().map(serde_json::from_str).collect::<std::result::Result<_, _>>()?;
    let changes: Vec<_> =
        entries.iter().map(|entry| (&entry["after"]["position"], entry["reason"].as_str())).collect();
    assert_eq!(changes, [(&json!("on"), Some("it works again")), (&json!("off"), Some(REASON))]);
    assert_eq!(entries[0]["actor"], "operator:local");
    Ok(())
}

async fn while_discounts_are_off_codes_are_refused(fixture: Fixture) -> Outcome {
    let (customer, sku) = (fixture.customer().await?, fixture.product(10).await?);
    let code = unique("C").replace('-', "_");
    let terms = json!({"code": code, "percentage": 10});
    fixture.admin.call(Method::POST, "/v1/discounts").json(&terms).send().await?.read::<Value>()?;
    let mut body = json!(buy(&sku));
    body["discount_code"] = json!(code);
    let price = async || {
        let call = customer.shop.call(Method::POST, "/v1/quotes").json(&body);
        call.send().await
    };
    assert_eq!(price().await?.status, StatusCode::OK);
    fixture.set_switch("discounts", "off", REASON).await?;
    let refused = eventually("codes are refused", async || {
        let answer = price().await?;
        if answer.status == StatusCode::UNPROCESSABLE_ENTITY { Ok(answer) } else { Err(answer.status)? }
    })
    .await?;
    assert_eq!(refused.value()["errors"][0]["field"], "discount_code");
    let placed = customer.shop.place(&buy(&sku), &unique("key")).await?;
    assert_eq!(customer.ended(&placed.order_id).await?.status, OrderStatus::OrderCompleted);
    Ok(())
}

async fn while_sms_are_off_none_is_sent(fixture: Fixture) -> Outcome {
    let (customer, sku) = (fixture.customer_with_phone().await?, fixture.product(500).await?);
    fixture.set_switch("sms", "off", REASON).await?;
    // Nothing is delivered to this country, so that the order is cancelled, which an SMS reports.
    let order = NewOrder { shipping_address: address("AQ"), ..buy(&sku) };
    eventually("an SMS is not sent", async || {
        let (before, placed) =
            (fixture.texts(&customer).await?.len(), customer.shop.place(&order, &unique("key")).await?);
        eventually("the SMS is sent or not", async || {
            let words = ["no SMS was sent", "SwitchedOff", placed.order_id.as_str()];
            if !fixture.log_lines("notifications-consumer", &words).await?.is_empty() {
                return Ok(Ok(()));
            }
            let sent = fixture.texts(&customer).await?.len();
            if sent > before { Ok(Err("an SMS was sent")) } else { Err("neither")? }
        })
        .await??;
        Ok(())
    })
    .await?;
    Ok(())
}

async fn while_limited_stock_is_off_stock_that_cannot_be_read_is_unknown(fixture: Fixture) -> Outcome {
    let (customer, sku) = (fixture.customer().await?, fixture.product(20).await?);
    let stock = format!("/v1/inventory/{sku}");
    catalog_tells(&fixture, &sku, ("in_stock", false)).await?;
    assert_eq!(told(&answer(&fixture, &stock).await?.value()), ("in_stock", false));
    assert_eq!(told(&quote(&customer, &sku).await?), ("in_stock", false));
    fixture.set_switch("limited-stock", "off", REASON).await?;
    for function in ["inventory-api", "inventory-commands"] {
        fixture.cut_off_table(function).await?;
    }
    catalog_tells(&fixture, &sku, ("unknown", false)).await?;
    eventually("a quote's stock is unknown", async || {
        let quote = quote(&customer, &sku).await?;
        if told(&quote) == ("unknown", false) { Ok(()) } else { Err(quote.to_string())? }
    })
    .await?;
    eventually("the stock is refused", async || {
        let answer = answer(&fixture, &stock).await?;
        if answer.status == StatusCode::SERVICE_UNAVAILABLE { Ok(()) } else { Err(answer.status)? }
    })
    .await?;
    Ok(())
}
