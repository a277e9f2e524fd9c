use lambda_kit::{
    MainResult, aws, config,
    dynamodb::Table,
    http::{self, Limiter},
    jwt::Verifier,
    numbers, telemetry,
};
use orders::{Forecast, Partitioning, Store, routes};

#[tokio::main(flavor = "current_thread")]
async fn main() -> MainResult {
    telemetry::init();
    let sdk = aws::sdk_config()?;
    let table = Table::from_env(&sdk)?;
    let verifier = Verifier::from_env(&sdk)?;
    let checks = vec![table.health(), verifier.health()];
    let limiter = Limiter::new(table.clone(), "orders", numbers::ORDERS_PER_USER);
    let forecast = Forecast::new(&(&sdk).into(), config::required("STAGE")?);
    http::run(checks, routes(Store::new(table, Partitioning::from_env()?), limiter, forecast), verifier).await
}
