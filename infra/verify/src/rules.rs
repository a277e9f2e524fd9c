//! The rules over a snapshot.

mod discounts;
mod letters;
mod orders;
mod stock;

use std::collections::BTreeMap;

use crate::{
    history::{self, History},
    policy::Policy,
    report::{End, Report, Rule},
    snapshot::Snapshot,
};

pub fn verify(snapshot: &Snapshot, policy: &Policy) -> Report {
    let mut report = Report { violations: snapshot.unreadable.clone(), ..Report::default() };
    report.counts.items = snapshot.items;
    let mut orders: BTreeMap<&str, History> = BTreeMap::new();
    for (id, commits) in &snapshot.commits {
        // An order that is not covered is read for its owner only.
        let mut all = Report::default();
        let Some(history) = history::read(id, commits, &mut all) else {
            report.violations.extend(all.violations);
            continue;
        };
        if policy.covers(history.placed_at) {
            report.counts.events += all.counts.events;
            report.violations.extend(all.violations);
        }
        orders.insert(id, history);
    }
    let covered = orders.iter().filter(|(_, order)| policy.covers(order.placed_at));
    for (id, order) in covered.map(|(id, order)| (*id, order)) {
        *report.counts.orders.entry(order.end).or_default() += 1;
        if order.end == End::Open && policy.is_overdue(order.placed_at) {
            let last = format!("version {} of {} as the last event", order.version, order.last_at);
            report.violate(Rule::Ending, id, "an order that has ended", last);
        }
        if order.end == End::Open {
            continue;
        }
        if policy.is_settled(order.last_at) {
            orders::verify(id, order, snapshot, &mut report);
            letters::verify(id, order, snapshot, policy, &mut report);
        } else {
            report.counts.not_settled += 1;
        }
    }
    orders::owners(&orders, snapshot, policy, &mut report);
    orders::count_money(&orders, snapshot, policy, &mut report);
    stock::verify(snapshot, policy, &mut report);
    discounts::verify(&orders, snapshot, policy, &mut report);
    letters::unfinished(snapshot, policy, &mut report);
    for (context, records) in &snapshot.parked {
        report.violate(Rule::Relay, context, "no parked records", format!("{records} parked"));
    }
    report.violations.sort_by(|one, other| (one.rule, &one.subject).cmp(&(other.rule, &other.subject)));
    report
}
