//! Runs side by side, one in each lane.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use contracts::OrderId;
use futures::future::{join_all, try_join_all};
use local_stack::{Progress, Step};

use crate::error::{Error, Result};
use crate::lane::Lane;
use crate::platform::Platform;
use crate::runs::{Calls, Ended, Log, Run};
use crate::scenario::Scenario;

/// An order is over when everything is right and it had no call for this long. Streams are polled each second.
pub const REST: Duration = Duration::from_secs(3);
/// As [`REST`], for the orders whose calls are recorded: none may be missed on a busy machine.
const RECORDING_REST: Duration = Duration::from_secs(8);

/// Places one order of each scenario, and then another one, whose calls are recorded: the first also starts functions.
///
/// # Errors
/// An order does not end well without any fault.
pub async fn record(
    platform: &Platform,
    lanes: &mut [Lane],
    scenarios: &[Scenario],
    orders: &Orders,
) -> Result<Calls> {
    let recorded = scenarios.iter().zip(lanes).map(async |(scenario, lane)| {
        let mut calls = Vec::new();
        for _ in 0..2 {
            let outcome = lane.run(platform, *scenario, None, RECORDING_REST).await;
            if let Some(violation) = outcome.violations.first() {
                return Err(Error::Chaos(format!(
                    "{scenario} does not end well without a fault: {violation}. The functions' logs are in \
                     {}/logs.",
                    platform.state_dir.display()
                )));
            }
            orders.add(outcome.order, *scenario);
            calls = outcome.record.calls;
        }
        Ok((*scenario, calls))
    });
    Ok(try_join_all(recorded).await?.into_iter().collect())
}

/// The orders of this stack that ended well.
#[derive(Debug, Default)]
pub struct Orders(Mutex<Vec<(OrderId, Scenario)>>);

impl Orders {
    pub fn add(&self, order: OrderId, scenario: Scenario) {
        self.lock().push((order, scenario));
    }

    pub fn all(&self) -> Vec<(OrderId, Scenario)> {
        self.lock().clone()
    }

    /// A panic elsewhere leaves the list intact.
    fn lock(&self) -> MutexGuard<'_, Vec<(OrderId, Scenario)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A sweep under way.
pub struct Sweep<'a> {
    pub platform: &'a Platform,
    pub progress: &'a Progress,
    pub orders: &'a Orders,
    state: Mutex<State>,
    total: usize,
    until: Instant,
}

struct State {
    waiting: VecDeque<Run>,
    over: BTreeMap<Run, Ended>,
    log: Option<Log>,
}

impl<'a> Sweep<'a> {
    /// A sweep of these runs, which begins none after `time`.
    pub fn new(
        platform: &'a Platform,
        progress: &'a Progress,
        orders: &'a Orders,
        runs: Vec<Run>,
        log: Option<Log>,
        time: Duration,
    ) -> Self {
        let total = runs.len();
        let state = Mutex::new(State { waiting: runs.into(), over: BTreeMap::new(), log });
        Self { platform, progress, orders, state, total, until: Instant::now() + time }
    }

    /// Runs them in these lanes. Returns how each ended, and those that time was too short for.
    ///
    /// # Errors
    /// The file of the sweep cannot be written, or the shop refuses a new lane.
    pub async fn run(self, lanes: &mut [Lane]) -> Result<(BTreeMap<Run, Ended>, Vec<Run>)> {
        let step = self.progress.step("orders, each with one fault");
        let results = join_all(lanes.iter_mut().map(|lane| self.lane(lane, &step))).await;
        results.into_iter().collect::<Result<()>>()?;
        let State { waiting, over, .. } = self.state.into_inner().unwrap_or_else(PoisonError::into_inner);
        step.done(&format!("{} orders, each with one fault", over.len()));
        Ok((over, waiting.into()))
    }

    async fn lane(&self, lane: &mut Lane, step: &Step) -> Result<()> {
        while let Some(run) = self.next() {
            let outcome = lane.run(self.platform, run.scenario, Some(run.fault.clone()), REST).await;
            let violations = outcome.violations;
            for violation in &violations {
                self.progress.say(&format!(
                    "✗ {} {}: {violation}\n  {}",
                    run.scenario,
                    outcome.order,
                    run.command()
                ));
            }
            let is_fine = violations.is_empty();
            let milliseconds = u64::try_from(outcome.took.as_millis()).unwrap_or(u64::MAX);
            let scenario = run.scenario;
            self.over(run, Ended { struck: outcome.record.struck, milliseconds, violations }, step)?;
            if is_fine {
                self.orders.add(outcome.order, scenario);
            } else {
                *lane = self.platform.lane().await?;
            }
        }
        Ok(())
    }

    fn next(&self) -> Option<Run> {
        if Instant::now() < self.until { self.state().waiting.pop_front() } else { None }
    }

    fn over(&self, run: Run, ended: Ended, step: &Step) -> Result<()> {
        let mut state = self.state();
        if let Some(log) = &mut state.log {
            log.note(&run, &ended)?;
        }
        state.over.insert(run, ended);
        let bad = state.over.values().filter(|ended| !ended.violations.is_empty()).count();
        step.part(state.over.len(), self.total);
        step.at(format!("{} of {}, {bad} with violations", state.over.len(), self.total));
        Ok(())
    }

    /// A panic elsewhere leaves the lists intact.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
