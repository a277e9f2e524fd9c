use inventory::{EVENT_TYPES, HeldPartitions, Store, handle_event};
use jiff::Timestamp;
use lambda_kit::{MainResult, aws, dynamodb::Table, sqs, telemetry};

#[tokio::main(flavor = "current_thread")]
async fn main() -> MainResult {
    telemetry::init();
    let store = Store::new(Table::from_env(&aws::sdk_config()?)?, HeldPartitions::from_env()?);

    sqs::run_events(EVENT_TYPES, vec![store.health()], |event| {
        let store = store.clone();
        async move { handle_event(&store, event, Timestamp::now()).await }
    })
    .await
}
