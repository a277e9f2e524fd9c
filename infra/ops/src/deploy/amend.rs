use serde_json::json;

use crate::emulator::Emulator;
use crate::error::{Error, Result};
use crate::remote::Remote;
use crate::settings::LOCAL_STAGE;
use crate::stage::Stage;

/// Makes the events topic FIFO.
///
/// MiniStack 1.5.33 drops `FifoTopic` when CloudFormation makes a topic: messages would reach FIFO queues without their
/// group and without deduplication. Set afterwards it works, and later updates of the stack keep it. AWS refuses to change
/// it, so this is for the emulator alone. Harmless to repeat.
///
/// # Errors
/// There is no topic, or the emulator refuses.
pub async fn events_topic(emulator: &Emulator) -> Result<()> {
    let name = format!("/ordersaga/{LOCAL_STAGE}/events-topic-arn");
    let parameter = emulator.json("ssm", "AmazonSSM.GetParameter", &json!({"Name": name})).await?;
    let topic = parameter["Parameter"]["Value"].as_str().ok_or_else(|| no_value(&name))?;
    let form = [("TopicArn", topic), ("AttributeName", "FifoTopic"), ("AttributeValue", "true")]
        .map(|(name, value)| (name.to_owned(), value.to_owned()));
    emulator.query("sns", "SetTopicAttributes", "2010-03-31", &form).await.map(drop)
}

/// The same for a stage that `cargo ops deploy` deploys into an emulator.
///
/// # Errors
/// There is no topic, or the emulator refuses.
pub async fn events_topic_of(remote: &Remote, stage: &Stage) -> Result<()> {
    let name = format!("/ordersaga/{stage}/events-topic-arn");
    let parameter = remote.call("ssm", "GetParameter", json!({"Name": name})).await?;
    let topic = parameter["Parameter"]["Value"].as_str().ok_or_else(|| no_value(&name))?;
    let input = json!({"TopicArn": topic, "AttributeName": "FifoTopic", "AttributeValue": "true"});
    remote.call("sns", "SetTopicAttributes", input).await.map(drop)
}

fn no_value(name: &str) -> Error {
    Error::Refused { operation: format!("GetParameter {name}"), reason: "it has no value".to_owned() }
}
