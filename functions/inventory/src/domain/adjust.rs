//! Changes of stock by administrators: settings and adjustments, each with its record.

use contracts::{Availability, CorrelationId, IdempotencyKey, Sku, UserId};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::{
    reservation::Move,
    stock::{Settings, Shard, Stock, filled_items, shard_items},
};

/// The highest quantity that an administrator can set or adjust a SKU to: also the limit of the API's `available`.
const MAX_AVAILABLE: u64 = 1_000_000;
/// The default threshold: stock up to this quantity is "low".
const LOW_STOCK: u32 = 5;

/// Who adjusts a stock, when, and in which request.
#[derive(Debug, Clone, Copy)]
pub struct AdjustmentContext<'a> {
    pub by: &'a UserId,
    pub correlation_id: &'a CorrelationId,
    pub at: Timestamp,
}

/// Identifies one adjustment of a SKU, so that a repeat of it is recognised.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AdjustmentId(String);

impl AdjustmentId {
    /// The id of a setting: from the version that it led to.
    fn of_setting(version: u64) -> Self {
        Self(format!("SET#{version:08}"))
    }

    /// The id of a request: from the administrator and the Idempotency-Key. Hashed, since a key may hold
    /// characters that a sort key should not.
    pub fn of_request(by: &UserId, key: &IdempotencyKey) -> Self {
        // The administrator is a part of it, so that two of them may use the same key. A user's id has a
        // fixed length, so no two pairs have the same bytes.
        let digest = Sha256::digest(format!("{by}{}", key.as_str()));
        Self(format!("KEY#{}", digest.iter().map(|byte| format!("{byte:02x}")).collect::<String>()))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The record of a change of stock that no reservation made, with the answer that the request got.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Adjustment {
    pub sku: Sku,
    pub id: AdjustmentId,
    pub delta: i64,
    pub reason: String,
    pub by: UserId,
    pub correlation_id: CorrelationId,
    pub at: Timestamp,
    /// What could be sold afterwards, computed from the stock that the decision was made on.
    pub available: u64,
    pub availability: Availability,
}

/// The stock that an administrator wants for a SKU. Fields that are absent stay unchanged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Target {
    pub available: u32,
    pub shards: Option<u32>,
    pub low_stock: Option<u32>,
}

/// The writes that setting a stock needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SettingDecision {
    /// It is already so.
    Keep(Stock),
    Write(Box<StockChange>),
}

/// One write of a SKU's stock, all or nothing, with the stock that the decision was made on as its condition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StockChange {
    pub before: Option<Stock>,
    pub after: Stock,
    pub adjustment: Adjustment,
}

/// One adjustment with its record and its moves: all or nothing, whatever the stock is by then.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlannedAdjustment {
    pub adjustment: Adjustment,
    pub moves: Vec<Move>,
}

/// Why an adjustment is not valid.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidAdjustment {
    #[error("never shrinks: the stock is spread over {shards} shards already")]
    ShardCountDecreased { shards: u32 },
    #[error("would leave less than nothing: {available} can be sold now")]
    BelowZero { available: u64 },
    #[error("would leave more than {MAX_AVAILABLE}: {available} can be sold now")]
    TooMany { available: u64 },
}

/// Sets the stock, spread evenly over its shards.
///
/// # Errors
/// When it is spread over more shards already.
pub fn set(
    before: Option<Stock>,
    sku: &Sku,
    target: Target,
    context: AdjustmentContext<'_>,
) -> Result<SettingDecision, InvalidAdjustment> {
    let had = before.as_ref().map(|stock| &stock.settings);
    let shards = had.map_or(1, |settings| settings.shards);
    if target.shards.is_some_and(|wanted| wanted < shards) {
        return Err(InvalidAdjustment::ShardCountDecreased { shards });
    }
    let settings = Settings {
        sku: sku.clone(),
        shards: target.shards.unwrap_or(shards),
        low_stock: target.low_stock.or(had.map(|settings| settings.low_stock)).unwrap_or(LOW_STOCK),
        version: had.map_or(0, |settings| settings.version) + 1,
        updated_at: context.at,
    };
    // A repeat of the same setting finds it done, and writes no second record.
    let before = match before {
        Some(stock)
            if stock.available() == u64::from(target.available)
                && stock.settings.shards == settings.shards
                && stock.settings.low_stock == settings.low_stock =>
        {
            return Ok(SettingDecision::Keep(stock));
        }
        other => other,
    };
    let id = AdjustmentId::of_setting(settings.version);
    let delta = i64::from(target.available) - signed(before.as_ref().map_or(0, Stock::available));
    let shards = spread(target.available, settings.shards);
    let after = Stock { settings, shards };
    let adjustment = record(&after, context, id, delta, "set".to_owned(), after.available());
    Ok(SettingDecision::Write(Box::new(StockChange { before, after, adjustment })))
}

/// Spreads a quantity evenly over the shards.
fn spread(available: u32, shards: u32) -> Vec<Shard> {
    let part = |shard: u32| {
        let nth = shard - filled_items(shards).start();
        available / shards + u32::from(nth < available % shards)
    };
    shard_items(shards)
        .map(|shard| {
            let available = if filled_items(shards).contains(&shard) { part(shard) } else { 0 };
            Shard { shard, available }
        })
        .collect()
}

/// Adds `delta`, which may be negative, over all shards so that they stay even.
///
/// # Errors
/// When the stock would be negative or above the maximum.
pub fn adjust(
    stock: &Stock,
    id: AdjustmentId,
    delta: i64,
    reason: String,
    context: AdjustmentContext<'_>,
) -> Result<PlannedAdjustment, InvalidAdjustment> {
    let available = stock.available();
    let after = available.checked_add_signed(delta).ok_or(InvalidAdjustment::BelowZero { available })?;
    // An adjustment that takes stock away is allowed above the limit, too. Released stock may have led there.
    if delta > 0 && after > MAX_AVAILABLE {
        return Err(InvalidAdjustment::TooMany { available });
    }
    let moves = if delta > 0 { add(stock, delta) } else { take(stock, delta) };
    Ok(PlannedAdjustment { adjustment: record(stock, context, id, delta, reason, after), moves })
}

fn add(stock: &Stock, delta: i64) -> Vec<Move> {
    // The checks allow a million at most.
    let delta = u32::try_from(delta).unwrap_or(u32::MAX);
    let parts = spread(delta, stock.settings.shards);
    let parts = parts.into_iter().filter(|part| part.available > 0);
    parts.map(|part| step(stock, part.shard, i64::from(part.available))).collect()
}

/// Takes `delta` from the shards so that they stay even.
// The emptiest shards give their part first. Fuller ones can give what is still missing.
fn take(stock: &Stock, delta: i64) -> Vec<Move> {
    let mut shards = stock.shards.clone();
    shards.sort_by_key(|shard| shard.available);
    let mut missing = delta.unsigned_abs();
    let mut moves = Vec::new();
    for (left, shard) in (1..=shards.len() as u64).rev().zip(shards) {
        let part = (missing / left).min(u64::from(shard.available));
        missing -= part;
        if part > 0 {
            moves.push(step(stock, shard.shard, -signed(part)));
        }
    }
    moves
}

fn step(stock: &Stock, shard: u32, delta: i64) -> Move {
    Move { sku: stock.settings.sku.clone(), shard, delta }
}

fn record(
    stock: &Stock,
    context: AdjustmentContext<'_>,
    id: AdjustmentId,
    delta: i64,
    reason: String,
    available: u64,
) -> Adjustment {
    Adjustment {
        sku: stock.settings.sku.clone(),
        id,
        delta,
        reason,
        by: context.by.clone(),
        correlation_id: context.correlation_id.clone(),
        at: context.at,
        available,
        availability: Availability::of(available, u64::from(stock.settings.low_stock)),
    }
}

/// A quantity of stock as a signed number.
// Stock is at most in the millions, so it fits.
fn signed(quantity: u64) -> i64 {
    i64::try_from(quantity).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests;
