//! A SKU's stock against its reservations and its moves.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    items::{MoveKind, ReservationStatus},
    policy::Policy,
    report::{Report, Rule},
    snapshot::Snapshot,
};

#[derive(Default)]
struct Taken {
    held: i64,
    sold: i64,
}

pub fn verify(snapshot: &Snapshot, policy: &Policy, report: &mut Report) {
    let mut taken: BTreeMap<&str, Taken> = BTreeMap::new();
    let mut moving: BTreeSet<&str> = BTreeSet::new();
    for reservation in snapshot.reservations.values() {
        for part in &reservation.taken {
            let of_sku = taken.entry(&part.sku).or_default();
            match reservation.status {
                ReservationStatus::Held => of_sku.held += part.quantity,
                ReservationStatus::Committed => of_sku.sold += part.quantity,
                ReservationStatus::Rejected | ReservationStatus::Released => {}
            }
            if !policy.is_settled(reservation.updated_at) {
                moving.insert(&part.sku);
            }
        }
    }
    for (sku, moves) in &snapshot.moves {
        if moves.iter().any(|change| !policy.is_settled(change.at)) {
            moving.insert(sku);
        }
    }
    let skus: BTreeSet<&str> =
        snapshot.stock.keys().map(String::as_str).chain(taken.keys().copied()).collect();
    for sku in skus {
        let shards = snapshot.stock.get(sku).map(Vec::as_slice).unwrap_or_default();
        let on_hand: i64 = shards.iter().sum();
        let Taken { held, sold } = taken.remove(sku).unwrap_or_default();
        report.counts.stock.skus += 1;
        report.counts.stock.on_hand += on_hand;
        report.counts.stock.held += held;
        report.counts.stock.sold += sold;
        if shards.iter().any(|available| *available < 0) {
            report.violate(Rule::Stock, sku, "no shard below zero", format!("{shards:?}"));
        }
        // Its items were read one after the other, and changed meanwhile.
        if moving.contains(sku) {
            report.counts.moving += 1;
            continue;
        }
        let moves = snapshot.moves.get(sku).map(Vec::as_slice).unwrap_or_default();
        let sum = |is_counted: fn(MoveKind) -> bool| -> i64 {
            let counted = moves.iter().filter(|change| is_counted(change.kind));
            counted.flat_map(|change| &change.shards).map(|shard| shard.delta).sum()
        };
        // In the same transaction as the stock itself, while those of reservations are copied later.
        let put_in = sum(|kind| !matches!(kind, MoveKind::Reserved | MoveKind::Released));
        if on_hand + held + sold != put_in {
            let found = format!("{on_hand} on hand, {held} held and {sold} sold");
            report.violate(Rule::Stock, sku, format!("the {put_in} pieces that were put in"), found);
        }
        let all = sum(|_| true);
        if all != on_hand {
            let found = format!("moves that add up to {all}");
            report.violate(Rule::Moves, sku, format!("the {on_hand} pieces on hand"), found);
        }
    }
}
