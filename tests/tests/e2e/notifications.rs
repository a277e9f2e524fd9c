//! What customers are told.

use contracts::{
    CorrelationId, Currency, Envelope, Money, NewEvent, OrderId, OrderStatus, UserId, events::OrderCompleted,
};
use ops::shop::{Mail, NewOrder, card};
use serde_json::{Value, json};

use crate::harness::Outcome;
use crate::world::{Customer, PRICE, Result, World, buy, eventually, unique};

crate::tests![
    a_completed_order_is_told_by_exactly_one_email_also_when_the_event_comes_again,
    a_cancelled_order_is_told_by_one_email,
];

async fn mails_about(world: &World, customer: &Customer, order: &OrderId) -> Result<Vec<Mail>> {
    let about =
        |mail: &Mail| mail.subject.contains(order.as_str()) || mail.body_text.contains(order.as_str());
    Ok(world.mails(customer).await?.into_iter().filter(about).collect())
}

async fn wait_for_mail(world: &World, customer: &Customer, order: &OrderId) -> Result<Vec<Mail>> {
    eventually("the customer has an e-mail", async || {
        let mails = mails_about(world, customer, order).await?;
        if mails.is_empty() { Err("none yet")? } else { Ok(mails) }
    })
    .await
}

async fn a_completed_order_is_told_by_exactly_one_email_also_when_the_event_comes_again(
    world: World,
) -> Outcome {
    let (customer, sku) = (world.customer().await?, world.product(5).await?);
    let placed = customer.shop.place(&buy(&sku), &unique("key")).await?;
    let order = customer.ended(&placed.order_id).await?;
    assert_eq!(order.status, OrderStatus::OrderCompleted);
    assert_eq!(wait_for_mail(&world, &customer, &placed.order_id).await?.len(), 1);

    // The same event again, as a queue may deliver it.
    let event = completed_event(&placed.order_id, &customer.user_id, order.version)?;
    let batch = json!({"Records": [{
        "messageId": unique("message"), "receiptHandle": "r", "body": event, "attributes": {},
        "messageAttributes": {}, "md5OfBody": "", "eventSource": "aws:sqs", "awsRegion": world.outputs.region,
        "eventSourceARN": "arn:aws:sqs:us-east-1:000000000000:ordersaga-local-notifications-events",
    }]});
    let answer = world.invoke("notifications-consumer", &batch).await?;
    assert_eq!(answer["batchItemFailures"], json!([]), "{answer}");
    assert_eq!(mails_about(&world, &customer, &placed.order_id).await?.len(), 1);
    Ok(())
}

/// The event that tells of the order's completion. Its id follows from the order and the version.
fn completed_event(
    order: &OrderId,
    user: &UserId,
    version: u64,
) -> std::result::Result<String, serde_json::Error> {
    let correlation_id = CorrelationId::generate();
    let new = NewEvent {
        source: "orders",
        subject: order.as_str(),
        sequence: version,
        occurred_at: jiff::Timestamp::now(),
        correlation_id: &correlation_id,
        causation_id: "test",
        user_id: Some(user),
    };
    let event =
        Envelope::new(new, &OrderCompleted { total: Money::new(PRICE, Currency::USD), items: vec![] })?;
    serde_json::to_value(event).map(|event: Value| event.to_string())
}

async fn a_cancelled_order_is_told_by_one_email(world: World) -> Outcome {
    let (customer, sku) = (world.customer().await?, world.product(5).await?);
    let order = NewOrder { payment_method: card::DECLINED.to_owned(), ..buy(&sku) };
    let placed = customer.shop.place(&order, &unique("key")).await?;
    assert_eq!(customer.ended(&placed.order_id).await?.status, OrderStatus::OrderCancelled);
    assert_eq!(wait_for_mail(&world, &customer, &placed.order_id).await?.len(), 1);
    Ok(())
}
