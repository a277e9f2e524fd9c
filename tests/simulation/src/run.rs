//! One run: from its seed to its verdict.

use std::{panic, rc::Rc, time::Duration};

use serde::{Deserialize, Serialize};
use tokio::{
    task::LocalSet,
    time::{Instant, sleep},
};

use crate::{
    fault::{Chances, Effect, Fault, Faults, Kind},
    judge, process, rules,
    scenario::{self, Scenario},
    storm::Storm,
    trace::Trace,
    world::{self, world},
};

/// The longest that a run may take to end well when something was wrong for long. Undos are tried for hours, and what no
/// execution does any more is found by the reconciler 80 minutes after an order.
const LIMIT: Duration = Duration::from_hours(12);
/// The longest that it may take when one thing went wrong for less than a minute, besides the time that the customer takes. Lambda's own
/// wait for a lost answer is the longest of what happens then. What only the sweeper of inventory mends takes longer: it
/// is the backstop behind the events, and hides that one was lost.
const RECOVERY: Duration = Duration::from_mins(25);
/// What was quiet for so long stays quiet.
const REST: Duration = Duration::from_secs(5);
/// The longest time between two looks at what is wrong.
const LONGEST_PAUSE: Duration = Duration::from_mins(8);
/// How often dead letters are handed over again, as the runbook says.
const REDRIVES: u32 = 3;

/// What a run is made of.
#[derive(Debug, Clone)]
pub struct Plan {
    pub scenario: Scenario,
    pub seed: u64,
    pub faults: Vec<Fault>,
    /// The orders of a storm.
    pub orders: u64,
    /// Whether calls of a storm also go wrong by chance.
    pub chances: bool,
}

/// How a run ended.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Verdict {
    /// None when it ended well.
    pub violations: Vec<String>,
    /// The last event of each order.
    pub endings: Vec<String>,
    /// The calls since the first order.
    pub calls: u64,
    /// In which ways each of them goes wrong, as places in [`Kind::ALL`]. Not of a storm.
    pub kinds: Vec<Vec<u8>>,
    /// How many calls went wrong.
    pub faults: u64,
    /// What went wrong by chance, when it did not end well.
    pub made: Vec<String>,
    /// From the first order until everything was right, in milliseconds.
    pub milliseconds: u64,
    /// From the last fault, or the last thing that a customer did, until everything was right, in milliseconds.
    pub recovery: u64,
    #[serde(skip)]
    pub trace: String,
}

/// Runs the plan, once in a process and in a process with one thread.
pub fn run(plan: &Plan, is_traced: bool) -> Verdict {
    process::begin(plan.seed);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let storm = (plan.scenario == Scenario::Storm).then(|| Storm::new(plan.seed, plan.orders));
    let chances = storm.as_ref().filter(|_| plan.chances).map(Storm::chances);
    let limit = limit(&plan.faults, chances.as_ref(), plan.scenario);
    let faults: Vec<Fault> = plan.faults.iter().copied().chain(plan.scenario.faults()).collect();
    let faults = Faults::new(&faults, chances);
    let tasks = Rc::new(LocalSet::new());
    runtime.block_on(Rc::clone(&tasks).run_until(async move {
        let sources = world::make(tasks, faults, Trace::new(is_traced));
        // A task of the simulation that panics is otherwise just gone, and a function's is an instance that ends.
        let report = panic::take_hook();
        panic::set_hook(Box::new(move |panic| {
            report(panic);
            world().fail(panic.to_string());
        }));
        sources.start();
        let mut verdict = Verdict::default();
        match scenario::set_up(plan.scenario, plan.orders).await {
            Err(error) => verdict.violations.push(error),
            Ok(()) => {
                world().network.number_calls();
                let started = Instant::now();
                let played = match &storm {
                    Some(storm) => storm.play().await,
                    None => scenario::play(plan.scenario).await,
                };
                verdict.violations.extend(played.err());
                let left = Instant::now();
                verdict.violations.extend(settle(started, limit).await);
                let right = Instant::now() - REST;
                let last = world().network.faults().last().map_or(left, |last| last.max(left));
                verdict.milliseconds = milliseconds(right.saturating_duration_since(started));
                verdict.recovery = milliseconds(right.saturating_duration_since(last));
            }
        }
        verdict.violations.extend(world().failure());
        let network = &world().network;
        verdict.endings = judge::endings();
        verdict.violations.extend(diversion(plan, &verdict.endings));
        verdict.calls = network.calls();
        if storm.is_none() {
            let places = |kinds: &Vec<Kind>| kinds.iter().map(|kind| *kind as u8).collect();
            verdict.kinds = network.kinds().iter().map(places).collect();
        }
        verdict.faults = network.faults().calls();
        if !verdict.violations.is_empty() {
            verdict.made = network.faults().made().iter().map(Fault::to_string).collect();
        }
        verdict.trace = network.trace().text();
        verdict
    }))
}

/// A single fault that is soon over delays an order, and does not change how it ends; but for an answer that is late, which
/// may be later than the step's own time.
fn diversion(plan: &Plan, endings: &[String]) -> Option<String> {
    let is_late = |fault: &Fault| fault.effect == Effect::Once(Kind::Late);
    let right = plan.scenario.ends_with()?;
    let is_short = plan.faults.len() < 2 && plan.faults.iter().all(Fault::is_short);
    let is_diverted = is_short && !plan.faults.iter().any(is_late) && endings != [right];
    is_diverted.then(|| format!("the order ended with {}, and {right} is right", endings.join(", ")))
}

fn milliseconds(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// The longest that a run may take with these faults.
fn limit(faults: &[Fault], chances: Option<&Chances>, scenario: Scenario) -> Duration {
    if chances.is_some()
        || scenario == Scenario::Storm
        || faults.len() > 1
        || !faults.iter().all(Fault::is_short)
    {
        LIMIT
    } else {
        RECOVERY + scenario.waits()
    }
}

/// Waits until everything is right and stays so, or until the limit. Returns what is wrong then.
async fn settle(started: Instant, limit: Duration) -> Vec<String> {
    let mut quiet_since = None;
    let mut redrives = 0;
    let mut pause = Duration::from_mins(1);
    loop {
        sleep(Duration::from_secs(1)).await;
        let now = Instant::now();
        let is_late = now - started > limit;
        if !world().is_quiet() && !is_late {
            quiet_since = None;
            continue;
        }
        let since = *quiet_since.get_or_insert(now);
        if now - since < REST && !is_late {
            continue;
        }
        // What failed for long is handed over again by a person, when it works again.
        if limit == LIMIT && redrives < REDRIVES && world().queues.redrive() > 0 {
            world().network.faults().end();
            redrives += 1;
            quiet_since = None;
            continue;
        }
        let mut violations = judge::violations();
        violations.extend(rules::violations());
        if is_late && !violations.is_empty() {
            violations.push(format!("it was not right after {} minutes", limit.as_secs() / 60));
        }
        if violations.is_empty() || is_late || world().failure().is_some() {
            return violations;
        }
        // What is wrong may be put right by a schedule.
        quiet_since = None;
        sleep(pause).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}
