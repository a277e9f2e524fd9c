//! The command line of the simulation; `cargo ops simulate` builds and starts it.

use std::{
    path::PathBuf,
    process::ExitCode,
    thread,
    time::{Duration, Instant},
};

use clap::Parser;
use simulation::{Choice, Fault, Plan, Report, Runs, Scenario, Series, Summary, Sweep, failure, run};
use tracing::subscriber::{NoSubscriber, set_global_default};

/// The orders of a storm without `--orders`.
const ORDERS: u64 = 100;

/// Runs orders through the whole platform in one process, in virtual time, with faults.
#[derive(Debug, Parser)]
#[command(
    name = "cargo ops simulate",
    after_help = "The same seed gives the same run. Without --fault, every call of each scenario goes wrong in every way, one \
                  fault a run. A failed run is printed with the command that repeats it, with as few faults as still \
                  fail.\n\n`cargo ops simulate --release` builds the program optimised first: minutes the first time, and faster \
                  runs."
)]
struct Options {
    /// What the customer does; may be repeated [default: each of them but `rush` and `storm`]
    #[arg(long)]
    scenario: Vec<Scenario>,
    /// Decides every id, delay, order of deliveries and pause
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Which calls go wrong [default: single]
    #[arg(long, value_enum)]
    faults: Option<Choice>,
    /// Only this number of the runs with a fault, chosen by the seed
    #[arg(long, value_name = "RUNS")]
    sample: Option<usize>,
    /// One run, in which this goes wrong: for example 17:lost, or 17:away:stripe:600; may be repeated
    #[arg(long, value_name = "CALL:KIND", conflicts_with = "faults")]
    fault: Vec<Fault>,
    /// End after the first run that does not end well
    #[arg(long)]
    fail_fast: bool,
    /// Storms of customers and faults, one after the other
    #[arg(long, conflicts_with_all = ["scenario", "faults", "fault", "sample", "trace", "logs"])]
    storms: bool,
    /// The orders of a storm [default: 100]; of all storms together with --storms [default: 2000]
    #[arg(long)]
    orders: Option<u64>,
    /// The orders of each of the storms [default: 100]
    #[arg(long, requires = "storms")]
    size: Option<u64>,
    /// How long storms go on, instead of a number of orders
    #[arg(long, requires = "storms", conflicts_with = "orders")]
    minutes: Option<u64>,
    /// Where the result of the storms is kept; they go on from there after an interruption
    #[arg(long, requires = "storms", value_name = "FILE")]
    report: Option<PathBuf>,
    /// The longest real time that is spent on finding fewer faults with which a failing run fails, too; 0: none
    #[arg(long, value_name = "MINUTES", default_value_t = 3)]
    shrink_minutes: u64,
    // A run takes well under a second, and a storm some; one that does not end well takes a minute.
    /// The longest real time of one of many runs, in seconds; a run that takes longer has failed
    #[arg(long, value_name = "SECONDS", default_value_t = 600, value_parser = clap::value_parser!(u32).range(1..))]
    limit: u32,
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

fn main() -> ExitCode {
    let options = Options::parse();
    if options.storms {
        return storms(&options);
    }
    let has_one_run = options.faults == Some(Choice::None)
        || !options.fault.is_empty()
        || options.scenario == [Scenario::Storm];
    match options.scenario.as_slice() {
        [scenario] if has_one_run => single(&options, *scenario),
        scenarios if scenarios.contains(&Scenario::Storm) => {
            eprintln!("error: a storm is a single run; many of them are --storms");
            ExitCode::from(2)
        }
        _ if !options.fault.is_empty() || options.trace || options.logs => {
            eprintln!("error: a single run has one --scenario, and --faults none or --fault");
            ExitCode::from(2)
        }
        _ => sweep(&options),
    }
}

impl Options {
    fn runs(&self) -> Runs {
        let jobs = self.jobs.unwrap_or_else(|| thread::available_parallelism().map_or(1, usize::from));
        Runs {
            jobs,
            stops: self.fail_fast,
            shrinking: Duration::from_secs(self.shrink_minutes * 60),
            limit: self.limit,
        }
    }
}

/// Makes one run in this process.
fn single(options: &Options, scenario: Scenario) -> ExitCode {
    if options.json {
        nix::unistd::alarm::set(options.limit);
    }
    // Before the functions start their own logs, which then stay off.
    let set = if options.logs {
        set_global_default(tracing_subscriber::fmt().with_writer(std::io::stderr).finish())
    } else {
        set_global_default(NoSubscriber::new())
    };
    set.expect("nothing logs yet");
    let is_storm = scenario == Scenario::Storm;
    let plan = Plan {
        faults: options.fault.clone(),
        orders: if is_storm { options.orders.unwrap_or(ORDERS) } else { 0 },
        chances: is_storm && options.faults.is_none() && options.fault.is_empty(),
        ..Plan::of(scenario, options.seed)
    };
    let verdict = run(&plan, options.trace);
    if options.json {
        println!("{}", serde_json::to_string(&verdict).expect("a verdict is JSON"));
        return ExitCode::SUCCESS;
    }
    if options.trace {
        print!("{}", verdict.trace);
    }
    if verdict.violations.is_empty() {
        let (calls, faults, milliseconds) = (verdict.calls, verdict.faults, verdict.milliseconds);
        let faults = if faults == 0 { String::new() } else { format!(", of which {faults} went wrong,") };
        let endings = verdict.endings.join(", ");
        println!("{}: {endings} after {calls} calls{faults} and {milliseconds} ms", plan.scenario);
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
        choice: options.faults.unwrap_or(Choice::Single),
        sample: options.sample,
        runs: options.runs(),
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

fn storms(options: &Options) -> ExitCode {
    let time = options.minutes.map(|minutes| Duration::from_secs(minutes * 60));
    let orders = options.orders.unwrap_or(20 * ORDERS);
    let series = Series {
        seed: options.seed,
        orders: time.is_none().then_some(orders),
        time,
        storm: options.size.unwrap_or(ORDERS).max(1),
        report: options.report.clone(),
        runs: options.runs(),
    };
    let say = |report: &Report| {
        eprintln!(
            "{} orders, {} faults, {} storms with violations",
            report.orders,
            report.faults,
            report.failed.len()
        );
    };
    match series.run(say) {
        Ok(report) => {
            print!("{}", report.table());
            if report.failed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
        }
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn report(summary: &Summary, started: Instant) {
    let Summary { runs, faults, failed, diverted, slowest } = summary;
    let seconds = started.elapsed().as_secs();
    println!("{runs} runs with {faults} faults in {seconds} s: {} failed", failed.len());
    println!("{diverted} ended well, and otherwise than without a fault");
    if let Some((plan, took)) = slowest {
        println!(
            "the slowest took {} s of the platform's time: {}",
            took.as_secs(),
            plan.arguments().join(" ")
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_commands_of_the_readme_are_understood() {
        let readme = include_str!("../README.md");
        let commands = readme.lines().filter_map(|line| line.strip_prefix("cargo ops simulate"));
        let commands: Vec<&str> = commands.filter_map(|rest| rest.split('#').next()).collect();
        assert!(commands.len() > 8, "{commands:?}");
        for command in commands {
            let words = command.split_whitespace().filter(|word| *word != "--release");
            Options::try_parse_from(["simulation"].into_iter().chain(words)).unwrap();
        }
    }
}
