use proptest::prelude::*;

use super::*;

fn sku() -> Sku {
    Sku::try_from("MUG").unwrap()
}

fn user() -> UserId {
    UserId::try_from("usr_00000000000000000000000000000001").unwrap()
}

fn stock(available: &[u32], version: u64) -> Stock {
    let items = u32::try_from(available.len()).unwrap();
    let settings = Settings {
        sku: sku(),
        shards: if items == 1 { 1 } else { items - 1 },
        low_stock: LOW_STOCK,
        version,
        updated_at: Timestamp::UNIX_EPOCH,
    };
    let shards = (0..).zip(available).map(|(shard, available)| Shard { shard, available: *available });
    Stock { settings, shards: shards.collect() }
}

fn set_to(before: Option<Stock>, target: Target) -> Result<SettingDecision, InvalidAdjustment> {
    let (by, correlation_id) = (user(), CorrelationId::try_from("cor").unwrap());
    set(
        before,
        &sku(),
        target,
        AdjustmentContext { by: &by, correlation_id: &correlation_id, at: Timestamp::UNIX_EPOCH },
    )
}

fn to(available: u32) -> Target {
    Target { available, shards: None, low_stock: None }
}

fn written(before: Option<Stock>, target: Target) -> StockChange {
    match set_to(before, target) {
        Ok(SettingDecision::Write(change)) => *change,
        other => panic!("expected a write, got {other:?}"),
    }
}

fn adjusted(stock: &Stock, delta: i64) -> Result<PlannedAdjustment, InvalidAdjustment> {
    let (by, correlation_id) = (user(), CorrelationId::try_from("cor").unwrap());
    let id = AdjustmentId::of_request(&by, &IdempotencyKey::try_from("key").unwrap());
    let context = AdjustmentContext { by: &by, correlation_id: &correlation_id, at: Timestamp::UNIX_EPOCH };
    adjust(stock, id, delta, "count".to_owned(), context)
}

#[test]
fn setting_leaves_the_difference_as_its_trace() {
    let first = written(None, to(7));
    assert_eq!((first.adjustment.delta, first.adjustment.id.as_str()), (7, "SET#00000001"));
    assert_eq!(first.after, stock(&[7], 1));

    let second = written(Some(stock(&[7], 1)), to(4));
    assert_eq!((second.adjustment.delta, second.adjustment.id.as_str()), (-3, "SET#00000002"));
    assert_eq!(second.after, stock(&[4], 2));
    assert_eq!((second.adjustment.available, second.adjustment.availability), (4, Availability::LowStock));
}

#[test]
fn setting_what_is_so_already_writes_nothing() {
    assert_eq!(set_to(Some(stock(&[7], 1)), to(7)), Ok(SettingDecision::Keep(stock(&[7], 1))));
    let same = Target { available: 7, shards: Some(1), low_stock: Some(LOW_STOCK) };
    assert_eq!(set_to(Some(stock(&[7], 1)), same), Ok(SettingDecision::Keep(stock(&[7], 1))));
    assert!(
        matches!(set_to(None, to(0)), Ok(SettingDecision::Write(_))),
        "a SKU becomes known with nothing to sell, too"
    );
}

#[test]
fn a_setting_of_the_threshold_alone_is_a_write_and_is_kept_by_the_next() {
    let wary = written(Some(stock(&[7], 1)), Target { low_stock: Some(10), ..to(7) });
    assert_eq!((wary.adjustment.delta, wary.after.availability()), (0, Availability::LowStock));
    assert_eq!(written(Some(wary.after), to(11)).after.settings.low_stock, 10);
}

#[test]
fn stock_is_spread_over_all_shards_and_none_is_left_in_the_first_item() {
    let spread = written(Some(stock(&[8], 1)), Target { shards: Some(3), ..to(8) });
    assert_eq!((spread.after.clone(), spread.adjustment.delta), (stock(&[0, 3, 3, 2], 2), 0));
    assert_eq!(written(Some(stock(&[2, 0, 9, 1], 2)), to(7)).after, stock(&[0, 3, 2, 2], 3));
}

#[test]
fn the_number_of_shards_never_shrinks() {
    let fewer = Target { shards: Some(2), ..to(8) };
    assert_eq!(
        set_to(Some(stock(&[0, 3, 3, 2], 1)), fewer),
        Err(InvalidAdjustment::ShardCountDecreased { shards: 3 })
    );
}

#[test]
fn an_adjustment_keeps_the_shards_even() {
    let moves = |delta| {
        let planned = adjusted(&stock(&[0, 1, 5, 6], 1), delta).unwrap();
        planned.moves.into_iter().map(|step| (step.shard, step.delta)).collect::<Vec<_>>()
    };
    assert_eq!(moves(4), [(1, 2), (2, 1), (3, 1)]);
    assert_eq!(moves(-5), [(1, -1), (2, -2), (3, -2)]);
    assert_eq!(moves(-1), [(3, -1)]);
}

#[test]
fn an_adjustment_leaves_neither_less_than_nothing_nor_more_than_fits() {
    assert_eq!(adjusted(&stock(&[7], 1), -8), Err(InvalidAdjustment::BelowZero { available: 7 }));
    assert_eq!(adjusted(&stock(&[7], 1), 1_000_000), Err(InvalidAdjustment::TooMany { available: 7 }));
    assert_eq!(adjusted(&stock(&[7], 1), -7).unwrap().adjustment.availability, Availability::OutOfStock);
}

#[test]
fn stock_may_grow_to_the_maximum_and_what_is_above_it_may_shrink() {
    assert_eq!(adjusted(&stock(&[7], 1), 999_993).unwrap().adjustment.available, 1_000_000);
    for delta in [0, -1] {
        let planned = adjusted(&stock(&[1_000_002], 1), delta).unwrap();
        assert_eq!(planned.moves.iter().map(|step| step.delta).sum::<i64>(), delta);
    }
}

#[test]
fn a_request_is_known_by_who_asks_and_by_its_key() {
    let key = |name: &str| IdempotencyKey::try_from(name).unwrap();
    let other = UserId::try_from("usr_00000000000000000000000000000002").unwrap();
    let id = AdjustmentId::of_request(&user(), &key("a"));
    assert_eq!(id, AdjustmentId::of_request(&user(), &key("a")));
    assert_ne!(id, AdjustmentId::of_request(&user(), &key("b")));
    assert_ne!(id, AdjustmentId::of_request(&other, &key("a")));
}

proptest! {
    #[test]
    fn an_adjustment_moves_what_it_says_and_takes_from_no_shard_more_than_it_has(
        available in prop::collection::vec(0..50_u32, 2..10),
        delta in -300..300_i64,
    ) {
        let before = stock(&available, 1);
        match adjusted(&before, delta) {
            Ok(planned) => {
                prop_assert_eq!(planned.moves.iter().map(|step| step.delta).sum::<i64>(), delta);
                for step in &planned.moves {
                    prop_assert!(i64::from(available[step.shard as usize]) + step.delta >= 0);
                }
            }
            Err(invalid) => {
                prop_assert_eq!(invalid, InvalidAdjustment::BelowZero { available: before.available() });
                prop_assert!(delta.unsigned_abs() > before.available());
            }
        }
    }
}
