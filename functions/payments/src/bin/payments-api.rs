use lambda_kit::{MainResult, aws, dynamodb::Table, http, jwt::Verifier, telemetry};

#[tokio::main(flavor = "current_thread")]
async fn main() -> MainResult {
    telemetry::init();
    let sdk = aws::sdk_config()?;
    let table = Table::from_env(&sdk)?;
    let verifier = Verifier::from_env(&sdk)?;
    let checks = vec![table.health(), verifier.health()];
    http::run(checks, payments::routes(payments::Api::from_env(&sdk, table)?), verifier).await
}
