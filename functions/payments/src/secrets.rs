//! The secrets shared with the gateway: the API key, and the secrets that webhooks are signed with.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use serde::Deserialize;
use tokio::sync::Mutex;

use crate::domain::Secret;

/// How long a secret is not read again.
// It is read again when a webhook fits none of the known secrets, because they may have been rotated. A
// forged webhook does that, too, and anyone can send many.
const READ_AGAIN_AFTER: SignedDuration = SignedDuration::from_secs(60);

/// The stored secret: `{"api_key":"sk_…","webhook_secrets":["whsec_…"]}`.
#[derive(Debug, PartialEq, Eq, Deserialize)]
pub struct StripeSecret {
    pub api_key: Secret,
    /// Several while one is being replaced.
    pub webhook_secrets: Vec<Secret>,
}

#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    #[error("the Stripe secret cannot be read")]
    Read(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// Without the parser's error text, which may quote the input.
    #[error("the Stripe secret has not the form {{\"api_key\":…,\"webhook_secrets\":[…]}}")]
    Form,
    #[error("the Stripe secret is empty: fill it in")]
    Empty,
}

/// Reads the secret at its first use and keeps it for the process's life.
#[derive(Debug)]
pub struct Secrets {
    client: aws_sdk_secretsmanager::Client,
    arn: String,
    kept: Mutex<Option<(Arc<StripeSecret>, Timestamp)>>,
}

impl Secrets {
    pub fn new(client: aws_sdk_secretsmanager::Client, arn: String) -> Self {
        Self { client, arn, kept: Mutex::new(None) }
    }

    /// The cached secret.
    pub async fn get(&self, now: Timestamp) -> Result<Arc<StripeSecret>, SecretError> {
        // The lock is held during the read. Concurrent first calls wait for one read, and do not each pay for
        // one.
        let mut kept = self.kept.lock().await;
        if let Some((secret, _)) = &*kept {
            return Ok(Arc::clone(secret));
        }
        self.read(&mut kept, now).await
    }

    /// Reads the secret again after `known` turned out not to work; `None` when it was read a moment ago.
    pub async fn get_after(
        &self,
        known: &Arc<StripeSecret>,
        now: Timestamp,
    ) -> Result<Option<Arc<StripeSecret>>, SecretError> {
        let mut kept = self.kept.lock().await;
        match &*kept {
            // Another task has read it meanwhile.
            Some((secret, _)) if !Arc::ptr_eq(secret, known) => Ok(Some(Arc::clone(secret))),
            Some((_, read_at)) if now.duration_since(*read_at) < READ_AGAIN_AFTER => Ok(None),
            _ => self.read(&mut kept, now).await.map(Some),
        }
    }

    /// Reads the secret and keeps it.
    // A secret without a key is not kept: an operator is about to fill it in.
    async fn read(
        &self,
        kept: &mut Option<(Arc<StripeSecret>, Timestamp)>,
        now: Timestamp,
    ) -> Result<Arc<StripeSecret>, SecretError> {
        let answer = self.client.get_secret_value().secret_id(&self.arn).send().await;
        let answer = answer.map_err(|e| SecretError::Read(e.into()))?;
        let text = answer.secret_string().ok_or(SecretError::Form)?;
        let secret: StripeSecret = serde_json::from_str(text).map_err(|_| SecretError::Form)?;
        if secret.api_key.is_empty() {
            return Err(SecretError::Empty);
        }
        let secret = Arc::new(secret);
        *kept = Some((Arc::clone(&secret), now));
        Ok(secret)
    }
}
