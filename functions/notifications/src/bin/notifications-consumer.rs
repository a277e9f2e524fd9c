use std::{num::NonZeroU32, sync::Arc};

use contracts::{SmsCountries, Switch};
use jiff::{SignedDuration, Timestamp};
use lambda_kit::{
    MainResult, aws,
    breaker::Breaker,
    bucket::Bucket,
    config::{self, ConfigError},
    dynamodb::Table,
    invoke,
    limits::{RateLimit, SEND, SEND_BY_SMTP, SendPolicy},
    sqs,
    switch::FeatureSwitch,
    telemetry,
};
use notifications::{
    EmailGate, EmailSender, Guarded, Notifier, ProviderGuard, Queues, RecipientBudget, SmsSender, SmtpSender,
    Store,
};

#[tokio::main(flavor = "current_thread")]
async fn main() -> MainResult {
    telemetry::init();
    let sdk = aws::sdk_config()?;
    let table = Table::from_env(&sdk)?;
    let checks = vec![table.health()];
    let guard = |name, rate: &'static str, policy: SendPolicy| {
        let rate = RateLimit::per_second(1, config::parsed_or(rate, NonZeroU32::MIN)?);
        let bucket = Bucket::new(table.clone(), name, rate);
        Ok::<_, ConfigError>(ProviderGuard::new(Breaker::new(table.clone(), name), bucket, policy))
    };
    let ses = EmailSender::from_env(&sdk)?;
    let ses = Guarded { sender: ses, guard: guard("email", "EMAILS_PER_SECOND", SEND)? };
    let smtp_guard = guard("smtp", "SMTP_PER_SECOND", SEND_BY_SMTP)?;
    let smtp = SmtpSender::from_env(&sdk)?.map(|sender| Guarded { sender, guard: smtp_guard });
    let notifier = Arc::new(Notifier {
        email: EmailGate { ses, smtp },
        sms_guard: guard("sms", "SMS_PER_SECOND", SEND)?,
        sms_sender: SmsSender::from_env(&sdk),
        sms_switch: FeatureSwitch::from_env(&sdk, Switch::Sms)?,
        sms_countries: config::parsed_or("SMS_COUNTRIES", SmsCountries::default())?,
        recipients: RecipientBudget::new(table.clone()),
        confirmation_delay: SignedDuration::from_secs(config::parsed_or("CONFIRMATION_DELAY_SECONDS", 60)?),
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
