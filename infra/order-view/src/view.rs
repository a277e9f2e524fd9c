//! The view of an order: what `--json` prints, and what the terminal and the page show.

use contracts::{CorrelationId, Money, OrderId, OrderStatus, UserId};
use jiff::Timestamp;
use serde::Serialize;

use crate::findings::{Finding, findings};
use crate::moment::Moment;
use crate::saga::Saga;
use crate::sources::{Sources, Warning};
use crate::timeline::{Entry, entries};

/// Everything that is known of an order at one time.
#[derive(Debug, Clone, Serialize)]
pub struct OrderView {
    /// The order.
    pub order_id: OrderId,
    /// Its customer.
    pub user_id: Option<UserId>,
    /// The id by which its log lines are found.
    pub correlation_id: Option<CorrelationId>,
    /// The traces of X-Ray that its log lines are in, the earliest line's first.
    pub traces: Vec<String>,
    /// What it costs.
    pub total: Option<Money>,
    /// When it was placed.
    pub placed_at: Option<Timestamp>,
    /// When it ended.
    pub ended_at: Option<Timestamp>,
    /// The states at the time of the view.
    pub state: Moment,
    /// What is stuck or owed now, the most urgent first. Empty in a view of an earlier time.
    pub findings: Vec<Finding>,
    /// What could not be read.
    pub warnings: Vec<Warning>,
    /// Everything that happened until then.
    pub timeline: Vec<Entry>,
    /// The saga's execution until then.
    pub saga: Option<Saga>,
    /// Whether this is the present, and no earlier time.
    pub is_now: bool,
}

impl OrderView {
    /// The view of these sources, now or at an earlier time.
    pub fn new(sources: &Sources, at: Option<Timestamp>) -> Self {
        let events = sources.events();
        let first = events.first();
        let until = at.unwrap_or(sources.read_at);
        let mut timeline = entries(sources);
        // Functions' clocks differ from this one's, so nothing of the present is left out.
        if at.is_some() {
            timeline.retain(|entry| entry.at <= until);
            for entry in timeline.iter_mut().filter(|entry| entry.until.is_some_and(|end| end > until)) {
                entry.until = None;
                entry.mark = crate::timeline::Mark::Running;
                // They may tell of failures that came later.
                entry.details.clear();
            }
        }
        let mut ended = events.iter().filter(|event| {
            event.occurred_at <= until
                && OrderStatus::after(&event.event_type).is_some_and(OrderStatus::is_final)
        });
        Self {
            order_id: sources.order_id.clone(),
            user_id: first.and_then(|event| event.metadata.user_id.clone()),
            correlation_id: first.map(|event| event.correlation_id.clone()),
            traces: traces(sources),
            total: first.and_then(|event| serde_json::from_value(event.data["total"].clone()).ok()),
            placed_at: first.map(|event| event.occurred_at),
            ended_at: ended.next_back().map(|event| event.occurred_at),
            state: Moment::of(sources, until),
            findings: if at.is_none() { findings(sources) } else { Vec::new() },
            warnings: sources.warnings.clone(),
            timeline,
            saga: sources.saga.clone().map(|saga| until_then(saga, until)),
            is_now: at.is_none(),
        }
    }
}

impl OrderView {
    /// The time that offsets count from: when the order was placed, as far as it is known.
    pub(crate) fn start(&self) -> Timestamp {
        self.placed_at.or_else(|| Some(self.timeline.first()?.at)).unwrap_or(self.state.at)
    }
}

/// The saga without what came later.
fn until_then(saga: Saga, until: Timestamp) -> Saga {
    let Saga::Started(mut execution) = saga else { return saga };
    if execution.started_at > until {
        return Saga::NotStarted;
    }
    if execution.ended_at.is_some_and(|ended| ended > until) {
        (execution.ended_at, execution.error) = (None, None);
        "RUNNING".clone_into(&mut execution.status);
    }
    execution.visits.retain(|visit| visit.entered_at <= until);
    for visit in &mut execution.visits {
        visit.exited_at = visit.exited_at.filter(|exited| *exited <= until);
        visit.failures.retain(|failure| failure.at <= until);
    }
    Saga::Started(execution)
}

/// The distinct traces of the log lines. X-Ray shows a trace by this id.
fn traces(sources: &Sources) -> Vec<String> {
    let mut traces = Vec::new();
    for trace in sources.logs.iter().flatten().filter_map(|line| line.trace_id.as_ref()) {
        if !traces.contains(trace) {
            traces.push(trace.clone());
        }
    }
    traces
}
