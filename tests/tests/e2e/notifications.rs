//! Notifications to customers.

use contracts::{Currency, EventId, Money, OrderId, OrderStatus, events::OrderCompleted};
use reqwest::StatusCode;
use serde_json::json;
use shop_client::{Mail, NewOrder, card};

use crate::fixture::{Customer, Fixture, PRICE, Result, address, buy, event, eventually, unique};
use crate::harness::Outcome;

crate::tests![
    a_completed_order_is_told_once_by_each_channel_also_when_the_event_comes_again,
    a_cancelled_order_is_told_with_the_reason_in_plain_words,
    a_payment_that_needs_the_customer_is_told_at_once_and_its_order_is_confirmed_after_a_minute,
    money_that_goes_back_is_told,
    the_customer_is_notified_when_the_shipment_leaves_and_when_it_arrives,
    who_gave_no_phone_number_is_told_by_email_alone,
    mail_that_came_back_is_the_last_to_its_address,
];

/// The subjects of the e-mails about an order.
async fn subjects(fixture: &Fixture, customer: &Customer, order: &OrderId) -> Result<Vec<String>> {
    let about = |mail: Mail| Some(mail.subject).filter(|subject| subject.contains(order.as_str()));
    Ok(fixture.mails(customer).await?.into_iter().filter_map(about).collect())
}

/// The SMS about an order.
async fn texts(fixture: &Fixture, customer: &Customer, order: &OrderId) -> Result<Vec<String>> {
    let texts = fixture.texts(customer).await?;
    Ok(texts.into_iter().filter(|text| text.contains(order.as_str())).collect())
}

/// Waits until the customer has one message on each channel, with this subject and this text.
async fn is_told(
    fixture: &Fixture,
    customer: &Customer,
    order: &OrderId,
    subject: &str,
    text: &str,
) -> Outcome {
    eventually(&format!("the customer hears: {subject}"), async || {
        let subjects = subjects(fixture, customer, order).await?;
        let texts = texts(fixture, customer, order).await?;
        let count = |said: &[String], words: &str| said.iter().filter(|said| said.contains(words)).count();
        match (count(&subjects, subject), count(&texts, text)) {
            (1, 1) => Ok(()),
            (mails, sms) => Err(format!("{mails} of {subjects:?} and {sms} of {texts:?}"))?,
        }
    })
    .await?;
    Ok(())
}

async fn a_completed_order_is_told_once_by_each_channel_also_when_the_event_comes_again(
    fixture: Fixture,
) -> Outcome {
    let (customer, sku) = (fixture.customer_with_phone().await?, fixture.product(5).await?);
    let placed = customer.shop.place(&buy(&sku), &unique("key")).await?;
    let order = customer.ended(&placed.order_id).await?;
    assert_eq!(order.status, OrderStatus::OrderCompleted);
    is_told(&fixture, &customer, &placed.order_id, "is complete", "is complete").await?;
    let confirmed = EventId::derive("orders", placed.order_id.as_str(), 1);
    let confirmation = fixture.item("notifications", &format!("MESSAGE#{confirmed}"), "EMAIL").await?;
    assert_eq!(confirmation["state"], json!({"S": "superseded"}));
    let welcome = fixture.mails(&customer).await?.iter().filter(|mail| mail.subject == "Welcome").count();
    assert_eq!(welcome, 1);

    // The same event again, as a queue may deliver it.
    let total = Money::new(PRICE, Currency::USD);
    let event = event(
        "orders",
        placed.order_id.as_str(),
        Some(&customer.user_id),
        order.version,
        &OrderCompleted { total, items: vec![] },
    )?;
    for queue in ["email", "sms"] {
        let batch = json!({"Records": [{
            "messageId": unique("message"), "receiptHandle": "r", "body": serde_json::to_string(&event)?,
            "attributes": {}, "messageAttributes": {}, "md5OfBody": "", "eventSource": "aws:sqs",
            "awsRegion": fixture.outputs.region,
            "eventSourceARN": format!("arn:aws:sqs:us-east-1:000000000000:ordersaga-local-notifications-{queue}"),
        }]});
        let answer = fixture.invoke("notifications-consumer", &batch).await?;
        assert_eq!(answer["batchItemFailures"], json!([]), "{answer}");
    }
    assert_eq!(subjects(&fixture, &customer, &placed.order_id).await?.len(), 1);
    assert_eq!(texts(&fixture, &customer, &placed.order_id).await?.len(), 1);
    eventually("notifications tell that they were sent", async || {
        let lines = fixture.log_lines("notifications-relay", &["Operation", "relay"]).await?;
        if lines.is_empty() { Err("no line in the relay's log")? } else { Ok(()) }
    })
    .await?;
    Ok(())
}

async fn a_cancelled_order_is_told_with_the_reason_in_plain_words(fixture: Fixture) -> Outcome {
    let (customer, sku) = (fixture.customer_with_phone().await?, fixture.product(5).await?);
    let order = NewOrder { payment_method: card::DECLINED.to_owned(), ..buy(&sku) };
    let placed = customer.shop.place(&order, &unique("key")).await?;
    assert_eq!(customer.ended(&placed.order_id).await?.status, OrderStatus::OrderCancelled);
    is_told(&fixture, &customer, &placed.order_id, "was cancelled", "was cancelled").await?;
    let mails = fixture.mails(&customer).await?;
    assert!(mails.iter().any(|mail| mail.body_text.contains("Your payment was declined.")), "{mails:?}");
    assert!(!texts(&fixture, &customer, &placed.order_id).await?.join(" ").contains("declined"));
    Ok(())
}

async fn a_payment_that_needs_the_customer_is_told_at_once_and_its_order_is_confirmed_after_a_minute(
    fixture: Fixture,
) -> Outcome {
    let (customer, sku) = (fixture.customer_with_phone().await?, fixture.product(5).await?);
    let (order_id, _) = customer.order_that_waits(&fixture, &sku).await?;
    is_told(&fixture, &customer, &order_id, "Please confirm the payment", "waits for you to confirm").await?;
    is_told(&fixture, &customer, &order_id, "We have received", "has been received").await?;
    assert_eq!(customer.cancel(&order_id).await?, StatusCode::ACCEPTED);
    Ok(())
}

async fn money_that_goes_back_is_told(fixture: Fixture) -> Outcome {
    let (customer, sku) = (fixture.customer_with_phone().await?, fixture.product(5).await?);
    let order = NewOrder { shipping_address: address("AQ"), ..buy(&sku) };
    let placed = customer.shop.place(&order, &unique("key")).await?;
    assert_eq!(customer.ended(&placed.order_id).await?.status, OrderStatus::OrderCancelled);
    is_told(&fixture, &customer, &placed.order_id, "is on its way back", "is being refunded").await?;
    is_told(&fixture, &customer, &placed.order_id, "was cancelled", "was cancelled").await
}

async fn the_customer_is_notified_when_the_shipment_leaves_and_when_it_arrives(fixture: Fixture) -> Outcome {
    let (customer, sku) = (fixture.customer_with_phone().await?, fixture.product(5).await?);
    let order = customer.shop.place(&buy(&sku), &unique("key")).await?.order_id;
    assert_eq!(customer.ended(&order).await?.status, OrderStatus::OrderCompleted);
    for report in [
        json!({"status": "picked"}),
        json!({"status": "packed"}),
        json!({"status": "shipped", "tracking_number": "TRACK-1"}),
    ] {
        fixture.report(&order, &report).await?;
    }
    is_told(&fixture, &customer, &order, "is on its way", "has been shipped").await?;
    let mails = fixture.mails(&customer).await?;
    assert!(mails.iter().any(|mail| mail.body_text.contains("TRACK-1")), "{mails:?}");
    assert!(!texts(&fixture, &customer, &order).await?.join(" ").contains("TRACK"));
    fixture.report(&order, &json!({"status": "delivered"})).await?;
    is_told(&fixture, &customer, &order, "was delivered", "was delivered").await
}

async fn who_gave_no_phone_number_is_told_by_email_alone(fixture: Fixture) -> Outcome {
    let (customer, sku) = (fixture.customer().await?, fixture.product(5).await?);
    let placed = customer.shop.place(&buy(&sku), &unique("key")).await?;
    assert_eq!(customer.ended(&placed.order_id).await?.status, OrderStatus::OrderCompleted);
    eventually("the customer has an e-mail", async || {
        let subjects = subjects(&fixture, &customer, &placed.order_id).await?;
        if subjects.len() == 1 { Ok(()) } else { Err(subjects.join(", "))? }
    })
    .await?;
    Ok(())
}

async fn mail_that_came_back_is_the_last_to_its_address(fixture: Fixture) -> Outcome {
    let (customer, sku) = (fixture.customer_with_phone().await?, fixture.product(5).await?);
    eventually("the customer is welcome", async || {
        let mails = fixture.mails(&customer).await?.len();
        if mails == 1 { Ok(()) } else { Err(mails)? }
    })
    .await?;
    // In the format that SES publishes to the topic, which the emulator does not do.
    let bounced = json!({
        "eventType": "Bounce", "bounce": {"bounceType": "Permanent"},
        "mail": {"destination": [customer.email], "tags": {"user": [customer.user_id.as_str()]}},
    });
    let topic =
        fixture.parameter("events-topic-arn").await?.replace("-events.fifo", "-notifications-feedback");
    let form = [("TopicArn".to_owned(), topic), ("Message".to_owned(), bounced.to_string())];
    fixture.emulator.query("sns", "Publish", "2010-03-31", &form).await?;
    eventually("notifications have heard it", async || {
        let words = [customer.user_id.as_str(), "e-mail to the address is stopped"];
        let lines = fixture.log_lines("notifications-consumer", &words).await?;
        if lines.is_empty() { Err("no line of it in the log")? } else { Ok(()) }
    })
    .await?;
    let placed = customer.shop.place(&buy(&sku), &unique("key")).await?;
    eventually("the customer gets an SMS", async || {
        let texts = texts(&fixture, &customer, &placed.order_id).await?;
        if texts.len() == 1 { Ok(()) } else { Err(texts.join(", "))? }
    })
    .await?;
    assert!(subjects(&fixture, &customer, &placed.order_id).await?.is_empty());
    Ok(())
}
