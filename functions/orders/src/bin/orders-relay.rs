use lambda_kit::{MainResult, aws, config, dynamodb::Table, relay, telemetry};
use orders::{Starter, Store, watch_all};

#[tokio::main(flavor = "current_thread")]
async fn main() -> MainResult {
    telemetry::init();
    let sdk = aws::sdk_config()?;
    let (publisher, table) = (relay::Publisher::from_env(&sdk)?, Table::from_env(&sdk)?);
    let starter = Starter::new(aws_sdk_sfn::Client::new(&sdk), config::required("STATE_MACHINE_ARN")?);
    let (checks, store) = (vec![table.health()], Store::new(table.clone()));
    relay::run(table, checks, publisher, move |batch| {
        let (starter, store) = (starter.clone(), store.clone());
        async move {
            let (mut failed, unwatched) = tokio::join!(starter.start_all(&batch), watch_all(&store, &batch));
            failed.extend(unwatched);
            failed
        }
    })
    .await
}
