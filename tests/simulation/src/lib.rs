//! The platform in one process: the real code of its functions, models of everything that they call, virtual time, and
//! one seed that decides everything. README.md says what is modelled.

mod accounts;
mod fault;
mod functions;
mod instances;
mod judge;
mod mappings;
mod network;
mod pattern;
mod process;
mod rules;
mod run;
mod scenario;
mod series;
mod services;
mod storm;
mod sweep;
mod templates;
mod trace;
mod watch;
mod world;

pub use fault::{Fault, Kind};
pub use run::{Plan, Verdict, run};
pub use scenario::Scenario;
pub use series::{Report, Series, SeriesError};
pub use sweep::{Choice, Runs, Summary, Sweep, failure};
