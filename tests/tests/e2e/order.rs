//! `cargo ops order`: what it shows of orders that ended well, and of five that are stuck, each in a way of its own. The cause
//! must be found from its output alone. Runs alone, because functions are switched off.

use contracts::{OrderId, OrderStatus};
use serde_json::{Value, json};
use shop_client::{NewOrder, NotYet};

use crate::fixture::{Customer, Fixture, address, buy, eventually, unique};
use crate::harness::Outcome;

crate::tests![alone:
    a_completed_order_is_shown_whole_and_nothing_is_stuck,
    an_order_whose_saga_was_never_started_is_explained,
    an_order_whose_payment_is_not_taken_is_explained,
    an_order_that_waits_for_the_gateway_is_explained,
    an_order_that_needs_attention_is_explained,
];

async fn placed(
    fixture: &Fixture,
    customer: &Customer,
    order: impl FnOnce(NewOrder) -> NewOrder,
) -> Outcome<OrderId> {
    let sku = fixture.product(5).await?;
    Ok(customer.shop.place(&order(buy(&sku)), &unique("key")).await?.order_id)
}

/// The JSON of an order, once it has a finding with these words in its title, its evidence and its commands.
async fn finding(fixture: &Fixture, order: &OrderId, words: &[&str]) -> Outcome<Value> {
    let what = format!("a finding with {words:?}");
    let found = eventually(&what, async || {
        let view = view(fixture, order).await.map_err(said)?;
        let findings = view["findings"].as_array().cloned().unwrap_or_default();
        let found =
            findings.iter().find(|finding| words.iter().all(|word| finding.to_string().contains(word)));
        Ok::<_, NotYet>(found.cloned().ok_or_else(|| view["findings"].to_string())?)
    });
    Ok(found.await?)
}

async fn view(fixture: &Fixture, order: &OrderId) -> Outcome<Value> {
    Ok(serde_json::from_str(&fixture.ops(&["order", order.as_str(), "--json"]).await?)?)
}

fn said(failed: libtest_mimic::Failed) -> String {
    failed.message().unwrap_or_default().to_owned()
}

async fn a_completed_order_is_shown_whole_and_nothing_is_stuck(fixture: Fixture) -> Outcome {
    let customer = fixture.customer().await?;
    let order = placed(&fixture, &customer, |order| order).await?;
    let id = order.as_str();
    assert_eq!(customer.ended(&order).await?.status, OrderStatus::OrderCompleted);
    let view = eventually("the order is at rest", async || {
        let view = view(&fixture, &order).await.map_err(said)?;
        let state = &view["state"];
        let at_rest =
            state["saga"] == "succeeded" && state["reservation"] == "committed" && state["messages"] != 0;
        if at_rest { Ok(view) } else { Err(state.to_string())? }
    })
    .await?;
    assert_eq!((&view["findings"], &view["warnings"]), (&json!([]), &json!([])));
    let lanes: Vec<&str> = view["timeline"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|entry| entry["lane"].as_str())
        .collect();
    for lane in ["order", "saga", "inventory", "payment", "shipment", "message", "log"] {
        assert!(lanes.contains(&lane), "no {lane} in {lanes:?}");
    }

    let text = fixture.ops(&["order", id]).await?;
    assert!(text.contains("OrderCompleted") && text.contains("Nothing is stuck"), "{text}");
    let page = std::env::temp_dir().join(format!("{id}.html"));
    fixture.ops(&["order", id, "--html", &page.to_string_lossy()]).await?;
    let html = std::fs::read_to_string(&page)?;
    std::fs::remove_file(&page)?;
    assert_eq!(html.matches("class=\"edge taken\"").count(), 4, "five steps");
    for shown in [&text, &html, &view.to_string()] {
        assert!(!shown.contains(&customer.email) && !shown.contains("Test Street"), "{shown}");
    }
    let earlier = fixture.ops(&["order", id, "--at", "0s", "--json"]).await?;
    let earlier: Value = serde_json::from_str(&earlier)?;
    assert_eq!(
        (&earlier["state"]["order"], &earlier["state"]["version"]),
        (&json!("OrderCreated"), &json!(1))
    );

    let correlation = view["correlation_id"].as_str().ok_or("an order has a correlation id")?;
    let found: Value = serde_json::from_str(&fixture.ops(&["order", correlation, "--json"]).await?)?;
    assert_eq!(found["order_id"], id);
    let unknown = fixture.ops(&["order", "cor_unknown"]).await.expect_err("no line has it");
    assert!(said(unknown).contains("no log line since"));
    let unknown =
        fixture.ops(&["order", &format!("ord_{}", "0".repeat(32))]).await.expect_err("there is none");
    assert!(said(unknown).contains("there is no order"));
    Ok(())
}

async fn an_order_whose_saga_was_never_started_is_explained(fixture: Fixture) -> Outcome {
    let customer = fixture.customer().await?;
    fixture.switch_off("orders-relay").await?;
    let order = placed(&fixture, &customer, |order| order).await?;
    let words = ["The saga was never started", "orders-relay is switched off", "saga check --older-than 0"];
    let found = finding(&fixture, &order, &words).await?;
    assert_eq!(
        (&found["urgency"], &found["runbook"]),
        (&json!("stuck"), &json!("Functions are throttled (`throttles`)"))
    );

    // By the commands that it names.
    fixture.switch_on("orders-relay").await?;
    fixture.ops(&["saga", "check", "--older-than", "0"]).await?;
    assert_eq!(customer.ended(&order).await?.status, OrderStatus::OrderCompleted);
    Ok(())
}

async fn an_order_whose_payment_is_not_taken_is_explained(fixture: Fixture) -> Outcome {
    let customer = fixture.customer().await?;
    fixture.switch_off("payments-commands").await?;
    let order = placed(&fixture, &customer, |order| order).await?;
    let words = ["Payments has not handled the command TakePayment", "payments-commands is switched off"];
    let found = finding(&fixture, &order, &words).await?;
    assert_eq!(found["urgency"], "stuck");
    fixture.switch_on("payments-commands").await?;
    assert_eq!(customer.ended(&order).await?.status, OrderStatus::OrderCompleted);
    Ok(())
}

async fn an_order_that_waits_for_the_gateway_is_explained(fixture: Fixture) -> Outcome {
    let customer = fixture.customer().await?;
    fixture.switch_breaker("payments", "gateway", "forced_open").await?;
    let order = placed(&fixture, &customer, |order| order).await?;
    let words = ["The circuit breaker payments/gateway is forced open", "its deadline"];
    let found = finding(&fixture, &order, &words).await?;
    assert_eq!(found["runbook"], "A circuit breaker is open");
    assert_eq!(found["commands"][0], "cargo ops breaker set payments/gateway normal");
    let log = found["evidence"].to_string();
    assert!(log.contains("log of payments-commands"), "{log}");

    fixture.ops(&["breaker", "set", "payments/gateway", "normal"]).await?;
    assert_eq!(customer.ended(&order).await?.status, OrderStatus::OrderCompleted);
    Ok(())
}

async fn an_order_that_needs_attention_is_explained(fixture: Fixture) -> Outcome {
    fixture.pace_retries(0).await?;
    let (customer, sku) = (fixture.customer().await?, fixture.product(5).await?);
    let future = customer.future_order();
    let order = &future.order_id;
    fixture.fail_gateway(order, "refund", "refuse", 100_000).await?;
    let new = NewOrder { shipping_address: address("AQ"), ..buy(&sku) };
    customer.shop.place(&new, &future.key).await?;
    let retry = format!("cargo ops saga retry {order}");
    let words = [
        "The order needs attention: not undone: payment",
        "RefundPayment: ",
        "the payment is refunding",
        &retry,
    ];
    let found = finding(&fixture, order, &words).await?;
    assert_eq!((&found["urgency"], &found["runbook"]), (&json!("stuck"), &json!("NeedsAttention")));

    fixture.gateway.forget_faults().await?;
    fixture.ops(&["saga", "retry", order.as_str()]).await?;
    let view = view(&fixture, order).await?;
    assert_eq!((&view["state"]["order"], &view["findings"]), (&json!("OrderCancelled"), &json!([])));
    Ok(())
}
