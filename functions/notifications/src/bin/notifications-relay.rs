use lambda_kit::{MainResult, aws, relay, telemetry};

#[tokio::main(flavor = "current_thread")]
async fn main() -> MainResult {
    telemetry::init();
    let publisher = relay::Publisher::from_env(&aws::sdk_config()?)?;
    relay::run_publisher(vec![], publisher).await
}
