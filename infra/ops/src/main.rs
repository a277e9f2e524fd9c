//! The operator's command line.

mod arch;
mod attribute;
mod audit;
mod aws;
mod backup;
mod breaker;
mod cli;
mod confirm;
mod credentials;
mod dashboard;
mod destroy;
mod dlq;
mod documents;
mod drill;
mod error;
mod footprint;
mod logs;
mod order;
mod outputs;
mod parameters;
mod payments;
mod preflight;
mod release;
mod remote;
mod replay;
mod republish;
mod saga;
mod sam_local;
mod simulate;
mod smoke;
mod stage;
mod status;
mod stripe;
mod survey;
mod switch;
mod tables;
mod tunnel;
mod users;
mod verify;

use clap::Parser;

use crate::cli::Cli;
use crate::error::Error;

/// Ctrl-C, as shells report it.
const INTERRUPTED: i32 = 130;

#[tokio::main]
async fn main() {
    let result = Cli::parse().run().await;
    let code = match result {
        Ok(()) => 0,
        Err(Error::Interrupted) => INTERRUPTED,
        Err(error) => {
            eprintln!("error: {error}");
            1
        }
    };
    // At once: a supervisor's read of its standard input would keep the runtime waiting.
    std::process::exit(code);
}
