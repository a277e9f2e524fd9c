//! The circuit's state machine. Pure: the time is an argument, in Unix milliseconds.

use serde::{Deserialize, Serialize};

use crate::{limits::BREAKER, provider::CallOutcome};

/// Calls are counted in slices of this length, in milliseconds; the window is a whole number of the newest
/// slices.
const SLICE: i64 = 10_000;
const SLICES: i64 = millis(BREAKER.window) / SLICE;
const FAILURES_WITHIN: i64 = millis(BREAKER.failures_within);
const OPEN: i64 = millis(BREAKER.open);
const LEASE: i64 = millis(BREAKER.probe_lease);
const PROBING: i64 = millis(BREAKER.probing);

#[expect(clippy::cast_possible_truncation, reason = "the table's durations are seconds and minutes")]
const fn millis(duration: std::time::Duration) -> i64 {
    duration.as_millis() as i64
}

/// The number of probes in this step.
fn slots(step: usize) -> usize {
    // A newer version of this code may have more steps; treat them as the last one.
    BREAKER.probes[step.min(BREAKER.probes.len() - 1)]
}

/// The mode that an operator has set.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// Calls go through as the state allows.
    #[default]
    Normal,
    /// No call goes through.
    ForcedOpen,
    /// All calls are made, and none is counted.
    Off,
}

/// A dependency's circuit, shared by all instances.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Circuit {
    /// Set by `cargo ops breaker set`, over the state.
    #[serde(default)]
    pub mode: Mode,
    /// What the circuit found by itself.
    #[serde(default)]
    pub state: State,
    /// Counts the writes; 0 before the first.
    pub version: u64,
    /// The id of the last write. A writer whose answer was lost recognises its own write by it.
    #[serde(default)]
    pub written_by: String,
}

/// What the circuit found by itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// Calls are made, and those of late are counted.
    Closed(Tally),
    /// No call is made for some time.
    Open {
        /// Unix milliseconds. From then on probes are permitted.
        until: i64,
    },
    /// A few calls are made to test the dependency.
    HalfOpen {
        /// Those under way.
        probes: Vec<Probe>,
        /// In this step.
        successes: usize,
        /// Counts from 0. Later steps permit more probes.
        #[serde(default)]
        step: usize,
    },
}

impl Default for State {
    fn default() -> Self {
        Self::Closed(Tally::default())
    }
}

impl State {
    /// The state as it is in metrics and logs.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Closed(_) => "closed",
            Self::Open { .. } => "open",
            Self::HalfOpen { .. } => "half_open",
        }
    }
}

/// A slot, leased.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Probe {
    /// Of the call that holds the slot.
    pub id: String,
    /// Unix milliseconds. The slot is free again then.
    pub until: i64,
}

/// Calls and failures of late.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tally {
    /// The times of the failures that are recent enough to open the circuit on their own.
    failures: Vec<i64>,
    slices: Vec<Slice>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Slice {
    start: i64,
    calls: u64,
    failures: u64,
}

impl Tally {
    /// Counts one call that ended at `now`.
    pub fn count(&mut self, failed: bool, now: i64) {
        if failed {
            self.failures.push(now);
        }
        self.add(Slice { start: now - now.rem_euclid(SLICE), calls: 1, failures: u64::from(failed) });
        self.forget(now);
    }

    /// Whether at least one call of late failed.
    pub fn has_failures(&self) -> bool {
        self.slices.iter().any(|slice| slice.failures > 0)
    }

    fn add(&mut self, more: Slice) {
        match self.slices.iter_mut().find(|slice| slice.start == more.start) {
            Some(slice) => {
                slice.calls += more.calls;
                slice.failures += more.failures;
            }
            None => self.slices.push(more),
        }
    }

    /// Adds the counts of another tally.
    pub fn merge(&mut self, more: &Self) {
        self.failures.extend(&more.failures);
        more.slices.iter().for_each(|slice| self.add(*slice));
    }

    fn forget(&mut self, now: i64) {
        self.failures.retain(|at| now - at < FAILURES_WITHIN);
        let newest = now - now.rem_euclid(SLICE);
        self.slices.retain(|slice| slice.start > newest - SLICES * SLICE);
    }

    fn is_too_much(&self) -> bool {
        let (calls, failures) =
            self.slices.iter().fold((0, 0), |(calls, failures), s| (calls + s.calls, failures + s.failures));
        self.failures.len() >= BREAKER.failures
            || (calls >= BREAKER.window_calls && failures * 100 >= calls * BREAKER.window_percent)
    }
}

/// The decision about one call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// Permitted. Its outcome is counted.
    Counted,
    /// Permitted. Its outcome is not counted.
    Unmonitored,
    /// Permitted as a probe, once this circuit is written.
    Probe(Circuit),
    /// Permitted: the slot already belongs to this probe.
    Held,
    /// Not permitted now.
    Refused {
        /// Milliseconds until another try may succeed.
        wait: i64,
    },
}

impl Circuit {
    /// Decides whether a call may be made at `now`. `id` becomes the probe's name if the call is one.
    pub fn decide(&self, id: &str, now: i64) -> Decision {
        match (self.mode, &self.state) {
            (Mode::Off, _) => Decision::Unmonitored,
            // A person ends this mode, at a time that is not known.
            (Mode::ForcedOpen, _) => Decision::Refused { wait: OPEN },
            (Mode::Normal, State::Closed(_)) => Decision::Counted,
            (Mode::Normal, State::Open { until }) if now < *until => Decision::Refused { wait: until - now },
            (Mode::Normal, State::Open { .. }) => self.probe(&[], 0, 0, id, now),
            (Mode::Normal, State::HalfOpen { probes, successes, step }) => {
                self.probe(probes, *successes, *step, id, now)
            }
        }
    }

    fn probe(&self, probes: &[Probe], successes: usize, step: usize, id: &str, now: i64) -> Decision {
        if probes.iter().any(|probe| probe.id == id) {
            return Decision::Held;
        }
        // A probe whose process died never reports. Its slot is free again at the end of its lease.
        let mut probes: Vec<Probe> = probes.iter().filter(|probe| now < probe.until).cloned().collect();
        if probes.len() + successes >= slots(step) {
            // There is a live one: successes alone would have ended the step.
            let wait = probes.iter().map(|probe| probe.until - now).min().unwrap_or(OPEN);
            return Decision::Refused { wait: wait.min(PROBING) };
        }
        probes.push(Probe { id: id.to_owned(), until: now + LEASE });
        Decision::Probe(self.with(State::HalfOpen { probes, successes, step }))
    }

    /// The circuit after a probe has reported. `None` when its slot has been given to another probe.
    pub fn after_probe(&self, id: &str, outcome: CallOutcome, now: i64) -> Option<Self> {
        let State::HalfOpen { probes, successes, step } = &self.state else { return None };
        let (mut probes, step) = (probes.clone(), *step);
        probes.remove(probes.iter().position(|probe| probe.id == id)?);
        let successes = match outcome {
            CallOutcome::Failed => return Some(self.with(State::Open { until: now + OPEN })),
            // The result says nothing about the dependency, so another probe gets the slot.
            CallOutcome::Throttled => *successes,
            CallOutcome::Done | CallOutcome::Refused => successes + 1,
        };
        Some(self.with(if successes < slots(step) {
            State::HalfOpen { probes, successes, step }
        } else if step + 1 < BREAKER.probes.len() {
            State::HalfOpen { probes, successes: 0, step: step + 1 }
        } else {
            State::default()
        }))
    }

    /// The circuit after an instance has reported its tally. `None` when the report changes nothing: when it
    /// holds no failure, or the circuit has opened since.
    pub fn after_report(&self, tally: &Tally, now: i64) -> Option<Self> {
        let State::Closed(known) = &self.state else { return None };
        // A report without a failure is not worth a write. Under another mode than `Normal`, the state decides
        // nothing.
        if self.mode != Mode::Normal || !tally.has_failures() {
            return None;
        }
        let mut sum = known.clone();
        sum.merge(tally);
        sum.forget(now);
        let opens = sum.is_too_much();
        Some(self.with(if opens { State::Open { until: now + OPEN } } else { State::Closed(sum) }))
    }

    fn with(&self, state: State) -> Self {
        Self { state, version: self.version + 1, ..self.clone() }
    }
}

#[cfg(test)]
mod tests;
