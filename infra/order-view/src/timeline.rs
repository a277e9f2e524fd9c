//! One timeline of all sources.

use contracts::Envelope;
use jiff::Timestamp;
use serde::Serialize;
use serde_json::Value;

use crate::mask::masked;
use crate::saga::{Saga, Visit};
use crate::sources::{LogLine, Sources};
use crate::time::spoken;

/// The place where something happened. The order decides between entries of the same time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "the names say it")]
pub enum Lane {
    Audit,
    Order,
    Saga,
    Inventory,
    Payment,
    Shipment,
    Message,
    Relay,
    Queue,
    Log,
}

/// How something ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Mark {
    /// It was done.
    Done,
    /// It failed.
    Failed,
    /// It was done, and something is to be seen.
    Warned,
    /// It is not done.
    Running,
    /// It only informs.
    Info,
}

/// Something that happened to the order.
#[derive(Debug, Clone, Serialize)]
pub struct Entry {
    /// When it happened or began.
    pub at: Timestamp,
    /// When it ended; `None` for a moment, and for what lasts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
    /// Where.
    pub lane: Lane,
    /// How it ended.
    pub mark: Mark,
    /// What.
    pub title: String,
    /// More about it, a line each.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub details: Vec<String>,
}

impl Lane {
    /// As it is shown.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Audit => "audit",
            Self::Order => "order",
            Self::Saga => "saga",
            Self::Inventory => "inventory",
            Self::Payment => "payment",
            Self::Shipment => "shipment",
            Self::Message => "message",
            Self::Relay => "relay",
            Self::Queue => "queue",
            Self::Log => "log",
        }
    }
}

impl Mark {
    /// A sign that is readable without colour.
    pub const fn sign(self) -> &'static str {
        match self {
            Self::Done => "✓",
            Self::Failed => "✗",
            Self::Warned => "!",
            Self::Running => "…",
            Self::Info => "·",
        }
    }
}

impl Entry {
    fn new(at: Timestamp, lane: Lane, mark: Mark, title: impl Into<String>) -> Self {
        Self { at, until: None, lane, mark, title: masked(&title.into()), details: Vec::new() }
    }

    fn detailed(mut self, detail: impl Into<String>) -> Self {
        let detail = masked(&detail.into());
        if !detail.is_empty() {
            self.details.push(detail);
        }
        self
    }

    /// Whether it lasts: it has begun, and has no end yet.
    pub fn lasts(&self) -> bool {
        self.mark == Mark::Running && self.until.is_none()
    }
}

/// The entries of all sources, by time.
pub fn entries(sources: &Sources) -> Vec<Entry> {
    let mut entries: Vec<Entry> = sources.events().iter().map(event).collect();
    if let Some(Saga::Started(execution)) = &sources.saga {
        entries.extend(execution.visits.iter().map(|visit| state(visit, execution.is_running())));
        if let (Some(at), true) = (execution.ended_at, execution.status != "SUCCEEDED") {
            let error = execution.error.as_deref().unwrap_or_default();
            let title = format!("execution {} {error}", execution.status.to_lowercase());
            entries.push(Entry::new(at, Lane::Saga, Mark::Failed, title.trim_end()));
        }
    }
    if let Some(Some(reservation)) = &sources.reservation {
        if reservation.created_at < reservation.updated_at {
            entries.push(Entry::new(reservation.created_at, Lane::Inventory, Mark::Done, "reservation held"));
        }
        let mark = if reservation.status == "rejected" { Mark::Failed } else { Mark::Done };
        let title = format!("reservation {}", reservation.status);
        entries.push(
            Entry::new(reservation.updated_at, Lane::Inventory, mark, title)
                .detailed(joined("too little stock of ", &reservation.short)),
        );
    }
    let is_shown = |status: &str| {
        let event_type = format!("shipment.{status}");
        sources.frames.iter().flatten().any(|frame| frame.event_type == event_type)
    };
    if let Some(Some(shipment)) =
        sources.shipment.as_ref().map(|known| known.as_ref().filter(|s| !is_shown(&s.status)))
    {
        let mark = if shipment.status == "rejected" { Mark::Failed } else { Mark::Done };
        let entry =
            Entry::new(shipment.updated_at, Lane::Shipment, mark, format!("shipment {}", shipment.status));
        entries.push(entry.detailed(shipment.reason.clone().unwrap_or_default()));
    }
    entries.extend(frames(sources));
    entries.extend(messages(sources));
    entries.extend(sources.audit.iter().flatten().filter_map(audit));
    entries.extend(sources.parked.iter().flatten().filter_map(|parked| {
        let title = format!("{} parked a record", relay(&parked.context));
        Some(Entry::new(parked.parked_at?, Lane::Relay, Mark::Failed, title).detailed(&parked.item))
    }));
    entries.extend(sources.dead_letters.iter().flatten().filter_map(|letter| {
        let title = format!("{} sent; it is in {}", letter.about, letter.queue);
        Some(Entry::new(letter.sent_at?, Lane::Queue, Mark::Failed, title))
    }));
    entries.extend(sources.logs.iter().flatten().map(log));
    entries.sort_by_key(|entry| (entry.at, entry.lane));
    entries
}

pub fn relay(context: &str) -> String {
    format!("{context}-relay")
}

fn joined(before: &str, names: &[String]) -> String {
    if names.is_empty() { String::new() } else { format!("{before}{}", names.join(", ")) }
}

fn event(event: &Envelope) -> Entry {
    let mark = match event.event_type.as_str() {
        "order.inventory_not_available" | "order.payment_failed" | "order.compensation_failed" => {
            Mark::Failed
        }
        "order.cancel_requested" | "order.cancelled" => Mark::Warned,
        _ => Mark::Done,
    };
    let entry = Entry::new(
        event.occurred_at,
        Lane::Order,
        mark,
        format!("{} ({})", event.event_type, event.sequence),
    );
    let field = |name: &str| event.data[name].as_str().unwrap_or_default().to_owned();
    let failed = event.data["failed"].as_array().into_iter().flatten().filter_map(Value::as_str);
    let failed: Vec<String> = failed.map(str::to_owned).collect();
    entry.detailed(field("reason")).detailed(joined("not undone: ", &failed))
}

fn state(visit: &Visit, execution_runs: bool) -> Entry {
    let mark = match (visit.exited_at, visit.failures.is_empty()) {
        (None, _) if execution_runs => Mark::Running,
        (_, true) => Mark::Done,
        (_, false) => Mark::Warned,
    };
    let all_failed =
        visit.tries > 0 && visit.failures.len() >= usize::try_from(visit.tries).unwrap_or(usize::MAX);
    let mark = if all_failed && mark != Mark::Running { Mark::Failed } else { mark };
    let mut entry = Entry::new(visit.entered_at, Lane::Saga, mark, &visit.state);
    entry.until = visit.exited_at;
    if let Some(last) = visit.failures.last() {
        let lasted = spoken(last.at.duration_since(visit.entered_at));
        let counted = match visit.failures.len() {
            1 => format!("1 try failed, after {lasted}"),
            many => format!("{many} tries failed, the last one after {lasted}"),
        };
        entry = entry.detailed(counted).detailed(last.said());
    }
    entry
}

/// Payments and shipments are seen by their frames, because their items hold the last event only.
fn frames(sources: &Sources) -> impl Iterator<Item = Entry> {
    sources.frames.iter().flatten().filter_map(|frame| {
        let lane = match frame.kind.as_str() {
            "payment" => Lane::Payment,
            "shipment" => Lane::Shipment,
            _ => return None,
        };
        let is_bad = [".failed", ".refund_failed"].iter().any(|end| frame.event_type.ends_with(end));
        let mark = if is_bad { Mark::Failed } else { Mark::Done };
        Some(Entry::new(frame.occurred_at, lane, mark, &frame.event_type))
    })
}

fn messages(sources: &Sources) -> impl Iterator<Item = Entry> {
    sources.messages.iter().flatten().filter_map(|message| {
        let (at, mark) = match message.state.as_str() {
            "sent" => (message.ended_at?, Mark::Done),
            "failed" | "given_up" => (message.ended_at?, Mark::Failed),
            _ => (message.lease_until.unwrap_or(sources.read_at).min(sources.read_at), Mark::Running),
        };
        let by = message.provider.as_ref().map(|provider| format!(" by {provider}")).unwrap_or_default();
        let state = message.state.replace('_', " ");
        let title = format!("{} about {}: {state}{by}", message.channel, message.event_type);
        let entry = Entry::new(at, Lane::Message, mark, title);
        Some(entry.detailed(message.reason.clone().unwrap_or_default()))
    })
}

fn audit(entry: &Value) -> Option<Entry> {
    let field = |name: &str| entry[name].as_str().unwrap_or_default();
    let title = format!("{} by {}", field("action"), field("actor"));
    Some(Entry::new(field("at").parse().ok()?, Lane::Audit, Mark::Info, title).detailed(field("reason")))
}

fn log(line: &LogLine) -> Entry {
    let mark = match line.level.as_str() {
        "ERROR" => Mark::Failed,
        "WARN" => Mark::Warned,
        _ => Mark::Info,
    };
    let entry = Entry::new(line.at, Lane::Log, mark, format!("{}: {}", line.function, line.message));
    entry.detailed(line.detail.clone().unwrap_or_default())
}
