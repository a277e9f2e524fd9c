use jiff::Timestamp;
use lambda_kit::{MainResult, aws, command, dynamodb::Table, telemetry};
use orders::{Partitioning, Store, handle_command, handle_query};

#[tokio::main(flavor = "current_thread")]
async fn main() -> MainResult {
    telemetry::init();
    let table = Table::from_env(&aws::sdk_config()?)?;
    let (checks, store) = (vec![table.health()], Store::new(table, Partitioning::from_env()?));
    let queried = store.clone();
    command::run_with_queries(
        checks,
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
