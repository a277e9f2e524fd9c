use proptest::prelude::*;
use rstest::rstest;

use super::*;

fn sku(name: &str) -> Sku {
    Sku::try_from(name).unwrap()
}

fn line(name: &str, quantity: u32) -> OrderLine {
    OrderLine { sku: sku(name), quantity }
}

fn shards(available: &[u32]) -> Vec<Shard> {
    (0..).zip(available).map(|(shard, available)| Shard { shard, available: *available }).collect()
}

fn stock(available: &[u32], version: u64) -> Stock {
    let summary = Summary {
        sku: sku("MUG"),
        shards: u32::try_from(available.len()).unwrap(),
        version,
        updated_at: Timestamp::UNIX_EPOCH,
    };
    Stock { summary, shards: shards(available) }
}

#[rstest]
#[case(0, Availability::OutOfStock)]
#[case(1, Availability::LowStock)]
#[case(5, Availability::LowStock)]
#[case(6, Availability::InStock)]
fn stock_is_low_up_to_five(#[case] available: u64, #[case] class: Availability) {
    assert_eq!(Availability::of(available), class);
}

#[test]
fn a_line_is_taken_from_the_fullest_shards_and_from_four_at_most() {
    let has = |available: &[u32]| BTreeMap::from([(sku("MUG"), shards(available))]);
    let from = |taken: Vec<Taken>| taken.into_iter().map(|t| (t.shard, t.quantity)).collect::<Vec<_>>();

    assert_eq!(from(plan(&[line("MUG", 3)], &has(&[1, 4])).unwrap()), [(1, 3)]);
    assert_eq!(from(plan(&[line("MUG", 5)], &has(&[1, 4])).unwrap()), [(1, 4), (0, 1)]);
    assert_eq!(plan(&[line("MUG", 5)], &has(&[1, 1, 1, 1, 1])), Err(vec![sku("MUG")]));
}

#[test]
fn every_line_without_enough_stock_is_named_and_unknown_skus_have_none() {
    let stock = BTreeMap::from([(sku("MUG"), shards(&[9])), (sku("CUP"), shards(&[1]))]);
    assert_eq!(
        plan(&[line("MUG", 1), line("CUP", 2), line("POT", 1)], &stock),
        Err(vec![sku("CUP"), sku("POT")])
    );
}

#[test]
fn a_sku_on_two_lines_is_taken_once() {
    assert_eq!(
        from_first_shards(&[line("MUG", 1), line("CUP", 1), line("MUG", 2)]),
        [Taken { sku: sku("CUP"), shard: 0, quantity: 1 }, Taken { sku: sku("MUG"), shard: 0, quantity: 3 }]
    );
}

proptest! {
    #[test]
    fn a_plan_takes_what_was_asked_for_and_never_more_than_a_shard_has(
        available in prop::collection::vec(0..20_u32, 0..8),
        quantity in 1..60_u32,
    ) {
        let stock = BTreeMap::from([(sku("MUG"), shards(&available))]);
        match plan(&[line("MUG", quantity)], &stock) {
            Ok(taken) => {
                prop_assert_eq!(taken.iter().map(|t| t.quantity).sum::<u32>(), quantity);
                prop_assert!(taken.len() <= SHARDS_PER_LINE);
                for part in taken {
                    prop_assert!(part.quantity <= available[part.shard as usize]);
                }
            }
            Err(short) => {
                let mut fullest = available.clone();
                fullest.sort_unstable();
                prop_assert!(fullest.iter().rev().take(SHARDS_PER_LINE).sum::<u32>() < quantity);
                prop_assert_eq!(short, vec![sku("MUG")]);
            }
        }
    }
}

fn set(before: Option<Stock>, available: u32) -> Setting {
    let by = UserId::try_from("usr_00000000000000000000000000000001").unwrap();
    let correlation = CorrelationId::try_from("cor").unwrap();
    set_available(before, &sku("MUG"), available, &by, &correlation, Timestamp::UNIX_EPOCH)
}

#[test]
fn setting_leaves_the_difference_as_its_trace() {
    let Setting::Write(first) = set(None, 7) else { panic!("a write") };
    assert_eq!((first.adjustment.delta, first.adjustment.version), (7, 1));
    assert_eq!(first.after, stock(&[7], 1));

    let Setting::Write(second) = set(Some(stock(&[7], 1)), 4) else { panic!("a write") };
    assert_eq!((second.adjustment.delta, second.adjustment.version), (-3, 2));
    assert_eq!(second.after, stock(&[4], 2));
}

#[test]
fn setting_what_is_so_already_writes_nothing() {
    assert_eq!(set(Some(stock(&[7], 1)), 7), Setting::Keep(stock(&[7], 1)));
    assert!(matches!(set(None, 0), Setting::Write(_)), "but a SKU becomes known, even with nothing to sell");
}

#[test]
fn setting_spreads_over_all_shards_and_keeps_their_number() {
    let Setting::Write(change) = set(Some(stock(&[0, 9, 1], 1)), 8) else { panic!("a write") };
    assert_eq!(change.after, stock(&[3, 3, 2], 2));
    assert_eq!(change.adjustment.delta, -2);
}
