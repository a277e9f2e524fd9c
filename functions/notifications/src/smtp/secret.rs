//! The user and the password at the SMTP server.

use std::sync::Arc;

use lambda_kit::{aws::SdkConfig, error::error_chain};
use lettre::transport::smtp::authentication::Credentials;
use serde::Deserialize;
use tokio::sync::Mutex;

use crate::provider::SendError;

/// The stored secret: `{"user":"…","password":"…"}`.
#[derive(Deserialize)]
struct Stored {
    user: String,
    password: String,
}

/// Why there are no credentials.
#[derive(Debug, thiserror::Error)]
enum SecretError {
    #[error("the SMTP secret cannot be read")]
    Read(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// Without the parser's error text, which may quote the input.
    #[error("the SMTP secret has not the form {{\"user\":…,\"password\":…}}")]
    Form,
    #[error("the SMTP secret is empty: fill it in")]
    Empty,
}

/// Reads the secret at its first use and keeps it until the server refuses it.
#[derive(Clone)]
pub struct SmtpSecret {
    client: aws_sdk_secretsmanager::Client,
    arn: String,
    kept: Arc<Mutex<Option<Credentials>>>,
}

impl SmtpSecret {
    pub fn new(sdk: &SdkConfig, arn: String) -> Self {
        Self { client: aws_sdk_secretsmanager::Client::new(sdk), arn, kept: Arc::default() }
    }

    /// The credentials.
    ///
    /// # Errors
    /// An error that concerns all messages, so that they wait until the secret is there.
    pub async fn get(&self) -> Result<Credentials, SendError> {
        // The lock is held during the read, so that messages that are sent concurrently read it once.
        let mut kept = self.kept.lock().await;
        if let Some(credentials) = &*kept {
            return Ok(credentials.clone());
        }
        let credentials = self.read().await.map_err(|error| {
            tracing::error!(error = error_chain(&error), "no e-mail can be sent by SMTP");
            SendError::Unavailable("no credentials".to_owned())
        })?;
        Ok(kept.insert(credentials).clone())
    }

    /// Reads the secret again at its next use.
    pub async fn forget(&self) {
        *self.kept.lock().await = None;
    }

    async fn read(&self) -> Result<Credentials, SecretError> {
        let answer = self.client.get_secret_value().secret_id(&self.arn).send().await;
        let answer = answer.map_err(|error| SecretError::Read(error.into()))?;
        let text = answer.secret_string().ok_or(SecretError::Form)?;
        let Stored { user, password } = serde_json::from_str(text).map_err(|_| SecretError::Form)?;
        if user.is_empty() || password.is_empty() {
            return Err(SecretError::Empty);
        }
        Ok(Credentials::new(user, password))
    }
}
