//! The runs of a sweep, and the file that records which are over, so that a sweep goes on where it stopped.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

use clap::ValueEnum;
use local_stack::{AboutFile, Settings};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::error::Result;
use crate::fault::{CallName, Fault, Kind};
use crate::scenario::Scenario;

/// One order with one fault.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Run {
    pub scenario: Scenario,
    pub fault: Fault,
}

impl Run {
    /// The command that repeats it.
    pub fn command(&self) -> String {
        format!("cargo ops chaos --scenario {} --fault {}", self.scenario, self.fault)
    }
}

/// The calls of each scenario without faults, in their order.
pub type Calls = BTreeMap<Scenario, Vec<CallName>>;

/// Each call in each way, in the order of the seed.
pub fn all(calls: &Calls, kinds: &[Kind], seed: u64) -> Vec<Run> {
    let mut runs = Vec::new();
    for (scenario, calls) in calls {
        for call in calls {
            let faults = kinds.iter().map(|kind| Fault { call: call.clone(), kind: *kind });
            runs.extend(faults.map(|fault| Run { scenario: *scenario, fault }));
        }
    }
    runs.sort();
    fastrand::Rng::with_seed(seed).shuffle(&mut runs);
    runs
}

/// A line of the file.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Line {
    /// The first line: what the runs belong to.
    Sweep {
        functions: String,
        calls: BTreeMap<String, Vec<String>>,
    },
    Run {
        scenario: String,
        fault: String,
        struck: bool,
        milliseconds: u64,
        violations: Vec<String>,
    },
}

/// How a run ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ended {
    /// Whether the call that should go wrong was made.
    pub struck: bool,
    pub milliseconds: u64,
    pub violations: Vec<String>,
}

/// What the file has about a sweep of the same functions: its calls, and the runs that are over.
pub type Before = (Calls, BTreeMap<Run, Ended>);

/// The file of a sweep.
#[derive(Debug)]
pub struct Log {
    path: PathBuf,
    file: File,
}

impl Log {
    /// Opens the file of a sweep of these functions. Returns its calls and the runs that are over, when it has any; a file
    /// about other functions is replaced.
    ///
    /// # Errors
    /// The file cannot be read or written.
    pub fn open(path: &Path, functions: &str, fresh: bool) -> Result<(Self, Option<Before>)> {
        let text = std::fs::read_to_string(path).unwrap_or_default();
        let before = if fresh { None } else { read(&text, functions) };
        let mut options = OpenOptions::new();
        options.create(true).write(true).append(before.is_some()).truncate(before.is_none());
        let file = options.open(path).about("cannot write", path)?;
        Ok((Self { path: path.to_owned(), file }, before))
    }

    /// Writes the first line.
    ///
    /// # Errors
    /// The file cannot be written; so for the next.
    pub fn begin(&mut self, functions: &str, calls: &Calls) -> Result<()> {
        let named = |(scenario, calls): (&Scenario, &Vec<CallName>)| {
            (scenario.to_string(), calls.iter().map(ToString::to_string).collect())
        };
        self.line(&Line::Sweep { functions: functions.to_owned(), calls: calls.iter().map(named).collect() })
    }

    pub fn note(&mut self, run: &Run, ended: &Ended) -> Result<()> {
        let Ended { struck, milliseconds, violations } = ended.clone();
        let (scenario, fault) = (run.scenario.to_string(), run.fault.to_string());
        self.line(&Line::Run { scenario, fault, struck, milliseconds, violations })
    }

    fn line(&mut self, line: &Line) -> Result<()> {
        let text = serde_json::to_string(line).unwrap_or_default() + "\n";
        Ok(self.file.write_all(text.as_bytes()).about("cannot write", &self.path)?)
    }
}

/// A last line that was cut off is left out.
fn read(text: &str, functions: &str) -> Option<Before> {
    let mut lines = text.lines().map_while(|line| serde_json::from_str::<Line>(line).ok());
    let Some(Line::Sweep { functions: of, calls }) = lines.next() else { return None };
    if of != functions {
        return None;
    }
    let named = |(scenario, calls): (String, Vec<String>)| {
        let calls = calls.iter().map(|call| call.parse().ok()).collect::<Option<Vec<_>>>()?;
        Some((Scenario::from_str(&scenario, false).ok()?, calls))
    };
    let calls = calls.into_iter().map(named).collect::<Option<Calls>>()?;
    let mut over = BTreeMap::new();
    for line in lines {
        let Line::Run { scenario, fault, struck, milliseconds, violations } = line else { return None };
        let run = Run { scenario: Scenario::from_str(&scenario, false).ok()?, fault: fault.parse().ok()? };
        over.insert(run, Ended { struck, milliseconds, violations });
    }
    Some((calls, over))
}

/// What tells one build of functions and templates from another.
///
/// # Errors
/// A file cannot be read.
pub fn fingerprint(settings: &Settings) -> Result<String> {
    let mut digest = Sha256::new();
    for function in local_stack::deploy::functions(settings)? {
        let file = settings.target.join("lambda").join(&function.name).join("bootstrap");
        let about = std::fs::metadata(&file).about("cannot read", &file)?;
        let changed = about.modified().about("cannot read", &file)?;
        digest.update(format!("{} {} {changed:?}\n", function.name, about.len()));
    }
    for (_, template) in local_stack::deploy::waves(settings).into_iter().flatten() {
        digest.update(std::fs::read(&template).about("cannot read", &template)?);
    }
    Ok(digest.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn calls() -> Calls {
        let calls = ["orders-api.dynamodb.TransactWriteItems.1", "orders-relay.states.StartExecution.1"];
        Calls::from([(Scenario::Completes, calls.map(|call| call.parse().unwrap()).into())])
    }

    #[test]
    fn each_call_goes_wrong_in_each_way_in_the_order_of_the_seed() {
        let kinds = Kind::value_variants();
        let runs = all(&calls(), kinds, 1);
        assert_eq!(runs.len(), 2 * kinds.len());
        assert_eq!(all(&calls(), kinds, 1), runs);
        let mut other = all(&calls(), kinds, 2);
        assert_ne!(other, runs);
        other.sort();
        let mut sorted = runs.clone();
        sorted.sort();
        assert_eq!(other, sorted);
        let command = Run { scenario: Scenario::OutOfStock, fault: runs[0].fault.clone() }.command();
        assert!(command.starts_with("cargo ops chaos --scenario out-of-stock --fault orders-"), "{command}");
    }

    #[test]
    fn a_sweep_goes_on_after_what_its_file_has() {
        let path = std::env::temp_dir().join(format!("chaos-{}.jsonl", uuid::Uuid::new_v4().simple()));
        let run = all(&calls(), &[Kind::Lost], 1).remove(0);
        let ended = Ended { struck: true, milliseconds: 1200, violations: vec!["it is wrong".to_owned()] };
        let (mut log, before) = Log::open(&path, "one", false).unwrap();
        assert!(before.is_none());
        log.begin("one", &calls()).unwrap();
        log.note(&run, &ended).unwrap();
        log.file.write_all(b"{\"run\": {\"scen").unwrap();

        let (_, before) = Log::open(&path, "one", false).unwrap();
        assert_eq!(before, Some((calls(), BTreeMap::from([(run, ended)]))));
        assert!(Log::open(&path, "another build", false).unwrap().1.is_none());
        assert!(Log::open(&path, "another build", false).unwrap().1.is_none(), "it was replaced");
        std::fs::remove_file(path).unwrap();
    }
}
