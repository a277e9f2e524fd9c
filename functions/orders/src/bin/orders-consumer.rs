use lambda_kit::{MainResult, aws, dynamodb::Table, sqs, telemetry};
use orders::{EVENT_TYPES, Partitioning, Store, handle_event};

#[tokio::main(flavor = "current_thread")]
async fn main() -> MainResult {
    telemetry::init();
    let table = Table::from_env(&aws::sdk_config()?)?;
    let (checks, store) = (vec![table.health()], Store::new(table, Partitioning::from_env()?));
    sqs::run_events(EVENT_TYPES, checks, |event| {
        let store = store.clone();
        async move { handle_event(&store, event).await }
    })
    .await
}
