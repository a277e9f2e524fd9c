//! Deletes all sessions of an erased user (`users-relay`, concurrently with publishing).

use contracts::{InvalidId, UserId};
use lambda_kit::{
    dynamodb::TableError,
    error::error_chain,
    relay::Handled,
    stream::{StreamEvent, StreamRecord},
};

use crate::store::{ERASED_AT, Store};

/// Why a user's sessions could not be deleted.
#[derive(Debug, thiserror::Error)]
enum DeletionError {
    #[error("the user's id cannot be read")]
    UserId(#[from] InvalidId),
    #[error(transparent)]
    Table(#[from] TableError),
}

/// Deletes the sessions of every user that the batch shows as erased, and returns the result for each
/// record.
pub async fn delete_sessions_of_erased(store: &Store, batch: &StreamEvent) -> Handled {
    let mut handled = Handled::default();
    for record in batch.records.iter().filter(|record| erases(record)) {
        if let Err(error) = delete_sessions(store, record).await {
            tracing::error!(
                error = error_chain(&error),
                "the sessions of a deleted user could not be deleted"
            );
            // No retry can read an invalid id, so that record is parked. Lambda delivers a failed record again,
            // and the later ones wait: the sessions of a deleted user must go.
            let records = match error {
                DeletionError::UserId(_) => &mut handled.unprocessable,
                DeletionError::Table(_) => &mut handled.failed,
            };
            records.insert(record.dynamodb.sequence_number.clone());
        }
    }
    handled
}

fn erases(record: &StreamRecord) -> bool {
    // An erased profile never changes again, so each deletion is one record. Lambda may deliver it twice.
    record.dynamodb.new_image.as_ref().is_some_and(|image| image.string(ERASED_AT).is_some())
}

async fn delete_sessions(store: &Store, record: &StreamRecord) -> Result<(), DeletionError> {
    let image = record.dynamodb.new_image.as_ref();
    let user_id = image.and_then(|image| image.string("user_id")).unwrap_or_default();
    let user_id = UserId::try_from(user_id)?;
    let deleted = store.delete_sessions(&user_id).await?;
    tracing::info!(user_id = user_id.as_str(), deleted, "the sessions of a deleted user were deleted");
    Ok(())
}

#[cfg(test)]
mod tests;
