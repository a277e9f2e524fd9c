//! Many runs, each in a process of its own: nothing that one leaves in memory reaches another.

use std::{
    collections::BTreeSet,
    env, io,
    os::unix::process::ExitStatusExt,
    process::{Command, Stdio},
    sync::{
        Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use clap::ValueEnum;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use nix::sys::signal::Signal;

use crate::{
    fault::{Effect, Fault, Kind, Lasting, LastingKind, contexts, targets},
    run::{Plan, Verdict},
    scenario::Scenario,
};

/// Pairs of faults without `--sample`.
const PAIRS: usize = 2_000;
/// Calls after those of a run without faults that a second fault may hit: the first one brings more calls.
const MORE_CALLS: u64 = 40;
/// For how long something goes wrong, in seconds: less and more than the platform's own tries take.
const LASTING: [u32; 3] = [45, 300, 3_600];
/// From which calls on something goes wrong that lasts, for each kind and target.
const STARTS: usize = 3;
/// How wrong a clock is, in seconds.
const SKEW: u32 = 60;

/// Which calls go wrong in the runs of a sweep.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Choice {
    /// None
    None,
    /// Each call in each way, one a run
    Single,
    /// Two calls a run, chosen by the seed
    Pairs,
    /// A service or a context for a time, from calls on that the seed chooses; and the clocks of a context
    Lasting,
}

/// Runs of these scenarios: one without faults, and those with the chosen faults.
#[derive(Debug)]
pub struct Sweep {
    pub scenarios: Vec<Scenario>,
    pub seed: u64,
    pub choice: Choice,
    /// Only this number of the runs with a fault, chosen by the seed.
    pub sample: Option<usize>,
    pub runs: Runs,
}

/// What the runs of a sweep found.
#[derive(Debug, Default)]
pub struct Summary {
    pub runs: usize,
    /// How many calls went wrong.
    pub faults: u64,
    /// The runs that did not end well.
    pub failed: Vec<(Plan, Vec<String>)>,
    /// The runs that ended well, and otherwise than without a fault.
    pub diverted: usize,
    pub slowest: Option<(Plan, Duration)>,
}

impl Sweep {
    /// Makes all runs, and prints each failure with the command that repeats it.
    ///
    /// # Errors
    /// When a run cannot be made.
    pub fn run(&self) -> io::Result<Summary> {
        let mut summary = Summary::default();
        let runs = self.runs;
        let plain: Vec<Plan> = self.scenarios.iter().map(|scenario| Plan::of(*scenario, self.seed)).collect();
        let verdicts =
            runs.make(&plain, "runs without faults", |plan, verdict| summary.add(plan, verdict))?;
        if runs.stops && !summary.failed.is_empty() {
            return Ok(summary);
        }
        let plain: Vec<(Plan, Verdict)> = plain.into_iter().zip(verdicts).collect();
        let mut random = fastrand::Rng::with_seed(self.seed);
        let mut faulty = match self.choice {
            Choice::None => Vec::new(),
            Choice::Single => plain.iter().flat_map(|(plan, verdict)| single(plan, verdict)).collect(),
            Choice::Pairs => pairs(&plain, self.sample.unwrap_or(PAIRS), &mut random),
            Choice::Lasting => {
                plain.iter().flat_map(|(plan, verdict)| lasting(plan, verdict, &mut random)).collect()
            }
        };
        if let Some(sample) = self.sample {
            random.shuffle(&mut faulty);
            faulty.truncate(sample);
        }
        runs.make(&faulty, "runs", |plan, verdict| summary.add(plan, verdict))?;
        Ok(summary)
    }
}

/// Each call in each way.
fn single(plan: &Plan, verdict: &Verdict) -> Vec<Plan> {
    let mut plans = Vec::new();
    for (call, kinds) in (1..).zip(&verdict.kinds) {
        for kind in kinds {
            let effect = Effect::Once(Kind::ALL[usize::from(*kind)]);
            plans.push(plan.with(vec![Fault { call, effect }]));
        }
    }
    plans
}

/// Two calls, of any scenario.
fn pairs(plain: &[(Plan, Verdict)], pairs: usize, random: &mut fastrand::Rng) -> Vec<Plan> {
    let mut plans = Vec::new();
    let mut known = BTreeSet::new();
    // Few calls have few pairs.
    for _ in 0..pairs * 10 {
        if plans.len() == pairs {
            break;
        }
        let Some((plan, verdict)) = random.choice(plain) else { break };
        let first = random.u64(1..=verdict.calls.max(1));
        let second = random.u64(first + 1..=verdict.calls + MORE_CALLS);
        let fault = |call: u64, random: &mut fastrand::Rng| {
            let known = verdict.kinds.get(usize::try_from(call).unwrap_or(usize::MAX).wrapping_sub(1));
            let known =
                known.and_then(|kinds| random.choice(kinds)).map(|kind| Kind::ALL[usize::from(*kind)]);
            let any = || *random.choice(&Kind::ALL).expect("there are some");
            Fault { call, effect: Effect::Once(known.unwrap_or_else(any)) }
        };
        let plan = plan.with(vec![fault(first, random), fault(second, random)]);
        if known.insert(plan.arguments()) {
            plans.push(plan);
        }
    }
    plans
}

/// Each service and each context for a time; and the clocks of each context.
fn lasting(plan: &Plan, verdict: &Verdict, random: &mut fastrand::Rng) -> Vec<Plan> {
    let mut plans = Vec::new();
    let mut add = |call, kind, target, seconds| {
        let effect = Effect::Lasting(Lasting { kind, target, seconds });
        plans.push(plan.with(vec![Fault { call, effect }]));
    };
    for target in targets() {
        for kind in [LastingKind::Away, LastingKind::Full] {
            for seconds in LASTING {
                for _ in 0..STARTS {
                    add(random.u64(1..=verdict.calls.max(1)), kind, target, seconds);
                }
            }
        }
    }
    for target in contexts() {
        for kind in [LastingKind::Ahead, LastingKind::Behind] {
            add(1, kind, target, SKEW);
        }
    }
    plans
}

/// Makes runs, several at once.
#[derive(Debug, Clone, Copy)]
pub struct Runs {
    pub jobs: usize,
    /// Whether the first run that does not end well ends all.
    pub stops: bool,
    /// The longest that is spent on a failing run, to find fewer faults that fail, too.
    pub shrinking: Duration,
    /// The longest real time of a run, in seconds. A run that takes longer has failed.
    pub limit: u32,
}

impl Runs {
    /// Makes these runs, and returns the verdicts in their order; `each` gets each of them as it comes. A failure is
    /// printed with the command that repeats it, with as few faults as still fail.
    ///
    /// # Errors
    /// When a run cannot be made.
    pub fn make(
        self,
        plans: &[Plan],
        what: &str,
        mut each: impl FnMut(&Plan, &Verdict) + Send,
    ) -> io::Result<Vec<Verdict>> {
        let bar = progress(plans.len(), what);
        let waiting = Mutex::new(plans.iter().enumerate());
        let is_over = AtomicBool::new(false);
        let each = Mutex::new(&mut each);
        let results: Mutex<Vec<(usize, io::Result<Verdict>)>> = Mutex::default();
        thread::scope(|scope| {
            for _ in 0..self.jobs.max(1) {
                scope.spawn(|| {
                    while !is_over.load(Ordering::Relaxed)
                        && let Some((index, plan)) =
                            waiting.lock().ok().and_then(|mut waiting| waiting.next())
                    {
                        let verdict = self.in_process(plan);
                        if let Ok(verdict) = &verdict {
                            if !verdict.violations.is_empty() {
                                let (plan, violations) = self.shrink(plan, verdict);
                                bar.suspend(|| println!("{}", failure(&plan, &violations)));
                                is_over.fetch_or(self.stops, Ordering::Relaxed);
                            }
                            if let Ok(mut each) = each.lock() {
                                each(plan, verdict);
                            }
                        }
                        bar.inc(1);
                        if let Ok(mut results) = results.lock() {
                            results.push((index, verdict));
                        }
                    }
                });
            }
        });
        bar.finish_and_clear();
        let mut results = results.into_inner().unwrap_or_default();
        results.sort_by_key(|(index, _)| *index);
        results.into_iter().map(|(_, verdict)| verdict).collect()
    }

    /// The run with as few faults, and a storm with as few orders, as still fail.
    fn shrink(self, plan: &Plan, verdict: &Verdict) -> (Plan, Vec<String>) {
        let made = verdict.made.iter().filter_map(|fault| fault.parse().ok());
        let listed = Plan { chances: false, ..plan.with(plan.faults.iter().copied().chain(made).collect()) };
        let mut smallest = (plan.clone(), verdict.violations.clone());
        let end = Instant::now() + self.shrinking;
        let mut still_fails = |plan: Plan| {
            let verdict = if Instant::now() < end { self.in_process(&plan).ok() } else { None };
            let violations =
                verdict.map(|verdict| verdict.violations).filter(|violations| !violations.is_empty());
            let fails = violations.is_some();
            if let Some(violations) = violations {
                smallest = (plan, violations);
            }
            fails
        };
        // What does not fail when it is repeated is not worth more runs.
        if listed.faults.len() < 2 && listed.scenario != Scenario::Storm || !still_fails(listed.clone()) {
            return smallest;
        }
        let mut plan =
            Plan { faults: fewest(&listed.faults, |faults| still_fails(listed.with(faults))), ..listed };
        let mut less = plan.orders / 2;
        while plan.scenario == Scenario::Storm && less > 0 {
            let fewer = Plan { orders: plan.orders - less, ..plan.clone() };
            if still_fails(fewer.clone()) {
                plan = fewer;
                less = less.min(plan.orders / 2);
            } else {
                less /= 2;
            }
        }
        smallest
    }

    fn in_process(self, plan: &Plan) -> io::Result<Verdict> {
        let program = env::current_exe()?;
        let limit = self.limit.to_string();
        let output = Command::new(program)
            .args(plan.arguments())
            .args(["--json", "--limit", &limit])
            .stdin(Stdio::null())
            .output()?;
        if let Ok(verdict) = serde_json::from_slice(&output.stdout) {
            return Ok(verdict);
        }
        let violation = if output.status.signal() == Some(Signal::SIGALRM as i32) {
            format!("the run has not ended within {limit} seconds")
        } else {
            let said = String::from_utf8_lossy(&output.stderr);
            format!("the process ended with {}: {}", output.status, said.trim())
        };
        Ok(Verdict { violations: vec![violation], ..Verdict::default() })
    }
}

/// A part of the faults that still fails, and of which no one can be left out (Zeller, Hildebrandt: Simplifying and
/// Isolating Failure-Inducing Input, 2002).
fn fewest(faults: &[Fault], mut still_fails: impl FnMut(Vec<Fault>) -> bool) -> Vec<Fault> {
    let mut faults = faults.to_vec();
    let mut size = faults.len().div_ceil(2);
    while size > 0 && !faults.is_empty() {
        let parts: Vec<Vec<Fault>> = faults.chunks(size).map(<[Fault]>::to_vec).collect();
        let smaller = parts.iter().find_map(|part| {
            let rest: Vec<Fault> = faults.iter().copied().filter(|fault| !part.contains(fault)).collect();
            still_fails(rest.clone()).then_some(rest)
        });
        match smaller {
            Some(rest) => {
                faults = rest;
                size = size.min(faults.len());
            }
            None => size /= 2,
        }
    }
    faults
}

impl Summary {
    fn add(&mut self, plan: &Plan, verdict: &Verdict) {
        self.runs += 1;
        self.faults += verdict.faults;
        let took = Duration::from_millis(verdict.milliseconds);
        if !verdict.violations.is_empty() {
            self.failed.push((plan.clone(), verdict.violations.clone()));
        } else if plan.scenario.ends_with().is_some_and(|ending| verdict.endings != [ending]) {
            self.diverted += 1;
        }
        if self.slowest.as_ref().is_none_or(|(_, slowest)| took > *slowest) {
            self.slowest = Some((plan.clone(), took));
        }
    }
}

/// What was wrong, and the command that repeats it.
pub fn failure(plan: &Plan, violations: &[String]) -> String {
    let mut text = format!("failed: cargo ops simulate {}", plan.arguments().join(" "));
    for violation in violations {
        text += &format!("\n  {violation}");
    }
    text
}

impl Plan {
    /// A run without listed faults; a storm has faults by chance.
    pub const fn of(scenario: Scenario, seed: u64) -> Self {
        Self { scenario, seed, faults: Vec::new(), orders: 0, chances: false }
    }

    /// The same with these faults.
    fn with(&self, faults: Vec<Fault>) -> Self {
        Self { faults, ..self.clone() }
    }

    /// The options that lead to this run.
    pub fn arguments(&self) -> Vec<String> {
        let mut arguments = vec!["--scenario".to_owned(), self.scenario.to_string()];
        if self.scenario == Scenario::Storm {
            arguments.extend(["--orders".to_owned(), self.orders.to_string()]);
        }
        arguments.extend(["--seed".to_owned(), self.seed.to_string()]);
        if self.faults.is_empty() && !self.chances {
            arguments.extend(["--faults".to_owned(), "none".to_owned()]);
        }
        arguments.extend(self.faults.iter().flat_map(|fault| ["--fault".to_owned(), fault.to_string()]));
        arguments
    }
}

fn progress(runs: usize, what: &str) -> ProgressBar {
    let bar = ProgressBar::new(runs as u64);
    // A single run is over before anyone can read about it.
    if runs < 2 || !console::user_attended_stderr() {
        bar.set_draw_target(ProgressDrawTarget::hidden());
    }
    let style = ProgressStyle::with_template("{bar:40} {pos}/{len} {msg}, {eta} left");
    bar.with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar())).with_message(what.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_many_faults_the_two_remain_that_fail_together() {
        let faults: Vec<Fault> =
            (1..=50).map(|call| Fault { call, effect: Effect::Once(Kind::Lost) }).collect();
        let mut runs = 0;
        let left = fewest(&faults, |faults| {
            runs += 1;
            [7, 33].iter().all(|call| faults.iter().any(|fault| fault.call == *call))
        });
        assert_eq!(left.iter().map(|fault| fault.call).collect::<Vec<_>>(), [7, 33]);
        assert!(runs < 100, "{runs}");
    }
}
