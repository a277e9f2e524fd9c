//! All sessions of one user.

use std::collections::HashSet;

use contracts::UserId;
use lambda_kit::dynamodb::{QueryFluentBuilder, SK, TableError, from_item, string, string_of};

use super::{REVOKED_FAMILY, SESSION, Store, user_partition};
use crate::domain::Session;

impl Store {
    /// The user's sessions that go on at `now` (Unix seconds).
    ///
    /// # Errors
    /// When the table does not answer, or an item cannot be read.
    pub async fn open_sessions(&self, user: &UserId, now: i64) -> Result<Vec<Session>, TableError> {
        const OPERATION: &str = "listing a user's sessions";
        let (mut sessions, mut revoked) = (Vec::<Session>::new(), HashSet::new());
        for item in self.table.query_all(OPERATION, self.items_of(user)).await? {
            let sk = string_of(&item, SK).unwrap_or_default();
            if let Some(family) = sk.strip_prefix(REVOKED_FAMILY) {
                revoked.insert(family.to_owned());
            } else if sk.starts_with(SESSION) {
                sessions.push(from_item(OPERATION, item)?);
            }
        }
        sessions.retain(|session| {
            session.successor.is_none()
                && session.expires_at > now
                && !revoked.contains(session.family.as_str())
        });
        Ok(sessions)
    }

    /// A query of all items of a user. Consistent.
    // A session that was stored just before the erasure must be found and deleted. A client that refreshes
    // every quarter of an hour has 3,000 sessions after a month, of 300 bytes each, all spent except the last
    // one.
    pub(super) fn items_of(&self, user: &UserId) -> QueryFluentBuilder {
        let query = self.table.query().consistent_read(true).key_condition_expression("pk = :user");
        query.expression_attribute_values(":user", string(user_partition(user)))
    }
}
