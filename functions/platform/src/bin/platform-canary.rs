use lambda_kit::{MainResult, aws, invoke, telemetry};
use platform::{Deployments, Versions, answer};

#[tokio::main(flavor = "current_thread")]
async fn main() -> MainResult {
    telemetry::init();
    let sdk = aws::sdk_config()?;
    let deployments = Deployments::new(aws_sdk_codedeploy::Client::new(&sdk));
    let versions = Versions::new(&(&sdk).into());
    invoke::run(Vec::new(), |payload, _| {
        let (deployments, versions) = (deployments.clone(), versions.clone());
        async move { answer(&deployments, &versions, payload.get()).await }
    })
    .await
}
