//! What SES reported of an address: one that bounced for good, or whose customer complained, gets no further e-mail, and
//! each other one does.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use jiff::Timestamp;
use tokio::time::Instant;

use crate::{
    fault::Kind,
    judge::table,
    network::{DELAY, Hit},
    services::mailbox::Letter,
    world::world,
};

const CONTEXT: &str = "notifications";
/// What writes to customers.
const SENDER: &str = "notifications-consumer";
/// For how long an e-mail may be under way whose function read the contact before the address was stopped: its timeout
/// (infra/notifications.yaml), and the way to SES.
const UNDER_WAY: Duration = Duration::from_secs(31);

/// What is wrong; nothing, when all is right.
pub fn violations() -> Vec<String> {
    let reported = world().mailbox.reported();
    if reported.is_empty() {
        return Vec::new();
    }
    let stopping = reported.iter().filter(|(_, reception)| reception.stops());
    let stopped: BTreeSet<&str> = stopping.map(|(address, _)| address.as_str()).collect();
    let mut found = Vec::new();
    for item in world().tables.items(&table(CONTEXT)) {
        let Some(address) = item["email"]["S"].as_str() else { continue };
        let is_suppressed = item["suppressed"]["S"] == address;
        if stopped.contains(address) && !is_suppressed {
            found.push(format!("SES reported {address}, and e-mail to it is not stopped"));
        }
        if is_suppressed && !stopped.contains(address) {
            found.push(format!("e-mail to {address} is stopped, and SES has not reported it"));
        }
    }
    found.extend(late());
    found
}

/// E-mails that were sent to an address after it was stopped.
fn late() -> Vec<String> {
    let (stopped_at, hits) = (stopped_at(), world().network.hits());
    let now = (Timestamp::now(), Instant::now());
    let is_late = |letter: &&Letter| {
        let taken_at = now.0 - (now.1 - letter.at);
        let is_after = stopped_at.get(&letter.to).is_some_and(|at| taken_at > *at + UNDER_WAY);
        is_after && !hits.iter().any(|hit| holds_up(hit, letter))
    };
    let letters = world().mailbox.letters();
    let late = letters.iter().filter(is_late);
    late.map(|letter| {
        format!("{} has an e-mail after e-mail to it was stopped: {:?}", letter.to, letter.subject)
    })
    .collect()
}

/// When e-mail to each address was stopped, to the second.
fn stopped_at() -> BTreeMap<String, Timestamp> {
    let mut stopped = BTreeMap::new();
    for record in world().tables.history(&table(CONTEXT)) {
        let record = &record["dynamodb"];
        let address = record["NewImage"]["suppressed"]["S"].as_str();
        let second = record["ApproximateCreationDateTime"].as_f64();
        let at = second.and_then(|second| Timestamp::from_second(second as i64).ok());
        if let (Some(address), Some(at)) = (address, at) {
            stopped.entry(address.to_owned()).or_insert(at);
        }
    }
    stopped
}

/// Whether the request of this letter may be one that was held up.
fn holds_up(hit: &Hit, letter: &Letter) -> bool {
    let is_of_letter = hit.caller == SENDER
        && hit.kind == Kind::Delayed
        && ["ToAddresses", &letter.to].iter().all(|part| hit.request.contains(part));
    is_of_letter && hit.at <= letter.at && letter.at - hit.at <= Duration::from_millis(DELAY.end)
}
