//! `cargo ops dlq`: what waits in dead-letter queues is seen, moved back once, or thrown away.

use contracts::{Availability, events::InventoryStockChanged};
use serde_json::{Value, json};

use crate::fixture::{Fixture, event, eventually, unique};
use crate::harness::Outcome;

crate::tests![
    a_message_that_fails_for_ever_is_moved_once_a_redrive_and_can_be_thrown_away,
    so_is_one_of_a_fifo_queue,
    a_redrive_meets_what_comes_back_meanwhile_and_leaves_it,
    an_event_whose_cause_is_mended_is_handled_after_a_redrive,
];

/// A queue of a test's own and its dead-letter queue. A message that was received once ends there.
struct Pair<'a> {
    fixture: &'a Fixture,
    fifo: bool,
    /// As `cargo ops dlq` calls the dead-letter queue.
    name: String,
    queue: Value,
    dead_letters: Value,
}

impl<'a> Pair<'a> {
    async fn make(fixture: &'a Fixture, fifo: bool) -> Outcome<Self> {
        let (base, end) = (unique("test"), if fifo { ".fifo" } else { "" });
        let name = format!("{base}-dlq{end}");
        let mut attributes = json!({});
        if fifo {
            attributes["FifoQueue"] = json!("true");
        }
        let dead_letters = create(fixture, &name, &attributes).await?;
        let asked = json!({"QueueUrl": dead_letters, "AttributeNames": ["QueueArn"]});
        let arn = sqs(fixture, "GetQueueAttributes", asked).await?["Attributes"]["QueueArn"].take();
        let policy = json!({"deadLetterTargetArn": arn, "maxReceiveCount": 1});
        attributes["RedrivePolicy"] = json!(policy.to_string());
        let queue = create(fixture, &format!("{base}{end}"), &attributes).await?;
        Ok(Self { fixture, fifo, name, queue, dead_letters })
    }

    async fn put(&self, body: &Value) -> Outcome {
        let mut input = json!({"QueueUrl": self.dead_letters, "MessageBody": body.to_string()});
        if self.fifo {
            input["MessageGroupId"] = json!("one");
            input["MessageDeduplicationId"] = json!(unique("event"));
        }
        sqs(self.fixture, "SendMessage", input).await.map(drop)
    }

    /// As a consumer that can never handle it: receives, and lets it be received again at once.
    async fn fail(&self) -> Outcome<usize> {
        let input = json!({
            "QueueUrl": self.queue, "VisibilityTimeout": 0, "MaxNumberOfMessages": 10,
        });
        let answer = sqs(self.fixture, "ReceiveMessage", input).await?;
        Ok(answer["Messages"].as_array().map_or(0, Vec::len))
    }

    async fn waiting(&self) -> Outcome<Value> {
        let queues: Value = serde_json::from_str(&self.fixture.ops(&["dlq", "list", "--json"]).await?)?;
        let mut all = queues.as_array().cloned().unwrap_or_default().into_iter();
        let own = all.find(|queue| queue["name"] == self.name.as_str()).ok_or("it is not listed")?;
        Ok(own["visible"].clone())
    }

    async fn delete(self) -> Outcome {
        for url in [self.queue, self.dead_letters] {
            sqs(self.fixture, "DeleteQueue", json!({"QueueUrl": url})).await?;
        }
        Ok(())
    }
}

async fn create(fixture: &Fixture, name: &str, attributes: &Value) -> Outcome<Value> {
    let name = format!("ordersaga-{}-{name}", fixture.outputs.stage);
    let input = json!({"QueueName": name, "Attributes": attributes});
    Ok(sqs(fixture, "CreateQueue", input).await?["QueueUrl"].take())
}

pub async fn sqs(fixture: &Fixture, operation: &str, input: Value) -> Outcome<Value> {
    Ok(fixture.emulator.json("sqs", &format!("AmazonSQS.{operation}"), &input).await?)
}

async fn a_message_that_fails_for_ever_is_moved_once_a_redrive_and_can_be_thrown_away(
    fixture: Fixture,
) -> Outcome {
    moved_once_a_redrive(&fixture, false).await
}

async fn so_is_one_of_a_fifo_queue(fixture: Fixture) -> Outcome {
    moved_once_a_redrive(&fixture, true).await
}

async fn moved_once_a_redrive(fixture: &Fixture, fifo: bool) -> Outcome {
    let pair = Pair::make(fixture, fifo).await?;
    let name = pair.name.as_str();
    pair.put(&json!({"event_type": "user.registered", "subject": "usr_1", "data": {"email": "a@b.example"}}))
        .await?;
    let listed = fixture.ops(&["dlq", "list"]).await?;
    assert!(listed.contains(name) && listed.contains("dlq show"), "{listed}");
    for _ in 0..2 {
        let shown = fixture.ops(&["dlq", "show", name]).await?;
        assert!(shown.contains("user.registered") && !shown.contains("a@b"), "{shown}");
    }

    let first = fixture.ops(&["dlq", "redrive", name]).await?;
    assert!(first.starts_with("1 moved to ") && !first.contains("come back"), "{first}");
    assert_eq!(pair.waiting().await?, 0);
    assert_eq!((pair.fail().await?, pair.fail().await?), (1, 0), "the second finds it given up");
    let second = fixture.ops(&["dlq", "redrive", name]).await?;
    assert!(second.starts_with("1 moved to ") && second.contains("1 of them had come back"), "{second}");
    assert_eq!((pair.fail().await?, pair.fail().await?), (1, 0), "nor is it taken for a duplicate");
    let shown = fixture.ops(&["dlq", "show", &format!("ordersaga-{}-{name}", fixture.outputs.stage)]).await?;
    assert!(shown.contains("redriven 2×"), "{shown}");

    let refused = fixture.ops(&["dlq", "purge", name]).await.err().ok_or("it asks for --yes")?;
    assert!(refused.message().is_some_and(|said| said.contains("1 message") && said.contains("--yes")));
    assert_eq!(pair.waiting().await?, 1);
    fixture.ops(&["dlq", "purge", name, "--yes"]).await?;
    assert_eq!(pair.waiting().await?, 0);
    pair.delete().await
}

async fn a_redrive_meets_what_comes_back_meanwhile_and_leaves_it(fixture: Fixture) -> Outcome {
    let pair = Pair::make(&fixture, false).await?;
    for number in 0..12 {
        pair.put(&json!({"action": "Nonsense", "sequence": number})).await?;
    }
    let two = fixture.ops(&["dlq", "redrive", &pair.name, "--max", "2"]).await?;
    assert!(two.starts_with("2 moved to "), "{two}");
    assert_eq!(pair.waiting().await?, 10);

    let arguments = ["dlq", "redrive", pair.name.as_str()];
    let failing = async {
        loop {
            if let Err(error) = pair.fail().await {
                return error;
            }
        }
    };
    let said = tokio::select! {
        said = fixture.ops(&arguments) => said?,
        error = failing => return Err(error),
    };
    let moved = said.split(' ').next().and_then(|count| count.parse::<usize>().ok());
    // The two of before may have come back in time to be counted.
    assert!(moved.is_some_and(|moved| (10..=12).contains(&moved)), "{said}");
    assert!(said.contains("came back already"), "{said}");

    eventually("everything has come back", async || {
        pair.fail().await.map_err(|error| error.message().unwrap_or_default().to_owned())?;
        match pair.waiting().await {
            Ok(waiting) if waiting == 12 => Ok(()),
            other => Err(format!("{other:?}"))?,
        }
    })
    .await?;
    let shown = fixture.ops(&["dlq", "show", &pair.name, "--json", "--max", "50"]).await?;
    let shown: Value = serde_json::from_str(&shown)?;
    let redriven: Vec<u64> =
        shown.as_array().into_iter().flatten().filter_map(|m| m["redriven"].as_u64()).collect();
    assert!(redriven.len() == 12 && redriven.iter().all(|times| (1..=2).contains(times)), "{redriven:?}");
    pair.delete().await
}

async fn an_event_whose_cause_is_mended_is_handled_after_a_redrive(fixture: Fixture) -> Outcome {
    let sku = fixture.product(6).await?;
    fixture.shows(&sku, "in_stock").await?;
    let changed = InventoryStockChanged { sku: sku.clone(), availability: Availability::OutOfStock };
    // Behind all of inventory's events about it.
    let body = serde_json::to_string(&event("inventory", sku.as_str(), None, 1_000, &changed)?)?;
    let name = format!("ordersaga-{}-catalog-events-dlq", fixture.outputs.stage);
    let url = sqs(&fixture, "GetQueueUrl", json!({"QueueName": name})).await?["QueueUrl"].take();
    sqs(&fixture, "SendMessage", json!({"QueueUrl": url, "MessageBody": body})).await?;

    let shown = fixture.ops(&["dlq", "show", "catalog-events-dlq"]).await?;
    assert!(shown.contains("inventory.stock_changed") && shown.contains(sku.as_str()), "{shown}");
    let said = fixture.ops(&["dlq", "redrive", "catalog-events-dlq"]).await?;
    assert!(said.starts_with("1 moved to catalog-events\n"), "{said}");
    Ok(fixture.shows(&sku, "out_of_stock").await?)
}
