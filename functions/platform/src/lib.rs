//! Owns no data: it checks a new version of a function before CodeDeploy lets callers reach it, on stages with
//! `Canary=true` (infra/README.md).
//!
//! Publishes nothing and listens to nothing.

mod deployment;
mod health;
mod request;

pub use deployment::Deployments;
pub use health::Versions;
pub use request::{Report, answer};
