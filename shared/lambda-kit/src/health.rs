//! The health check of a context's dependencies, invoked with `{"action":"health"}`.

use std::{collections::BTreeMap, sync::Arc};

use futures::future::{BoxFuture, join_all};
use serde::{Deserialize, Serialize};

/// One dependency and how to see that it answers.
#[derive(Clone)]
pub struct Check {
    name: &'static str,
    probe: Arc<dyn Fn() -> BoxFuture<'static, bool> + Send + Sync>,
}

impl Check {
    /// `probe` returns whether the dependency answers; it has its own timeout.
    pub fn new<F>(name: &'static str, probe: F) -> Self
    where
        F: Fn() -> BoxFuture<'static, bool> + Send + Sync + 'static,
    {
        Self { name, probe: Arc::new(probe) }
    }
}

/// The result of a health check.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(schemars::JsonSchema))]
pub struct Health {
    /// `down` when one of the checks is.
    pub status: HealthStatus,
    /// The dependencies by name.
    pub checks: BTreeMap<String, HealthStatus>,
}

/// Whether a dependency or a context works.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum HealthStatus {
    /// It answers.
    Ok,
    /// It does not answer in time, or with an error.
    Down,
}

impl From<bool> for HealthStatus {
    fn from(ok: bool) -> Self {
        if ok { Self::Ok } else { Self::Down }
    }
}

/// Checks all dependencies concurrently.
pub async fn check(checks: &[Check]) -> Health {
    let results =
        join_all(checks.iter().map(|check| async { (check.name.to_owned(), (check.probe)().await) })).await;
    Health {
        status: HealthStatus::from(results.iter().all(|(_, ok)| *ok)),
        checks: results.into_iter().map(|(name, ok)| (name, HealthStatus::from(ok))).collect(),
    }
}
