use lambda_kit::{MainResult, aws, dynamodb::Table, telemetry};
use users::{Store, run_commands};

#[tokio::main(flavor = "current_thread")]
async fn main() -> MainResult {
    telemetry::init();
    let table = Table::from_env(&aws::sdk_config()?)?;
    run_commands(vec![table.health()], Store::new(table)).await
}
