//! The breaker on a real table.

use std::sync::atomic::{AtomicI64, Ordering::SeqCst};

use super::*;
use crate::{
    dynamodb::{OUTBOX, key},
    testing::{self, Faults},
};

const T: i64 = 1_800_000_000_000;
/// From open to closed.
const ALL_PROBES: usize = BREAKER.probes[0] + BREAKER.probes[1] + BREAKER.probes[2];

/// A table, a clock, and one instance.
struct Fixture {
    table: Table,
    faults: Faults,
    now: Arc<AtomicI64>,
    breaker: Breaker,
}

impl Fixture {
    async fn new() -> Self {
        let (table, faults) = testing::table(&[]).await;
        let now = Arc::new(AtomicI64::new(T));
        let breaker = instance(&table, &now);
        Self { table, faults, now, breaker }
    }

    fn wait(&self, ms: i64) {
        self.now.fetch_add(ms, SeqCst);
    }

    /// One call; whether it was made.
    async fn call(&self, fails: bool) -> bool {
        call(&self.breaker, fails).await
    }

    async fn item(&self) -> Option<crate::dynamodb::Item> {
        let get = self.table.client.get_item().table_name(&self.table.name);
        let get = get.set_key(Some(key("BREAKER#gateway", "BREAKER"))).consistent_read(true);
        get.send().await.unwrap().item
    }

    async fn state(&self) -> &'static str {
        TableCircuits::new(self.table.clone(), "gateway").read(true).await.unwrap().state.name()
    }

    /// As `cargo ops breaker set` does it.
    async fn switch(&self, mode: &str) {
        let update = self.table.client.update_item().table_name(&self.table.name);
        update
            .set_key(Some(key("BREAKER#gateway", "BREAKER")))
            .update_expression("SET #mode = :mode ADD version :one")
            .expression_attribute_names("#mode", "mode")
            .expression_attribute_values(":mode", crate::dynamodb::string(mode))
            .expression_attribute_values(":one", crate::dynamodb::number(1))
            .send()
            .await
            .unwrap();
    }
}

fn instance(table: &Table, now: &Arc<AtomicI64>) -> Breaker {
    let now = Arc::clone(now);
    Breaker::with_clock(table.clone(), "gateway", move || {
        Timestamp::from_millisecond(now.load(SeqCst)).unwrap()
    })
}

/// A call that ended so.
#[derive(Debug, PartialEq)]
struct Ended(CallOutcome);

impl ProviderError for Ended {
    fn outcome(&self) -> CallOutcome {
        self.0
    }
}

async fn call(breaker: &Breaker, fails: bool) -> bool {
    let call = async { if fails { Err(Ended(CallOutcome::Failed)) } else { Ok(()) } };
    !matches!(breaker.guard(call).await, Err(Guarded::Open(_)))
}

#[tokio::test]
async fn calls_that_go_well_cost_one_read_a_second_and_no_write() {
    let fixture = Fixture::new().await;
    for _ in 0..5 {
        assert!(fixture.call(false).await);
    }
    assert_eq!(fixture.faults.calls(), ["GetItem"]);
    fixture.wait(999);
    fixture.call(false).await;
    assert_eq!(fixture.faults.calls().len(), 1);
    fixture.wait(1);
    fixture.call(false).await;
    assert_eq!(fixture.faults.calls(), ["GetItem", "GetItem"]);
    assert_eq!(fixture.item().await, None);
}

#[tokio::test]
async fn a_failure_is_one_write_that_tells_the_calls_before_it_too() {
    let fixture = Fixture::new().await;
    for fails in [false, false, true] {
        fixture.call(fails).await;
    }
    assert_eq!(fixture.faults.calls(), ["GetItem", "PutItem"]);
    let item = fixture.item().await.unwrap();
    assert_eq!(item.get(OUTBOX), None, "a relay passes it by");
    let circuit: Circuit = serde_dynamo::from_item(item).unwrap();
    let State::Closed(tally) = circuit.state else { panic!("{circuit:?}") };
    let mut expected = Tally::default();
    [false, false, true].iter().for_each(|failed| expected.count(*failed, T));
    assert_eq!(tally, expected);
}

#[tokio::test]
async fn what_the_dependency_refuses_with_reason_or_for_being_too_much_is_no_failure() {
    let fixture = Fixture::new().await;
    for outcome in [CallOutcome::Refused, CallOutcome::Throttled] {
        for _ in 0..30 {
            let refused = fixture.breaker.guard(async { Err::<(), _>(Ended(outcome)) }).await;
            assert!(matches!(refused, Err(Guarded::Call(Ended(end))) if end == outcome));
        }
    }
    assert_eq!(fixture.item().await, None);
}

#[tokio::test]
async fn throttled_calls_do_not_dilute_the_percentage_of_failures() {
    let fixture = Fixture::new().await;
    for n in 0..26 {
        // Six of twenty calls fail, seven seconds apart.
        let outcome = if n % 4 == 0 { CallOutcome::Failed } else { CallOutcome::Done };
        let result = if outcome == CallOutcome::Done { Ok(()) } else { Err(Ended(outcome)) };
        let _ = fixture.breaker.guard(async { result }).await;
        let _ = fixture.breaker.guard(async { Err::<(), _>(Ended(CallOutcome::Throttled)) }).await;
        fixture.wait(if outcome == CallOutcome::Failed { 7_000 } else { 0 });
    }
    assert_eq!(fixture.state().await, "closed", "seven of 26 calls are 27 %");
    for _ in 0..2 {
        assert!(fixture.call(true).await);
        fixture.wait(7_000);
    }
    assert_eq!(fixture.state().await, "open", "nine of 28 calls are 32 %, however many were throttled");
}

#[tokio::test]
async fn what_was_sent_back_returns_spread_over_time() {
    let open = CircuitOpen { retry_after: SignedDuration::from_secs(10) };
    let waits: Vec<i64> = (0..200).map(|_| open.retry_delay().as_secs()).collect();
    assert!(waits.iter().all(|wait| (10..=40).contains(wait)), "{waits:?}");
    for tenth in 0..10 {
        let (from, to) = (10 + 3 * tenth, 10 + 3 * (tenth + 1));
        let within = waits.iter().filter(|wait| (from..=to).contains(*wait)).count();
        assert!(within > 0, "nothing returns between {from} and {to} s");
    }
}

#[tokio::test]
async fn it_opens_for_other_instances_within_a_second_and_closes_after_the_probes_of_all_steps() {
    let fixture = Fixture::new().await;
    let other = instance(&fixture.table, &fixture.now);
    assert!(call(&other, false).await);
    for _ in 0..5 {
        assert!(fixture.call(true).await);
    }
    assert!(!fixture.call(false).await);
    assert!(call(&other, false).await, "it believes for a second what it has read");
    fixture.wait(1000);
    assert!(!call(&other, false).await);
    let Err(open) = other.acquire().await else { panic!("it is let through") };
    assert_eq!(open.retry_after, SignedDuration::from_secs(29));

    fixture.wait(29_000);
    for breaker in [&other, &fixture.breaker, &other].into_iter().cycle().take(ALL_PROBES) {
        assert_ne!(fixture.state().await, "closed");
        assert!(call(breaker, false).await);
    }
    assert_eq!(fixture.state().await, "closed");
    assert!(fixture.call(false).await);
}

#[tokio::test]
async fn calls_go_ahead_when_the_item_cannot_be_read_and_the_table_is_not_asked_each_time() {
    let fixture = Fixture::new().await;
    fixture.faults.refuse("GetItem", 100);
    for _ in 0..5 {
        assert!(fixture.call(false).await);
    }
    assert!(fixture.faults.calls().len() <= 3, "{:?}", fixture.faults.calls());
}

#[tokio::test]
async fn failures_that_could_not_be_told_are_told_with_the_next() {
    let fixture = Fixture::new().await;
    fixture.faults.refuse("PutItem", 3 * crate::aws::MAX_ATTEMPTS);
    for _ in 0..3 {
        fixture.call(true).await;
    }
    assert_eq!(fixture.item().await, None);
    fixture.call(true).await;
    assert_eq!(fixture.state().await, "closed");
    fixture.call(true).await;
    assert_eq!(fixture.state().await, "open");
}

#[tokio::test]
async fn lost_answers_count_no_failure_twice_and_lose_no_slot() {
    let fixture = Fixture::new().await;
    for n in 1..=5 {
        fixture.faults.lose_answers("PutItem", 1);
        fixture.call(true).await;
        assert_eq!(fixture.state().await, if n < 5 { "closed" } else { "open" }, "after {n} failures");
    }
    fixture.wait(30_000);
    for _ in 0..ALL_PROBES {
        fixture.faults.lose_answers("PutItem", 2);
        assert!(fixture.call(false).await);
    }
    assert_eq!(fixture.state().await, "closed");
}

#[tokio::test]
async fn an_operator_switches_it_whether_or_not_anything_has_failed() {
    let fixture = Fixture::new().await;
    fixture.switch("forced_open").await;
    assert!(!fixture.call(false).await);
    fixture.wait(60_000);
    assert!(!fixture.call(false).await, "for as long as it is forced");

    fixture.switch("off").await;
    fixture.wait(1000);
    for _ in 0..9 {
        assert!(fixture.call(true).await);
    }
    assert_eq!(fixture.state().await, "closed");

    fixture.switch("normal").await;
    fixture.wait(1000);
    for _ in 0..5 {
        assert!(fixture.call(true).await);
    }
    assert!(!fixture.call(true).await);
    let circuit = TableCircuits::new(fixture.table.clone(), "gateway").read(true).await.unwrap();
    assert_eq!((circuit.mode, circuit.version), (Mode::Normal, 8), "three switches, five failures");
}

#[tokio::test]
async fn work_need_not_begin_while_the_circuit_is_open() {
    let fixture = Fixture::new().await;
    assert_eq!(fixture.breaker.refuses().await, None);
    for _ in 0..5 {
        assert!(fixture.call(true).await);
    }
    let refused = fixture.breaker.refuses().await.expect("the circuit is open");
    assert_eq!(refused.retry_after, SignedDuration::from_secs(30));
    fixture.wait(30_000);
    assert_eq!(fixture.breaker.refuses().await, None, "a probe may be made");
}

/// An eventually consistent read, as the test sets it.
struct Replica(Arc<Mutex<Circuit>>);

impl Circuits for Replica {
    async fn read(&self, _: bool) -> Result<Circuit, TableError> {
        Ok(self.0.lock().unwrap().clone())
    }

    async fn replace(&self, _: &Circuit) -> Result<bool, TableError> {
        unreachable!("the test makes no call")
    }
}

#[tokio::test]
async fn an_older_circuit_that_is_read_later_does_not_replace_a_newer_one() {
    let open = State::Open { until: T + 30_000 };
    let shared = Arc::new(Mutex::new(Circuit { state: open, version: 2, ..Circuit::default() }));
    let now = Arc::new(AtomicI64::new(T));
    let clock = Arc::clone(&now);
    let breaker = Breaker::over(Replica(Arc::clone(&shared)), "gateway", move || {
        Timestamp::from_millisecond(clock.load(SeqCst)).unwrap()
    });
    assert!(breaker.refuses().await.is_some());
    *shared.lock().unwrap() = Circuit { version: 1, ..Circuit::default() };
    now.fetch_add(1_000, SeqCst);
    assert!(breaker.refuses().await.is_some(), "version 1 is older than version 2");
    *shared.lock().unwrap() = Circuit { version: 3, ..Circuit::default() };
    now.fetch_add(1_000, SeqCst);
    assert_eq!(breaker.refuses().await, None);
}

#[tokio::test]
async fn a_step_of_a_later_release_is_treated_as_the_last_one() {
    let fixture = Fixture::new().await;
    let state = State::HalfOpen { probes: vec![], successes: 0, step: BREAKER.probes.len() + 4 };
    let later = Circuit { state, version: 1, ..Circuit::default() };
    assert!(TableCircuits::new(fixture.table.clone(), "gateway").replace(&later).await.unwrap());
    for _ in 0..BREAKER.probes[BREAKER.probes.len() - 1] {
        assert_eq!(fixture.state().await, "half_open");
        assert!(fixture.call(false).await);
    }
    assert_eq!(fixture.state().await, "closed");
}
