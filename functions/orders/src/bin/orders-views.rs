use lambda_kit::{MainResult, aws, dynamodb::Table, telemetry};
use orders::{Partitioning, Store, keep_views};

#[tokio::main(flavor = "current_thread")]
async fn main() -> MainResult {
    telemetry::init();
    let table = Table::from_env(&aws::sdk_config()?)?;
    keep_views(vec![table.health()], Store::new(table, Partitioning::from_env()?)).await
}
