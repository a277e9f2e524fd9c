use lambda_kit::{
    MainResult, aws,
    dynamodb::Table,
    http::{self, limit::Limits},
    jwt::Verifier,
    telemetry,
};

#[tokio::main(flavor = "current_thread")]
async fn main() -> MainResult {
    telemetry::init();
    let sdk = aws::sdk_config()?;
    let table = Table::from_env(&sdk)?;
    let verifier = Verifier::from_env(&sdk)?;
    let limits = Limits::new(table.clone());
    let checks = vec![table.health(), verifier.health()];
    http::run(checks, limits.enforce(payments::routes(payments::Api::from_env(&sdk, table)?)), verifier).await
}
