//! `cargo ops republish` and `cargo ops outbox republish`: history for a consumer that is new, late, or lost its copy. And
//! `cargo ops outbox retry`: records that a relay could not process.

use std::collections::BTreeMap;

use contracts::{Envelope, EventId, UserId};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use shop_client::NotYet;

use crate::dlq::sqs;
use crate::fixture::{Fixture, buy, eventually, unique};
use crate::harness::Outcome;

crate::tests![
    a_new_consumer_gets_every_user_that_there_is,
    a_late_consumer_gets_the_whole_history_of_an_order_and_nobody_else_does_anything_again,
    a_copy_of_availability_that_was_lost_is_rebuilt,
    a_record_that_cannot_be_read_holds_up_nothing_and_is_published_once_it_is_mended,
];

/// Above what is due in a shop of tests, so that none waits for it.
const RATE: &str = "1000";

/// A consumer's queue that was not there before.
struct Consumer<'a> {
    fixture: &'a Fixture,
    queue: Value,
    subscription: String,
    /// By event id, the last delivery of each.
    events: BTreeMap<EventId, Envelope>,
}

impl<'a> Consumer<'a> {
    /// Subscribes to the events whose type has this prefix.
    async fn subscribe(fixture: &'a Fixture, prefix: &str) -> Outcome<Self> {
        let name = format!("ordersaga-{}-{}", fixture.outputs.stage, unique("new"));
        let queue = sqs(fixture, "CreateQueue", json!({"QueueName": name})).await?["QueueUrl"].take();
        let asked = json!({"QueueUrl": queue, "AttributeNames": ["QueueArn"]});
        let arn = sqs(fixture, "GetQueueAttributes", asked).await?["Attributes"]["QueueArn"].take();
        let topic = fixture.parameter("events-topic-arn").await?;
        let policy = json!({"Version": "2012-10-17", "Statement": [{
            "Effect": "Allow", "Principal": {"Service": "sns.amazonaws.com"}, "Action": "sqs:SendMessage",
            "Resource": arn, "Condition": {"ArnEquals": {"aws:SourceArn": topic}},
        }]});
        let allowed = json!({"QueueUrl": queue, "Attributes": {"Policy": policy.to_string()}});
        sqs(fixture, "SetQueueAttributes", allowed).await?;
        let filter = json!({"event_type": [{"prefix": prefix}]});
        let form = [
            ("TopicArn", topic.as_str()),
            ("Protocol", "sqs"),
            ("Endpoint", arn.as_str().unwrap_or_default()),
            ("ReturnSubscriptionArn", "true"),
            ("Attributes.entry.1.key", "RawMessageDelivery"),
            ("Attributes.entry.1.value", "true"),
            ("Attributes.entry.2.key", "FilterPolicy"),
            ("Attributes.entry.2.value", &filter.to_string()),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()));
        let answer = fixture.emulator.query("sns", "Subscribe", "2010-03-31", &form).await?;
        let subscription = answer
            .split_once("<SubscriptionArn>")
            .and_then(|(_, rest)| rest.split_once('<'))
            .map(|(arn, _)| arn.to_owned())
            .ok_or("the topic names no subscription")?;
        Ok(Self { fixture, queue, subscription, events: BTreeMap::new() })
    }

    /// Takes what is in the queue.
    async fn receive(&mut self) -> Outcome {
        loop {
            let input = json!({"QueueUrl": self.queue, "MaxNumberOfMessages": 10});
            let answer = sqs(self.fixture, "ReceiveMessage", input).await?;
            let Some(messages) = answer["Messages"].as_array().filter(|messages| !messages.is_empty()) else {
                return Ok(());
            };
            for message in messages {
                let event: Envelope = serde_json::from_str(message["Body"].as_str().unwrap_or_default())?;
                self.events.insert(event.event_id.clone(), event);
                let handle = json!({"QueueUrl": self.queue, "ReceiptHandle": message["ReceiptHandle"]});
                sqs(self.fixture, "DeleteMessage", handle).await?;
            }
        }
    }

    /// Waits for this many events of a subject, and returns them in the order of their sequence.
    async fn events_of(&mut self, subject: &str, count: usize) -> Outcome<Vec<Envelope>> {
        Ok(eventually(&format!("{count} events of {subject} come"), async || {
            self.receive().await.map_err(|error| error.message().unwrap_or_default().to_owned())?;
            let mut own: Vec<Envelope> =
                self.events.values().filter(|event| event.subject == subject).cloned().collect();
            own.sort_by_key(|event| event.sequence);
            if own.len() >= count { Ok(own) } else { Err(NotYet::from(format!("{} came", own.len()))) }
        })
        .await?)
    }

    async fn leave(self) -> Outcome {
        let form = [("SubscriptionArn".to_owned(), self.subscription)];
        self.fixture.emulator.query("sns", "Unsubscribe", "2010-03-31", &form).await?;
        sqs(self.fixture, "DeleteQueue", json!({"QueueUrl": self.queue})).await.map(drop)
    }
}

async fn a_new_consumer_gets_every_user_that_there_is(fixture: Fixture) -> Outcome {
    let customers = [fixture.customer().await?, fixture.customer().await?];
    // The relay may still be publishing; the events of these orders show that it has caught up.
    let sku = fixture.product(5).await?;
    for customer in &customers {
        let order = customer.shop.place(&buy(&sku), &unique("key")).await?.order_id;
        customer.ended(&order).await?;
        eventually("notifications know the customer", async || {
            let mails = fixture.mails(customer).await?;
            if mails.is_empty() { Err("no e-mail")? } else { Ok(()) }
        })
        .await?;
    }

    let mut consumer = Consumer::subscribe(&fixture, "user.").await?;
    let said = fixture.ops(&["republish", "users", "--rate", RATE]).await?;
    assert!(said.contains("events of users published again."), "{said}");
    for customer in &customers {
        let events = consumer.events_of(customer.user_id.as_str(), 1).await?;
        assert_eq!(events[0].event_id, EventId::derive("users", customer.user_id.as_str(), 1));
        assert_eq!(events[0].data["email"], customer.email.as_str());
    }
    consumer.leave().await
}

async fn a_late_consumer_gets_the_whole_history_of_an_order_and_nobody_else_does_anything_again(
    fixture: Fixture,
) -> Outcome {
    let (customer, sku) = (fixture.customer().await?, fixture.product(5).await?);
    let before = Timestamp::now() - SignedDuration::from_secs(1);
    let order = customer.shop.place(&buy(&sku), &unique("key")).await?.order_id;
    let ended = customer.ended(&order).await?;
    // Welcome, order completed.
    const TOLD: usize = 2;
    eventually("the customer is told of everything", async || {
        let mails = fixture.mails(&customer).await?.len();
        if mails >= TOLD { Ok(()) } else { Err(format!("{mails} e-mails"))? }
    })
    .await?;

    let mut consumer = Consumer::subscribe(&fixture, "order.").await?;
    let since = before.to_string();
    let arguments = ["outbox", "republish", "orders", "--since", &since, "--rate", RATE];
    let said = fixture.ops(&arguments).await?;
    assert!(said.contains("events of orders published again."), "{said}");
    let count = usize::try_from(ended.version)?;
    let events = consumer.events_of(order.as_str(), count).await?;
    let sequences: Vec<u64> = events.iter().map(|event| event.sequence).collect();
    assert_eq!(sequences, Vec::from_iter(1..=ended.version));
    assert!(consumer.events.values().all(|event| event.occurred_at >= before), "and nothing older");
    consumer.leave().await?;

    assert_eq!(customer.shop.order(&order).await?.version, ended.version);
    assert_eq!(fixture.taken(&order).await?.len(), 1);
    assert_eq!(fixture.available(&sku).await?, 4);
    assert_eq!(fixture.mails(&customer).await?.len(), TOLD);
    Ok(())
}

async fn a_copy_of_availability_that_was_lost_is_rebuilt(fixture: Fixture) -> Outcome {
    let sku = fixture.product(50).await?;
    fixture.shows(&sku, "in_stock").await?;
    let lost = json!({
        "TableName": format!("ordersaga-{}-catalog", fixture.outputs.stage),
        "Key": {"pk": {"S": format!("PRODUCT#{sku}")}, "sk": {"S": "STOCK"}},
    });
    fixture.emulator.json("dynamodb", "DynamoDB_20120810.DeleteItem", &lost).await?;
    fixture.shows(&sku, "unknown").await?;
    fixture.ops(&["republish", "inventory", "--rate", RATE]).await?;
    Ok(fixture.shows(&sku, "in_stock").await?)
}

async fn a_record_that_cannot_be_read_holds_up_nothing_and_is_published_once_it_is_mended(
    fixture: Fixture,
) -> Outcome {
    let user = UserId::generate();
    let (pk, subject) = (format!("USER#{user}"), user.as_str());
    let table = format!("ordersaga-{}-users", fixture.outputs.stage);
    let put = async |outbox: Value| {
        let item = json!({"pk": {"S": pk}, "sk": {"S": "ENDED_SESSIONS"}, "outbox": outbox});
        let input = json!({"TableName": table, "Item": item});
        fixture.emulator.json("dynamodb", "DynamoDB_20120810.PutItem", &input).await.map(drop)
    };
    let mut consumer = Consumer::subscribe(&fixture, "user.updated").await?;
    put(json!({"S": "no list of events"})).await?;

    // The record behind it goes out.
    let other = UserId::generate();
    let update = |user: &UserId| updated(user).map(|event| json!({"L": [{"S": event}]}));
    let behind = json!({"TableName": table, "Item": {
        "pk": {"S": format!("USER#{other}")}, "sk": {"S": "ENDED_SESSIONS"}, "outbox": update(&other)?,
    }});
    fixture.emulator.json("dynamodb", "DynamoDB_20120810.PutItem", &behind).await?;
    assert_eq!(consumer.events_of(other.as_str(), 1).await?.len(), 1);

    let refused = fixture.ops(&["outbox", "retry", "users"]).await.expect_err("it is still parked");
    let said = refused.message().unwrap_or_default().to_owned();
    assert!(said.contains(&pk) && said.contains("still parked in users"), "{said}");

    // Mended where it stands; the stream does not bring what it held before.
    put(update(&user)?).await?;
    consumer.events_of(subject, 1).await?;
    let said = fixture.ops(&["outbox", "retry", "users"]).await?;
    assert!(said.contains("users: 1 processed, 0 failed and stay parked, 0 cannot be processed."), "{said}");
    let key = json!({"TableName": table, "Key": {"pk": {"S": pk}, "sk": {"S": "ENDED_SESSIONS"}}});
    fixture.emulator.json("dynamodb", "DynamoDB_20120810.DeleteItem", &key).await?;
    consumer.leave().await
}

/// An event that no consumer acts on: the profile of an unknown user.
fn updated(user: &UserId) -> serde_json::Result<String> {
    let example = include_str!("../../../shared/contracts/schemas/user.updated.v1.example.json");
    let mut event: Value = serde_json::from_str(example)?;
    event["event_id"] = json!(EventId::derive("users", user.as_str(), 1));
    event["subject"] = json!(user);
    event["data"]["user_id"] = json!(user);
    event["metadata"]["user_id"] = json!(user);
    serde_json::to_string(&event)
}
