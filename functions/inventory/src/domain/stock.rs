//! The stock of a SKU: spread over shards, summed up, classed, set by an administrator, and planned from.

use std::collections::BTreeMap;

use contracts::{CorrelationId, OrderLine, Sku, UserId};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::reservation::Taken;

/// The most of a SKU that is called low.
const LOW_STOCK: u64 = 5;
/// Shards that one line may be taken from. 20 lines of 4 and the reservation stay below the 100 items that a
/// transaction may have (TransactWriteItems, API reference).
const SHARDS_PER_LINE: usize = 4;

/// What can be sold now, as customers are told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[expect(clippy::enum_variant_names, reason = "the words of the API")]
pub enum Availability {
    InStock,
    LowStock,
    OutOfStock,
}

impl Availability {
    pub const fn of(available: u64) -> Self {
        match available {
            0 => Self::OutOfStock,
            1..=LOW_STOCK => Self::LowStock,
            _ => Self::InStock,
        }
    }
}

/// What one shard has left to sell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shard {
    pub shard: u32,
    pub available: u32,
}

/// What is known of a SKU as a whole.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Summary {
    pub sku: Sku,
    pub shards: u32,
    /// Counts the adjustments, from 1.
    pub version: u64,
    pub updated_at: Timestamp,
}

/// A SKU's stock, all of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stock {
    pub summary: Summary,
    pub shards: Vec<Shard>,
}

impl Stock {
    pub fn available(&self) -> u64 {
        self.shards.iter().map(|shard| u64::from(shard.available)).sum()
    }
}

/// The trace of a change of stock that no reservation made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Adjustment {
    pub sku: Sku,
    /// The summary's version that it led to.
    pub version: u64,
    pub delta: i64,
    pub reason: String,
    pub by: UserId,
    pub correlation_id: CorrelationId,
    pub at: Timestamp,
}

/// One write of a SKU's stock: all of it or nothing, and only on what it was decided on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StockChange {
    pub before: Option<Stock>,
    pub after: Stock,
    pub adjustment: Adjustment,
}

/// What setting a stock takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Setting {
    /// It is already so.
    Keep(Stock),
    Write(Box<StockChange>),
}

/// Makes `available` what can be sold now.
pub fn set_available(
    before: Option<Stock>,
    sku: &Sku,
    available: u32,
    by: &UserId,
    correlation_id: &CorrelationId,
    at: Timestamp,
) -> Setting {
    let before = match before {
        Some(stock) if stock.available() == u64::from(available) => return Setting::Keep(stock),
        other => other,
    };
    let had = before.as_ref().map_or(0, Stock::available);
    let count = before.as_ref().map_or(1, |stock| stock.summary.shards);
    let version = before.as_ref().map_or(0, |stock| stock.summary.version) + 1;
    let shards = (0..count)
        .map(|shard| Shard { shard, available: available / count + u32::from(shard < available % count) })
        .collect();
    let delta = i64::from(available) - i64::try_from(had).unwrap_or(i64::MAX);
    Setting::Write(Box::new(StockChange {
        before,
        after: Stock {
            summary: Summary { sku: sku.clone(), shards: count, version, updated_at: at },
            shards,
        },
        adjustment: Adjustment {
            sku: sku.clone(),
            version,
            delta,
            reason: "set".to_owned(),
            by: by.clone(),
            correlation_id: correlation_id.clone(),
            at,
        },
    }))
}

/// The lines, each from the first shard of its SKU: a good guess that costs no read, judged by the conditions of the
/// write.
pub fn from_first_shards(lines: &[OrderLine]) -> Vec<Taken> {
    by_sku(lines).into_iter().map(|(sku, quantity)| Taken { sku, shard: 0, quantity }).collect()
}

/// Takes every line from what the shards have, the fullest first.
///
/// # Errors
/// The SKUs that there is too little of. Then nothing is taken of any.
pub fn plan(lines: &[OrderLine], stock: &BTreeMap<Sku, Vec<Shard>>) -> Result<Vec<Taken>, Vec<Sku>> {
    let mut taken = Vec::new();
    let mut short = Vec::new();
    for (sku, quantity) in by_sku(lines) {
        let mut shards = stock.get(&sku).cloned().unwrap_or_default();
        shards.sort_by_key(|shard| std::cmp::Reverse(shard.available));
        let mut missing = quantity;
        for shard in shards.iter().take(SHARDS_PER_LINE).filter(|shard| shard.available > 0) {
            let quantity = missing.min(shard.available);
            if quantity > 0 {
                taken.push(Taken { sku: sku.clone(), shard: shard.shard, quantity });
            }
            missing -= quantity;
        }
        if missing > 0 {
            short.push(sku);
        }
    }
    if short.is_empty() { Ok(taken) } else { Err(short) }
}

/// A SKU once: a transaction may touch an item only once.
fn by_sku(lines: &[OrderLine]) -> BTreeMap<Sku, u32> {
    let mut quantities = BTreeMap::new();
    for line in lines {
        let quantity: &mut u32 = quantities.entry(line.sku.clone()).or_default();
        *quantity = quantity.saturating_add(line.quantity);
    }
    quantities
}

#[cfg(test)]
mod tests;
