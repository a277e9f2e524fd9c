//! The connections that a user may have at a time.

use std::collections::BTreeSet;

use aws_sdk_dynamodb::types::AttributeValue;
use contracts::UserId;
use lambda_kit::dynamodb::{Conflict, Expression, Item, TableError, key, number, string};

use super::{Store, user_pk};
use crate::domain::{CONNECTION_SECONDS, CONNECTIONS_MAX};

const PLACES: &str = "PLACES";
const CONNECTIONS: &str = "connections";

impl Store {
    /// Takes one of the user's places for a connection, which must be stored already. False when all are taken. A
    /// repeat changes nothing.
    // One item holds the ids of the connections, so that clients that connect at the same moment cannot take the
    // same place.
    pub(super) async fn take_place(
        &self,
        user_id: &UserId,
        connection_id: &str,
        now: i64,
    ) -> Result<bool, TableError> {
        if self.add_connection(user_id, connection_id, now).await?.is_ok() {
            return Ok(true);
        }
        // Of a function that died, or of a connection that API Gateway did not report as closed, a place may be left.
        // A connection is stored before it takes its place, so one that is in the list and not stored is closed.
        let listed = self.listed(user_id).await?;
        let open = self.connections_of(user_id).await?;
        let open: BTreeSet<&str> =
            open.iter().filter(|to| !to.is_expired(now)).map(|to| to.connection_id.as_str()).collect();
        let closed: Vec<String> = listed.into_iter().filter(|id| !open.contains(id.as_str())).collect();
        if closed.is_empty() {
            return Ok(false);
        }
        self.free_places(user_id, closed).await?;
        Ok(self.add_connection(user_id, connection_id, now).await?.is_ok())
    }

    async fn add_connection(
        &self,
        user_id: &UserId,
        connection_id: &str,
        now: i64,
    ) -> Result<Result<(), Conflict>, TableError> {
        let connection = AttributeValue::Ss(vec![connection_id.to_owned()]);
        // When the item expires, all of its connections have ended.
        let update = Expression::new("ADD connections :connection SET expires_at = :expires")
            .value(":connection", connection)
            .value(":expires", number(now + CONNECTION_SECONDS));
        let condition = Expression::new(
            "attribute_not_exists(connections) OR contains(connections, :id) OR size(connections) < :max",
        )
        .value(":id", string(connection_id))
        .value(":max", number(CONNECTIONS_MAX));
        self.table.update_if("taking a place", places_key(user_id), update, condition).await
    }

    async fn listed(&self, user_id: &UserId) -> Result<Vec<String>, TableError> {
        let item = self.table.get_item("reading a user's places", places_key(user_id)).await?;
        let listed = item.as_ref().and_then(|item| item.get(CONNECTIONS)?.as_ss().ok());
        Ok(listed.cloned().unwrap_or_default())
    }

    /// Frees the places of connections that are closed.
    pub(super) async fn free_places(
        &self,
        user_id: &UserId,
        connection_ids: Vec<String>,
    ) -> Result<(), TableError> {
        let update = Expression::new("DELETE connections :closed")
            .value(":closed", AttributeValue::Ss(connection_ids));
        // Without the item there is no place to free.
        let (Ok(()) | Err(Conflict)) = self
            .table
            .update_if("freeing a place", places_key(user_id), update, "attribute_exists(pk)")
            .await?;
        Ok(())
    }
}

fn places_key(user_id: &UserId) -> Item {
    key(user_pk(user_id), PLACES)
}
