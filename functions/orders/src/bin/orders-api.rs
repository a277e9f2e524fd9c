use lambda_kit::{MainResult, aws, dynamodb::Table, http, jwt::Verifier, telemetry};
use orders::{Store, routes};

#[tokio::main(flavor = "current_thread")]
async fn main() -> MainResult {
    telemetry::init();
    let sdk = aws::sdk_config()?;
    let table = Table::from_env(&sdk)?;
    let verifier = Verifier::from_env(&sdk)?;
    let checks = vec![table.health(), verifier.health()];
    http::run(checks, routes(Store::new(table)), verifier).await
}
