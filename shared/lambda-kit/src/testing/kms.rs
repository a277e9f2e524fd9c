//! A KMS with two keys: it signs and returns public keys as the service does, so that tests use the real client.

use std::collections::HashMap;

use aws_lc_rs::{
    digest::{Digest, SHA256},
    signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair},
};
use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::{Value, json};
use wiremock::{Mock, MockServer, Request, Respond, ResponseTemplate, matchers::any};

/// The key id of `KEY_ARN`.
pub const KEY_ID: &str = "0f1e2d3c";
/// The ARN of the key that signs first.
pub const KEY_ARN: &str = "arn:aws:kms:us-east-1:000000000000:key/0f1e2d3c";
/// The ARN of the key that replaces it in a rotation.
pub const NEW_KEY_ARN: &str = "arn:aws:kms:us-east-1:000000000000:key/4b5a6978";

/// The SubjectPublicKeyInfo prefix of a P-256 public key; the point follows (RFC 5480 section 2).
const SPKI: [u8; 26] = [
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a, 0x86,
    0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00,
];

struct Kms(HashMap<&'static str, EcdsaKeyPair>);

impl Respond for Kms {
    fn respond(&self, request: &Request) -> ResponseTemplate {
        let body: Value = serde_json::from_slice(&request.body).expect("the client sends JSON");
        let arn = body["KeyId"].as_str().expect("a key id");
        let key = &self.0[arn];
        let target = request.headers["x-amz-target"].to_str().expect("a text");
        let answer = match target {
            "TrentService.Sign" => {
                assert_eq!(
                    (&body["MessageType"], &body["SigningAlgorithm"]),
                    (&json!("DIGEST"), &json!("ECDSA_SHA_256"))
                );
                let digest = STANDARD.decode(body["Message"].as_str().expect("a message")).expect("Base64");
                let digest = Digest::import_less_safe(&digest, &SHA256).expect("a digest");
                json!({"KeyId": arn, "Signature": STANDARD.encode(key.sign_digest(&digest).expect("a signature"))})
            }
            "TrentService.GetPublicKey" => {
                let spki = [SPKI.as_slice(), key.public_key().as_ref()].concat();
                json!({"KeyId": arn, "PublicKey": STANDARD.encode(spki)})
            }
            other => panic!("KMS was asked for {other}"),
        };
        ResponseTemplate::new(200).set_body_raw(answer.to_string(), "application/x-amz-json-1.1")
    }
}

/// Starts the KMS. It ends with the returned server.
pub async fn start() -> MockServer {
    let server = MockServer::start().await;
    let key = |arn| (arn, EcdsaKeyPair::generate(&ECDSA_P256_SHA256_ASN1_SIGNING).expect("a key"));
    let keys = HashMap::from([key(KEY_ARN), key(NEW_KEY_ARN)]);
    Mock::given(any()).respond_with(Kms(keys)).mount(&server).await;
    server
}
