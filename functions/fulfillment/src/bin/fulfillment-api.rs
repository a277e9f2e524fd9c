use fulfillment::{Api, OrdersClient, Store, routes};
use lambda_kit::{
    MainResult, aws, config,
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
    let limits = Limits::new(table.clone());
    let store = Store::new(table);
    let orders = OrdersClient::new(&(&sdk).into(), config::required("STAGE")?);
    let verifier = Verifier::from_env(&sdk)?;
    let checks = vec![store.health(), verifier.health()];
    http::run(checks, limits.enforce(routes(Api { store, orders })), verifier).await
}
