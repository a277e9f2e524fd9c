use contracts::Switch;
use inventory::{HeldPartitions, Store, routes};
use lambda_kit::{
    MainResult, aws,
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
    let limits = Limits::new(table.clone());
    let store = Store::new(table, HeldPartitions::from_env()?);
    let verifier = Verifier::from_env(&sdk)?;
    let limited_stock = FeatureSwitch::from_env(&sdk, Switch::LimitedStock)?;
    let checks = vec![store.health(), verifier.health()];

    http::run(checks, limits.enforce(routes(store, limited_stock)), verifier).await
}
