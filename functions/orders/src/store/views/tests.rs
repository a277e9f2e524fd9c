use proptest::prelude::*;

use super::*;

fn page(places: &[&str], until: Option<&str>) -> PartitionPage {
    let view = |place: &&str| ((*place).to_owned(), RawValue::from_string(format!("{place:?}")).unwrap());
    PartitionPage { views: places.iter().map(view).collect(), until: until.map(str::to_owned) }
}

fn merged(all: Vec<PartitionPage>, limit: usize) -> (Vec<String>, Option<String>) {
    let (views, next) = merge(all, limit);
    (views.iter().map(|view| view.get().trim_matches('"').to_owned()).collect(), next)
}

fn owned(places: &[&str]) -> Vec<String> {
    places.iter().map(|place| (*place).to_owned()).collect()
}

#[test]
fn the_newest_of_all_partitions_come_first() {
    let all = || vec![page(&["9", "5"], None), page(&["8", "7"], None), page(&[], None)];
    assert_eq!(merged(all(), 3), (owned(&["9", "8", "7"]), Some("7".to_owned())));
    assert_eq!(merged(all(), 4), (owned(&["9", "8", "7", "5"]), None));
}

#[test]
fn nothing_is_shown_from_below_a_place_that_another_partition_was_not_looked_at() {
    let all = vec![page(&["9", "8"], Some("8")), page(&["7", "3"], None)];
    assert_eq!(merged(all, 10), (owned(&["9", "8"]), Some("8".to_owned())));
    // No view down to this position has the wanted status: the list still continues.
    assert_eq!(merged(vec![page(&[], Some("4"))], 10), (vec![], Some("4".to_owned())));
}

proptest! {
    /// Reading on shows each once, in order, whatever is where.
    #[test]
    fn pages_add_up_to_everything(
        partitions in proptest::collection::vec(proptest::collection::btree_set(0u32..1000, 0..20), 1..5),
        limit in 1usize..6,
    ) {
        // An order is in one partition.
        let mut seen = std::collections::BTreeSet::new();
        let partitions: Vec<Vec<String>> = partitions
            .into_iter()
            .map(|places| places.into_iter().rev().filter(|p| seen.insert(*p)).map(|p| format!("{p:04}")).collect())
            .collect();
        let expected: Vec<String> = seen.iter().rev().map(|place| format!("{place:04}")).collect();
        let (mut shown, mut after) = (vec![], None::<String>);
        loop {
            let look = |places: &Vec<String>| {
                let rest = places.iter().filter(|place| after.as_ref().is_none_or(|after| *place < after));
                let looked_at: Vec<&str> = rest.map(String::as_str).take(limit + 1).collect();
                let until = (looked_at.len() > limit).then(|| looked_at[limit]);
                page(&looked_at, until)
            };
            let (views, next) = merged(partitions.iter().map(look).collect(), limit);
            shown.extend(views);
            match next {
                Some(next) => after = Some(next),
                None => break,
            }
        }
        prop_assert_eq!(shown, expected);
    }
}

#[test]
fn a_view_is_stored_in_less_than_half_and_one_that_is_stored_as_text_is_still_read() {
    let moment =
        |version| format!(r#"{{"version":{version},"event_type":"order.created","status":"OrderCreated"}}"#);
    let json = format!(r#"{{"timeline":[{}]}}"#, (1..=10).map(moment).collect::<Vec<_>>().join(","));
    let stored = packed(&json).unwrap();
    assert!(stored.as_b().unwrap().as_ref().len() < json.len() / 2);
    let item = |value| Item::from([(ORDER_JSON.to_owned(), value)]);
    assert_eq!(unpacked(&item(stored)).unwrap(), json);
    assert_eq!(unpacked(&item(string(&*json))).unwrap(), json);
    let broken = AttributeValue::B(Blob::new([0xff, 0xff]));
    assert!(matches!(unpacked(&item(broken)), Err(ItemError::View(_))));
}
