use inventory::{HeldPartitions, Store, follow_stock};
use jiff::Timestamp;
use lambda_kit::{MainResult, aws, dynamodb::Table, relay, telemetry};

#[tokio::main(flavor = "current_thread")]
async fn main() -> MainResult {
    telemetry::init();
    let sdk = aws::sdk_config()?;
    let (publisher, table) = (relay::Publisher::from_env(&sdk)?, Table::from_env(&sdk)?);
    let store = Store::new(table.clone(), HeldPartitions::from_env()?);

    relay::run(table, vec![store.health()], publisher, move |batch| {
        let store = store.clone();
        async move { follow_stock(&store, &batch, Timestamp::now()).await }
    })
    .await
}
