use lambda_kit::{
    MainResult, aws,
    dynamodb::Table,
    http::{self, Limiter},
    jwt::{Signer, Verifier},
    limits, telemetry,
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
    let limiter = Limiter::new(table.clone(), "auth", limits::AUTH_PER_ADDRESS);
    let users = Users { store: Store::new(table), signer, verifier: verifier.clone() };
    http::run(checks, routes(users, limiter), verifier).await
}
