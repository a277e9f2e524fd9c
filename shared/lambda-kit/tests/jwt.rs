//! Tokens of a KMS key: signed, verified, and refused.

use std::sync::Arc;

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use contracts::UserId;
use jiff::Timestamp;
use lambda_kit::{
    jwt::{Audience, Claims, ISSUER, Role, Signer, TokenError, Verifier},
    testing::{
        self,
        kms::{self, KEY_ARN, KEY_ID, NEW_KEY_ARN},
    },
};
use serde_json::{Value, json};
use wiremock::{Mock, MockServer, ResponseTemplate, matchers::any};

fn client(server: &MockServer) -> aws_sdk_kms::Client {
    aws_sdk_kms::Client::new(&testing::sdk_config(&server.uri()).0)
}

fn verifier(server: &MockServer, arns: &[&str]) -> Verifier {
    Verifier::new(client(server), arns.iter().map(|arn| (*arn).to_owned()).collect())
}

async fn calls(server: &MockServer) -> usize {
    server.received_requests().await.unwrap().len()
}

/// A KMS that gives this response to every call.
async fn kms_that_responds(response: ResponseTemplate) -> MockServer {
    let server = MockServer::start().await;
    Mock::given(any()).respond_with(response).mount(&server).await;
    server
}

/// A part of a token: 0 is the header, 1 the claims.
fn part(token: &str, n: usize) -> Value {
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(token.split('.').nth(n).unwrap()).unwrap()).unwrap()
}

#[tokio::test]
async fn a_signed_token_is_valid_for_a_quarter_of_an_hour() {
    let server = kms::start().await;
    let (signer, user) = (Signer::new(client(&server), KEY_ARN.to_owned()), UserId::generate());
    let now = Timestamp::now().as_second();
    let subject = testing::subject(&user, vec![Role::Admin]);
    let token = signer.sign(&subject, Audience::Api, now).await.unwrap();
    assert_eq!(part(&token, 0), json!({"alg": "ES256", "typ": "JWT", "kid": KEY_ID}));
    let claims: Claims = verifier(&server, &[KEY_ARN]).verify(&token, Audience::Api).await.unwrap();
    assert_eq!((&claims.sub, &*claims.iss, &*claims.aud), (&user, ISSUER, "ordersaga-api"));
    assert_eq!((claims.iat, claims.exp, claims.roles), (now, now + 900, vec![Role::Admin]));
}

#[tokio::test]
async fn a_token_ends_with_its_lifetime_and_clocks_may_differ_by_seconds() {
    let server = kms::start().await;
    let signer = Signer::new(client(&server), KEY_ARN.to_owned());
    let verifier = verifier(&server, &[KEY_ARN]);
    let verify = async |ended_for: i64| {
        let issued = Timestamp::now().as_second() - Audience::Api.lifetime() - ended_for;
        let subject = testing::subject(&UserId::generate(), vec![]);
        let token = signer.sign(&subject, Audience::Api, issued).await.unwrap();
        verifier.verify(&token, Audience::Api).await
    };
    assert!(verify(2).await.is_ok(), "within the leeway of 5 s");
    assert!(matches!(verify(8).await, Err(TokenError::Invalid("expired"))));
}

#[tokio::test]
async fn the_key_of_a_token_is_fetched_once_and_an_untrusted_one_never() {
    let server = kms::start().await;
    let signed_with = async |arn: &str| {
        let signer = Signer::new(client(&server), arn.to_owned());
        signer
            .sign(&testing::subject(&UserId::generate(), vec![]), Audience::Api, Timestamp::now().as_second())
            .await
            .unwrap()
    };
    let (trusted, untrusted) = (signed_with(KEY_ARN).await, signed_with(NEW_KEY_ARN).await);
    let verifier = verifier(&server, &[KEY_ARN]);
    let before = calls(&server).await;
    for _ in 0..3 {
        assert!(verifier.verify(&trusted, Audience::Api).await.is_ok());
        let refused = verifier.verify(&untrusted, Audience::Api).await;
        assert!(matches!(refused, Err(TokenError::Invalid("unknown key"))));
    }
    assert_eq!(calls(&server).await - before, 1);
}

#[tokio::test]
async fn the_published_keys_are_those_that_tokens_are_verified_with() {
    let server = kms::start().await;
    let keys = verifier(&server, &[NEW_KEY_ARN, KEY_ARN]).jwks().await.unwrap();
    let ids: Vec<&str> = keys.iter().map(|key| &*key.kid).collect();
    assert_eq!(ids, ["4b5a6978", KEY_ID], "in the order of their deployment");
    let coordinate = |text: &str| URL_SAFE_NO_PAD.decode(text).unwrap();
    let point = [vec![4], coordinate(&keys[1].x), coordinate(&keys[1].y)].concat();
    let token = Signer::new(client(&server), KEY_ARN.to_owned())
        .sign(&testing::subject(&UserId::generate(), vec![]), Audience::Api, Timestamp::now().as_second())
        .await
        .unwrap();
    assert!(Verifier::with_known_key(KEY_ID, &point).verify(&token, Audience::Api).await.is_ok());
}

#[tokio::test]
async fn while_kms_does_not_answer_nothing_is_signed_or_verified_and_the_key_is_down() {
    let server = kms::start().await;
    let signer = Signer::new(client(&server), KEY_ARN.to_owned());
    let now = Timestamp::now().as_second();
    let token =
        signer.sign(&testing::subject(&UserId::generate(), vec![]), Audience::Api, now).await.unwrap();
    let health = async |server: &MockServer| {
        let check = Arc::new(verifier(server, &[KEY_ARN])).health();
        serde_json::to_value(lambda_kit::health::check(&[check]).await).unwrap()
    };
    assert_eq!(health(&server).await, json!({"status": "ok", "checks": {"key": "ok"}}));

    let p256 = [&[0_u8; 26][..], &[4], &[0; 64]].concat();
    let encode = |bytes: &[u8]| base64::engine::general_purpose::STANDARD.encode(bytes);
    for response in [
        ResponseTemplate::new(500),
        ResponseTemplate::new(200).set_body_json(json!({"KeyId": KEY_ARN})),
        ResponseTemplate::new(200)
            .set_body_json(json!({"PublicKey": encode(&[p256.clone(), vec![0]].concat()), "Signature": ""})),
        ResponseTemplate::new(200).set_body_json(
            json!({"PublicKey": encode(&[&p256[..26], &[2], &p256[27..]].concat()), "Signature": encode(&[2, 1, 1])}),
        ),
    ] {
        let server = kms_that_responds(response).await;
        let signer = Signer::new(client(&server), KEY_ARN.to_owned());
        let signed = signer.sign(&testing::subject(&UserId::generate(), vec![]), Audience::Api, now).await;
        assert!(matches!(signed, Err(TokenError::Key(_))), "{signed:?}");
        let verified = verifier(&server, &[KEY_ARN]).verify(&token, Audience::Api).await;
        assert!(matches!(verified, Err(TokenError::Key(_))), "{verified:?}");
        assert_eq!(health(&server).await, json!({"status": "down", "checks": {"key": "down"}}));
    }
}
