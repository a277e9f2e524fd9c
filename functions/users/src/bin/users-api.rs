use lambda_kit::{
    MainResult, aws,
    dynamodb::Table,
    http::{self, limit::Limits},
    jwt::{Signer, Verifier},
    telemetry,
};
use users::{Store, Users, routes};

#[tokio::main(flavor = "current_thread")]
async fn main() -> MainResult {
    telemetry::init();
    let sdk = aws::sdk_config()?;
    let table = Table::from_env(&sdk)?;
    let signer = Signer::from_env(&sdk)?;
    let verifier = Verifier::from_env(&sdk)?;
    let checks = vec![table.health(), verifier.health()];
    let limits = Limits::new(table.clone());
    let users = Users { store: Store::new(table), signer, verifier: verifier.clone() };
    http::run(checks, limits.enforce(routes(users)), verifier).await
}
