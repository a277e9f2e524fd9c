use contracts::SmsCountries;
use lambda_kit::{
    MainResult, aws, config,
    dynamodb::Table,
    http::{self, limit::Limits},
    jwt::{Signer, Verifier},
    limits::registrations,
    telemetry,
};
use users::{Messages, Store, Users, routes};

#[tokio::main(flavor = "current_thread")]
async fn main() -> MainResult {
    telemetry::init();
    let sdk = aws::sdk_config()?;
    let table = Table::from_env(&sdk)?;
    let signer = Signer::from_env(&sdk)?;
    let verifier = Verifier::from_env(&sdk)?;
    let checks = vec![table.health(), verifier.health()];
    let limits = Limits::new(table.clone());
    let users = Users {
        store: Store::new(table),
        signer,
        verifier: verifier.clone(),
        messages: Messages::from_env(&sdk)?,
        sms_countries: config::parsed_or("SMS_COUNTRIES", SmsCountries::default())?,
        registrations: registrations(config::parsed_or("REGISTRATION_BURST", 5)?),
    };
    http::run(checks, limits.enforce(routes(users)), verifier).await
}
