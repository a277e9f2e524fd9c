use jiff::Timestamp;
use lambda_kit::{MainResult, aws, dynamodb::Table, sqs, telemetry};
use payments::InputRecorder;

#[tokio::main(flavor = "current_thread")]
async fn main() -> MainResult {
    telemetry::init();
    let sdk = aws::sdk_config()?;
    let table = Table::from_env(&sdk)?;
    let table_health = table.health();
    let recorder = InputRecorder::from_env(&sdk, table)?;

    sqs::run_events(payments::EVENT_TYPES, vec![table_health], |event| {
        let recorder = recorder.clone();
        async move { payments::handle_event(&recorder, event, Timestamp::now()).await }
    })
    .await
}
