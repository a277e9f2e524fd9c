use contracts::FUNCTION_ALIAS;
use reqwest::Method;
use serde_json::json;

use crate::emulator::Emulator;
use crate::error::Result;
use crate::settings::LOCAL_STAGE;

/// Makes the events topic FIFO.
///
/// MiniStack 1.5.33 drops `FifoTopic` when CloudFormation makes a topic: messages would reach FIFO queues without their
/// group and without deduplication. Set afterwards it works, and later updates of the stack keep it. AWS refuses to change
/// it, so this is for the emulator alone. Harmless to repeat.
///
/// # Errors
/// There is no topic, or the emulator refuses.
pub async fn events_topic(emulator: &Emulator) -> Result<()> {
    let topic = emulator.parameter(LOCAL_STAGE, "events-topic-arn").await?;
    let form = [("TopicArn", topic.as_str()), ("AttributeName", "FifoTopic"), ("AttributeValue", "true")]
        .map(|(name, value)| (name.to_owned(), value.to_owned()));
    emulator.query("sns", "SetTopicAttributes", "2010-03-31", &form).await.map(drop)
}

/// Makes the functions' alias follow their latest code and environment.
///
/// On AWS it names a published version, which does not change: that is what a canary needs. On this machine, a function is
/// changed by hand (`cargo lambda deploy`) and by tests, and its callers have to see it at once.
///
/// # Errors
/// A function has no such alias, or the emulator does not answer.
pub async fn aliases(emulator: &Emulator, functions: &[String]) -> Result<()> {
    for function in functions {
        let path =
            format!("/2015-03-31/functions/ordersaga-{LOCAL_STAGE}-{function}/aliases/{FUNCTION_ALIAS}");
        let body = json!({"FunctionVersion": "$LATEST"}).to_string().into_bytes();
        emulator.send("lambda", "UpdateAlias", Method::PUT, &path, &[], body).await?;
    }
    Ok(())
}
