//! The messages to customers.

use jiff::{SignedDuration, Timestamp};

use crate::{
    history::History,
    items::{Contact, MessageState},
    policy::Policy,
    report::{End, Report, Rule},
    snapshot::Snapshot,
};

/// The time that a record of a message is kept for (notifications' `RECORD_SECONDS`).
const KEPT: SignedDuration = SignedDuration::from_hours(90 * 24);
/// Orders of one customer. With more there may be more than the ten messages that an address gets which is not confirmed
/// (notifications' budget); the others are dropped.
const FEW: usize = 2;

/// An order that has ended: its customer got an e-mail about that.
pub fn verify(id: &str, order: &History, snapshot: &Snapshot, policy: &Policy, report: &mut Report) {
    let (Some(event), Some(user)) = (&order.ended_by, &order.user_id) else { return };
    let is_expected = order.end != End::NeedsAttention && order.last_at >= policy.letters_since;
    if !is_expected || snapshot.letters.contains_key(event) {
        return;
    }
    let few = snapshot.listed.get(user).is_none_or(|orders| *orders <= FEW);
    if few && snapshot.contacts.get(user).is_some_and(wants_all) {
        report.violate(Rule::Letter, id, "a record of the e-mail about its end", "none");
    }
}

/// Whether the customer wanted e-mail whenever the order ended.
// E-mail is on from the registration. To be on again, it takes two more changes.
fn wants_all(contact: &Contact) -> bool {
    contact.wants_email && contact.sequence <= 2 && contact.suppressed.is_none()
}

/// Messages that are neither sent nor given up.
pub fn unfinished(snapshot: &Snapshot, policy: &Policy, report: &mut Report) {
    for (event, message) in snapshot.letters.iter().chain(&snapshot.text_messages) {
        let is_final = !matches!(message.state, MessageState::Sending | MessageState::Waiting);
        let leased =
            Timestamp::from_second(message.expires_at).and_then(|expires| expires.saturating_sub(KEPT));
        if !is_final && leased.is_ok_and(|leased| policy.is_overdue(leased)) {
            let found = format!("{:?} since its last try", message.state).to_lowercase();
            report.violate(Rule::Letter, event, "a message that is sent or given up", found);
        }
    }
}
