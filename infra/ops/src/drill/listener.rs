//! A subscriber of the topic of alarms: a queue of the drill's own.

use local_stack::{Emulator, LOCAL_STAGE};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::aws::Aws;
use crate::error::{Error, Result};

const SNS: &str = "2010-03-31";

/// The queue, and its subscription.
#[derive(Debug)]
pub struct Listener<'a> {
    emulator: &'a Emulator,
    alarm: String,
    queue: Value,
    subscription: String,
}

impl<'a> Listener<'a> {
    /// Subscribes a new queue to the topic, for the messages of one alarm.
    ///
    /// # Errors
    /// The emulator refuses.
    pub async fn start(aws: &'a Aws, alarm: &str) -> Result<Self> {
        let emulator = aws
            .emulator()
            .ok_or_else(|| Error::Drill("a subscriber is made on this machine only".to_owned()))?;
        let topic = emulator.parameter(LOCAL_STAGE, "alarm-action-arn").await?;
        let policy = json!({"Version": "2012-10-17", "Statement": {
            "Effect": "Allow", "Principal": {"Service": "sns.amazonaws.com"}, "Action": "sqs:SendMessage",
            "Resource": "*", "Condition": {"ArnEquals": {"aws:SourceArn": topic}},
        }});
        let input = json!({"QueueName": format!("drill-{}", Uuid::new_v4()), "Attributes": {"Policy": policy.to_string()}});
        let queue = emulator.json("sqs", "AmazonSQS.CreateQueue", &input).await?["QueueUrl"].clone();
        let asked = json!({"QueueUrl": queue, "AttributeNames": ["QueueArn"]});
        let attributes = emulator.json("sqs", "AmazonSQS.GetQueueAttributes", &asked).await?;
        let arn = attributes["Attributes"]["QueueArn"].as_str().unwrap_or_default().to_owned();
        let form = [("TopicArn", topic), ("Protocol", "sqs".to_owned()), ("Endpoint", arn)]
            .map(|(name, value)| (name.to_owned(), value));
        let answer = emulator.query("sns", "Subscribe", SNS, &form).await?;
        let subscription = answer.split(['<', '>']).find(|text| text.starts_with("arn:")).unwrap_or_default();
        Ok(Self { emulator, alarm: alarm.to_owned(), queue, subscription: subscription.to_owned() })
    }

    pub fn alarm(&self) -> &str {
        &self.alarm
    }

    /// Waits until the alarm's message about this state arrives.
    ///
    /// # Errors
    /// The queue cannot be read.
    pub async fn hears(&self, state: &str) -> Result<()> {
        loop {
            let input = json!({"QueueUrl": self.queue, "MaxNumberOfMessages": 10, "WaitTimeSeconds": 1});
            let received = self.emulator.json("sqs", "AmazonSQS.ReceiveMessage", &input).await?;
            for message in received["Messages"].as_array().into_iter().flatten() {
                let input = json!({"QueueUrl": self.queue, "ReceiptHandle": message["ReceiptHandle"]});
                self.emulator.json("sqs", "AmazonSQS.DeleteMessage", &input).await?;
                let alarm = parsed(&parsed(&message["Body"])["Message"]);
                if alarm["AlarmName"] == *self.alarm && alarm["NewStateValue"] == state {
                    return Ok(());
                }
            }
        }
    }

    /// Removes the subscription and the queue.
    // What is left after a failure receives alarms and has no reader, until the stack ends.
    pub async fn end(self) {
        let form = [("SubscriptionArn".to_owned(), self.subscription)];
        let _ = self.emulator.query("sns", "Unsubscribe", SNS, &form).await;
        let _ = self.emulator.json("sqs", "AmazonSQS.DeleteQueue", &json!({"QueueUrl": self.queue})).await;
    }
}

/// A text that holds JSON.
fn parsed(text: &Value) -> Value {
    text.as_str().and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default()
}
