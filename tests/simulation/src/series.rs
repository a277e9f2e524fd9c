//! A series of storms, whose result is written to a file and goes on from there after an interruption.

use std::{
    fs, io,
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

use serde::{Deserialize, Serialize};

use crate::{
    run::{Plan, Verdict},
    scenario::Scenario,
    sweep::{Runs, failure},
};

/// The result is written after this number of storms.
const WAVE: u64 = 20;

/// Storms, until they have had this number of orders or have taken this time.
#[derive(Debug)]
pub struct Series {
    /// Of the first storm; each one has the next.
    pub seed: u64,
    pub orders: Option<u64>,
    pub time: Option<Duration>,
    /// The orders of each storm.
    pub storm: u64,
    pub report: Option<PathBuf>,
    pub runs: Runs,
}

/// What the storms have found so far.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Report {
    /// Of the code that ran; with a plus when it had changes.
    pub commit: String,
    /// When it began, and when it was written.
    pub began: String,
    pub written: String,
    /// Of the first storm.
    pub seed: u64,
    /// The orders that each storm was asked for. Some are refused by the shop.
    pub storm: u64,
    pub storms: u64,
    /// The customers' requests for an order.
    pub orders: u64,
    /// Of them, those that the shop took.
    pub placed: u64,
    pub calls: u64,
    /// The calls that went wrong.
    pub faults: u64,
    /// The storms that did not end well, with what was wrong.
    pub failed: Vec<String>,
    /// From the last fault until everything was right, in milliseconds, and in which storm.
    pub slowest_recovery: u64,
    pub slowest_storm: String,
    /// The processor's own time, over all runs at once, in milliseconds.
    pub took: u64,
}

/// Why a series cannot go on.
#[derive(Debug)]
pub enum SeriesError {
    Io(PathBuf, io::Error),
    /// The report is of other storms.
    Other(PathBuf, String),
    Run(io::Error),
}

impl std::fmt::Display for SeriesError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Io(file, error) => write!(f, "{}: {error}", file.display()),
            Self::Other(file, why) => {
                write!(f, "{} is of other storms: {why}. Move it away, or name another file.", file.display())
            }
            Self::Run(error) => write!(f, "a storm could not be started: {error}"),
        }
    }
}

impl Series {
    /// Lets the storms run.
    ///
    /// # Errors
    /// When a storm cannot be started, or the report cannot be read or written.
    pub fn run(&self, say: impl Fn(&Report)) -> Result<Report, SeriesError> {
        let started = Instant::now();
        let mut report = self.begin()?;
        let before = report.took;
        while !self.is_over(&report, started.elapsed()) {
            let first = self.seed + report.storms;
            let left = self.orders.map_or(WAVE, |orders| (orders - report.orders).div_ceil(self.storm));
            // A wave of a series by time is as short as possible.
            let wave = if self.time.is_some() { self.runs.jobs as u64 } else { left.min(WAVE) };
            let storms: Vec<Plan> = (first..first + wave).map(|seed| self.plan(seed)).collect();
            let each = |plan: &Plan, verdict: &Verdict| report.add(plan, verdict);
            self.runs.make(&storms, "storms of this part", each).map_err(SeriesError::Run)?;
            report.took = before + u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
            report.written = now();
            if let Some(file) = &self.report {
                write(file, &report)?;
            }
            say(&report);
        }
        Ok(report)
    }

    fn plan(&self, seed: u64) -> Plan {
        Plan { orders: self.storm, chances: true, ..Plan::of(Scenario::Storm, seed) }
    }

    fn is_over(&self, report: &Report, elapsed: Duration) -> bool {
        self.orders.is_some_and(|orders| report.orders >= orders)
            || self.time.is_some_and(|time| elapsed >= time)
            || self.runs.stops && !report.failed.is_empty()
    }

    /// The report as far as it is, or a new one.
    fn begin(&self) -> Result<Report, SeriesError> {
        let commit = commit();
        let Some(file) = self.report.as_ref().filter(|file| file.exists()) else {
            return Ok(Report::new(commit, self.seed, self.storm));
        };
        let text = fs::read_to_string(file).map_err(|error| SeriesError::Io(file.clone(), error))?;
        let report: Report = serde_json::from_str(&text)
            .map_err(|error| SeriesError::Other(file.clone(), format!("it cannot be read ({error})")))?;
        let same = [
            (report.commit == commit, format!("of commit {}, and this is {commit}", report.commit)),
            (report.seed == self.seed, format!("from seed {} on", report.seed)),
            (report.storm == self.storm, format!("of {} orders each", report.storm)),
        ];
        match same.into_iter().find(|(is_same, _)| !is_same) {
            Some((_, why)) => Err(SeriesError::Other(file.clone(), why)),
            None => Ok(report),
        }
    }
}

impl Report {
    fn new(commit: String, seed: u64, storm: u64) -> Self {
        Self {
            commit,
            began: now(),
            written: now(),
            seed,
            storm,
            storms: 0,
            orders: 0,
            placed: 0,
            calls: 0,
            faults: 0,
            failed: Vec::new(),
            slowest_recovery: 0,
            slowest_storm: String::new(),
            took: 0,
        }
    }

    fn add(&mut self, plan: &Plan, verdict: &Verdict) {
        self.storms += 1;
        self.orders += plan.orders;
        self.placed += verdict.endings.len() as u64;
        self.calls += verdict.calls;
        self.faults += verdict.faults;
        if !verdict.violations.is_empty() {
            self.failed.push(failure(plan, &verdict.violations));
        }
        if verdict.recovery >= self.slowest_recovery {
            self.slowest_recovery = verdict.recovery;
            self.slowest_storm = plan.arguments().join(" ");
        }
    }

    /// The result as rows of a table in Markdown.
    pub fn table(&self) -> String {
        let seconds = Duration::from_millis(self.took).as_secs().max(1);
        let minutes = |milliseconds: u64| milliseconds / 60_000;
        let rows = [
            ("storms", format!("{} of {} orders, seeds from {} on", self.storms, self.storm, self.seed)),
            ("orders", format!("{}, of which the shop took {}", self.orders, self.placed)),
            ("calls", self.calls.to_string()),
            ("faults", self.faults.to_string()),
            ("storms with violations", self.failed.len().to_string()),
            (
                "slowest recovery",
                format!(
                    "{} minutes after the last fault: `{}`",
                    minutes(self.slowest_recovery),
                    self.slowest_storm
                ),
            ),
            ("real time", format!("{} minutes, {} orders a second", seconds / 60, self.orders / seconds)),
            ("date, commit", format!("{}, {}", self.written, self.commit)),
        ];
        let mut table = "| what | figure |\n|---|---|\n".to_owned();
        for (what, figure) in rows {
            table += &format!("| {what} | {figure} |\n");
        }
        table
    }
}

fn write(file: &Path, report: &Report) -> Result<(), SeriesError> {
    let text = serde_json::to_string_pretty(report).expect("a report is JSON");
    // An interrupted write leaves the file before.
    let new = file.with_extension("new");
    let written = fs::write(&new, text).and_then(|()| fs::rename(&new, file));
    written.map_err(|error| SeriesError::Io(file.to_owned(), error))
}

fn now() -> String {
    jiff::Timestamp::now().strftime("%Y-%m-%d %H:%M UTC").to_string()
}

/// The commit of the code, as far as it is known.
fn commit() -> String {
    let git = |arguments: &[&str]| {
        let output = Command::new("git").arg("-C").arg(env!("CARGO_MANIFEST_DIR")).args(arguments).output();
        output.ok().map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned())
    };
    let commit = git(&["rev-parse", "--short", "HEAD"]).filter(|commit| !commit.is_empty());
    let is_changed =
        git(&["status", "--porcelain", "--untracked-files=no"]).is_some_and(|said| !said.is_empty());
    commit.map_or_else(|| "unknown".to_owned(), |commit| if is_changed { commit + "+" } else { commit })
}
