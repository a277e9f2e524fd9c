//! Measurements. They print figures and judge nothing: a machine's speed is no test.

mod cold;
mod cost;
mod cpu;
mod overload;
mod push;
mod reserve;
mod upstream;

use clap::Subcommand;

use crate::{error::Result, progress::Progress, settings::Settings};

#[derive(Debug, Subcommand)]
pub enum Bench {
    /// How fast each function starts and how much memory it takes, beside a bare echo
    Cold(cold::Cold),
    /// What an order causes on AWS, call by call, and what a million of each kind cost
    Cost(cost::Cost),
    /// What processor time the functions spend on an order, and in how many invocations
    Cpu(cpu::Cpu),
    /// How much is done while more is offered than a limit allows: offered, limit and done a second
    Overload(overload::Overload),
    /// How long an order's event takes to 1, 100 and 500 connections that watch it
    Push(push::Push),
    /// How many reservations a second go through, by the number of shards that a hot SKU is spread over
    Reserve(reserve::Reserve),
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
            Self::Cpu(cpu) => cpu.run(settings, progress).await,
            Self::Overload(overload) => overload.run(settings, progress).await,
            Self::Push(push) => push.run(settings, progress).await,
            Self::Reserve(reserve) => reserve.run(settings, progress).await,
        }
    }
}

/// A number of hundredths, with two digits after the point: `123` is `1.23`.
fn hundredths(value: u128) -> String {
    format!("{}.{:02}", value / 100, value % 100)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hundredths_are_written_with_a_point() {
        assert_eq!(hundredths(5), "0.05");
        assert_eq!(hundredths(1234), "12.34");
    }
}
