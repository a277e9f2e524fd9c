//! The simulation of the platform. A separate program, because it links every context's functions.

use std::{ffi::OsString, path::Path};

use clap::Args;
use tokio::process::Command;

use crate::error::{Error, Result};

/// Builds the program optimised.
const RELEASE: &str = "--release";

/// The options of the program, which reads them.
#[derive(Debug, Args)]
#[command(disable_help_flag = true)]
pub struct Simulate {
    /// The options of the simulation, as its `--help` lists them
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    options: Vec<OsString>,
}

impl Simulate {
    /// Builds the simulation and starts it with these options, where the command was started.
    ///
    /// # Errors
    /// It cannot be built, or a run failed; the program has reported which.
    pub async fn run(self, root: &Path) -> Result<()> {
        let words = self.words(root);
        let status = Command::new("cargo").args(&words).kill_on_drop(true).status().await;
        let status = status.map_err(|source| {
            let words: Vec<_> = words.iter().map(|word| word.to_string_lossy()).collect();
            local_stack::Error::Command { command: words.join(" "), source }
        })?;
        if status.success() {
            return Ok(());
        }
        Err(Error::Simulate("a run of the simulation failed, or it could not run. Above is why.".to_owned()))
    }

    /// What cargo is started with.
    fn words(self, root: &Path) -> Vec<OsString> {
        let (build, options): (Vec<_>, Vec<_>) =
            self.options.into_iter().partition(|option| option == RELEASE);
        let mut words: Vec<OsString> =
            ["run", "--quiet", "--package", "simulation", "--manifest-path"].map(OsString::from).into();
        words.push(root.join("Cargo.toml").into());
        words.extend(build);
        words.push("--".into());
        words.extend(options);
        words
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Program {
        #[command(subcommand)]
        command: Commands,
    }

    #[derive(clap::Subcommand)]
    enum Commands {
        Simulate(Simulate),
    }

    fn words(line: &str) -> String {
        let Commands::Simulate(simulate) = Program::try_parse_from(line.split(' ')).unwrap().command;
        simulate.words(Path::new("shop")).join(" ".as_ref()).into_string().unwrap()
    }

    #[test]
    fn every_option_is_passed_on_but_the_one_of_the_build() {
        const RUN: &str = "run --quiet --package simulation --manifest-path shop/Cargo.toml";
        assert_eq!(words("ops simulate"), format!("{RUN} --"));
        assert_eq!(words("ops simulate --help"), format!("{RUN} -- --help"));
        for line in ["--release --fault 17:lost --seed 7", "--fault 17:lost --seed 7 --release"] {
            assert_eq!(
                words(&format!("ops simulate {line}")),
                format!("{RUN} --release -- --fault 17:lost --seed 7")
            );
        }
    }
}
