//! Sagas: Step Functions limits the starts a second.
//!
//! A quota between the relay and the emulator answers excess calls as Step Functions does. It is below the
//! relay's own rate (`SagaStartsPerSecond`), as if other users of the account consumed the rest, so that the
//! relay is throttled. The emulator delivers a batch again from the first record that is reported as failed.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use axum::body::Bytes;
use http::{HeaderMap, HeaderValue, StatusCode, header, request::Parts};
use local_stack::upstream::{self, Answer, Upstream};
use local_stack::{Outputs, Step};
use tokio::net::TcpListener;

use super::load::{Load, Measured};
use super::orders::Orders;
use super::variable;
use crate::error::{Error, Result};

/// The variable by which the relay's calls of Step Functions, and no others, go through the quota.
const ENDPOINT: &str = "AWS_ENDPOINT_URL_SFN";
const START: &str = "AWSStepFunctions.StartExecution";
/// Step Functions API Reference, "Common Error Types".
const THROTTLED: &[u8] = br#"{"__type":"ThrottlingException","message":"Rate exceeded"}"#;

pub async fn measure(outputs: &Outputs, load: &Load, step: &Step) -> Result<Measured> {
    let cannot = |error| Error::Measurement(format!("cannot listen at 127.0.0.1: {error}"));
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.map_err(cannot)?;
    let address = listener.local_addr().map_err(cannot)?;
    let quota = Arc::new(Quota::new(&outputs.aws_endpoint_url, load.limit));
    let served = tokio::spawn(upstream::serve(listener, {
        let quota = quota.clone();
        move |parts, body| {
            let quota = quota.clone();
            async move { Ok(quota.handle(parts, body).await) }
        }
    }));
    let limited = async {
        let orders = Orders::prepare(outputs, load, step).await?;
        quota.begin();
        let placed = orders.place(step).await?;
        let (done, throttled) = quota.counted();
        Ok(Measured { offered: placed.offered, done, throttled, lost: placed.lost })
    };
    let endpoint = format!("http://{address}");
    let measured = variable::with(outputs, "orders-relay", (ENDPOINT, &endpoint), limited).await;
    served.abort();
    measured
}

/// Step Functions with a quota of its own.
struct Quota {
    upstream: Upstream,
    per_second: u32,
    counted: Mutex<Counted>,
}

struct Counted {
    began: Instant,
    /// The starts that were accepted within the last second.
    passed: Vec<Instant>,
    done: Vec<Duration>,
    throttled: usize,
}

impl Counted {
    fn new() -> Self {
        Self { began: Instant::now(), passed: Vec::new(), done: Vec::new(), throttled: 0 }
    }
}

impl Quota {
    fn new(upstream: &str, per_second: u32) -> Self {
        Self { upstream: Upstream::new(upstream), per_second, counted: Mutex::new(Counted::new()) }
    }

    /// Counts from now on.
    fn begin(&self) {
        *self.lock() = Counted::new();
    }

    /// When sagas were started, and how many calls were throttled.
    fn counted(&self) -> (Vec<Duration>, usize) {
        let counted = self.lock();
        (counted.done.clone(), counted.throttled)
    }

    async fn handle(&self, parts: Parts, body: Bytes) -> Answer {
        let is_start = parts.headers.get("x-amz-target").is_some_and(|target| target == START);
        if is_start && !self.passes(Instant::now()) {
            return throttled();
        }
        let answer = self.upstream.ask(&parts, body).await;
        if is_start && answer.status.is_success() {
            let mut counted = self.lock();
            let now = counted.began.elapsed();
            counted.done.push(now);
        }
        answer
    }

    /// Whether one more call is within the quota. Throttled calls do not count.
    fn passes(&self, now: Instant) -> bool {
        let mut counted = self.lock();
        counted.passed.retain(|at| now.duration_since(*at) < Duration::from_secs(1));
        let passes = counted.passed.len() < self.per_second as usize;
        if passes {
            counted.passed.push(now);
        } else {
            counted.throttled += 1;
        }
        passes
    }

    /// A panic elsewhere leaves the counts intact: they are never half changed.
    fn lock(&self) -> MutexGuard<'_, Counted> {
        self.counted.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn throttled() -> Answer {
    let json = HeaderValue::from_static("application/x-amz-json-1.0");
    let headers = HeaderMap::from_iter([(header::CONTENT_TYPE, json)]);
    Answer { status: StatusCode::BAD_REQUEST, headers, body: Bytes::from_static(THROTTLED) }
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    fn call(target: &str) -> Parts {
        Request::post("/").header("x-amz-target", target).body(()).expect("a request").into_parts().0
    }

    async fn step_functions() -> String {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a free port");
        let address = listener.local_addr().expect("an address");
        tokio::spawn(upstream::serve(listener, |_, body| async move {
            Ok(Answer { status: StatusCode::OK, headers: HeaderMap::new(), body })
        }));
        format!("http://{address}")
    }

    #[tokio::test]
    async fn what_is_over_the_quota_is_throttled_and_does_not_happen() {
        let quota = Quota::new(&step_functions().await, 2);
        let mut statuses = Vec::new();
        for _ in 0..3 {
            let answer = quota.handle(call(START), Bytes::from_static(b"{}")).await;
            statuses.push((answer.status.as_u16(), answer.body));
        }
        let (done, throttled) = (Bytes::from_static(b"{}"), Bytes::from_static(THROTTLED));
        assert_eq!(statuses, [(200, done.clone()), (200, done), (400, throttled)]);
        let (done, throttled) = quota.counted();
        assert_eq!((done.len(), throttled), (2, 1));
        assert!(quota.passes(Instant::now() + Duration::from_secs(1)), "a second later there is room");
    }

    #[tokio::test]
    async fn other_calls_have_no_quota() {
        let quota = Quota::new(&step_functions().await, 1);
        for _ in 0..3 {
            let answer = quota.handle(call("AWSStepFunctions.DescribeExecution"), Bytes::new()).await;
            assert_eq!(answer.status, StatusCode::OK);
        }
        assert!(quota.counted().0.is_empty());
    }
}
