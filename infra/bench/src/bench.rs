use clap::Subcommand;

use local_stack::{Progress, Settings};

use crate::cold::Cold;
use crate::cost::Cost;
use crate::cpu::Cpu;
use crate::error::Result;
use crate::overload::Overload;
use crate::peers::Peers;
use crate::push::Push;
use crate::reserve::Reserve;

#[derive(Debug, Subcommand)]
pub enum Bench {
    /// How fast each function starts and how much memory it takes, beside a bare echo
    Cold(Cold),
    /// What an order causes on AWS, call by call, and what a million of each kind cost
    Cost(Cost),
    /// What processor time the functions spend on an order, and in how many invocations
    Cpu(Cpu),
    /// How much is done while more is offered than a limit allows: offered, limit and done a second
    Overload(Overload),
    /// An order beside AWS's own sample of a saga, and beside five functions that do nothing
    Peers(Peers),
    /// How long an order's event takes to 1, 20 and 100 connections that watch it
    Push(Push),
    /// How many reservations a second go through, by the number of shards that a hot SKU is spread over
    Reserve(Reserve),
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
            Self::Peers(peers) => peers.run(settings, progress).await,
            Self::Push(push) => push.run(settings, progress).await,
            Self::Reserve(reserve) => reserve.run(settings, progress).await,
        }
    }
}
