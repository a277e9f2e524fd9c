//! Shipments: staff report their progress, and customers see it.

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use shop_client::Frame;

use crate::fixture::{Fixture, WITHIN, buy, unique};
use crate::harness::Outcome;

crate::tests![
    the_customer_sees_each_step_of_the_shipment_live,
    the_shipment_of_an_order_that_has_not_completed_is_not_sent,
];

async fn the_customer_sees_each_step_of_the_shipment_live(fixture: Fixture) -> Outcome {
    let (customer, sku) = (fixture.customer().await?, fixture.product(5).await?);
    let order = customer.shop.place(&buy(&sku), &unique("key")).await?.order_id;
    customer.ended(&order).await?;
    let path = format!("/v1/shipments/{order}");
    let seen = async || customer.shop.call(Method::GET, &path).send().await?.read::<Value>();
    assert_eq!(seen().await?["status"], "scheduled");

    let mut live = customer.shop.live().await?;
    live.subscribe(&order, None).await?;
    for status in ["picked", "packed", "shipped", "delivered"] {
        fixture.report(&order, &json!({"status": status})).await?;
        while !matches!(live.next(WITHIN).await?, Frame::Shipment(frame) if frame.status == status) {}
        let again = fixture.report(&order, &json!({"status": "picked"})).await;
        assert_eq!(again.is_ok(), status == "picked", "a repeat is the same, and nothing goes back");
    }
    assert_eq!(seen().await?["status"], "delivered");
    Ok(())
}

async fn the_shipment_of_an_order_that_has_not_completed_is_not_sent(fixture: Fixture) -> Outcome {
    let (customer, sku) = (fixture.customer().await?, fixture.product(5).await?);
    let (order, _) = customer.order_that_waits(&fixture, &sku).await?;
    let path = format!("/v1/shipments/{order}/events");
    let report = fixture.admin.call(Method::POST, &path).json(&json!({"status": "picked"}));
    assert_eq!(report.send_once().await?.status, StatusCode::CONFLICT);
    assert_eq!(customer.cancel(&order).await?, StatusCode::ACCEPTED);
    Ok(())
}
