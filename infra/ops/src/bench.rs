//! Measurements. They print figures and judge nothing: a machine's speed is no test.

mod cold;
mod cost;

use clap::Subcommand;

use crate::{error::Result, progress::Progress, settings::Settings};

#[derive(Debug, Subcommand)]
pub enum Bench {
    /// How fast each function starts and how much memory it takes, beside a bare echo
    Cold(cold::Cold),
    /// What an order causes on AWS, call by call, and what a million of each kind cost
    Cost(cost::Cost),
}

impl Bench {
    /// Measures, and prints a table on stdout.
    ///
    /// # Errors
    /// What is to be measured cannot be built or run.
    pub async fn run(self, settings: &Settings, progress: &Progress) -> Result<()> {
        match self {
            Self::Cold(cold) => cold.run(settings, progress).await,
            Self::Cost(cost) => cost.run(settings, progress).await,
        }
    }
}
