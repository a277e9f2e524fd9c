use std::{num::NonZeroU32, sync::Arc};

use contracts::SmsCountries;
use jiff::Timestamp;
use lambda_kit::{
    MainResult, aws, breaker::Breaker, bucket::Bucket, config, dynamodb::Table, invoke, limits::RateLimit,
    sqs, telemetry,
};
use notifications::{EmailSender, Notifier, ProviderGuard, Queues, RecipientBudget, SmsSender, Store};

#[tokio::main(flavor = "current_thread")]
async fn main() -> MainResult {
    telemetry::init();
    let sdk = aws::sdk_config()?;
    let table = Table::from_env(&sdk)?;
    let checks = vec![table.health()];
    let guard = |name, rate: NonZeroU32| {
        let bucket = Bucket::new(table.clone(), name, RateLimit::per_second(1, rate));
        ProviderGuard::new(Breaker::new(table.clone(), name), bucket)
    };
    let notifier = Arc::new(Notifier {
        email_guard: guard("email", config::parsed_or("EMAILS_PER_SECOND", NonZeroU32::MIN)?),
        sms_guard: guard("sms", config::parsed_or("SMS_PER_SECOND", NonZeroU32::MIN)?),
        email_sender: EmailSender::from_env(&sdk)?,
        sms_sender: SmsSender::from_env(&sdk),
        sms_countries: config::parsed_or("SMS_COUNTRIES", SmsCountries::default())?,
        recipients: RecipientBudget::new(table.clone()),
        shop_url: config::optional("SHOP_URL"),
        queues: Queues::from_env(&sdk)?,
        store: Store::new(table),
    });
    invoke::run(checks, move |payload, _| {
        let notifier = Arc::clone(&notifier);
        async move {
            let batch = sqs::parse_batch(payload.get())?;
            Ok(sqs::each_message(batch.records, |message| notifier.message(message, Timestamp::now())).await)
        }
    })
    .await
}
