//! Failures that tests ask for: `POST /_faults`, `DELETE /_faults`.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::body::Body;
use http::{Method, Response, StatusCode};
use serde::{Deserialize, Serialize};

/// Longer than any caller waits (12 s).
pub const HANG: Duration = Duration::from_secs(120);

/// What goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// It happens, and the caller does not hear of it.
    DropAnswer,
    /// It does not happen: the connection is closed.
    Refuse,
    /// It does not happen: 500. As at Stripe, the key keeps that answer.
    #[serde(rename = "error_500_before")]
    Error500Before,
    /// It happens, and the answer is 500. As at Stripe, the key keeps that answer.
    #[serde(rename = "error_500_after")]
    Error500After,
    /// It does not happen, and nothing is said for longer than a caller waits.
    Hang,
}

/// One failure, for the next request that it is meant for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fault {
    pub mode: Mode,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Planned {
    /// Empty: any path.
    #[serde(default)]
    path_prefix: String,
    /// Only requests whose idempotency key begins so: keys name their order and operation, so that one order's failures
    /// are not another's.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    key_prefix: String,
    mode: Mode,
    #[serde(default = "once")]
    count: u32,
}

fn once() -> u32 {
    1
}

/// Those that are still to come, oldest first.
#[derive(Debug, Default)]
pub struct Faults(Mutex<Vec<Planned>>);

impl Faults {
    pub fn configure(&self, method: &Method, body: &[u8]) -> Response<Body> {
        let mut planned = self.planned();
        if method == Method::DELETE {
            planned.clear();
        } else if method == Method::POST {
            match serde_json::from_slice::<Planned>(body) {
                Ok(fault) => planned.push(fault),
                Err(error) => {
                    return answer(StatusCode::BAD_REQUEST, &serde_json::json!({"error": error.to_string()}));
                }
            }
        }
        answer(StatusCode::OK, &serde_json::json!({"faults": *planned}))
    }

    /// Uses up one of the failures for this path and idempotency key (empty without one).
    pub fn take(&self, path: &str, key: &str) -> Option<Fault> {
        let mut planned = self.planned();
        let next = planned.iter_mut().find(|fault| {
            fault.count > 0 && path.starts_with(&fault.path_prefix) && key.starts_with(&fault.key_prefix)
        })?;
        next.count -= 1;
        let fault = Fault { mode: next.mode };
        planned.retain(|fault| fault.count > 0);
        Some(fault)
    }

    /// A panic elsewhere leaves the list whole: it is never half changed.
    fn planned(&self) -> MutexGuard<'_, Vec<Planned>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn answer(status: StatusCode, body: &serde_json::Value) -> Response<Body> {
    let mut response = Response::new(Body::from(body.to_string()));
    *response.status_mut() = status;
    response
}
