//! The record of each change of stock: what was put into which shard or taken from it, when, and by whom. The sum
//! of a SKU's moves is its stock.

use std::collections::BTreeMap;

use contracts::{CorrelationId, OrderId, Sku, UserId};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{
    adjust::{Adjustment, PlannedAdjustment, StockChange},
    reservation::{EventContext, Move, Reservation, Status},
    stock::Stock,
};

/// What a change of stock was.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum MoveKind {
    /// Taken for an order.
    Reserved,
    /// Returned, because the order ended without a sale.
    Released,
    /// An administrator set the stock.
    Set,
    /// An administrator added to the stock or took from it.
    Adjusted,
    /// Moved between the shards, so that a large order finds enough in few of them. The sum is zero.
    Rebalanced,
}

/// One change of a SKU's stock, with all shards that it changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StockMoves {
    pub sku: Sku,
    pub kind: MoveKind,
    pub at: Timestamp,
    /// Differs between the changes of one kind and moment.
    pub id: String,
    pub correlation_id: CorrelationId,
    /// The order that it was for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub order_id: Option<OrderId>,
    /// The administrator who made it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub actor: Option<UserId>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Sorted by shard, each shard once.
    pub shards: Vec<ShardDelta>,
}

/// What was put into a shard, or with a negative number taken from it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShardDelta {
    pub shard: u32,
    pub delta: i64,
}

impl MoveKind {
    /// What happened to a reservation's stock between these statuses.
    // Without a status before, it is all that happened until then. A record that was parked is processed again as if
    // its item were written now.
    const fn between(before: Option<Status>, after: Status) -> &'static [Self] {
        match (before, after) {
            (None, Status::Held | Status::Committed) => &[Self::Reserved],
            (None, Status::Released) => &[Self::Reserved, Self::Released],
            (Some(Status::Held), Status::Released) => &[Self::Released],
            _ => &[],
        }
    }

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Reserved => "reserved",
            Self::Released => "released",
            Self::Set => "set",
            Self::Adjusted => "adjusted",
            Self::Rebalanced => "rebalanced",
        }
    }
}

impl StockMoves {
    /// What a write of a reservation took or returned, by SKU. `before` is the status that it replaced.
    pub fn of_reservation(before: Option<Status>, reservation: &Reservation) -> Vec<Self> {
        let kinds = MoveKind::between(before, reservation.status).iter();
        kinds.flat_map(|kind| Self::of_kind(*kind, reservation)).collect()
    }

    fn of_kind(kind: MoveKind, reservation: &Reservation) -> Vec<Self> {
        // The first write takes the stock, and the last one returns it.
        let (sign, at) = match kind {
            MoveKind::Released => (1, reservation.updated_at),
            _ => (-1, reservation.created_at),
        };
        let mut by_sku: BTreeMap<&Sku, Vec<ShardDelta>> = BTreeMap::new();
        for taken in &reservation.taken {
            let delta = ShardDelta { shard: taken.shard, delta: sign * i64::from(taken.quantity) };
            by_sku.entry(&taken.sku).or_default().push(delta);
        }
        let moves = |(sku, shards): (&Sku, Vec<ShardDelta>)| Self {
            sku: sku.clone(),
            kind,
            at,
            id: reservation.order_id.to_string(),
            correlation_id: reservation.correlation_id.clone(),
            order_id: Some(reservation.order_id.clone()),
            actor: None,
            reason: None,
            shards: sorted(shards),
        };
        by_sku.into_iter().map(moves).collect()
    }

    /// The moves of a setting. `None` when it left every shard as it was.
    pub fn of_setting(change: &StockChange) -> Option<Self> {
        let signed = |stock: &Stock, sign: i64| {
            let parts = stock.shards.iter();
            parts.map(|part| (part.shard, sign * i64::from(part.available))).collect::<Vec<_>>()
        };
        let mut deltas: BTreeMap<u32, i64> = BTreeMap::new();
        let before = change.before.as_ref().map(|before| signed(before, -1)).unwrap_or_default();
        for (shard, delta) in before.into_iter().chain(signed(&change.after, 1)) {
            *deltas.entry(shard).or_default() += delta;
        }
        let changed = deltas.into_iter().filter(|(_, delta)| *delta != 0);
        let shards: Vec<_> = changed.map(|(shard, delta)| ShardDelta { shard, delta }).collect();
        let moves = Self::of_administrator(MoveKind::Set, &change.adjustment, shards);
        (!moves.shards.is_empty()).then_some(moves)
    }

    /// The moves of an adjustment.
    pub fn of_adjustment(planned: &PlannedAdjustment) -> Self {
        let shards = planned.moves.iter().map(ShardDelta::from).collect();
        let moves = Self::of_administrator(MoveKind::Adjusted, &planned.adjustment, shards);
        Self { reason: Some(planned.adjustment.reason.clone()), ..moves }
    }

    fn of_administrator(kind: MoveKind, adjustment: &Adjustment, shards: Vec<ShardDelta>) -> Self {
        Self {
            sku: adjustment.sku.clone(),
            kind,
            at: adjustment.at,
            id: adjustment.id.as_str().to_owned(),
            correlation_id: adjustment.correlation_id.clone(),
            order_id: None,
            actor: Some(adjustment.by.clone()),
            reason: None,
            shards: sorted(shards),
        }
    }

    /// Moves between the shards of one SKU for an order. `None` when there are none.
    pub fn of_rebalancing(moves: &[Move], context: &EventContext, at: Timestamp) -> Option<Self> {
        Some(Self {
            sku: moves.first()?.sku.clone(),
            kind: MoveKind::Rebalanced,
            at,
            id: context.order_id.to_string(),
            correlation_id: context.correlation_id.clone(),
            order_id: Some(context.order_id.clone()),
            actor: None,
            reason: None,
            shards: sorted(moves.iter().map(ShardDelta::from).collect()),
        })
    }
}

impl From<&Move> for ShardDelta {
    fn from(Move { shard, delta, .. }: &Move) -> Self {
        Self { shard: *shard, delta: *delta }
    }
}

fn sorted(mut shards: Vec<ShardDelta>) -> Vec<ShardDelta> {
    shards.sort_by_key(|part| part.shard);
    shards
}
