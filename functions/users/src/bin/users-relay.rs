use lambda_kit::{MainResult, aws, dynamodb::Table, relay, telemetry};
use users::{Store, sweep_all};

#[tokio::main(flavor = "current_thread")]
async fn main() -> MainResult {
    telemetry::init();
    let sdk = aws::sdk_config()?;
    let (publisher, table) = (relay::Publisher::from_env(&sdk)?, Table::from_env(&sdk)?);
    let store = Store::new(table);
    relay::run(vec![], publisher, move |batch| {
        let store = store.clone();
        async move { sweep_all(&store, &batch).await }
    })
    .await
}
