use lambda_kit::{MainResult, aws, dynamodb::Table, telemetry};

#[tokio::main(flavor = "current_thread")]
async fn main() -> MainResult {
    telemetry::init();
    let sdk = aws::sdk_config()?;
    let table = Table::from_env(&sdk)?;
    let table_health = table.health();
    payments::reconcile(vec![table_health], payments::Reconciler::from_env(&sdk, table)?).await
}
