use lambda_kit::{MainResult, aws, config, relay, telemetry};
use orders::Starter;

#[tokio::main(flavor = "current_thread")]
async fn main() -> MainResult {
    telemetry::init();
    let sdk = aws::sdk_config()?;
    let publisher = relay::Publisher::from_env(&sdk)?;
    let starter = Starter::new(aws_sdk_sfn::Client::new(&sdk), config::required("STATE_MACHINE_ARN")?);
    relay::run(vec![], publisher, move |batch| {
        let starter = starter.clone();
        async move { starter.start_all(&batch).await }
    })
    .await
}
