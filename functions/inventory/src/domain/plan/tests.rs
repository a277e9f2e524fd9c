use proptest::prelude::*;
use rstest::rstest;

use super::*;

fn sku(name: &str) -> Sku {
    Sku::try_from(name).unwrap()
}

fn line(name: &str, quantity: u32) -> OrderLine {
    OrderLine { sku: sku(name), quantity }
}

/// An order id with a chosen first shard.
fn order(seed: u32) -> OrderId {
    OrderId::try_from(format!("ord_{seed:032x}")).unwrap()
}

fn shards(available: &[u32]) -> Vec<Shard> {
    (0..).zip(available).map(|(shard, available)| Shard { shard, available: *available }).collect()
}

fn mugs(available: &[u32]) -> BTreeMap<Sku, Vec<Shard>> {
    BTreeMap::from([(sku("MUG"), shards(available))])
}

#[rstest]
#[case::one_has_enough(3, &[1, 4], &[(1, 3)])]
#[case::two_have_enough(5, &[1, 4], &[(1, 4), (0, 1)])]
#[case::four_have_enough(10, &[1, 4, 3, 2], &[(1, 4), (2, 3), (3, 2), (0, 1)])]
fn a_line_is_taken_from_the_fullest_shards(
    #[case] quantity: u32,
    #[case] available: &[u32],
    #[case] expected: &[(u32, u32)],
) {
    let Plan::Take(taken) = plan(&[line("MUG", quantity)], &order(0), &mugs(available)) else {
        panic!("there is enough")
    };
    assert_eq!(taken.into_iter().map(|t| (t.shard, t.quantity)).collect::<Vec<_>>(), expected);
}

#[test]
fn orders_that_see_the_same_do_not_all_take_from_the_same_shard() {
    let begins = |seed| match plan(&[line("MUG", 1)], &order(seed), &mugs(&[5, 5, 5])) {
        Plan::Take(taken) => taken[0].shard,
        other => panic!("{other:?}"),
    };
    assert_eq!([0, 1, 2, 3].map(begins), [0, 1, 2, 0]);
}

#[test]
fn what_lies_in_too_many_shards_is_brought_together_and_not_called_too_little() {
    let moved = |shard, delta| Move { sku: sku("MUG"), shard, delta };
    let rebalance = plan(&[line("MUG", 5)], &order(0), &mugs(&[1, 1, 1, 1, 1, 1]));
    assert_eq!(rebalance, Plan::Rebalance(vec![moved(0, 1), moved(4, -1)]));
    let rebalance = plan(&[line("MUG", 9)], &order(0), &mugs(&[2, 2, 2, 2, 2]));
    assert_eq!(rebalance, Plan::Rebalance(vec![moved(0, 2), moved(4, -2)]), "whole shards");
}

#[test]
fn too_little_of_one_sku_outweighs_another_that_could_be_rebalanced() {
    let mut stock = mugs(&[1, 1, 1, 1, 1]);
    stock.insert(sku("CUP"), shards(&[1]));
    let lines = [line("MUG", 5), line("CUP", 2), line("POT", 1)];
    assert_eq!(plan(&lines, &order(0), &stock), Plan::Short(vec![sku("CUP"), sku("POT")]));
}

#[test]
fn a_sku_on_two_lines_is_taken_once() {
    let lines = [line("MUG", 1), line("CUP", 1), line("MUG", 2)];
    let spread = |sku: &Sku| if sku.as_str() == "MUG" { 4 } else { 1 };
    assert_eq!(
        optimistic_allocation(&lines, &order(1), 0, spread),
        [
            Allocation { sku: sku("CUP"), shard: 0, quantity: 1 },
            Allocation { sku: sku("MUG"), shard: 2, quantity: 3 }
        ]
    );
}

proptest! {
    #[test]
    fn a_line_is_refused_only_when_all_shards_together_have_too_little(
        available in prop::collection::vec(0..20_u32, 0..12),
        quantity in 1..200_u32,
        seed in any::<u32>(),
    ) {
        let sum: u32 = available.iter().sum();
        let mut stock = mugs(&available);
        // Each rebalancing fills the fullest shard, so that four are soon enough.
        for _ in 0..=available.len() {
            match plan(&[line("MUG", quantity)], &order(seed), &stock) {
                Plan::Take(taken) => {
                    prop_assert_eq!(taken.iter().map(|t| t.quantity).sum::<u32>(), quantity);
                    prop_assert!(taken.len() <= SHARDS_PER_LINE);
                    let shards = &stock[&sku("MUG")];
                    prop_assert!(taken.iter().all(|t| t.quantity <= shards[t.shard as usize].available));
                    return Ok(());
                }
                Plan::Short(short) => {
                    prop_assert!(sum < quantity);
                    prop_assert_eq!(short, vec![sku("MUG")]);
                    return Ok(());
                }
                Plan::Rebalance(moves) => {
                    prop_assert_eq!(moves.iter().map(|step| step.delta).sum::<i64>(), 0);
                    let shards = stock.get_mut(&sku("MUG")).unwrap();
                    for step in moves {
                        let shard = &mut shards[step.shard as usize];
                        shard.available = u32::try_from(i64::from(shard.available) + step.delta).unwrap();
                    }
                }
            }
        }
        prop_assert!(false, "rebalancing never ends");
    }
}
