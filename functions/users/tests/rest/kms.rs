//! A KMS of one key: signs and gives its public key as the service does, so that the real client can be used.

use aws_lc_rs::{
    digest::{Digest, SHA256},
    signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair},
};
use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::{Value, json};
use wiremock::{Mock, MockServer, Request, Respond, ResponseTemplate, matchers::any};

pub const KEY_ID: &str = "0f1e2d3c";
pub const KEY_ARN: &str = "arn:aws:kms:us-east-1:000000000000:key/0f1e2d3c";

/// What a P-256 public key's SubjectPublicKeyInfo begins with; its point follows (RFC 5480 section 2).
const SPKI: [u8; 26] = [
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a, 0x86,
    0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00,
];

struct Kms(EcdsaKeyPair);

impl Respond for Kms {
    fn respond(&self, request: &Request) -> ResponseTemplate {
        let body: Value = serde_json::from_slice(&request.body).unwrap();
        assert_eq!(body["KeyId"], KEY_ARN);
        let target = request.headers["x-amz-target"].to_str().unwrap();
        let answer = match target {
            "TrentService.Sign" => {
                assert_eq!(
                    (&body["MessageType"], &body["SigningAlgorithm"]),
                    (&json!("DIGEST"), &json!("ECDSA_SHA_256"))
                );
                let digest = STANDARD.decode(body["Message"].as_str().unwrap()).unwrap();
                let digest = Digest::import_less_safe(&digest, &SHA256).unwrap();
                json!({"KeyId": KEY_ARN, "Signature": STANDARD.encode(self.0.sign_digest(&digest).unwrap())})
            }
            "TrentService.GetPublicKey" => {
                let spki = [SPKI.as_slice(), self.0.public_key().as_ref()].concat();
                json!({"KeyId": KEY_ARN, "PublicKey": STANDARD.encode(spki)})
            }
            other => panic!("KMS was asked for {other}"),
        };
        ResponseTemplate::new(200).set_body_raw(answer.to_string(), "application/x-amz-json-1.1")
    }
}

pub async fn start() -> MockServer {
    let server = MockServer::start().await;
    let key = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_ASN1_SIGNING).unwrap();
    Mock::given(any()).respond_with(Kms(key)).mount(&server).await;
    server
}
