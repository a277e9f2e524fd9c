//! Records requests and responses for tests and measurements: `GET /_calls`, `DELETE /_calls`.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use axum::body::Body;
use http::{Method, Response};
use serde::Serialize;

/// Some minutes of a peak; older ones are forgotten.
const MOST: usize = 50_000;

#[derive(Debug, Clone, Serialize)]
struct Call {
    /// Method and path, with `{id}` in the place of ids.
    endpoint: String,
    /// Milliseconds since the proxy was started.
    at_ms: u64,
    status: u16,
}

/// The newest calls that were answered, oldest first.
#[derive(Debug)]
pub struct Calls {
    started: Instant,
    calls: Mutex<VecDeque<Call>>,
}

impl Default for Calls {
    fn default() -> Self {
        Self { started: Instant::now(), calls: Mutex::default() }
    }
}

impl Calls {
    pub fn note(&self, endpoint: String, status: u16) {
        let at_ms = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX);
        let mut calls = self.calls();
        if calls.len() == MOST {
            calls.pop_front();
        }
        calls.push_back(Call { endpoint, at_ms, status });
    }

    pub fn show(&self, method: &Method) -> Response<Body> {
        let mut calls = self.calls();
        if method == Method::DELETE {
            calls.clear();
        }
        let now_ms = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX);
        Response::new(Body::from(serde_json::json!({"now_ms": now_ms, "calls": *calls}).to_string()))
    }

    /// A panic elsewhere leaves the list whole: it is never half changed.
    fn calls(&self) -> MutexGuard<'_, VecDeque<Call>> {
        self.calls.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
