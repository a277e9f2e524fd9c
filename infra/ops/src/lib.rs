//! The operator's command line, and, for tests, the stack that it starts.

mod aws;
mod bench;
mod breaker;
mod cli;
mod demo;
mod deploy;
mod dlq;
mod documents;
mod emulator;
mod error;
mod functions;
mod logs;
mod ports;
mod process;
mod progress;
mod python;
mod release;
mod remote;
mod replay;
mod republish;
mod saga;
mod settings;
mod setup;
pub mod shop;
pub mod stack;
mod state;
mod status;
mod stripe;
mod stripe_proxy;
mod supervisor;
mod users;

pub use cli::Cli;
pub use emulator::Emulator;
pub use error::{Error, Result};
pub use settings::Port;
pub use state::{Admin, Outputs};
