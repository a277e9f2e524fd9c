//! What several tests here need.

use jiff::Timestamp;
use lambda_kit::testing::sdk_config;
use serde_json::json;
use wiremock::{Mock, MockServer, ResponseTemplate, matchers::any};

use crate::inventory::Inventory;

pub fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

/// What inventory answers when it is well.
pub fn well() -> ResponseTemplate {
    ResponseTemplate::new(200).set_body_json(json!({"status": "ok", "checks": {"table": "ok"}}))
}

/// Inventory, which answers so when it is asked how it is.
pub async fn inventory(answer: ResponseTemplate) -> (Inventory, MockServer) {
    let server = MockServer::start().await;
    answering(&server, answer).await;
    let (sdk, _) = sdk_config(&server.uri());
    (Inventory::new(&(&sdk).into(), "test".to_owned()), server)
}

/// From now on the answer is this one.
pub async fn answering(server: &MockServer, answer: ResponseTemplate) {
    server.reset().await;
    Mock::given(any()).respond_with(answer).mount(server).await;
}
