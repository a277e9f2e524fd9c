//! What is stuck or owed, why, and what to do about it. Each rule reads the sources and adds at most one finding of a
//! kind; the runbook's section and the command come with it.

mod ended;
mod open;
mod places;
#[cfg(test)]
mod tests;

use contracts::OrderStatus;
use jiff::{SignedDuration, Timestamp};
use serde::Serialize;

use crate::mask::masked;
use crate::sources::{LogLine, Sources};

/// How soon a person has to act.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Urgency {
    /// The order does not go on until a person acts.
    Stuck,
    /// The order has ended, or goes on, and something is owed to the customer or the shop.
    Owed,
    /// It waits for something that comes by itself, or that the customer does.
    Waits,
}

/// Something that is stuck or owed.
#[derive(Debug, Clone, Serialize)]
pub struct Finding {
    /// How soon a person has to act.
    pub urgency: Urgency,
    /// What it is, in a sentence.
    pub title: String,
    /// Since when.
    pub since: Option<Timestamp>,
    /// What it is known from.
    pub evidence: Vec<String>,
    /// The section of infra/RUNBOOK.md.
    pub runbook: &'static str,
    /// What to run next.
    pub commands: Vec<String>,
}

/// The sections of infra/RUNBOOK.md. A test compares them with it.
mod section {
    pub const ATTENTION: &str = "NeedsAttention";
    pub const BREAKER: &str = "A circuit breaker is open";
    pub const DEAD_LETTERS: &str = "A dead-letter queue is not empty";
    pub const FAIL: &str = "Functions fail (`<context>-errors`)";
    pub const ITERATOR_AGE: &str = "Iterator age";
    pub const MESSAGES_WAIT: &str = "Messages wait (`<queue>-age`)";
    pub const MISUSED: &str = "The gateway does not take our requests (`payments-gateway-misused`)";
    pub const NOT_TOLD: &str = "Customers were not told (`notifications-email-dlq`, `notifications-sms-dlq`)";
    pub const PARKED: &str = "Parked records (`<context>-relay-parked`)";
    pub const REFUND: &str = "A refund failed (`payments-refund-failed`)";
    pub const STEPS_FAIL: &str = "Steps fail (`orders-step-failed`)";
    pub const STOCK: &str = "Stuck stock (`inventory-stock-stuck`, `inventory-sweeper-errors`)";
    pub const STUCK: &str = "A stuck order";
    pub const THROTTLED: &str = "Functions are throttled (`throttles`)";
    pub const UNRESOLVED: &str = "SagaUnresolved";
}

/// What takes longer than this is looked at. A step takes less than a second; an event some seconds, because queues and
/// streams are polled, and a view is written in batches.
const GRACE: SignedDuration = SignedDuration::from_secs(20);

impl Finding {
    fn new(urgency: Urgency, title: impl Into<String>, runbook: &'static str) -> Self {
        let title = masked(&title.into());
        Self { urgency, title, since: None, evidence: Vec::new(), runbook, commands: Vec::new() }
    }

    fn since(mut self, since: Option<Timestamp>) -> Self {
        self.since = since;
        self
    }

    fn because(mut self, evidence: impl Into<String>) -> Self {
        let evidence = masked(&evidence.into());
        if !evidence.is_empty() && !self.evidence.contains(&evidence) {
            self.evidence.push(evidence);
        }
        self
    }

    fn run(mut self, command: impl Into<String>) -> Self {
        self.commands.push(command.into());
        self
    }

    /// With the last complaints of a function's log.
    fn logged_by(mut self, sources: &Sources, function: &str) -> Self {
        for line in sources.complaints(function) {
            self = self.because(logged(line));
        }
        self
    }
}

fn logged(line: &LogLine) -> String {
    let LogLine { at, function, message, detail, .. } = line;
    let detail = detail.as_ref().map_or_else(String::new, |detail| format!(" ({detail})"));
    format!("log of {function}, {at:.0}: {message}{detail}")
}

/// What is stuck or owed, the most urgent first.
pub fn findings(sources: &Sources) -> Vec<Finding> {
    let mut found = places::parked(sources);
    found.extend(places::dead_letters(sources));
    if is_final(sources) {
        found.extend(ended::owed(sources));
    } else if !sources.events().is_empty() {
        found.extend(open::saga(sources, !found.is_empty()));
    }
    found.extend(ended::messages(sources));
    found.extend(places::unpublished(sources));
    found.sort_by_key(|finding| finding.urgency);
    found
}

fn status(sources: &Sources) -> Option<OrderStatus> {
    sources.events().iter().filter_map(|event| OrderStatus::after(&event.event_type)).next_back()
}

fn is_final(sources: &Sources) -> bool {
    status(sources).is_some_and(OrderStatus::is_final)
}

/// How long ago it was.
fn age(sources: &Sources, since: Timestamp) -> SignedDuration {
    sources.read_at.duration_since(since)
}

/// The command that shows a function's log.
fn tail(sources: &Sources, function: &str) -> String {
    format!("aws logs tail /aws/lambda/ordersaga-{}-{function} --since 1h", sources.stage)
}
