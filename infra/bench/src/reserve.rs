//! Reservations a second of one hot SKU, by the number of its shards.
//!
//! The measurement is an example of the inventory crate, because it runs that crate's commands through the
//! AWS SDK, which `cargo ops` does not link. This builds it with the release profile and runs it.

use std::process::Stdio;

use clap::Args;
use local_stack::{Progress, RELEASE, Settings, functions};
use tokio::process::Command;

use crate::error::Result;

const PACKAGE: &str = "inventory";
const EXAMPLE: &str = "bench-reserve";

#[derive(Debug, Args)]
pub struct Reserve {
    /// Numbers of shards to measure, each on a table of its own
    #[arg(long, value_delimiter = ',', default_values_t = [1, 4, 16])]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=64))]
    shards: Vec<u32>,
    /// How long each number is measured
    #[arg(long, default_value_t = 15, value_parser = clap::value_parser!(u64).range(1..=600))]
    seconds: u64,
    /// How many times slower than DynamoDB's the limits are. Raise it on a machine too slow to meet them
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=1000))]
    slower: u32,
}

impl Reserve {
    /// Builds the measurement and runs it; it prints a table on stdout.
    ///
    /// # Errors
    /// The build or the measurement fails.
    pub async fn run(self, settings: &Settings, progress: &Progress) -> Result<()> {
        let step = progress.step(&format!("building {EXAMPLE} with the release profile"));
        let arguments = ["--profile", RELEASE, "--package", PACKAGE, "--example", EXAMPLE];
        let program = functions::build_program(settings, &arguments).await?;
        step.done(&format!("built {EXAMPLE} with the release profile"));
        let cannot = |source| local_stack::Error::Command { command: EXAMPLE.to_owned(), source };
        let shards: Vec<String> = self.shards.iter().map(u32::to_string).collect();
        let status = Command::new(program)
            .args(["--shards", &shards.join(",")])
            .args(["--seconds", &self.seconds.to_string()])
            .args(["--slower", &self.slower.to_string()])
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .status()
            .await
            .map_err(cannot)?;
        if status.success() { Ok(()) } else { Err(cannot(std::io::Error::other(status.to_string())))? }
    }
}
