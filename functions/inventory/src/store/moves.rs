//! The moves of stock: a SKU's ledger.
//!
//! What an administrator moves is recorded in the transaction that moves it. What an order takes and returns is in
//! its reservation, and the relay copies it from the stream, so that a reservation writes no more than it needs.

use std::{cmp::Reverse, collections::BTreeMap};

use contracts::Sku;
use futures::{StreamExt, TryStreamExt, stream};
use lambda_kit::dynamodb::{Item, TableError, Write, from_item, key, string, to_item};
use serde::{Deserialize, Serialize};

use super::{Store, sku_key, stock::SETTINGS};
use crate::domain::{Settings, ShardDelta, StockMoves, shard_items};

/// Partitions that are read at the same time.
// The SDK's connection pool has as many connections.
const CONCURRENCY: usize = 10;

/// One row of a SKU's ledger.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Posting {
    pub moves: StockMoves,
    pub shard: ShardDelta,
}

/// A page of a SKU's ledger, the newest first.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct PostingPage {
    pub postings: Vec<Posting>,
    /// Whether there are more after the last one.
    pub more: bool,
}

/// The place of a row in the ledger: the sort key of its moves, and its shard.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Place(String, u32);

impl Place {
    /// A key that DynamoDB accepts: a sort key has at most 1,024 bytes (DynamoDB Developer Guide, "Quotas").
    pub fn is_valid(&self) -> bool {
        (1..=1024).contains(&self.0.len())
    }
}

impl Posting {
    pub fn place(&self) -> Place {
        Place(sort_key(&self.moves), self.shard.shard)
    }
}

impl Store {
    /// Records what reservations have taken or returned. A repeat changes nothing.
    ///
    /// # Errors
    /// When the table cannot be written: some of them may be recorded.
    pub async fn record_moves(&self, moves: &[StockMoves]) -> Result<(), TableError> {
        const OPERATION: &str = "recording moves of stock";
        // Keys must be unique in one call.
        let mut items = BTreeMap::new();
        for moves in moves {
            // Orders that take from different shards are recorded in different partitions. So the records of a
            // SKU are as fast as its stock.
            let Some(first) = moves.shards.first() else { continue };
            let partition = shard_partition(&moves.sku, first.shard);
            let item = to_item(OPERATION, key(&*partition, sort_key(moves)), moves)?;
            items.insert((partition, sort_key(moves)), item);
        }
        self.table.batch_put(OPERATION, items.into_values().collect()).await
    }

    /// A page of the ledger of a SKU: `limit` rows (1 to 100) at most, the newest first, after a place. `None` when
    /// the SKU has no stock record.
    ///
    /// # Errors
    /// When the table cannot be read.
    pub async fn postings(
        &self,
        sku: &Sku,
        limit: usize,
        after: Option<&Place>,
    ) -> Result<Option<PostingPage>, TableError> {
        let settings = self.table.get::<Settings>("stock settings", sku_key(sku, SETTINGS)).await?;
        let Some(settings) = settings else { return Ok(None) };
        let shards = shard_items(settings.shards).map(|shard| shard_partition(sku, shard));
        let partitions = stream::iter([partition(sku)].into_iter().chain(shards));
        let read = partitions.map(|partition| self.moves_in(partition, limit, after));
        let read: Vec<Vec<StockMoves>> = read.buffered(CONCURRENCY).try_collect().await?;
        let mut postings: Vec<Posting> = read.into_iter().flatten().flat_map(postings_of).collect();
        // The rows of one change stand together, by shard.
        postings.sort_by_cached_key(|posting| (Reverse(sort_key(&posting.moves)), posting.shard.shard));
        if let Some(Place(sort_key_before, shard_before)) = after {
            postings.retain(|posting| {
                let Place(sort_key, shard) = posting.place();
                sort_key < *sort_key_before || (sort_key == *sort_key_before && shard > *shard_before)
            });
        }
        let more = postings.len() > limit;
        postings.truncate(limit);
        Ok(Some(PostingPage { postings, more }))
    }

    /// The newest moves of a partition, from a place on: enough for a page, and for whether another one follows.
    async fn moves_in(
        &self,
        partition: String,
        limit: usize,
        from: Option<&Place>,
    ) -> Result<Vec<StockMoves>, TableError> {
        const OPERATION: &str = "reading moves of stock";
        // The moves at the place itself are read, too: rows of them may be on the next page. With one more than the
        // page has, that is two more. 102 items of some 4 KB at most stay below the megabyte of one call.
        let query = self
            .table
            .query()
            .consistent_read(true)
            .scan_index_forward(false)
            .expression_attribute_values(":partition", string(partition))
            .set_limit(i32::try_from(limit + 2).ok());
        let query = match from {
            None => query.key_condition_expression("pk = :partition"),
            Some(Place(sort_key, _)) => query
                .key_condition_expression("pk = :partition AND sk <= :from")
                .expression_attribute_values(":from", string(sort_key)),
        };
        let items = self.table.query_page(OPERATION, query).await?.items.into_iter();
        items.map(|item| from_item(OPERATION, item)).collect()
    }
}

fn postings_of(moves: StockMoves) -> Vec<Posting> {
    moves.shards.iter().map(|shard| Posting { moves: moves.clone(), shard: *shard }).collect()
}

/// What an administrator or the platform moves, as a part of the transaction that moves it.
pub(super) fn recorded(operation: &'static str, moves: &StockMoves) -> Result<Write, TableError> {
    let item: Item = to_item(operation, key(partition(&moves.sku), sort_key(moves)), moves)?;
    Ok(Write::put(item))
}

fn partition(sku: &Sku) -> String {
    format!("MOVES#{sku}")
}

fn shard_partition(sku: &Sku, shard: u32) -> String {
    format!("MOVES#{sku}#{shard}")
}

/// By time, and different for changes of the same moment.
fn sort_key(StockMoves { at, id, kind, .. }: &StockMoves) -> String {
    format!("{at:.6}#{id}#{}", kind.as_str())
}
