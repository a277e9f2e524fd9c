//! The platform in one process: the real code of its functions, models of everything that they call, virtual time, and
//! one seed that decides everything. README.md says what is modelled.

mod fault;
mod functions;
mod instances;
mod judge;
mod mappings;
mod network;
mod pattern;
mod process;
mod run;
mod scenario;
mod services;
mod sweep;
mod templates;
mod trace;
mod world;

pub use fault::{Fault, Kind};
pub use run::{Plan, Verdict, run};
pub use scenario::Scenario;
pub use sweep::{Summary, Sweep, failure};
