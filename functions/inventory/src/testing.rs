//! For the tests of this crate: a table with its index, and stock in it.

use contracts::{CorrelationId, IdempotencyKey, OrderId, Sku, UserId};
use jiff::Timestamp;
use lambda_kit::{
    dynamodb::Table,
    testing::{self, Faults},
};

use crate::{
    domain::{AdjustmentContext, SettingDecision, Target, set},
    store::{HELD_INDEX, HeldPartitions, Store},
};

pub fn sku(name: &str) -> Sku {
    Sku::try_from(name).unwrap()
}

pub fn user() -> UserId {
    UserId::try_from("usr_00000000000000000000000000000001").unwrap()
}

pub fn order(n: usize) -> OrderId {
    OrderId::derive(&user(), &IdempotencyKey::try_from(format!("order-{n}")).unwrap())
}

pub async fn table() -> (Table, Faults) {
    testing::table(&[(HELD_INDEX, "held", "created_at")]).await
}

pub fn store(table: Table) -> Store {
    Store::new(table, HeldPartitions::default())
}

/// Sets the stock of a SKU, in this many shards.
pub async fn stocked(store: &Store, name: &str, available: u32, shards: u32) {
    let (by, correlation_id) = (user(), CorrelationId::generate());
    let context = AdjustmentContext { by: &by, correlation_id: &correlation_id, at: Timestamp::UNIX_EPOCH };
    let target = Target { available, shards: Some(shards), low_stock: None };
    let before = store.stock(&sku(name)).await.unwrap();
    match set(before, &sku(name), target, context).unwrap() {
        SettingDecision::Keep(_) => {}
        SettingDecision::Write(change) => assert_eq!(store.write_stock(&change).await.unwrap(), Ok(())),
    }
}
