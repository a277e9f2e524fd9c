use jiff::Timestamp;
use lambda_kit::{MainResult, aws, config, dynamodb::Table, invoke, telemetry};
use realtime::{Authorizer, Store};

#[tokio::main(flavor = "current_thread")]
async fn main() -> MainResult {
    telemetry::init();
    let table = Table::from_env(&aws::sdk_config()?)?;
    let checks = vec![table.health()];
    let origins = config::required("ALLOWED_ORIGINS")?.parse()?;
    let authorizer = Authorizer::new(Store::new(table), origins);
    invoke::run(checks, |payload, _| {
        let authorizer = authorizer.clone();
        async move { authorizer.decide(payload.get(), Timestamp::now().as_second()).await }
    })
    .await
}
