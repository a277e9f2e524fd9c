//! Faults for tests: `POST /_faults`, `DELETE /_faults`.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use axum::body::Body;
use http::{Method, Response, StatusCode};
use serde::{Deserialize, Serialize};

/// Longer than any caller waits (12 s).
pub const HANG: Duration = Duration::from_secs(120);
const SECOND: Duration = Duration::from_secs(1);

/// The kind of fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// The request takes effect, and its answer is dropped.
    DropAnswer,
    /// It does not happen: the connection is closed.
    Refuse,
    /// It does not happen: 500. As at Stripe, the key keeps that answer.
    #[serde(rename = "error_500_before")]
    Error500Before,
    /// It happens, and the answer is 500. As at Stripe, the key keeps that answer.
    #[serde(rename = "error_500_after")]
    Error500After,
    /// The request has no effect, and there is no answer for longer than a caller waits.
    Hang,
    /// At most `per_second` requests a second to each endpoint; the others do not happen: 429, which no key keeps.
    AtMost,
    /// For `seconds` from now on, nothing happens: connections are closed.
    Down,
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
    /// Only requests whose idempotency key has this prefix: keys name their order and operation, so that
    /// faults can be limited to one order.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    key_prefix: String,
    mode: Mode,
    /// The number of requests, for modes that end after some.
    #[serde(default = "once")]
    count: u32,
    /// For `at_most`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    per_second: Option<usize>,
    /// For `down`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    seconds: Option<u64>,
    /// When a `down` is over.
    #[serde(skip)]
    until: Option<Instant>,
    /// Endpoints of an `at_most`, with the requests that were let through to them within the last second.
    #[serde(skip)]
    passed: Vec<(String, Vec<Instant>)>,
}

fn once() -> u32 {
    1
}

impl Planned {
    fn read(body: &[u8], now: Instant) -> Result<Self, String> {
        let mut planned: Self = serde_json::from_slice(body).map_err(|error| error.to_string())?;
        match (planned.mode, planned.per_second, planned.seconds) {
            (Mode::AtMost, Some(1..), None) => {}
            (Mode::AtMost, ..) => return Err("at_most needs per_second, at least 1".to_owned()),
            (Mode::Down, None, Some(seconds @ 1..)) => {
                planned.until = Some(now + Duration::from_secs(seconds));
            }
            (Mode::Down, ..) => return Err("down needs seconds, at least 1".to_owned()),
            (_, None, None) => {}
            _ => return Err("per_second is for at_most, seconds for down".to_owned()),
        }
        Ok(planned)
    }

    fn is_over(&self, now: Instant) -> bool {
        self.count == 0 || self.until.is_some_and(|until| until <= now)
    }

    /// Whether this request fails. Uses up one request of a counted fault.
    fn strikes(&mut self, method: &Method, path: &str, key: &str, now: Instant) -> bool {
        if self.is_over(now) || !path.starts_with(&self.path_prefix) || !key.starts_with(&self.key_prefix) {
            return false;
        }
        match (self.mode, self.per_second) {
            (Mode::Down, _) => true,
            (Mode::AtMost, Some(most)) => !self.passes(&endpoint(method, path), most, now),
            _ => {
                self.count -= 1;
                true
            }
        }
    }

    /// Whether the endpoint is below its rate in the last second.
    fn passes(&mut self, endpoint: &str, most: usize, now: Instant) -> bool {
        let known = self.passed.iter().position(|(known, _)| known == endpoint);
        let place = known.unwrap_or_else(|| {
            self.passed.push((endpoint.to_owned(), Vec::new()));
            self.passed.len() - 1
        });
        let passed = &mut self.passed[place].1;
        passed.retain(|at| now.duration_since(*at) < SECOND);
        let passes = passed.len() < most;
        if passes {
            passed.push(now);
        }
        passes
    }
}

/// The unit of Stripe's rate limits: the path without the ids, which begin with their kind and an underscore.
pub fn endpoint(method: &Method, path: &str) -> String {
    let is_id = |part: &&str| ["pi_", "re_", "ch_", "pm_"].iter().any(|kind| part.starts_with(kind));
    let parts = path.split('/').map(|part| if is_id(&part) { "{id}" } else { part });
    format!("{method} {}", parts.collect::<Vec<_>>().join("/"))
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
            match Planned::read(body, Instant::now()) {
                Ok(fault) => planned.push(fault),
                Err(error) => {
                    return answer(StatusCode::BAD_REQUEST, &serde_json::json!({"error": error}));
                }
            }
        }
        answer(StatusCode::OK, &serde_json::json!({"faults": *planned}))
    }

    /// Uses up one of the failures for this request and idempotency key (empty without one).
    pub fn take(&self, method: &Method, path: &str, key: &str) -> Option<Fault> {
        let now = Instant::now();
        let mut planned = self.planned();
        let struck = planned.iter_mut().position(|fault| fault.strikes(method, path, key, now));
        let fault = struck.map(|place| Fault { mode: planned[place].mode });
        planned.retain(|fault| !fault.is_over(now));
        fault
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
