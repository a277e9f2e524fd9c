use lambda_kit::{MainResult, aws, dynamodb::Table, invoke, telemetry};

// A function of its own, because the storefront invokes it. It could invoke notifications-consumer with messages of its
// own making.
#[tokio::main(flavor = "current_thread")]
async fn main() -> MainResult {
    telemetry::init();
    let table = Table::from_env(&aws::sdk_config()?)?;
    invoke::run_health(vec![table.health()]).await
}
