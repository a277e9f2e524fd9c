//! The rate of messages to a provider, over all instances.

use std::{
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use contracts::UserId;
use jiff::Timestamp;
use serde_json::json;
use wiremock::{Request, Respond, ResponseTemplate};

use crate::fixture::*;

const RATE: u32 = 20;
const MESSAGES: usize = 30;
/// The bucket uses the wall clock in microseconds, and the test a monotonic one.
const CLOCKS: Duration = Duration::from_millis(1);

/// When the provider was called.
#[derive(Clone, Default)]
struct Calls(Arc<Mutex<Vec<Instant>>>);

impl Respond for Calls {
    fn respond(&self, _: &Request) -> ResponseTemplate {
        let mut calls = self.0.lock().unwrap();
        calls.push(Instant::now());
        // Some are throttled, and their retries wait for turns, too.
        let status = if calls.len() <= 18 && calls.len().is_multiple_of(3) { 429 } else { 200 };
        ResponseTemplate::new(status).set_body_json(json!({"MessageId": "m"}))
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn at_peak_two_instances_together_call_the_provider_no_faster_than_the_rate() {
    let anna = UserId::generate();
    let fixture = Fixture::at_rate(RATE).await;
    fixture.receive(&updated(&anna, 1, ADDRESS, EMAIL)).await.unwrap();
    let calls = Calls::default();
    fixture.ses_by(calls.clone()).await;
    let another_instance = fixture.another_instance(RATE);
    let started = Instant::now();
    let handled = (0..MESSAGES).map(|n| {
        let instance = if n % 2 == 0 { &fixture } else { &another_instance };
        let body = serde_json::to_string(&completed_as(&anna, &format!("k-{n}"))).unwrap();
        let message = serde_json::from_value(json!({"body": body, "attributes": {}})).unwrap();
        // The wall clock, which turns are computed with.
        async move { instance.notifier.message(message, Timestamp::now()).await }
    });
    let handled = futures::future::join_all(handled).await;
    assert!(handled.iter().all(Result::is_ok), "{handled:?}");

    let mut calls = calls.0.lock().unwrap().clone();
    calls.sort();
    assert!(calls.len() > MESSAGES, "{}", calls.len());
    // Each call had a turn, and turns are spaced evenly: the n-th call is no earlier than the n-th turn,
    // however much a busy machine delays some of them.
    for (turn, call) in (0..).zip(&calls) {
        let least = Duration::from_secs(1) * turn / RATE;
        assert!(*call - started + CLOCKS >= least, "call {turn} came after {:?}", *call - started);
    }
    let took = calls[calls.len() - 1] - started;
    assert!(took < Duration::from_secs(20), "{} calls in {took:?}: that is slow", calls.len());
}
