//! Rebuilds a projection from the events in parts, while the active one stays in use (`cargo ops replay`).
//!
//! Views are folded again and overwritten, and views without an order are removed. Sales are counted into a
//! new projection version, which replaces the active one at the end (`store/sales.rs`).

use std::time::Instant;

use contracts::OrderId;
use lambda_kit::error::error_chain;
use serde::{Deserialize, Serialize};

use super::{Projector, Purpose, by_partition};
use crate::store::{ItemKey, ProjectionVersions, ScannedView, StoreError};

/// Items that one read brings.
// A view or a commit has about 1 KB, so a read stays below DynamoDB's page of 1 MB. A tenth of the items are
// first commits.
const PAGE: i32 = 500;

/// The projections that can be rebuilt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Projection {
    Orders,
    Sales,
}

/// The progress of a replay, which the caller passes to the next part.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Position {
    /// The version that is being rebuilt, of a projection that has versions.
    #[serde(rename = "generation")]
    projection_version: Option<u64>,
    /// The item that was read last; `None` before the first read.
    after: Option<ItemKey>,
}

/// The result of one part.
#[derive(Debug, Default, PartialEq, Eq, Serialize)]
pub struct Part {
    pub orders: u64,
    /// Views of no order.
    pub removed: u64,
    /// Orders whose history cannot be parsed.
    pub unreadable: u64,
    /// The start of the next part; `None` when the replay is complete.
    pub position: Option<Position>,
}

impl Projector {
    /// Continues a replay from `position`, or begins one, until it is complete or the time is `ends`. A part can be
    /// repeated.
    ///
    /// # Errors
    /// When the table cannot be read or written, or another replay of the projection was begun.
    pub async fn replay(
        &self,
        projection: Projection,
        position: Option<Position>,
        ends: Instant,
    ) -> Result<Part, StoreError> {
        let Position { projection_version, mut after } = match position {
            Some(position) => position,
            None => self.begin(projection).await?,
        };
        let mut part = Part::default();
        loop {
            let projection_versions = self.store.projection_versions().await?;
            if projection_version.is_some_and(|version| is_superseded(version, projection_versions)) {
                return Err(StoreError::ReplaySuperseded);
            }
            let page = self.store.scan(after.as_ref(), PAGE).await?;
            self.replay_orders(projection, page.orders, projection_versions, &mut part).await?;
            if projection == Projection::Orders {
                for view in &page.views {
                    part.removed += u64::from(self.remove_if_orphaned(view).await?);
                }
            }
            after = page.last;
            if after.is_none() {
                break;
            }
            if Instant::now() >= ends {
                part.position = Some(Position { projection_version, after });
                return Ok(part);
            }
        }
        if let Some(projection_version) = projection_version {
            self.store.activate_projection_version(projection_version).await?;
        }
        Ok(part)
    }

    async fn begin(&self, projection: Projection) -> Result<Position, StoreError> {
        let projection_version = match projection {
            Projection::Orders => None,
            Projection::Sales => Some(self.store.begin_projection_version().await?),
        };
        Ok(Position { projection_version, after: None })
    }

    async fn replay_orders(
        &self,
        projection: Projection,
        orders: Vec<OrderId>,
        projection_versions: ProjectionVersions,
        part: &mut Part,
    ) -> Result<(), StoreError> {
        let purpose = match projection {
            // A view is written again even when it is up to date by its version, because its content may be
            // wrong.
            Projection::Orders => Purpose::Rebuild,
            // Writes only what the new version has not counted, so that a repeated part costs reads only.
            Projection::Sales => Purpose::CatchUp,
        };
        part.orders += u64::try_from(orders.len()).unwrap_or(u64::MAX);
        let orders = orders.into_iter().map(|order_id| (order_id, ()));
        for ((), order_id, result) in
            by_partition(&self.store, orders, |order_id| self.project(order_id, projection_versions, purpose))
                .await
        {
            match result {
                Err(error) if !error.is_retryable() => {
                    tracing::error!(
                        order_id = order_id.as_str(),
                        error = error_chain(&error),
                        "the view of an order could not be written"
                    );
                    part.unreadable += 1;
                }
                result => result?,
            }
        }
        Ok(())
    }

    /// Removes a view whose order does not exist or has its view elsewhere. Returns whether there was one.
    async fn remove_if_orphaned(&self, view: &ScannedView) -> Result<bool, StoreError> {
        let history = match self.store.load(&view.order_id).await {
            Ok(history) => history,
            // Whether the view belongs to an order whose history cannot be read is unknown. So it stays.
            // `replay_orders` has reported the order.
            Err(error) if !error.is_retryable() => return Ok(false),
            Err(error) => return Err(error),
        };
        if history.is_some_and(|history| view.is_view_of(&history)) {
            return Ok(false);
        }
        self.store.remove_view(view).await?;
        Ok(true)
    }
}

/// Whether another replay of the sales has begun since this one, which rebuilds `version`.
// The other replay has deleted what this one counted. A version that is active already is no other replay, but a repeat
// of the last part.
fn is_superseded(version: u64, now: ProjectionVersions) -> bool {
    now.rebuilding != Some(version) && now.active != version
}

#[cfg(test)]
mod tests;
