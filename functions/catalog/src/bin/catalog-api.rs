use catalog::{InventoryProbe, LISTS_KEPT, Store, routes};
use contracts::Switch;
use lambda_kit::{
    MainResult, aws, config,
    dynamodb::Table,
    http::{self, limit::Limits},
    jwt::Verifier,
    switch::FeatureSwitch,
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
    let inventory = InventoryProbe::new(&(&sdk).into(), config::required("STAGE")?);
    let limited_stock = FeatureSwitch::from_env(&sdk, Switch::LimitedStock)?;
    let routes = routes(Store::new(table), inventory, limited_stock, LISTS_KEPT);
    http::run(checks, limits.enforce(routes), verifier).await
}
