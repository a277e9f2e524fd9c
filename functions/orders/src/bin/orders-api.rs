use contracts::Switch;
use lambda_kit::{
    MainResult, aws, config,
    dynamodb::Table,
    http::{self, limit::Limits},
    jwt::Verifier,
    switch::FeatureSwitch,
    telemetry,
};
use orders::{EmailQueue, Forecast, OrderRules, Partitioning, Store, letter_routes, routes};

#[tokio::main(flavor = "current_thread")]
async fn main() -> MainResult {
    telemetry::init();
    let sdk = aws::sdk_config()?;
    let table = Table::from_env(&sdk)?;
    let verifier = Verifier::from_env(&sdk)?;
    let checks = vec![table.health(), verifier.health()];
    let limits = Limits::new(table.clone());
    let limited_stock = FeatureSwitch::from_env(&sdk, Switch::LimitedStock)?;
    let forecast = Forecast::new(&(&sdk).into(), config::required("STAGE")?, limited_stock);
    let store = Store::new(table, Partitioning::from_env()?);
    let letters = letter_routes(store.clone(), EmailQueue::from_env(&sdk)?);
    let routes = routes(store, forecast, OrderRules::from_env(&sdk)?).merge(letters);
    http::run(checks, limits.enforce(routes), verifier).await
}
