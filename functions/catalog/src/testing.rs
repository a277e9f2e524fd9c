//! Shared helpers of the tests.

use jiff::Timestamp;
use lambda_kit::testing::sdk_config;
use serde_json::json;
use wiremock::{Mock, MockServer, ResponseTemplate, matchers::any};

use crate::inventory_health::InventoryProbe;

pub fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

/// Inventory's health response when it is healthy.
pub fn well() -> ResponseTemplate {
    ResponseTemplate::new(200).set_body_json(json!({"status": "ok", "checks": {"table": "ok"}}))
}

/// An inventory whose health check gives this response.
pub async fn inventory(answer: ResponseTemplate) -> (InventoryProbe, MockServer) {
    let server = MockServer::start().await;
    answering(&server, answer).await;
    let (sdk, _) = sdk_config(&server.uri());
    (InventoryProbe::new(&(&sdk).into(), "test".to_owned()), server)
}

/// Sets the response from now on.
pub async fn answering(server: &MockServer, answer: ResponseTemplate) {
    server.reset().await;
    Mock::given(any()).respond_with(answer).mount(server).await;
}
