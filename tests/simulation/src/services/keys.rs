//! KMS: one key, which signs the customers' tokens (AWS KMS API reference, "GetPublicKey", "Sign").

use aws_lc_rs::{
    digest::{Digest, SHA256},
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_ASN1_SIGNING, ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair},
};
use base64::{
    Engine,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use jiff::Timestamp;
use lambda_kit::jwt::{Audience, Claims, ISSUER, Role};
use serde_json::{Value, json};

use crate::network::Reply;

/// The SubjectPublicKeyInfo prefix of a P-256 public key; the point follows (RFC 5480 section 2).
const SPKI: [u8; 26] = [
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a, 0x86,
    0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00,
];

/// A key that differs between runs, also with the same seed: nothing but tokens shows it.
pub struct Keys {
    id: String,
    /// Signs as tokens have it.
    key: EcdsaKeyPair,
    /// The same key: signs as KMS does.
    kms: EcdsaKeyPair,
}

impl Keys {
    /// The key with this id, the last part of its ARN.
    pub fn new(id: &str) -> Self {
        let key = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).expect("a key");
        let pkcs8 = key.to_pkcs8v1().expect("the key");
        let kms = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, pkcs8.as_ref());
        Self { id: id.to_owned(), key, kms: kms.expect("the key") }
    }

    pub fn handle(&self, operation: &str, request: &Value) -> Reply {
        match operation {
            "GetPublicKey" => self.public_key(request),
            "Sign" => self.sign(request),
            other => panic!("the simulation's KMS has no {other}"),
        }
    }

    fn sign(&self, request: &Value) -> Reply {
        assert_eq!(
            (&request["MessageType"], &request["SigningAlgorithm"]),
            (&json!("DIGEST"), &json!("ECDSA_SHA_256"))
        );
        let digest = STANDARD.decode(request["Message"].as_str().unwrap_or_default()).expect("Base64");
        let digest = Digest::import_less_safe(&digest, &SHA256).expect("a digest");
        let signature = self.kms.sign_digest(&digest).expect("a signature");
        Reply::ok(json!({"KeyId": request["KeyId"], "Signature": STANDARD.encode(signature)}))
    }

    fn public_key(&self, request: &Value) -> Reply {
        let spki = [SPKI.as_slice(), self.key.public_key().as_ref()].concat();
        Reply::ok(json!({"KeyId": request["KeyId"], "PublicKey": STANDARD.encode(spki)}))
    }

    /// `Bearer …` for a person of these roles.
    pub fn bearer(&self, user: &str, roles: Vec<Role>) -> String {
        let now = Timestamp::now().as_second();
        let claims = json!({
            "sub": user,
            "iss": ISSUER,
            "aud": "ordersaga-api",
            "iat": now,
            "exp": now + Audience::Api.lifetime(),
            "roles": roles,
            "sid": "ses_0123456789abcdef0123456789abcdef",
            "auth_time": now,
            "email_verified": true,
        });
        let _: Claims = serde_json::from_value(claims.clone()).expect("the claims of a token");
        let header = json!({"alg": "ES256", "typ": "JWT", "kid": self.id});
        let encode = |json: &Value| URL_SAFE_NO_PAD.encode(json.to_string());
        let signed = format!("{}.{}", encode(&header), encode(&claims));
        let signature = self.key.sign(&SystemRandom::new(), signed.as_bytes()).expect("a signature");
        format!("Bearer {signed}.{}", URL_SAFE_NO_PAD.encode(signature.as_ref()))
    }
}
