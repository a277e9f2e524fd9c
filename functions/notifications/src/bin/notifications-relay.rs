use lambda_kit::{MainResult, aws, dynamodb::Table, relay, telemetry};

#[tokio::main(flavor = "current_thread")]
async fn main() -> MainResult {
    telemetry::init();
    let sdk = aws::sdk_config()?;
    let (publisher, table) = (relay::Publisher::from_env(&sdk)?, Table::from_env(&sdk)?);
    relay::run_publisher(table, vec![], publisher).await
}
