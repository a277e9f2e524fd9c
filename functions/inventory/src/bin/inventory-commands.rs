use inventory::{HeldPartitions, Store, handle_command, handle_query};
use jiff::Timestamp;
use lambda_kit::{MainResult, aws, command, dynamodb::Table, telemetry};

#[tokio::main(flavor = "current_thread")]
async fn main() -> MainResult {
    telemetry::init();
    let store = Store::new(Table::from_env(&aws::sdk_config()?)?, HeldPartitions::from_env()?);

    let queried = store.clone();
    command::run_with_queries(
        vec![store.health()],
        |command| {
            let store = store.clone();
            async move { handle_command(&store, command, Timestamp::now()).await }
        },
        |query| {
            let store = queried.clone();
            async move { handle_query(&store, query).await }
        },
    )
    .await
}
