use lambda_kit::{
    MainResult, aws, config,
    dynamodb::Table,
    http::{self, limit::Limits},
    jwt::{Signer, Verifier},
    telemetry,
};
use realtime::{Tickets, routes};

#[tokio::main(flavor = "current_thread")]
async fn main() -> MainResult {
    telemetry::init();
    let sdk = aws::sdk_config()?;
    let verifier = Verifier::from_env(&sdk)?;
    let tickets = Tickets::new(Signer::from_env(&sdk)?, config::required("WEBSOCKET_URL")?);
    let limits = Limits::new(Table::from_env(&sdk)?);
    http::run(vec![verifier.health()], limits.enforce(routes(tickets)), verifier).await
}
