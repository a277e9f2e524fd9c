//! The simulation of the platform. A separate program, because it links every context's functions.

use std::path::Path;

use clap::Args;
use tokio::process::Command;

use crate::error::{Error, Result};

/// The options of the program, which checks their values.
#[derive(Debug, Args)]
pub struct Simulate {
    /// What the customer does; may be repeated [default: each of tests/simulation/README.md but `rush`]
    #[arg(long)]
    scenario: Vec<String>,
    /// Decides every id, delay, order of deliveries and pause [default: 1]
    #[arg(long)]
    seed: Option<u64>,
    /// Which calls go wrong: `none`, or `single` for each call in each way, one a run [default: single]
    #[arg(long)]
    faults: Option<String>,
    /// Only this number of the runs with a fault, chosen by the seed
    #[arg(long, value_name = "RUNS")]
    sample: Option<usize>,
    /// One run, in which this call goes wrong in this way, for example 17:lost; may be repeated
    #[arg(long, value_name = "CALL:KIND", conflicts_with = "faults")]
    fault: Vec<String>,
    /// Print every call of a single run
    #[arg(long)]
    trace: bool,
    /// Print what the functions log in a single run
    #[arg(long)]
    logs: bool,
    /// Runs at the same time [default: one for each processor]
    #[arg(long)]
    jobs: Option<usize>,
    /// Build the program optimised: minutes the first time, and faster runs
    #[arg(long)]
    release: bool,
}

impl Simulate {
    /// Builds the simulation and starts it with these options.
    ///
    /// # Errors
    /// It cannot be built, or a run failed; the program has reported which.
    pub async fn run(self, root: &Path) -> Result<()> {
        let words = self.words();
        let mut command = Command::new("cargo");
        let status = command.args(&words).current_dir(root).kill_on_drop(true).status().await;
        let status =
            status.map_err(|source| local_stack::Error::Command { command: words.join(" "), source })?;
        if status.success() {
            return Ok(());
        }
        Err(Error::Simulate("a run of the simulation failed, or it could not run. Above is why.".to_owned()))
    }

    /// What cargo is started with.
    fn words(&self) -> Vec<String> {
        let mut words: Vec<String> = ["run", "--quiet", "--package", "simulation"].map(str::to_owned).into();
        words.extend(self.release.then(|| "--release".to_owned()));
        words.push("--".to_owned());
        let mut option = |name: &str, value: Option<String>| {
            words.extend(value.into_iter().flat_map(|value| [format!("--{name}"), value]));
        };
        self.scenario.iter().for_each(|scenario| option("scenario", Some(scenario.clone())));
        option("seed", self.seed.map(|seed| seed.to_string()));
        option("faults", self.faults.clone());
        option("sample", self.sample.map(|runs| runs.to_string()));
        self.fault.iter().for_each(|fault| option("fault", Some(fault.clone())));
        option("jobs", self.jobs.map(|jobs| jobs.to_string()));
        words.extend(self.trace.then(|| "--trace".to_owned()));
        words.extend(self.logs.then(|| "--logs".to_owned()));
        words
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Program {
        #[command(flatten)]
        simulate: Simulate,
    }

    #[test]
    fn every_option_is_passed_on() {
        let line = "simulate --scenario declined --scenario completes --seed 7 --fault 17:lost --fault 20:reset --sample 9 \
                    --jobs 2 --trace --logs --release";
        let Program { simulate } = Program::try_parse_from(line.split_whitespace()).unwrap();
        assert_eq!(
            simulate.words().join(" "),
            "run --quiet --package simulation --release -- --scenario declined --scenario completes --seed 7 --sample 9 \
             --fault 17:lost --fault 20:reset --jobs 2 --trace --logs"
        );
        let Program { simulate } = Program::try_parse_from(["simulate", "--faults", "none"]).unwrap();
        assert_eq!(simulate.words().join(" "), "run --quiet --package simulation -- --faults none");
    }
}
