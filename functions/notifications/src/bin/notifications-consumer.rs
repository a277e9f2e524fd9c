use jiff::Timestamp;
use lambda_kit::{MainResult, aws, breaker::Breaker, dynamodb::Table, sqs, telemetry};
use notifications::{Mailer, Notifier, OwnQueue, Store};

#[tokio::main(flavor = "current_thread")]
async fn main() -> MainResult {
    telemetry::init();
    let sdk = aws::sdk_config()?;
    let table = Table::from_env(&sdk)?;
    let checks = vec![table.health()];
    let breaker = Breaker::new(table.clone(), "email");
    let notifier =
        Notifier::new(Store::new(table), Mailer::from_env(&sdk)?, breaker, OwnQueue::from_env(&sdk)?);
    sqs::run_events(checks, |event| {
        let notifier = notifier.clone();
        async move { notifier.handle(event, Timestamp::now().as_second()).await }
    })
    .await
}
