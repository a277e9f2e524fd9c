use lambda_kit::{MainResult, aws, config, dynamodb::Table, relay, telemetry};
use orders::{Partitioning, Starter, Store, update_index};

#[tokio::main(flavor = "current_thread")]
async fn main() -> MainResult {
    telemetry::init();
    let sdk = aws::sdk_config()?;
    let (publisher, table) = (relay::Publisher::from_env(&sdk)?, Table::from_env(&sdk)?);
    let starter = Starter::new(
        aws_sdk_sfn::Client::new(&sdk),
        config::required("STATE_MACHINE_ARN")?,
        table.clone(),
        config::parsed_or("SAGA_STARTS_PER_SECOND", Starter::PER_SECOND)?,
    );
    let (checks, store) = (vec![table.health()], Store::new(table.clone(), Partitioning::from_env()?));
    relay::run(table, checks, publisher, move |batch| {
        let (starter, store) = (starter.clone(), store.clone());
        async move {
            let (mut started, indexed) =
                tokio::join!(starter.start_all(&batch), update_index(&store, &batch));
            started.extend(indexed);
            started
        }
    })
    .await
}
