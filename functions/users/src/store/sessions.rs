//! All sessions of one user.

use std::collections::HashSet;

use contracts::UserId;
use lambda_kit::dynamodb::{Item, PK, SK, TableError, string};

use super::{FAMILY, SESSION, Store, user_partition};
use crate::domain::Session;

impl Store {
    /// The user's sessions that go on at `now` (Unix seconds).
    ///
    /// # Errors
    /// When the table does not answer, or an item cannot be read.
    pub async fn open_sessions(&self, user: &UserId, now: i64) -> Result<Vec<Session>, TableError> {
        const OPERATION: &str = "listing a user's sessions";
        let (mut sessions, mut revoked) = (Vec::<Session>::new(), HashSet::new());
        for item in self.all_of(OPERATION, user).await? {
            let sk = item.get(SK).and_then(|sk| sk.as_s().ok()).cloned().unwrap_or_default();
            if let Some(family) = sk.strip_prefix(FAMILY) {
                revoked.insert(family.to_owned());
            } else if sk.starts_with(SESSION) {
                sessions.push(serde_dynamo::from_item(item).map_err(|e| TableError::item(OPERATION, e))?);
            }
        }
        sessions.retain(|session| {
            session.successor.is_none()
                && session.expires_at > now
                && !revoked.contains(session.family.as_str())
        });
        Ok(sessions)
    }

    /// All items of a user, from all pages. A client that refreshes every quarter of an hour has 3,000
    /// sessions after a month, of 300 bytes each, all spent except the last one.
    pub(super) async fn all_of(
        &self,
        operation: &'static str,
        user: &UserId,
    ) -> Result<Vec<Item>, TableError> {
        let (mut items, mut start) = (Vec::new(), None);
        loop {
            let page = self
                .table
                .client
                .query()
                .table_name(&self.table.name)
                .consistent_read(true)
                .key_condition_expression("pk = :user")
                .expression_attribute_values(":user", string(user_partition(user)))
                .set_exclusive_start_key(start.take())
                .send()
                .await
                .map_err(|e| TableError::call(operation, e))?;
            items.extend(page.items.unwrap_or_default());
            match page.last_evaluated_key.filter(|key| key.contains_key(PK)) {
                Some(key) => start = Some(key),
                None => return Ok(items),
            }
        }
    }
}
