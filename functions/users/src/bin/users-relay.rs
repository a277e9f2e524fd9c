use lambda_kit::{MainResult, aws, dynamodb::Table, relay, telemetry};
use users::{Store, delete_sessions_of_erased};

#[tokio::main(flavor = "current_thread")]
async fn main() -> MainResult {
    telemetry::init();
    let sdk = aws::sdk_config()?;
    let (publisher, table) = (relay::Publisher::from_env(&sdk)?, Table::from_env(&sdk)?);
    let store = Store::new(table.clone());
    relay::run(table, vec![], publisher, move |batch| {
        let store = store.clone();
        async move { delete_sessions_of_erased(&store, &batch).await }
    })
    .await
}
