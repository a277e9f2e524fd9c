use lambda_kit::{
    MainResult, aws, config,
    dynamodb::Table,
    http::{self, limit::Limits},
    jwt::Verifier,
    telemetry,
};
use realtime::{Store, Tickets, routes};

#[tokio::main(flavor = "current_thread")]
async fn main() -> MainResult {
    telemetry::init();
    let sdk = aws::sdk_config()?;
    let (table, verifier) = (Table::from_env(&sdk)?, Verifier::from_env(&sdk)?);
    let checks = vec![table.health(), verifier.health()];
    let limits = Limits::new(table.clone());
    let tickets = Tickets::new(Store::new(table), config::required("WEBSOCKET_URL")?);
    http::run(checks, limits.enforce(routes(tickets)), verifier).await
}
