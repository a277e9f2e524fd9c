use lambda_kit::{MainResult, aws, config, http, jwt::Signer, jwt::Verifier, telemetry};
use realtime::{Tickets, routes};

#[tokio::main(flavor = "current_thread")]
async fn main() -> MainResult {
    telemetry::init();
    let sdk = aws::sdk_config()?;
    let verifier = Verifier::from_env(&sdk)?;
    let tickets = Tickets::new(Signer::from_env(&sdk)?, config::required("WEBSOCKET_URL")?);
    http::run(vec![verifier.health()], routes(tickets), verifier).await
}
