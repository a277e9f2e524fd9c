//! 2,000 notifications at once, with providers that refuse three calls in ten, and with one channel down.
//! Runs alone, because it changes what every notification passes through.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use contracts::{
    Currency, Envelope, IdempotencyKey, Money, OrderId, UserId,
    events::{NotificationPreferences, OrderCompleted, UserUpdated},
};
use futures::stream::{StreamExt, TryStreamExt, iter};
use serde_json::{Value, json};

use crate::fixture::{Customer, Fixture, event, eventually};
use crate::harness::Outcome;
use crate::provider::{Channel, Provider};

crate::tests![alone:
    two_thousand_notifications_drain_without_a_loss_through_providers_that_fail_and_throttle,
    while_text_messages_fail_notifications_go_by_email_with_the_same_text,
];

/// Each is sent by e-mail and by SMS.
const EVENTS: usize = 1000;
const CHANNELS: [(&str, Channel); 2] = [("email", Channel::Email), ("sms", Channel::Sms)];
/// Messages a second and channel: what two cores keep up with.
const RATE: u32 = 60;
/// The bucket goes by the wall clock in microseconds, the test by another.
const CLOCKS: Duration = Duration::from_millis(5);
/// SQS takes ten messages a call (SendMessageBatch, API reference).
const BATCH: usize = 10;

async fn two_thousand_notifications_drain_without_a_loss_through_providers_that_fail_and_throttle(
    fixture: Fixture,
) -> Outcome {
    let customer = fixture.customer_with_phone().await?;
    eventually("notifications know the customer", async || {
        let mails = fixture.mails(&customer).await?.len();
        if mails == 0 { Err("no welcome")? } else { Ok(()) }
    })
    .await?;
    let provider = Provider::start(&fixture.outputs.aws_endpoint_url).await?;
    let outcome = drains(&fixture, &customer, &provider).await;
    provider.stop();
    outcome
}

async fn drains(fixture: &Fixture, customer: &Customer, provider: &Provider) -> Outcome {
    let consumer = "notifications-consumer";
    let rate = RATE.to_string();
    for (name, value) in [
        ("AWS_ENDPOINT_URL_SESV2", provider.url.as_str()),
        ("AWS_ENDPOINT_URL_SNS", provider.url.as_str()),
        ("EMAILS_PER_SECOND", rate.as_str()),
        ("SMS_PER_SECOND", rate.as_str()),
    ] {
        fixture.set_variable(consumer, name, value).await?;
    }
    fixture.switch_off(consumer).await?;
    let events = (0..EVENTS).map(|n| completed(&customer.user_id, n)).collect::<Outcome<Vec<_>>>()?;
    for (queue, _) in CHANNELS {
        let queue = &queue_url(fixture, &format!("notifications-{queue}")).await?;
        let batches = iter(events.chunks(BATCH)).map(Ok);
        batches.try_for_each_concurrent(4, |batch| send(fixture, queue, batch)).await?;
    }
    let started = Instant::now();
    fixture.switch_on(consumer).await?;

    // By the refusals that the provider counted: its lists hold what it took.
    eventually("all calls were made", async || {
        let calls: usize = CHANNELS.iter().map(|(_, channel)| provider.calls(*channel).len()).sum();
        let taken = calls - provider.refused();
        if taken >= 2 * EVENTS { Ok(()) } else { Err(format!("{taken} of {calls} calls were taken"))? }
    })
    .await?;
    let took = started.elapsed();
    eventually("the queues are empty", async || {
        let mut left = Vec::new();
        for (queue, _) in CHANNELS {
            left.push(waiting(fixture, &format!("notifications-{queue}")).await.map_err(said)?);
        }
        if left.iter().all(|left| *left == 0) { Ok(()) } else { Err(format!("{left:?} are in them"))? }
    })
    .await?;

    let orders: Vec<&str> = events.iter().map(|event| event.subject.as_str()).collect();
    let mails = fixture.mails(customer).await?.into_iter().map(|mail| mail.subject);
    assert_each_once("e-mails", &orders, mails);
    assert_each_once("SMS", &orders, fixture.texts(customer).await?.into_iter());
    for (queue, channel) in CHANNELS {
        assert_eq!(waiting(fixture, &format!("notifications-{queue}-dlq")).await?, 0, "{queue}");
        // Each call had a turn, and turns are spaced evenly, however much a busy machine delays some of them.
        for (turn, call) in (0..).zip(provider.calls(channel)) {
            let least = Duration::from_secs(1) * turn / RATE;
            assert!(call - started + CLOCKS >= least, "call {turn} of {queue} after {:?}", call - started);
        }
    }
    assert!(provider.refused() > EVENTS / 2, "{} calls were refused", provider.refused());
    eprintln!(
        "{} notifications in {} s, {} calls refused on the way",
        2 * EVENTS,
        took.as_secs(),
        provider.refused(),
    );
    Ok(())
}

fn completed(user: &UserId, n: usize) -> Outcome<Envelope> {
    let order = OrderId::derive(user, &IdempotencyKey::try_from(format!("peak-{n}"))?);
    event(
        "test",
        order.as_str(),
        Some(user),
        6,
        &OrderCompleted { total: Money::new(1250, Currency::USD), items: vec![] },
    )
}

fn said(error: libtest_mimic::Failed) -> String {
    error.message().unwrap_or_default().to_owned()
}

async fn queue_url(fixture: &Fixture, name: &str) -> Outcome<Value> {
    let input = json!({"QueueName": format!("ordersaga-{}-{name}", fixture.outputs.stage)});
    Ok(fixture.emulator.json("sqs", "AmazonSQS.GetQueueUrl", &input).await?["QueueUrl"].take())
}

async fn send(fixture: &Fixture, queue: &Value, batch: &[Envelope]) -> Outcome {
    let entries: Vec<Value> = batch
        .iter()
        .enumerate()
        .map(|(n, event)| Ok(json!({"Id": n.to_string(), "MessageBody": serde_json::to_string(event)?})))
        .collect::<Outcome<_>>()?;
    let input = json!({"QueueUrl": queue, "Entries": entries});
    let answer = fixture.emulator.json("sqs", "AmazonSQS.SendMessageBatch", &input).await?;
    assert_eq!(answer["Successful"].as_array().map(Vec::len), Some(batch.len()), "{answer}");
    Ok(())
}

/// The messages of a queue, those that are being worked on and those to come later included.
async fn waiting(fixture: &Fixture, queue: &str) -> Outcome<u64> {
    let input = json!({"QueueUrl": queue_url(fixture, queue).await?, "AttributeNames": ["All"]});
    let answer = fixture.emulator.json("sqs", "AmazonSQS.GetQueueAttributes", &input).await?;
    let count = |name: &str| {
        let value = answer["Attributes"][name].as_str().and_then(|value| value.parse::<u64>().ok());
        value.ok_or_else(|| format!("{queue}: no {name}: {answer}"))
    };
    let kinds = ["", "NotVisible", "Delayed"];
    let counts = kinds.map(|kind| count(&format!("ApproximateNumberOfMessages{kind}")));
    Ok(counts.into_iter().sum::<std::result::Result<u64, String>>()?)
}

/// Every order is named once in what was sent.
fn assert_each_once(what: &str, orders: &[&str], sent: impl Iterator<Item = String>) {
    let mut times: BTreeMap<&str, usize> = orders.iter().map(|order| (*order, 0)).collect();
    for message in sent {
        if let Some((_, rest)) = message.split_once("ord_")
            && let Some(times) = times.get_mut(format!("ord_{}", &rest[..32]).as_str())
        {
            *times += 1;
        }
    }
    let wrong: Vec<_> = times.iter().filter(|(_, times)| **times != 1).collect();
    assert!(wrong.is_empty(), "{} {what} were not sent once: {wrong:?}", wrong.len());
}

async fn while_text_messages_fail_notifications_go_by_email_with_the_same_text(fixture: Fixture) -> Outcome {
    let customer = fixture.customer_with_phone().await?;
    // As for a change of the profile.
    let changed = UserUpdated {
        user_id: customer.user_id.clone(),
        email: customer.email.clone(),
        name: "Test Customer".to_owned(),
        phone: customer.phone.clone(),
        notification_preferences: NotificationPreferences { email: false, sms: true },
        email_verified: true,
        phone_verified: true,
    };
    fixture
        .publish(&event("test", customer.user_id.as_str(), Some(&customer.user_id), 1000, &changed)?)
        .await?;
    eventually("notifications know that he wants no e-mail", async || {
        let contact = contact(&fixture, &customer.user_id).await.map_err(said)?;
        if contact["wants_email"]["BOOL"] == false { Ok(()) } else { Err(contact["sequence"].to_string())? }
    })
    .await?;
    fixture.switch_breaker("notifications", "sms", "forced_open").await?;
    let outcome = is_told_by_email(&fixture, &customer).await;
    fixture.switch_breaker("notifications", "sms", "normal").await?;
    outcome
}

async fn is_told_by_email(fixture: &Fixture, customer: &Customer) -> Outcome {
    // A running instance uses the breaker's state for a second after it was read: one SMS more or
    // less.
    let mut events = vec![completed(&customer.user_id, 0)?];
    fixture.publish(&events[0]).await?;
    let text = eventually("the text comes by e-mail", async || {
        let last = events.last().map(|event| event.subject.clone()).unwrap_or_default();
        let text = format!("Your order {last} is complete.");
        if fixture.mails(customer).await?.iter().any(|mail| mail.body_text.contains(&text)) {
            return Ok(text);
        }
        if fixture.texts(customer).await?.contains(&text) {
            let next = completed(&customer.user_id, events.len()).map_err(said)?;
            fixture.publish(&next).await.map_err(said)?;
            events.push(next);
        }
        Err(format!("no word of order {}", events.len()))?
    })
    .await?;
    let mails = fixture.mails(customer).await?;
    assert_eq!(mails.iter().filter(|mail| mail.body_text.contains(&text)).count(), 1, "{mails:?}");
    assert!(!fixture.texts(customer).await?.contains(&text));
    Ok(())
}

/// The copy of a user's contact data in notifications, which no API returns.
async fn contact(fixture: &Fixture, user: &UserId) -> Outcome<Value> {
    fixture.item("notifications", &format!("CONTACT#{user}"), "CONTACT").await
}
