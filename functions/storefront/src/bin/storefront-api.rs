use std::sync::Arc;

use lambda_kit::{
    MainResult, aws, config,
    dynamodb::Table,
    http::{self, limit::Limits},
    jwt::Verifier,
    telemetry,
};
use storefront::{Composer, Page, PublishableKey, ReadinessProbe, Storefront, Upstream, routes};

#[tokio::main(flavor = "current_thread")]
async fn main() -> MainResult {
    telemetry::init();
    let sdk = aws::sdk_config()?;
    let (stage, table, verifier) =
        (config::required("STAGE")?, Table::from_env(&sdk)?, Verifier::from_env(&sdk)?);
    let key =
        config::optional("STRIPE_PUBLISHABLE_KEY").map(|key| PublishableKey::parse(&key)).transpose()?;
    let page = Arc::new(Page::new(&config::required("WEBSOCKET_URL")?, key.as_ref())?);
    let lambda = (&sdk).into();
    let contexts = ReadinessProbe::new(&lambda, stage.clone());
    let upstream = Upstream::new(&lambda, stage, &table);
    let limits = Limits::new(table.clone());
    let checks = vec![table.health(), verifier.health()];
    let composer = Composer::new(upstream.clone());
    http::run(checks, limits.enforce(routes(Storefront { contexts, page, upstream, composer })), verifier)
        .await
}
