//! Limits the messages to a recipient who has not shown that they want them.

use aws_lambda_events::sqs::SqsMessage;
use contracts::metrics;
use jiff::Timestamp;
use lambda_kit::{
    bucket::{Bucket, TakeOutcome},
    dynamodb::Table,
    limits::UNVERIFIED_RECIPIENT,
    telemetry,
};
use sha2::{Digest, Sha256};

use crate::queue;

/// The budget of each address or number that is not verified.
// A stranger can register another person's address, or give it as a new one, and order things.
#[derive(Debug, Clone)]
pub struct RecipientBudget {
    table: Table,
}

impl RecipientBudget {
    pub const fn new(table: Table) -> Self {
        Self { table }
    }

    /// Whether the message may go to this recipient. A retry of a message that was admitted takes nothing.
    pub async fn admits(&self, message: &SqsMessage, recipient: &str, now: Timestamp) -> bool {
        if queue::was_admitted(message) {
            return true;
        }
        let bucket = Bucket::new(self.table.clone(), key(recipient), UNVERIFIED_RECIPIENT);
        match bucket.take(now).await {
            TakeOutcome::Taken { .. } => true,
            TakeOutcome::Wait(_) => {
                tracing::warn!("too many messages to a recipient who is not verified, this one is dropped");
                telemetry::emit(&metrics::MESSAGES_OVER_BUDGET, 1);
                false
            }
        }
    }
}

/// A hash, so that the address is not stored with it: it may belong to a person who is no customer.
fn key(recipient: &str) -> String {
    use std::fmt::Write;
    let mut key = "recipient/".to_owned();
    // Half of the hash: no two recipients share a bucket by chance.
    for byte in Sha256::digest(recipient.as_bytes()).iter().take(16) {
        write!(key, "{byte:02x}").expect("a String takes every text");
    }
    key
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_recipient_has_a_key_of_its_own_that_does_not_name_it() {
        assert_ne!(key("anna@example.com"), key("ben@example.com"));
        assert!(!key("anna@example.com").contains("anna"));
        assert_eq!(key("+14155550123").len(), "recipient/".len() + 32);
    }
}
