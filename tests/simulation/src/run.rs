//! One run: from its seed to its verdict.

use std::{panic, time::Duration};

use serde::{Deserialize, Serialize};
use tokio::{
    task::LocalSet,
    time::{Instant, sleep},
};

use crate::{
    fault::{Fault, Faults},
    judge, process,
    scenario::{self, Scenario},
    world::{self, world},
};

/// The longest that a run may take to end well. Undos are tried for hours, and what no execution does any more is found
/// by the reconciler 80 minutes after an order.
const LIMIT: Duration = Duration::from_hours(12);
/// What was quiet for so long stays quiet.
const REST: Duration = Duration::from_secs(5);

/// What a run is made of.
#[derive(Debug, Clone)]
pub struct Plan {
    pub scenario: Scenario,
    pub seed: u64,
    pub faults: Vec<Fault>,
}

/// How a run ended.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Verdict {
    /// None when it ended well.
    pub violations: Vec<String>,
    /// The last event of each order.
    pub endings: Vec<String>,
    /// The calls since the order.
    pub calls: u64,
    /// From the order until everything was right, in milliseconds.
    pub milliseconds: u64,
    #[serde(skip)]
    pub trace: String,
}

/// Runs the plan, once in a process and in a process with one thread.
pub fn run(plan: &Plan) -> Verdict {
    process::begin(plan.seed);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let faults = Faults::new(&plan.faults);
    runtime.block_on(LocalSet::new().run_until(async move {
        let sources = world::make(faults);
        // A task of the simulation that panics is otherwise just gone, and a function's is an instance that ends.
        let report = panic::take_hook();
        panic::set_hook(Box::new(move |panic| {
            report(panic);
            world().fail(panic.to_string());
        }));
        sources.start();
        let mut violations = Vec::new();
        let mut took = Duration::ZERO;
        match scenario::set_up().await {
            Err(error) => violations.push(error),
            Ok(()) => {
                world().network.number_calls();
                let started = Instant::now();
                violations.extend(scenario::play(plan.scenario).await.err());
                violations.extend(settle(started).await);
                took = started.elapsed().saturating_sub(REST);
            }
        }
        violations.extend(world().failure());
        Verdict {
            violations,
            endings: judge::endings(),
            calls: world().network.calls(),
            milliseconds: u64::try_from(took.as_millis()).unwrap_or(u64::MAX),
            trace: world().network.trace().text(),
        }
    }))
}

/// Waits until everything is right and stays so, or until the limit. Returns what is wrong then.
async fn settle(started: Instant) -> Vec<String> {
    let mut quiet_since = None;
    loop {
        sleep(Duration::from_secs(1)).await;
        let now = Instant::now();
        let is_late = now - started > LIMIT;
        if !world().is_quiet() && !is_late {
            quiet_since = None;
            continue;
        }
        let since = *quiet_since.get_or_insert(now);
        if now - since < REST && !is_late {
            continue;
        }
        let violations = judge::violations();
        if violations.is_empty() || is_late || world().failure().is_some() {
            return violations;
        }
        // What is wrong may be put right by a schedule.
        quiet_since = None;
        sleep(Duration::from_mins(1)).await;
    }
}
