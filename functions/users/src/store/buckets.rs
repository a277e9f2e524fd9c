//! Limits that depend on what a request says, and not only on who sends it.

use std::net::IpAddr;

use aws_lc_rs::digest::{SHA256, digest};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use jiff::{SignedDuration, Timestamp};
use lambda_kit::{
    bucket::{Bucket, TakeOutcome},
    limits::{PASSWORD_RESETS, RateLimit},
};

use super::Store;
use crate::domain::Email;

impl Store {
    /// Takes one of a network's registrations.
    ///
    /// # Errors
    /// When there is none: how long to wait.
    pub async fn take_registration(
        &self,
        network: IpAddr,
        rate: RateLimit,
        now: Timestamp,
    ) -> Result<(), SignedDuration> {
        self.take(&format!("register {network}"), rate, now).await
    }

    /// Takes one of the password resets of an address, which need not be registered.
    ///
    /// # Errors
    /// When there is none: how long to wait.
    pub async fn take_reset(&self, email: &Email, now: Timestamp) -> Result<(), SignedDuration> {
        self.take(&format!("reset {}", email.as_str()), PASSWORD_RESETS, now).await
    }

    async fn take(&self, key: &str, rate: RateLimit, now: Timestamp) -> Result<(), SignedDuration> {
        // Neither an e-mail address nor a network's is stored.
        let key = URL_SAFE_NO_PAD.encode(digest(&SHA256, key.as_bytes()));
        match Bucket::new(self.table.clone(), format!("users/{key}"), rate).take(now).await {
            TakeOutcome::Taken { .. } => Ok(()),
            TakeOutcome::Wait(wait) => Err(wait),
        }
    }
}
