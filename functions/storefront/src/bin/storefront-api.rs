use std::sync::Arc;

use lambda_kit::{MainResult, aws, config, http, jwt::Verifier, telemetry};
use storefront::{Contexts, Page, PublishableKey, Storefront, routes};

#[tokio::main(flavor = "current_thread")]
async fn main() -> MainResult {
    telemetry::init();
    let sdk = aws::sdk_config()?;
    let contexts = Contexts::new(&(&sdk).into(), config::required("STAGE")?);
    let key =
        config::optional("STRIPE_PUBLISHABLE_KEY").map(|key| PublishableKey::parse(&key)).transpose()?;
    let page = Arc::new(Page::new(&config::required("WEBSOCKET_URL")?, key.as_ref())?);
    // Trusts no key: everything here is public.
    let verifier = Arc::new(Verifier::new(aws_sdk_kms::Client::new(&sdk), vec![]));
    http::run(vec![], routes(Storefront { contexts, page }), verifier).await
}
