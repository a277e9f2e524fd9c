//! Discount codes against the orders that have them.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    history::History,
    policy::Policy,
    report::{Report, Rule},
    snapshot::Snapshot,
};

pub fn verify(orders: &BTreeMap<&str, History>, snapshot: &Snapshot, policy: &Policy, report: &mut Report) {
    let mut moving: BTreeSet<String> = BTreeSet::new();
    for (id, order) in orders {
        // The counter's name is the code in upper case (orders' `DiscountCode::key`).
        let Some(code) = order.code.as_deref().map(str::to_uppercase) else { continue };
        if !policy.is_settled(order.last_at) {
            moving.insert(code);
            continue;
        }
        let found = snapshot.discount_uses.get(*id);
        if found.is_some() == order.was_cancelled {
            let (expected, found) = if order.was_cancelled {
                ("no use of the code", "one")
            } else {
                ("a use of the code", "none")
            };
            report.violate(Rule::Discount, *id, format!("{expected} {code}"), found);
        }
    }
    let mut used: BTreeMap<(String, Option<String>), i64> = BTreeMap::new();
    for one in snapshot.discount_uses.values() {
        *used.entry((one.code.clone(), None)).or_default() += 1;
        if one.counted {
            *used.entry((one.code.clone(), Some(one.user_id.clone()))).or_default() += 1;
        }
    }
    report.counts.moving += u64::try_from(moving.len()).unwrap_or(u64::MAX);
    let counters: BTreeSet<_> = snapshot.discount_counters.keys().chain(used.keys()).collect();
    for counter in counters.into_iter().filter(|(code, _)| !moving.contains(code)) {
        let counted = snapshot.discount_counters.get(counter).copied().unwrap_or_default();
        let right = used.get(counter).copied().unwrap_or_default();
        if counted != right {
            let (code, user) = counter;
            let of_user = user.as_ref().map_or_else(String::new, |user| format!(" by {user}"));
            report.violate(Rule::Discount, code, format!("{right} uses{of_user}"), counted.to_string());
        }
    }
}
