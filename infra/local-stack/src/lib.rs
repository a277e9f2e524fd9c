//! The stack on one machine: the emulators, the functions, the deployed templates, and the products to sell.
//!
//! [`Stack::start`] does all of it. The other items are its parts, which the operator's tool and the tests use one by one.

mod admin;
pub mod call;
mod checkout;
pub mod containers;
pub mod deploy;
mod deployed_function;
pub mod emulator;
mod environments;
mod error;
pub mod functions;
pub mod invocation;
pub mod ports;
pub mod process;
mod profile;
mod progress;
pub mod python;
mod samconfig;
mod settings;
mod setup;
mod stack;
mod state;
mod stripe_proxy;
pub mod supervisor;
mod template;
pub mod upstream;

pub use admin::{admin_grant, granted};
pub use checkout::Checkout;
pub use deployed_function::DeployedFunction;
pub use emulator::Emulator;
pub use error::{AboutFile, Error, Result};
pub use profile::{Profile, RELEASE};
pub use progress::{Progress, Step};
pub use samconfig::StageConfig;
pub use settings::{
    ALARM_MINUTE, DEFAULT_GATEWAY_PORT, DEFAULT_STRIPE_PORT, LOCAL_STAGE, Port, REGION, Settings, repository,
};
pub use setup::WEBHOOK_EVENTS;
pub use stack::{Stack, down, restart_emulator};
pub use state::{Admin, Outputs, Running, StateDir};
pub use template::{Function, Template};
