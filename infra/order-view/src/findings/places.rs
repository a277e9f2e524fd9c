//! Records and messages about the order that lie where nothing takes them further.

use super::{Finding, GRACE, Urgency, age, section, tail};
use crate::saga::Saga;
use crate::sources::Sources;
use crate::timeline::relay;

pub fn parked(sources: &Sources) -> Vec<Finding> {
    let parked = sources.parked.iter().flatten().map(|record| {
        let relay = relay(&record.context);
        let title =
            format!("{relay} parked a record of this order, which it cannot process: {}", record.item);
        let what = match record.context.as_str() {
            "orders" => {
                "its events are not published, and its saga is not started, until the record is processed"
            }
            _ => "its events are not published until the record is processed",
        };
        Finding::new(Urgency::Stuck, title, section::PARKED)
            .since(record.parked_at)
            .because(what)
            .logged_by(sources, &relay)
            .run(format!("cargo ops outbox retry {}{}", record.context, sources.option))
    });
    parked.collect()
}

pub fn dead_letters(sources: &Sources) -> Vec<Finding> {
    let letters = sources.dead_letters.iter().flatten().map(|letter| {
        let (queue, option) = (&letter.queue, &sources.option);
        let function = consumer(queue);
        let section =
            if queue.starts_with("notifications-") { section::NOT_TOLD } else { section::DEAD_LETTERS };
        let redriven = match letter.redriven {
            0 => String::new(),
            times => format!("it was redriven {times}× before, so a redrive without a change fails again"),
        };
        Finding::new(
            Urgency::Stuck,
            format!("{} failed at every try and is in {queue}", letter.about),
            section,
        )
        .since(letter.sent_at)
        .because(redriven)
        .logged_by(sources, &function)
        .run(tail(sources, &function))
        .run(format!("cargo ops dlq redrive {queue}{option}"))
    });
    letters.collect()
}

/// The function that serves the queue of a dead-letter queue. Queues of commands are named for it, and the others for
/// their context, whose consumer serves them.
fn consumer(queue: &str) -> String {
    let name = queue.trim_end_matches(".fifo").trim_end_matches("-dlq");
    match name.split_once('-') {
        Some((_, "commands")) => name.to_owned(),
        Some((context, _)) => format!("{context}-consumer"),
        None => format!("{name}-consumer"),
    }
}

/// Events of the order that have not reached realtime, which takes all of them. Where the saga was not started either,
/// the relay is the cause of both, and that finding says so.
pub fn unpublished(sources: &Sources) -> Option<Finding> {
    let frames = sources.frames.as_ref()?;
    let arrived = frames.iter().filter_map(|frame| frame.version).max().unwrap_or_default();
    let first_missing = sources.events().iter().find(|event| event.sequence > arrived)?;
    let late = age(sources, first_missing.occurred_at) > GRACE;
    if !late || matches!(sources.saga, Some(Saga::NotStarted)) {
        return None;
    }
    let since = first_missing.occurred_at;
    let title =
        format!("{} and what follows it has not reached the customer's page", first_missing.event_type);
    let mut finding = Finding::new(Urgency::Owed, title, section::ITERATOR_AGE).since(Some(since)).because(
        format!("realtime knows the order up to its event {arrived}, of {}", sources.events().len()),
    );
    for name in ["orders-relay", "realtime-consumer"] {
        finding = super::open::obstacle(sources, name, finding).logged_by(sources, name);
    }
    Some(finding.run(format!("cargo ops outbox republish orders --since {since:.0}{}", sources.option)))
}
