//! The command line of the simulation; `cargo ops simulate` builds and starts it.

use std::{process::ExitCode, thread, time::Instant};

use clap::{Parser, ValueEnum};
use simulation::{Fault, Plan, Scenario, Summary, Sweep, failure, run};
use tracing::subscriber::{NoSubscriber, set_global_default};

/// A run takes well under a second. One that takes this number of seconds does not end.
const LIMIT: u32 = 120;

/// Runs orders through the whole platform in one process, in virtual time, with faults.
#[derive(Debug, Parser)]
#[command(
    name = "cargo ops simulate",
    after_help = "The same seed gives the same run. Without --fault, every call of each scenario goes wrong in every way, one \
                  fault a run. A failed run is printed with the command that repeats it."
)]
struct Options {
    /// What the customer does; may be repeated [default: each of them but `rush`]
    #[arg(long)]
    scenario: Vec<Scenario>,
    /// Decides every id, delay, order of deliveries and pause
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Which calls go wrong
    #[arg(long, value_enum, default_value = "single")]
    faults: Faults,
    /// Only this number of the runs with a fault, chosen by the seed
    #[arg(long, value_name = "RUNS")]
    sample: Option<usize>,
    /// One run, in which this call goes wrong: for example 17:lost; may be repeated
    #[arg(long, value_name = "CALL:KIND", conflicts_with = "faults")]
    fault: Vec<Fault>,
    /// Print every call of a single run
    #[arg(long)]
    trace: bool,
    /// Print what the functions log in a single run
    #[arg(long)]
    logs: bool,
    /// Runs at the same time [default: one for each processor]
    #[arg(long)]
    jobs: Option<usize>,
    #[arg(long, hide = true)]
    json: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Faults {
    /// None
    None,
    /// Each call in each way, one a run
    Single,
}

fn main() -> ExitCode {
    let options = Options::parse();
    let is_single = options.faults == Faults::None || !options.fault.is_empty();
    match options.scenario.as_slice() {
        [scenario] if is_single => single(&options, *scenario),
        _ if !options.fault.is_empty() || options.trace || options.logs => {
            eprintln!("error: a single run has one --scenario, and --faults none or --fault");
            ExitCode::from(2)
        }
        _ => sweep(&options),
    }
}

/// Makes one run in this process.
fn single(options: &Options, scenario: Scenario) -> ExitCode {
    if options.json {
        nix::unistd::alarm::set(LIMIT);
    }
    // Before the functions start their own logs, which then stay off.
    let set = if options.logs {
        set_global_default(tracing_subscriber::fmt().with_writer(std::io::stderr).finish())
    } else {
        set_global_default(NoSubscriber::new())
    };
    set.expect("nothing logs yet");
    let plan = Plan { scenario, seed: options.seed, faults: options.fault.clone() };
    let verdict = run(&plan);
    if options.json {
        println!("{}", serde_json::to_string(&verdict).expect("a verdict is JSON"));
        return ExitCode::SUCCESS;
    }
    if options.trace {
        print!("{}", verdict.trace);
    }
    if verdict.violations.is_empty() {
        let (calls, milliseconds) = (verdict.calls, verdict.milliseconds);
        println!(
            "{}: {} after {calls} calls and {milliseconds} ms",
            plan.scenario,
            verdict.endings.join(", ")
        );
        return ExitCode::SUCCESS;
    }
    println!("{}", failure(&plan, &verdict.violations));
    ExitCode::FAILURE
}

fn sweep(options: &Options) -> ExitCode {
    let started = Instant::now();
    let sweep = Sweep {
        scenarios: if options.scenario.is_empty() {
            Scenario::of_one_order()
        } else {
            options.scenario.clone()
        },
        seed: options.seed,
        sample: if options.faults == Faults::None { Some(0) } else { options.sample },
        jobs: options.jobs.unwrap_or_else(|| thread::available_parallelism().map_or(1, usize::from)),
    };
    let summary = match sweep.run() {
        Ok(summary) => summary,
        Err(error) => {
            eprintln!("error: a run could not be started: {error}");
            return ExitCode::FAILURE;
        }
    };
    report(&summary, started);
    if summary.failed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn report(summary: &Summary, started: Instant) {
    let Summary { runs, failed, diverted, slowest } = summary;
    println!("{runs} runs in {} s: {} failed", started.elapsed().as_secs(), failed.len());
    println!("{diverted} ended well, and otherwise than without a fault");
    if let Some((plan, took)) = slowest {
        println!(
            "the slowest took {} s of the platform's time: {}",
            took.as_secs(),
            plan.arguments().join(" ")
        );
    }
}
