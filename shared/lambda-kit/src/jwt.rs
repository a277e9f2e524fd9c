//! ES256 tokens: signed by a KMS key that never leaves KMS, verified with the public key that it hands out.

use std::{
    collections::HashMap,
    sync::{Arc, RwLock},
};

use aws_lc_rs::digest::{SHA256, digest};
use aws_sdk_kms::{
    primitives::Blob,
    types::{MessageType, SigningAlgorithmSpec},
};
use aws_types::SdkConfig;
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use contracts::{SessionId, UserId};
use futures::FutureExt;
use jsonwebtoken::{Algorithm, DecodingKey, Validation, errors::ErrorKind};
use serde::{Deserialize, Serialize};

use crate::{
    config::{self, ConfigError},
    health::Check,
};

/// The claim `iss` of all tokens.
pub const ISSUER: &str = "ordersaga";

/// Why a token is invalid whose time has passed.
pub(crate) const EXPIRED: &str = "expired";

/// The purpose of a token. A token for another purpose is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Audience {
    /// An access token, for the REST API.
    Api,
}

impl Audience {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Api => "ordersaga-api",
        }
    }

    /// Seconds that a token lives.
    // An access token cannot be revoked, so it is short.
    pub const fn lifetime(self) -> i64 {
        match self {
            Self::Api => 15 * 60,
        }
    }
}

/// What a user may do beyond their own things.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Staff of the shop: products, stock, codes, all orders.
    Admin,
    /// Staff of the warehouse: shipments.
    Fulfillment,
    /// Staff who help customers: reads and cancels orders.
    Support,
}

/// The user that a token is issued to, and the login that it comes from.
#[derive(Debug, Clone)]
pub struct Subject {
    /// The user.
    pub user_id: UserId,
    /// The login.
    pub session_id: SessionId,
    /// Those that the account has now.
    pub roles: Vec<Role>,
    /// When the user last gave the password. Unix seconds.
    pub auth_time: i64,
    /// Whether the user has shown that the account's e-mail address is theirs.
    pub email_verified: bool,
}

/// The payload of a token (RFC 7519 section 4.1).
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Claims {
    /// The user that the token was issued to.
    pub sub: UserId,
    /// [`ISSUER`].
    pub iss: String,
    /// The purpose of the token, [`Audience`].
    pub aud: String,
    /// Unix seconds.
    pub iat: i64,
    /// Unix seconds. The token is refused from then on.
    pub exp: i64,
    /// Those that the account had when the token was issued.
    #[serde(default)]
    pub roles: Vec<Role>,
    /// The login that the token comes from (OpenID Connect Front-Channel Logout 1.0).
    pub sid: SessionId,
    /// When the user last gave the password (OpenID Connect Core 1.0). Unix seconds.
    pub auth_time: i64,
    /// Whether the user had shown that the account's e-mail address is theirs, when the token was issued.
    #[serde(default)]
    pub email_verified: bool,
}

/// Why a token was not issued or accepted.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// The token is malformed, forged, expired, or of another audience.
    #[error("the token is not valid: {0}")]
    Invalid(&'static str),
    /// The token could not be verified.
    #[error("the key cannot be read or used")]
    Key(#[source] Box<dyn std::error::Error + Send + Sync>),
}

#[derive(Serialize)]
struct Header<'a> {
    alg: &'static str,
    typ: &'static str,
    kid: &'a str,
}

/// Makes tokens. Needs `kms:Sign` on the key.
#[derive(Debug, Clone)]
pub struct Signer {
    kms: aws_sdk_kms::Client,
    key_arn: String,
}

/// The key's id: the last part of its ARN.
fn key_id(arn: &str) -> &str {
    arn.rsplit('/').next().unwrap_or(arn)
}

impl Signer {
    /// Signs with the first key in `JWT_KEY_ID`.
    ///
    /// # Errors
    /// When the variable is missing.
    pub fn from_env(sdk: &SdkConfig) -> Result<Self, ConfigError> {
        let arns = config::required("JWT_KEY_ID")?;
        let first = arns.split(',').next().unwrap_or(&arns).to_owned();
        Ok(Self::new(aws_sdk_kms::Client::new(sdk), first))
    }

    /// Signs with the KMS key of this ARN.
    pub fn new(kms: aws_sdk_kms::Client, key_arn: String) -> Self {
        Self { kms, key_arn }
    }

    /// Signs a token for `subject`, valid from `now` (Unix seconds) for the audience's lifetime.
    ///
    /// # Errors
    /// `TokenError::Key` when KMS does not sign.
    pub async fn sign(&self, subject: &Subject, audience: Audience, now: i64) -> Result<String, TokenError> {
        let header = Header { alg: "ES256", typ: "JWT", kid: key_id(&self.key_arn) };
        let claims = Claims {
            sub: subject.user_id.clone(),
            iss: ISSUER.to_owned(),
            aud: audience.as_str().to_owned(),
            iat: now,
            exp: now + audience.lifetime(),
            roles: subject.roles.clone(),
            sid: subject.session_id.clone(),
            auth_time: subject.auth_time,
            email_verified: subject.email_verified,
        };
        let signed = format!("{}.{}", encode(&header)?, encode(&claims)?);
        let hash = digest(&SHA256, signed.as_bytes());
        let answer = self
            .kms
            .sign()
            .key_id(&self.key_arn)
            .message_type(MessageType::Digest)
            .signing_algorithm(SigningAlgorithmSpec::EcdsaSha256)
            .message(Blob::new(hash.as_ref()))
            .send()
            .await
            .map_err(|e| TokenError::Key(e.into()))?;
        let der =
            answer.signature().ok_or_else(|| TokenError::Key("KMS answered without a signature".into()))?;
        let raw = raw_signature(der.as_ref())
            .ok_or_else(|| TokenError::Key("KMS's signature is not DER".into()))?;
        Ok(format!("{signed}.{}", URL_SAFE_NO_PAD.encode(raw)))
    }
}

fn encode<T: Serialize>(part: &T) -> Result<String, TokenError> {
    serde_json::to_vec(part).map(|json| URL_SAFE_NO_PAD.encode(json)).map_err(|e| TokenError::Key(e.into()))
}

/// KMS gives an ECDSA signature as DER (`SEQUENCE { INTEGER r, INTEGER s }`), a JWT needs R‖S of 32 bytes each
/// (RFC 7518 section 3.4).
fn raw_signature(der: &[u8]) -> Option<[u8; 64]> {
    fn integer<'a>(bytes: &'a [u8], out: &mut [u8]) -> Option<&'a [u8]> {
        let (&[tag, len], rest) = bytes.split_first_chunk::<2>()?;
        if tag != 0x02 {
            return None;
        }
        let (value, rest) = rest.split_at_checked(usize::from(len))?;
        // DER puts a zero byte in front of a number whose first bit is set, because its integers are signed.
        let value = value.strip_prefix(&[0]).unwrap_or(value);
        // DER leaves leading zeros out, so a shorter number is aligned to the right.
        let start = out.len().checked_sub(value.len())?;
        out[start..].copy_from_slice(value);
        Some(rest)
    }
    let (&[tag, len], body) = der.split_first_chunk::<2>()?;
    if tag != 0x30 || usize::from(len) != body.len() {
        return None;
    }
    let mut raw = [0; 64];
    let (r, s) = raw.split_at_mut(32);
    let rest = integer(body, r)?;
    integer(rest, s)?.is_empty().then_some(raw)
}

/// The public key's point, uncompressed (65 bytes), out of the SubjectPublicKeyInfo that KMS gives. For P-256
/// that structure is 91 bytes long and ends with the point (RFC 5480).
fn point(spki: &[u8]) -> Option<&[u8]> {
    (spki.len() == 91).then(|| &spki[26..]).filter(|point| point[0] == 4)
}

/// One key as JWKS lists it (RFC 7517).
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "openapi", derive(schemars::JsonSchema))]
pub struct Jwk {
    /// The key type: `EC` (RFC 7518 section 6.1).
    pub kty: &'static str,
    /// The curve: `P-256`.
    pub crv: &'static str,
    /// The algorithm of its signatures: `ES256`.
    pub alg: &'static str,
    /// The use of the key: `sig`, signatures.
    #[serde(rename = "use")]
    pub usage: &'static str,
    /// The id in the header of the tokens that it signed.
    pub kid: String,
    /// The x coordinate of the public point, base64url.
    pub x: String,
    /// The y coordinate of the public point, base64url.
    pub y: String,
}

/// Verifies tokens. Needs `kms:GetPublicKey` on the keys. A key is fetched when a token first names it, and
/// kept for the life of the process; while it cannot be fetched, its tokens are refused. Key ids that are not
/// trusted are never fetched, so that forged tokens cost no call. A new key comes with a deployment, which
/// starts new processes (infra/RUNBOOK.md).
#[derive(Debug)]
pub struct Verifier {
    kms: Option<aws_sdk_kms::Client>,
    key_arns: Vec<String>,
    points: RwLock<HashMap<String, Vec<u8>>>,
}

impl Verifier {
    /// Trusts the tokens of the keys in `JWT_KEY_ID`: one ARN, or several with commas between them.
    ///
    /// # Errors
    /// When the variable is missing.
    pub fn from_env(sdk: &SdkConfig) -> Result<Arc<Self>, ConfigError> {
        let arns = config::required("JWT_KEY_ID")?.split(',').map(str::to_owned).collect();
        Ok(Arc::new(Self::new(aws_sdk_kms::Client::new(sdk), arns)))
    }

    /// Trusts the tokens of the keys named by these ARNs.
    pub fn new(kms: aws_sdk_kms::Client, key_arns: Vec<String>) -> Self {
        Self { kms: Some(kms), key_arns, points: RwLock::default() }
    }

    /// Trusts the tokens of one known key, given by its id and its uncompressed point.
    pub fn with_known_key(key_id: &str, point: &[u8]) -> Self {
        Self {
            kms: None,
            key_arns: Vec::new(),
            points: RwLock::new(HashMap::from([(key_id.to_owned(), point.to_vec())])),
        }
    }

    /// Checks that the keys can be fetched.
    pub fn health(self: &Arc<Self>) -> Check {
        let verifier = Arc::clone(self);
        Check::new("key", move || {
            let verifier = Arc::clone(&verifier);
            async move { verifier.jwks().await.is_ok() }.boxed()
        })
    }

    /// Checks signature, algorithm, issuer, audience and expiry.
    ///
    /// # Errors
    /// `Invalid` when the token is not valid, `Key` when the key cannot be fetched.
    pub async fn verify(&self, token: &str, audience: Audience) -> Result<Claims, TokenError> {
        let header = jsonwebtoken::decode_header(token).map_err(|_| TokenError::Invalid("malformed"))?;
        // A token must not choose how it is checked (RFC 8725 section 3.1).
        if header.alg != Algorithm::ES256 {
            return Err(TokenError::Invalid("wrong algorithm"));
        }
        let kid = header.kid.ok_or(TokenError::Invalid("no key id"))?;
        let key = DecodingKey::from_ec_der(&self.point(&kid).await?);
        let mut validation = Validation::new(Algorithm::ES256);
        validation.set_issuer(&[ISSUER]);
        validation.set_audience(&[audience.as_str()]);
        validation.set_required_spec_claims(&["exp", "iss", "aud", "sub"]);
        // Our own clock made the token: no leeway beyond what clocks on one cloud differ by.
        validation.leeway = 5;
        jsonwebtoken::decode::<Claims>(token, &key, &validation).map(|data| data.claims).map_err(|error| {
            TokenError::Invalid(match error.kind() {
                ErrorKind::ExpiredSignature => EXPIRED,
                ErrorKind::InvalidAudience => "wrong audience",
                ErrorKind::InvalidIssuer => "wrong issuer",
                ErrorKind::InvalidSignature => "wrong signature",
                _ => "malformed",
            })
        })
    }

    /// Every key that tokens are trusted by.
    ///
    /// # Errors
    /// `Key` when KMS does not hand one out.
    pub async fn jwks(&self) -> Result<Vec<Jwk>, TokenError> {
        let mut keys = Vec::with_capacity(self.key_arns.len());
        for arn in &self.key_arns {
            let kid = key_id(arn);
            let point = self.point(kid).await?;
            keys.push(Jwk {
                kty: "EC",
                crv: "P-256",
                alg: "ES256",
                usage: "sig",
                kid: kid.to_owned(),
                x: URL_SAFE_NO_PAD.encode(&point[1..33]),
                y: URL_SAFE_NO_PAD.encode(&point[33..65]),
            });
        }
        Ok(keys)
    }

    /// Fetches only trusted keys from KMS, so that a forged id costs no call.
    async fn point(&self, kid: &str) -> Result<Vec<u8>, TokenError> {
        if let Some(point) = read(&self.points).get(kid) {
            return Ok(point.clone());
        }
        let unknown = TokenError::Invalid("unknown key");
        let Some(arn) = self.key_arns.iter().find(|arn| key_id(arn) == kid) else { return Err(unknown) };
        let Some(kms) = &self.kms else { return Err(unknown) };
        let fetched = kms.get_public_key().key_id(arn).send().await;
        let point = fetched.map_err(|e| TokenError::Key(e.into())).and_then(|answer| {
            let spki = answer.public_key().ok_or_else(|| TokenError::Key("KMS gave no key".into()))?;
            point(spki.as_ref())
                .map(<[u8]>::to_vec)
                .ok_or_else(|| TokenError::Key("KMS's key is not P-256".into()))
        })?;
        write(&self.points).insert(kid.to_owned(), point.clone());
        Ok(point)
    }
}

/// A lock is poisoned only by a panic while it is held; nothing here panics, and the data is whole anyway.
fn read<T>(lock: &RwLock<T>) -> std::sync::RwLockReadGuard<'_, T> {
    lock.read().unwrap_or_else(std::sync::PoisonError::into_inner)
}

fn write<T>(lock: &RwLock<T>) -> std::sync::RwLockWriteGuard<'_, T> {
    lock.write().unwrap_or_else(std::sync::PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::{
        rand::SystemRandom,
        signature::{
            ECDSA_P256_SHA256_ASN1_SIGNING, ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _,
        },
    };

    use super::*;

    fn key() -> EcdsaKeyPair {
        EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap()
    }

    fn token(key: &EcdsaKeyPair, kid: &str, claims: &serde_json::Value) -> String {
        let header = Header { alg: "ES256", typ: "JWT", kid };
        let signed = format!("{}.{}", encode(&header).unwrap(), encode(claims).unwrap());
        let signature = key.sign(&SystemRandom::new(), signed.as_bytes()).unwrap();
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature.as_ref()))
    }

    fn claims(audience: Audience, exp: i64) -> serde_json::Value {
        serde_json::json!({
            "sub": UserId::generate(), "iss": ISSUER, "aud": audience.as_str(), "iat": 0, "exp": exp, "roles": ["admin"],
            "sid": SessionId::generate(), "auth_time": 0,
        })
    }

    const FAR: i64 = 4_000_000_000;

    #[tokio::test]
    async fn a_token_of_a_trusted_key_is_good_and_every_other_is_not() {
        let (ours, theirs) = (key(), key());
        let verifier = Verifier::with_known_key("k1", ours.public_key().as_ref());
        let reason = async |token: String| match verifier.verify(&token, Audience::Api).await {
            Ok(claims) => format!("{:?}", claims.roles),
            Err(error) => error.to_string(),
        };
        assert_eq!(reason(token(&ours, "k1", &claims(Audience::Api, FAR))).await, "[Admin]");
        assert_eq!(
            reason(token(&ours, "k1", &claims(Audience::Api, 1))).await,
            "the token is not valid: expired"
        );
        let mut another_purpose = claims(Audience::Api, FAR);
        another_purpose["aud"] = "ordersaga-realtime".into();
        assert_eq!(
            reason(token(&ours, "k1", &another_purpose)).await,
            "the token is not valid: wrong audience"
        );
        assert_eq!(
            reason(token(&theirs, "k1", &claims(Audience::Api, FAR))).await,
            "the token is not valid: wrong signature"
        );
        assert_eq!(
            reason(token(&ours, "k2", &claims(Audience::Api, FAR))).await,
            "the token is not valid: unknown key"
        );
        assert_eq!(reason("a.b.c".to_owned()).await, "the token is not valid: malformed");
    }

    #[test]
    fn der_signatures_become_fixed_ones_whatever_the_length_of_their_integers() {
        let pkcs8 = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_ASN1_SIGNING).unwrap();
        for i in 0..500_u32 {
            let message = i.to_be_bytes();
            let der = pkcs8.sign(&SystemRandom::new(), &message).unwrap();
            let raw = raw_signature(der.as_ref()).unwrap();
            aws_lc_rs::signature::UnparsedPublicKey::new(
                &aws_lc_rs::signature::ECDSA_P256_SHA256_FIXED,
                pkcs8.public_key().as_ref(),
            )
            .verify(&message, &raw)
            .unwrap();
        }
        assert_eq!(raw_signature(&[0x30, 2, 2, 1]), None);
        assert_eq!(raw_signature(&[]), None);
    }

    #[test]
    fn a_signature_that_is_not_der_is_refused() {
        let key = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_ASN1_SIGNING).unwrap();
        let der = key.sign(&SystemRandom::new(), b"message").unwrap().as_ref().to_vec();
        let with = |place: usize, byte: u8| {
            let mut changed = der.clone();
            changed[place] = byte;
            raw_signature(&changed)
        };
        assert!(raw_signature(&der).is_some());
        assert_eq!(with(0, 0x31), None, "no sequence");
        assert_eq!(with(1, der[1] - 1), None, "another length");
        assert_eq!(with(2, 0x03), None, "no integer");
        assert_eq!(with(3, 0xff), None, "an integer longer than the signature");
        assert_eq!(
            raw_signature(&[&[0x30, der[1] + 3], &der[2..], &[2, 1, 1]].concat()),
            None,
            "three integers"
        );
    }

    #[tokio::test]
    async fn a_token_of_another_issuer_algorithm_or_without_a_key_id_is_not_valid() {
        let ours = key();
        let verifier = Verifier::with_known_key("k1", ours.public_key().as_ref());
        let reason =
            async |token: String| verifier.verify(&token, Audience::Api).await.unwrap_err().to_string();
        let mut foreign = claims(Audience::Api, FAR);
        foreign["iss"] = "another-shop".into();
        assert_eq!(reason(token(&ours, "k1", &foreign)).await, "the token is not valid: wrong issuer");
        let with_header = |header: serde_json::Value| {
            let claims = encode(&claims(Audience::Api, FAR)).unwrap();
            format!("{}.{claims}.AAAA", encode(&header).unwrap())
        };
        let hmac = with_header(serde_json::json!({"alg": "HS256", "typ": "JWT", "kid": "k1"}));
        assert_eq!(reason(hmac).await, "the token is not valid: wrong algorithm");
        let keyless = with_header(serde_json::json!({"alg": "ES256", "typ": "JWT"}));
        assert_eq!(reason(keyless).await, "the token is not valid: no key id");
    }
}
