//! What happens to the whole stack while orders are under way.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use clap::ValueEnum;
use contracts::OrderId;
use futures::future::join_all;
use local_stack::{DeployedFunction, LOCAL_STAGE, Progress, StateDir, process};
use serde_json::json;

use crate::error::{Error, Result};
use crate::lane::Lane;
use crate::platform::Platform;
use crate::scenario::Scenario;
use crate::sweep::{Orders, REST};

/// How long functions end.
const FUNCTIONS_END_FOR: Duration = Duration::from_secs(120);
/// The pause between two of them, in milliseconds.
const PAUSE: std::ops::Range<u64> = 200..800;
/// How long clocks differ, and how much: libfaketime's README.
const CLOCKS_DIFFER_FOR: Duration = Duration::from_secs(60);
const AHEAD: &str = "+60s";
/// How long a context runs its version before.
const BACK_FOR: Duration = Duration::from_secs(10);
/// How long orders are placed before the emulator restarts, and after it.
const AROUND: Duration = Duration::from_secs(10);

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Disturbance {
    /// For two minutes, a function that the seed chooses ends every half a second
    Functions,
    /// The AWS emulator ends with all functions, and starts again with its tables, queues and executions
    Emulator,
    /// The clocks of half of the functions, which the seed chooses, are a minute ahead for a minute
    Clocks,
    /// Each context in turn, in an order that the seed chooses, goes back to the version of --before for ten seconds
    Versions,
}

/// The folders of the functions' code: `<folder>/<function>/bootstrap`.
#[derive(Debug)]
pub struct Versions {
    pub now: PathBuf,
    pub before: PathBuf,
}

impl Versions {
    /// Each context goes back, and forward again.
    async fn change(&self, platform: &Platform, seed: u64) -> Result<()> {
        let mut contexts: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for name in &platform.functions {
            let context = name.split_once('-').map_or(name.as_str(), |(context, _)| context);
            contexts.entry(context).or_default().push(name);
        }
        let mut contexts: Vec<_> = contexts.into_values().collect();
        fastrand::Rng::with_seed(seed).shuffle(&mut contexts);
        for functions in contexts {
            deploy(platform, &functions, &self.before).await?;
            tokio::time::sleep(BACK_FOR).await;
            deploy(platform, &functions, &self.now).await?;
        }
        Ok(())
    }
}

/// Gives functions the code of this folder. A function that the folder does not have keeps its own.
async fn deploy(platform: &Platform, functions: &[&str], folder: &Path) -> Result<()> {
    for name in functions {
        let code = folder.join(name).join("bootstrap");
        if code.exists() {
            DeployedFunction::new(&platform.emulator, LOCAL_STAGE, name).set_code(&code).await?;
        }
    }
    Ok(())
}

/// What came of it.
#[derive(Debug, Default)]
pub struct Disturbed {
    pub orders: usize,
    pub slowest: Duration,
    /// What is wrong with the orders.
    pub violations: Vec<(OrderId, Scenario, String)>,
}

impl Disturbance {
    /// Lets the lanes place orders of these scenarios in turn while it happens, and waits until each has ended.
    ///
    /// # Errors
    /// The stack ends.
    pub async fn run(
        self,
        platform: &Platform,
        (lanes, scenarios): (&mut [Lane], &[Scenario]),
        (orders, progress): (&Orders, &Progress),
        (seed, versions): (u64, Option<&Versions>),
    ) -> Result<Disturbed> {
        let step = progress.step("orders during the disturbance");
        let is_over = AtomicBool::new(false);
        let happens = async {
            let happened = self.happen(platform, seed, versions).await;
            is_over.store(true, Ordering::Relaxed);
            step.at("it is over, and orders end");
            happened
        };
        let placed = join_all(lanes.iter_mut().enumerate().map(async |(number, lane)| {
            let mut disturbed = Disturbed::default();
            for scenario in scenarios.iter().cycle().skip(number) {
                if is_over.load(Ordering::Relaxed) {
                    break;
                }
                let outcome = lane.run(platform, *scenario, None, REST).await;
                disturbed.orders += 1;
                disturbed.slowest = disturbed.slowest.max(outcome.took);
                if outcome.violations.is_empty() {
                    orders.add(outcome.order, *scenario);
                    continue;
                }
                // The lane's stock is not known any more.
                let found = outcome.violations.into_iter();
                disturbed.violations.extend(found.map(|found| (outcome.order.clone(), *scenario, found)));
                break;
            }
            disturbed
        }));
        let (happened, placed) = futures::join!(happens, placed);
        happened?;
        let mut all = Disturbed::default();
        for lane in placed {
            all.orders += lane.orders;
            all.slowest = all.slowest.max(lane.slowest);
            all.violations.extend(lane.violations);
        }
        step.done(&format!("{} orders during the disturbance", all.orders));
        Ok(all)
    }

    async fn happen(self, platform: &Platform, seed: u64, versions: Option<&Versions>) -> Result<()> {
        let state = StateDir::new(&platform.state_dir);
        match self {
            Self::Functions => {
                let mut random = fastrand::Rng::with_seed(seed);
                let until = Instant::now() + FUNCTIONS_END_FOR;
                while Instant::now() < until {
                    let running = state.running().ok_or_else(ended)?;
                    process::end_one(&running.groups, |number| random.usize(..number));
                    tokio::time::sleep(Duration::from_millis(random.u64(PAUSE))).await;
                }
            }
            Self::Emulator => {
                tokio::time::sleep(AROUND).await;
                local_stack::restart_emulator(&state).await?;
                tokio::time::sleep(AROUND).await;
            }
            Self::Clocks => {
                let library = faketime()?;
                let mut functions = platform.functions.clone();
                fastrand::Rng::with_seed(seed).shuffle(&mut functions);
                for name in &functions[..functions.len() / 2] {
                    let function = DeployedFunction::new(&platform.emulator, LOCAL_STAGE, name);
                    let mut variables = function.variables().await?;
                    variables["LD_PRELOAD"] = json!(library);
                    variables["FAKETIME"] = json!(AHEAD);
                    // Durations stay as they are.
                    variables["FAKETIME_DONT_FAKE_MONOTONIC"] = json!("1");
                    function.set_variables(&variables).await?;
                }
                tokio::time::sleep(CLOCKS_DIFFER_FOR).await;
            }
            Self::Versions => {
                let versions =
                    versions.ok_or_else(|| Error::Chaos("there is no version before.".to_owned()))?;
                versions.change(platform, seed).await?;
            }
        }
        Ok(())
    }
}

/// The library that sets the clock of a process, where Linux distributions install it.
fn faketime() -> Result<PathBuf> {
    let folders = std::fs::read_dir("/usr/lib").into_iter().flatten().flatten().map(|entry| entry.path());
    let folders = folders.chain([PathBuf::from("/usr/lib"), PathBuf::from("/usr/local/lib")]);
    let mut libraries = folders.map(|folder| folder.join("faketime/libfaketime.so.1"));
    libraries.find(|library| library.exists()).ok_or_else(|| {
        Error::Chaos(
            "the clocks of functions are set by the library libfaketime: `apt-get install faketime` on Debian."
                .to_owned(),
        )
    })
}

fn ended() -> Error {
    Error::Stack(local_stack::Error::NotRunning)
}
