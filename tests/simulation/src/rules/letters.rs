//! The customers' mailbox: one e-mail, and one SMS for who wants SMS, says how an order ended.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;
use tokio::time::Instant;

use crate::{judge::table, services::mailbox::Letter, world::world};

/// What sends to customers.
const SENDER: &str = "notifications-consumer";
/// The ends of an order, with the words of the e-mail's subject and of the SMS.
const ENDS: [(&str, &str); 2] = [("order.completed", " is complete"), ("order.cancelled", " was cancelled")];

/// A customer, as notifications knows them.
struct Contact {
    email: String,
    /// A verified number, when SMS are wanted.
    phone: Option<String>,
    /// Whether e-mail to the address was stopped, at some time.
    is_suppressed: bool,
}

/// What is wrong; nothing, when all is right.
pub fn violations() -> Vec<String> {
    let contacts = contacts();
    let letters = world().mailbox.letters();
    let mut found = Vec::new();
    for ((order, end), (user, events)) in ends() {
        let words = format!("{order}{end}");
        let has_words = |letter: &&Letter| letter.subject.as_ref().unwrap_or(&letter.text).contains(&words);
        let contact = user.and_then(|user| contacts.get(&user));
        let of_it = |to: &str| -> Vec<Instant> {
            let sent = letters.iter().filter(has_words).filter(|letter| letter.to == to);
            sent.map(|letter| letter.at).collect()
        };
        let Some(Contact { email, phone, is_suppressed }) = contact else { continue };
        let (emails, text_messages) = (of_it(email), phone.as_deref().map(of_it).unwrap_or_default());
        if emails.len() < events && !is_suppressed {
            found.push(format!("no e-mail says that order {words}"));
        }
        let is_excused = |pair: &&[Instant]| is_excused(&order, pair);
        for (sent, name) in [(emails, "e-mails"), (text_messages, "SMS")] {
            // A third one is never right, unless a person has handed a dead letter over again: a message that may have been
            // sent twice, or not at all, is then sent after all, and once more when that is not known either.
            let tries = 1 + 2 * world().queues.redrives();
            let excused = sent.windows(2).filter(is_excused).count().min(events * tries);
            if sent.len() > events + excused {
                found.push(format!("{} {name} say that order {words}, and {events} is right", sent.len()));
            }
        }
    }
    found
}

/// Whether one more message is right: the sender cannot know that the provider took the one before, or it could not record
/// that.
fn is_excused(order: &str, pair: &[Instant]) -> bool {
    let hits = world().network.hits();
    let mut of_sender = hits.iter().filter(|hit| hit.caller == SENDER && hit.at <= pair[1]);
    // A request that is held up reaches its provider after its repeat.
    of_sender.any(|hit| hit.at >= pair[0] || hit.request.contains(order))
}

/// An order, and the words for its end.
type End = (String, &'static str);

/// How often the topic had each end of each order, and whose order it is.
fn ends() -> BTreeMap<End, (Option<String>, usize)> {
    let mut ends: BTreeMap<End, (Option<String>, BTreeSet<String>)> = BTreeMap::new();
    for published in world().topics.published() {
        let event = published.event;
        let end = ENDS.iter().find(|(event_type, _)| event["event_type"] == *event_type);
        let Some((_, words)) = end else { continue };
        let (user, events) = ends.entry((text(&event["subject"]), words)).or_default();
        *user = event["metadata"]["user_id"].as_str().map(str::to_owned);
        events.insert(text(&event["event_id"]));
    }
    ends.into_iter().map(|(end, (user, events))| (end, (user, events.len()))).collect()
}

/// By user. Who was erased has none.
fn contacts() -> BTreeMap<String, Contact> {
    let items = world().tables.items(&table("notifications"));
    let read = |item: &Value| {
        let user = item["pk"]["S"].as_str()?.strip_prefix("CONTACT#")?.to_owned();
        let email = item["email"]["S"].as_str()?.to_owned();
        let wants_sms = item["wants_sms"]["BOOL"] == true && item["phone_verified"]["BOOL"] == true;
        let is_suppressed = item["suppressed"]["S"] == *email;
        let phone = wants_sms.then(|| text(&item["phone"]["S"]));
        Some((user, Contact { email, phone, is_suppressed }))
    };
    items.iter().filter_map(read).collect()
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}
