use lambda_kit::{
    MainResult, aws, config,
    dynamodb::Table,
    http::{self, limit::Limits},
    jwt::Verifier,
    telemetry,
};
use orders::{EmailQueue, Forecast, Partitioning, RequireVerifiedEmail, Store, letter_routes, routes};

#[tokio::main(flavor = "current_thread")]
async fn main() -> MainResult {
    telemetry::init();
    let sdk = aws::sdk_config()?;
    let table = Table::from_env(&sdk)?;
    let verifier = Verifier::from_env(&sdk)?;
    let checks = vec![table.health(), verifier.health()];
    let limits = Limits::new(table.clone());
    let forecast = Forecast::new(&(&sdk).into(), config::required("STAGE")?);
    let store = Store::new(table, Partitioning::from_env()?);
    let letters = letter_routes(store.clone(), EmailQueue::from_env(&sdk)?);
    let routes = routes(store, forecast, RequireVerifiedEmail::from_env()?).merge(letters);
    http::run(checks, limits.enforce(routes), verifier).await
}
