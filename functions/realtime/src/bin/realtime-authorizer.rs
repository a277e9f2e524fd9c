use lambda_kit::{MainResult, aws, invoke, jwt::Verifier, telemetry};
use realtime::Authorizer;

#[tokio::main(flavor = "current_thread")]
async fn main() -> MainResult {
    telemetry::init();
    let verifier = Verifier::from_env(&aws::sdk_config()?)?;
    let checks = vec![verifier.health()];
    let authorizer = Authorizer::new(verifier);
    invoke::run(checks, |payload, _| {
        let authorizer = authorizer.clone();
        async move { authorizer.decide(payload.get()).await }
    })
    .await
}
