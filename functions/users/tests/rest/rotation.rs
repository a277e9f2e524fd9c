//! The key that signs tokens is replaced, in the steps of the runbook (infra/RUNBOOK.md).

use axum::http::StatusCode;
use lambda_kit::{
    jwt::{Audience, TokenError, Verifier},
    testing::{
        self,
        kms::{KEY_ARN, NEW_KEY_ARN},
    },
};
use serde_json::{Value, json};

use crate::fixture::{TestApi, anna};

async fn sees(api: &TestApi, tokens: &Value) -> StatusCode {
    api.get("/v1/users/me", tokens["access_token"].as_str()).await.status
}

async fn key_ids(api: &TestApi) -> Vec<String> {
    let keys = api.get("/.well-known/jwks.json", None).await.body;
    keys["keys"].as_array().unwrap().iter().map(|key| key["kid"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn tokens_of_both_keys_are_valid_while_both_are_deployed_and_no_user_is_logged_out() {
    let a = TestApi::new().await;
    a.post("/v1/auth/register", &anna()).await;
    let old = a.login().await;

    let ab = a.deployed_with(&[KEY_ARN, NEW_KEY_ARN]);
    assert_eq!(key_ids(&ab).await, ["0f1e2d3c", "4b5a6978"]);
    assert_eq!(sees(&ab, &old).await, StatusCode::OK);

    let ba = a.deployed_with(&[NEW_KEY_ARN, KEY_ARN]);
    let new = ba.login().await;
    assert_eq!(key_ids(&ba).await, ["4b5a6978", "0f1e2d3c"]);
    // An instance of the previous step knows both keys, too.
    for api in [&ab, &ba] {
        assert_eq!(sees(api, &old).await, StatusCode::OK);
        assert_eq!(sees(api, &new).await, StatusCode::OK);
    }

    let b = a.deployed_with(&[NEW_KEY_ARN]);
    assert_eq!(key_ids(&b).await, ["4b5a6978"]);
    assert_eq!(sees(&b, &new).await, StatusCode::OK);
    assert_eq!(sees(&b, &old).await, StatusCode::UNAUTHORIZED);
    let refreshed = b.post("/v1/auth/refresh", &json!({"refresh_token": old["refresh_token"]})).await;
    assert_eq!(sees(&b, &refreshed.body).await, StatusCode::OK);
}

#[tokio::test]
async fn a_key_is_fetched_once_and_a_forged_key_id_costs_no_call() {
    let a = TestApi::new().await;
    a.post("/v1/auth/register", &anna()).await;
    let tokens = a.login().await;
    let other = a.deployed_with(&[NEW_KEY_ARN]);
    let calls = async || a.kms.received_requests().await.unwrap().len();
    for _ in 0..3 {
        assert_eq!(sees(&a, &tokens).await, StatusCode::OK);
    }
    let before = calls().await;
    for _ in 0..3 {
        assert_eq!(sees(&a, &tokens).await, StatusCode::OK);
        assert_eq!(sees(&other, &tokens).await, StatusCode::UNAUTHORIZED);
    }
    assert_eq!(calls().await, before);
}

#[tokio::test]
async fn as_long_as_a_key_cannot_be_had_no_token_of_it_is_good() {
    let a = TestApi::new().await;
    a.post("/v1/auth/register", &anna()).await;
    let tokens = a.login().await;
    let (config, faults) = testing::sdk_config(&a.kms.uri());
    let verifier = Verifier::new(aws_sdk_kms::Client::new(&config), vec![KEY_ARN.to_owned()]);
    let verify = async || verifier.verify(tokens["access_token"].as_str().unwrap(), Audience::Api).await;
    faults.refuse("GetPublicKey", lambda_kit::aws::MAX_ATTEMPTS);
    assert!(matches!(verify().await, Err(TokenError::Key(_))));
    assert!(verify().await.is_ok());
}
