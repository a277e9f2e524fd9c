use inventory::{HeldPartitions, Store, routes};
use lambda_kit::{MainResult, aws, dynamodb::Table, http, jwt::Verifier, telemetry};

#[tokio::main(flavor = "current_thread")]
async fn main() -> MainResult {
    telemetry::init();
    let sdk = aws::sdk_config()?;
    let store = Store::new(Table::from_env(&sdk)?, HeldPartitions::from_env()?);
    let verifier = Verifier::from_env(&sdk)?;

    http::run(vec![store.health(), verifier.health()], routes(store), verifier).await
}
