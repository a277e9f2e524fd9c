//! Refunds that the customer's bank returns, and our books against the gateway's.

use aws_lc_rs::hmac;
use contracts::{OrderId, OrderStatus, saga};
use jiff::Timestamp;
use jiff::tz::TimeZone;
use reqwest::Method;
use serde_json::{Value, json};
use shop_client::NewOrder;

use crate::fixture::{Customer, Fixture, PRICE, address, buy, eventually, unique};
use crate::harness::Outcome;

crate::tests![
    a_refund_that_fails_days_later_needs_attention_until_it_is_made_again,
    a_refund_that_failed_and_was_paid_in_another_way_needs_attention_no_more,
    payments_that_differ_from_the_gateway_are_listed,
    a_signed_event_that_means_nothing_here_is_taken,
];

/// Sends an event as Stripe does, with the stack's own secret.
async fn webhook(fixture: &Fixture, event: &Value) -> Outcome<u16> {
    let input = json!({"SecretId": format!("ordersaga-{}-stripe", fixture.outputs.stage)});
    let secret = fixture.emulator.json("secretsmanager", "secretsmanager.GetSecretValue", &input).await?;
    let secret: Value = serde_json::from_str(secret["SecretString"].as_str().unwrap_or_default())?;
    let key = secret["webhook_secrets"][0].as_str().unwrap_or_default();
    let (seconds, body) = (Timestamp::now().as_second(), event.to_string());
    let signed = hmac::sign(
        &hmac::Key::new(hmac::HMAC_SHA256, key.as_bytes()),
        format!("{seconds}.{body}").as_bytes(),
    );
    let hex: String = signed.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    let call = fixture.shop.call(Method::POST, "/v1/payments/webhook").body("application/json", body);
    let answer = call.header("stripe-signature", &format!("t={seconds},v1={hex}")).send_once().await?;
    Ok(answer.status.as_u16())
}

/// An order that was paid, could not be shipped, and was refunded: with the gateway's refund of it.
async fn refunded(fixture: &Fixture) -> Outcome<(Customer, OrderId, Value)> {
    let (customer, sku) = (fixture.customer().await?, fixture.product(5).await?);
    let order = NewOrder { shipping_address: address("AQ"), ..buy(&sku) };
    let order_id = customer.shop.place(&order, &unique("key")).await?.order_id;
    assert_eq!(customer.ended(&order_id).await?.status, OrderStatus::OrderCancelled);
    let taken = fixture.taken(&order_id).await?;
    let refund = fixture.gateway.refunds(&taken[0]).await?.pop().ok_or("it is refunded")?;
    Ok((customer, order_id, refund))
}

async fn shows(fixture: &Fixture, customer: &Customer, order_id: &OrderId, expected: (&str, i64)) -> Outcome {
    eventually(&format!("the payment says {expected:?}"), async || {
        let payment = customer.shop.payment(order_id).await?;
        let shown = (payment.status.as_str(), payment.refunded.amount);
        if shown == expected { Ok(()) } else { Err(format!("{shown:?}"))? }
    })
    .await?;
    let payment = fixture.admin.payment(order_id).await?;
    assert_eq!(payment.status, expected.0, "staff see it, too");
    Ok(())
}

/// An order whose refund failed days later, with the gateway's refund.
async fn returned_by_the_bank(fixture: &Fixture) -> Outcome<(Customer, OrderId, Value)> {
    let (customer, order_id, mut refund) = refunded(fixture).await?;
    shows(fixture, &customer, &order_id, ("refunded", PRICE)).await?;
    refund["status"] = json!("failed");
    refund["failure_reason"] = json!("expired_or_canceled_card");
    for kind in ["refund.failed", "charge.refund.updated"] {
        let event = json!({"id": unique("evt"), "type": kind, "data": {"object": refund}});
        assert_eq!(webhook(fixture, &event).await?, 200);
    }
    shows(fixture, &customer, &order_id, ("refund_failed", 0)).await?;
    eventually("the order needs attention", async || {
        let status = customer.shop.order(&order_id).await?.status;
        if status == OrderStatus::NeedsAttention { Ok(()) } else { Err(status)? }
    })
    .await?;
    Ok((customer, order_id, refund))
}

async fn a_refund_that_fails_days_later_needs_attention_until_it_is_made_again(fixture: Fixture) -> Outcome {
    let (customer, order_id, failed) = returned_by_the_bank(&fixture).await?;
    let refund_id = failed["id"].as_str().unwrap_or_default();
    eventually("the operator's list shows it", async || {
        let listed = fixture.ops(&["saga", "list", "--attention"]).await.map_err(said)?;
        if listed.contains(order_id.as_str()) && listed.contains(refund_id) { Ok(()) } else { Err(listed)? }
    })
    .await?;

    let retried = fixture.ops(&["saga", "retry", order_id.as_str()]).await?;
    assert!(retried.contains("is cancelled"), "{retried}");
    shows(&fixture, &customer, &order_id, ("refunded", PRICE)).await?;
    assert_eq!(customer.shop.order(&order_id).await?.status, OrderStatus::OrderCancelled);
    assert_eq!(customer.reason(&order_id).await?, saga::SHIPMENT_REJECTED);
    let taken = fixture.taken(&order_id).await?;
    assert_eq!(fixture.gateway.refunds(&taken[0]).await?.len(), 2, "another refund was made");
    Ok(())
}

async fn a_refund_that_failed_and_was_paid_in_another_way_needs_attention_no_more(
    fixture: Fixture,
) -> Outcome {
    let (customer, order_id, _) = returned_by_the_bank(&fixture).await?;
    let settle = ["payments", "settled", order_id.as_str(), "--note", "bank transfer 17"];
    let said = fixture.ops(&settle).await?;
    assert!(said.contains(": recorded,") && said.contains("is cancelled"), "{said}");
    shows(&fixture, &customer, &order_id, ("refunded", PRICE)).await?;
    assert_eq!(customer.shop.order(&order_id).await?.status, OrderStatus::OrderCancelled);
    let taken = fixture.taken(&order_id).await?;
    assert_eq!(fixture.gateway.refunds(&taken[0]).await?.len(), 1, "the gateway gives nothing back again");

    let again = fixture.ops(&settle).await?;
    assert!(again.contains("was recorded before") && again.contains("nothing to retry"), "{again}");
    let (_, other, _) = refunded(&fixture).await?;
    let refused = fixture.ops(&["payments", "settled", other.as_str(), "--note", "x"]).await;
    assert!(refused.is_err(), "no refund of it has failed");
    Ok(())
}

fn today() -> String {
    Timestamp::now().to_zoned(TimeZone::UTC).date().to_string()
}

async fn payments_that_differ_from_the_gateway_are_listed(fixture: Fixture) -> Outcome {
    let (customer, sku) = (fixture.customer().await?, fixture.product(5).await?);
    let order_id = customer.shop.place(&buy(&sku), &unique("key")).await?.order_id;
    assert_eq!(customer.ended(&order_id).await?.status, OrderStatus::OrderCompleted);
    let check = async || fixture.ops(&["payments", "check", "--date", &today()]).await;
    let before = check().await?;
    assert!(!before.contains(order_id.as_str()), "{before}");

    // A refund in the dashboard. The stand-in sends no webhook about it.
    let taken = fixture.taken(&order_id).await?;
    fixture.gateway.refund(&taken[0], 250).await?;
    let found = check().await?;
    let line = format!("{order_id}  {}  refunded: 0 in our books, 250 at the gateway", taken[0].id);
    assert!(found.contains(&line), "{found}");
    Ok(())
}

async fn a_signed_event_that_means_nothing_here_is_taken(fixture: Fixture) -> Outcome {
    let ping = json!({
        "id": "evt_test", "object": "v2.core.event", "type": "v2.core.event_destination.ping",
        "created": "2026-11-28T12:00:00.000Z", "data": {},
    });
    assert_eq!(webhook(&fixture, &ping).await?, 200);
    Ok(())
}

fn said(error: libtest_mimic::Failed) -> String {
    error.message().unwrap_or_default().to_owned()
}
