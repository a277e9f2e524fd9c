use catalog::{InventoryProbe, Store, routes};
use lambda_kit::{MainResult, aws, config, dynamodb::Table, http, jwt::Verifier, telemetry};

#[tokio::main(flavor = "current_thread")]
async fn main() -> MainResult {
    telemetry::init();
    let sdk = aws::sdk_config()?;
    let table = Table::from_env(&sdk)?;
    let verifier = Verifier::from_env(&sdk)?;
    let checks = vec![table.health(), verifier.health()];
    let inventory = InventoryProbe::new(&(&sdk).into(), config::required("STAGE")?);
    http::run(checks, routes(Store::new(table), inventory), verifier).await
}
