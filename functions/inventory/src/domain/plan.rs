//! Chooses the shards that an order's lines are taken from.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, VecDeque},
};

use contracts::{OrderId, OrderLine, Sku};

use super::{
    reservation::{Allocation, Move},
    stock::{Shard, first_item, seed},
};

/// The most shards that one line may be taken from.
// 20 lines of 4 shards and the reservation stay below a transaction's limit of 100 items (TransactWriteItems,
// API reference).
const SHARDS_PER_LINE: usize = 4;

/// How the stock, as it was read, can serve the lines.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Plan {
    Take(Vec<Allocation>),
    /// There is enough, but in more shards than a line may use: these moves bring some of it together.
    Rebalance(Vec<Move>),
    /// All shards of these SKUs together have too little.
    Short(Vec<Sku>),
}

/// Takes each line from one shard of its SKU. `shards` returns the number of shards of a SKU, as far as it is
/// known.
// It costs no read, and most orders find enough stock. The conditions of the write verify it.
pub fn optimistic_allocation(
    lines: &[OrderLine],
    order: &OrderId,
    attempt: u32,
    shards: impl Fn(&Sku) -> u32,
) -> Vec<Allocation> {
    merged(lines)
        .into_iter()
        .map(|(sku, quantity)| {
            let shard = first_item(shards(&sku), order, attempt);
            Allocation { sku, shard, quantity }
        })
        .collect()
}

/// Takes every line from the shards, the fullest first. Orders differ in where they begin among equally full
/// shards.
pub fn plan(lines: &[OrderLine], order: &OrderId, stock: &BTreeMap<Sku, Vec<Shard>>) -> Plan {
    let mut taken = Vec::new();
    let mut short = Vec::new();
    let mut rebalance = None;
    for (sku, quantity) in merged(lines) {
        let shards = fullest_first(stock.get(&sku).map(Vec::as_slice).unwrap_or_default(), order);
        let mut missing = u64::from(quantity);
        for shard in shards.iter().take(SHARDS_PER_LINE) {
            let part = u32::try_from(missing).map_or(shard.available, |missing| missing.min(shard.available));
            if part > 0 {
                taken.push(Allocation { sku: sku.clone(), shard: shard.shard, quantity: part });
            }
            missing -= u64::from(part);
        }
        if missing == 0 {
            continue;
        }
        match rebalancing_moves(&sku, &shards, missing) {
            Some(moves) => rebalance = rebalance.or(Some(moves)),
            None => short.push(sku),
        }
    }
    match rebalance {
        // Moving stock for an order that is short of another SKU would be of no use.
        _ if !short.is_empty() => Plan::Short(short),
        Some(moves) => Plan::Rebalance(moves),
        None => Plan::Take(taken),
    }
}

/// The moves that bring `missing` more pieces into the fullest shard. `None` when the shards beyond those
/// that a line may use have less than that.
// The moves empty each shard that they take from, so that the next large line needs no moves.
fn rebalancing_moves(sku: &Sku, shards: &[Shard], missing: u64) -> Option<Vec<Move>> {
    let mut moves = VecDeque::new();
    let mut found = 0;
    for shard in shards.iter().skip(SHARDS_PER_LINE).take_while(|shard| shard.available > 0) {
        if found >= missing {
            break;
        }
        found += u64::from(shard.available);
        let delta = -i64::from(shard.available);
        moves.push_back(Move { sku: sku.clone(), shard: shard.shard, delta });
    }
    if found < missing {
        return None;
    }
    let delta = -moves.iter().map(|step| step.delta).sum::<i64>();
    moves.push_front(Move { sku: sku.clone(), shard: shards.first()?.shard, delta });
    Some(moves.into())
}

fn fullest_first(shards: &[Shard], order: &OrderId) -> Vec<Shard> {
    let mut shards = shards.to_vec();
    if !shards.is_empty() {
        // Concurrent orders begin at different ones among equally full shards, so that they do not meet at
        // one item. A seed fits into `usize` on all our platforms, and any other rotation would do as well.
        let turn = usize::try_from(seed(order)).unwrap_or_default() % shards.len();
        shards.rotate_left(turn);
    }
    shards.sort_by_key(|shard| Reverse(shard.available));
    shards
}

/// Merges lines by SKU, because a transaction may write an item only once.
pub fn merged(lines: &[OrderLine]) -> BTreeMap<Sku, u32> {
    let mut quantities = BTreeMap::new();
    for line in lines {
        let quantity: &mut u32 = quantities.entry(line.sku.clone()).or_default();
        *quantity = quantity.saturating_add(line.quantity);
    }
    quantities
}

#[cfg(test)]
mod tests;
