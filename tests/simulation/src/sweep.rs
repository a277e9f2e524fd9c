//! Many runs, each in a process of its own: nothing that one leaves in memory reaches another.

use std::{
    env, io,
    process::{Command, Stdio},
    sync::Mutex,
    thread,
    time::Duration,
};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::{
    fault::{Fault, Kind},
    run::{Plan, Verdict},
    scenario::Scenario,
};

/// Runs of these scenarios: one without faults, and one for each way in which each of its calls may go wrong.
#[derive(Debug)]
pub struct Sweep {
    pub scenarios: Vec<Scenario>,
    pub seed: u64,
    /// Only this number of the runs with a fault, chosen by the seed.
    pub sample: Option<usize>,
    pub jobs: usize,
}

/// What the runs of a sweep found.
#[derive(Debug, Default)]
pub struct Summary {
    pub runs: usize,
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
        let plain: Vec<Plan> = self
            .scenarios
            .iter()
            .map(|scenario| Plan { scenario: *scenario, seed: self.seed, faults: vec![] })
            .collect();
        let mut summary = Summary::default();
        let mut faulty = Vec::new();
        for plan in plain {
            for verdict in self.make(std::slice::from_ref(&plan), &mut summary)? {
                for call in 1..=verdict.calls {
                    let of = |kind| Plan { faults: vec![Fault { call, kind }], ..plan.clone() };
                    faulty.extend(Kind::ALL.map(of));
                }
            }
        }
        if let Some(sample) = self.sample {
            fastrand::Rng::with_seed(self.seed).shuffle(&mut faulty);
            faulty.truncate(sample);
        }
        self.make(&faulty, &mut summary)?;
        Ok(summary)
    }

    /// Makes these runs, several at once, and returns the verdicts in their order.
    fn make(&self, plans: &[Plan], summary: &mut Summary) -> io::Result<Vec<Verdict>> {
        let bar = progress(plans.len());
        let waiting = Mutex::new(plans.iter().enumerate());
        let results: Mutex<Vec<(usize, io::Result<Verdict>)>> = Mutex::default();
        thread::scope(|scope| {
            for _ in 0..self.jobs.max(1) {
                scope.spawn(|| {
                    while let Some((index, plan)) = waiting.lock().ok().and_then(|mut waiting| waiting.next())
                    {
                        let verdict = in_process(plan);
                        if let Ok(Verdict { violations, .. }) = &verdict
                            && !violations.is_empty()
                        {
                            bar.suspend(|| println!("{}", failure(plan, violations)));
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
        let mut verdicts = Vec::new();
        for (index, verdict) in results {
            let verdict = verdict?;
            summary.add(&plans[index], &verdict);
            verdicts.push(verdict);
        }
        Ok(verdicts)
    }
}

impl Summary {
    fn add(&mut self, plan: &Plan, verdict: &Verdict) {
        self.runs += 1;
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
    /// The options that lead to this run.
    pub fn arguments(&self) -> Vec<String> {
        let mut arguments = vec!["--scenario".to_owned(), self.scenario.to_string()];
        arguments.extend(["--seed".to_owned(), self.seed.to_string()]);
        if self.faults.is_empty() {
            arguments.extend(["--faults".to_owned(), "none".to_owned()]);
        }
        arguments.extend(self.faults.iter().flat_map(|fault| ["--fault".to_owned(), fault.to_string()]));
        arguments
    }
}

fn in_process(plan: &Plan) -> io::Result<Verdict> {
    let program = env::current_exe()?;
    let output = Command::new(program).args(plan.arguments()).arg("--json").stdin(Stdio::null()).output()?;
    if let Ok(verdict) = serde_json::from_slice(&output.stdout) {
        return Ok(verdict);
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let violation = format!("the process ended with {}: {}", output.status, said.trim());
    Ok(Verdict {
        violations: vec![violation],
        endings: vec![],
        calls: 0,
        milliseconds: 0,
        trace: String::new(),
    })
}

fn progress(runs: usize) -> ProgressBar {
    let bar = ProgressBar::new(runs as u64);
    // A single run is over before anyone can read about it.
    if runs < 2 || !console::user_attended_stderr() {
        bar.set_draw_target(ProgressDrawTarget::hidden());
    }
    let style = ProgressStyle::with_template("{bar:40} {pos}/{len} runs, {eta} left");
    bar.with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}
