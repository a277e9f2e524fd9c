use jiff::Timestamp;
use lambda_kit::{MainResult, aws, dynamodb::Table, invoke, sqs, telemetry};
use realtime::{Consumer, Pusher, Store};

#[tokio::main(flavor = "current_thread")]
async fn main() -> MainResult {
    telemetry::init();
    let sdk = aws::sdk_config()?;
    let table = Table::from_env(&sdk)?;
    let checks = vec![table.health()];
    let consumer = Consumer::new(Store::new(table), Pusher::from_env(&sdk)?);
    invoke::run(checks, |payload, _| {
        let consumer = consumer.clone();
        async move {
            let batch = sqs::parse_batch(payload.get())?;
            Ok(consumer.handle_all(batch.records, Timestamp::now().as_second()).await)
        }
    })
    .await
}
