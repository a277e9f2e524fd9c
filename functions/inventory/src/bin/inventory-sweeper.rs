use inventory::{HeldPartitions, OrdersClient, Store, sweep};
use jiff::Timestamp;
use lambda_kit::{MainResult, aws, config, dynamodb::Table, invoke, telemetry};

#[tokio::main(flavor = "current_thread")]
async fn main() -> MainResult {
    telemetry::init();
    let sdk = aws::sdk_config()?;
    let store = Store::new(Table::from_env(&sdk)?, HeldPartitions::from_env()?);
    let orders = OrdersClient::new(&(&sdk).into(), config::required("STAGE")?);

    invoke::run(vec![store.health()], |_, context| {
        let (store, orders) = (store.clone(), orders.clone());
        async move { sweep(&store, &orders, Timestamp::now(), context.deadline()).await }
    })
    .await
}
