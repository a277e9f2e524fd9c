//! The tokens that set a new password, by their hashes.

use lambda_kit::dynamodb::{Item, TableError, key, to_item};

use super::Store;
use crate::domain::{PasswordReset, ResetToken};

impl Store {
    /// # Errors
    /// When the table does not answer.
    pub async fn save_reset(&self, token: &ResetToken, reset: &PasswordReset) -> Result<(), TableError> {
        const OPERATION: &str = "storing a token for a new password";
        self.table.put(OPERATION, to_item(OPERATION, reset_key(token), reset)?).await
    }

    /// # Errors
    /// When the table does not answer, or the item cannot be read.
    pub async fn reset(&self, token: &ResetToken) -> Result<Option<PasswordReset>, TableError> {
        self.table.get("reading a token for a new password", reset_key(token)).await
    }
}

fn reset_key(token: &ResetToken) -> Item {
    key(format!("RESET#{}", token.hash()), "RESET")
}
