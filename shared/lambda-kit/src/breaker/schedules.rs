//! The breaker under randomised schedules: many instances on one circuit that is changed by compare-and-swap, with
//! every order of their reads and writes that shuttle comes up with.

use jiff::Timestamp;
use shuttle::{
    check_random,
    future::block_on,
    sync::{
        Arc, Mutex,
        atomic::{AtomicI64, AtomicUsize, Ordering::SeqCst},
    },
    thread,
};

use super::{Breaker, Circuit, Circuits, Permit, PermitKind, State};
use crate::{dynamodb::TableError, limits::BREAKER, provider::CallOutcome};

const T: i64 = 1_800_000_000_000;
const SCHEDULES: usize = 500;
/// The probes of the first step; `last_step` leaves as many in the last one.
const SLOTS: usize = BREAKER.probes[0];

/// Half-open, before its last three probes.
fn last_step() -> State {
    let step = BREAKER.probes.len() - 1;
    State::HalfOpen { probes: vec![], successes: BREAKER.probes[step] - SLOTS, step }
}

/// The state that all instances share.
#[derive(Clone)]
struct Fixture {
    circuit: Arc<Mutex<Circuit>>,
    now: Arc<AtomicI64>,
    /// Probes that hold a permit.
    out: Arc<AtomicUsize>,
    probes: Arc<AtomicUsize>,
}

struct Memory(Arc<Mutex<Circuit>>);

impl Circuits for Memory {
    async fn read(&self, _: bool) -> Result<Circuit, TableError> {
        Ok(self.0.lock().unwrap().clone())
    }

    async fn replace(&self, circuit: &Circuit) -> Result<bool, TableError> {
        let mut known = self.0.lock().unwrap();
        let fits = known.version + 1 == circuit.version;
        if fits {
            *known = circuit.clone();
        }
        Ok(fits)
    }
}

impl Fixture {
    fn new(state: State) -> Self {
        Self {
            circuit: Arc::new(Mutex::new(Circuit { state, version: 1, ..Circuit::default() })),
            now: Arc::new(AtomicI64::new(T)),
            out: Arc::new(AtomicUsize::new(0)),
            probes: Arc::new(AtomicUsize::new(0)),
        }
    }

    fn instance(&self) -> Breaker<Memory> {
        // The clock is not a point where shuttle may switch: it is read often, and its order decides nothing.
        let now = Arc::clone(&self.now);
        let clock = move || Timestamp::from_millisecond(now.load(SeqCst)).unwrap();
        Breaker::over(Memory(Arc::clone(&self.circuit)), "test", clock)
    }

    fn state(&self) -> State {
        self.circuit.lock().unwrap().state.clone()
    }

    /// Each of `instances` asks for a permit, and calls if it gets one. `fails(n)` says whether the n-th
    /// probe fails.
    fn all_call(&self, instances: usize, fails: fn(usize) -> bool) {
        let threads: Vec<_> = (0..instances)
            .map(|_| {
                let fixture = self.clone();
                thread::spawn(move || block_on(fixture.one_calls(fails)))
            })
            .collect();
        threads.into_iter().for_each(|thread| thread.join().unwrap());
    }

    async fn one_calls(&self, fails: fn(usize) -> bool) {
        let breaker = self.instance();
        let Ok(permit) = breaker.acquire().await else { return };
        let Permit(PermitKind::Probe(_)) = &permit else {
            return breaker.report(permit, CallOutcome::Done).await;
        };
        let n = self.probes.fetch_add(1, SeqCst);
        assert!(self.out.fetch_add(1, SeqCst) < SLOTS, "more probes than slots");
        thread::yield_now();
        self.out.fetch_sub(1, SeqCst);
        breaker.report(permit, if fails(n) { CallOutcome::Failed } else { CallOutcome::Done }).await;
    }
}

#[test]
fn no_more_probes_than_are_left_go_through_and_their_successes_close_it() {
    check_random(
        || {
            let fixture = Fixture::new(last_step());
            fixture.all_call(6, |_| false);
            assert_eq!(fixture.probes.load(SeqCst), SLOTS);
            assert_eq!(fixture.state(), State::default());
        },
        SCHEDULES,
    );
}

#[test]
fn one_probe_that_fails_among_others_leaves_it_open() {
    check_random(
        || {
            let fixture = Fixture::new(State::Open { until: T });
            fixture.all_call(5, |n| n == 1);
            assert!(fixture.probes.load(SeqCst) <= SLOTS);
            assert_eq!(fixture.state(), State::Open { until: T + 30_000 });
        },
        SCHEDULES,
    );
}

#[test]
fn failures_that_are_told_at_the_same_moment_are_counted_once_each() {
    for (failing, expected) in [(4, "closed"), (5, "open"), (6, "open")] {
        check_random(
            move || {
                let fixture = Fixture::new(State::default());
                let threads: Vec<_> = (0..failing)
                    .map(|_| {
                        let breaker = fixture.instance();
                        thread::spawn(move || {
                            block_on(async {
                                let permit = breaker.acquire().await.unwrap_or(Permit(PermitKind::Counted));
                                breaker.report(permit, CallOutcome::Failed).await;
                            });
                        })
                    })
                    .collect();
                threads.into_iter().for_each(|thread| thread.join().unwrap());
                assert_eq!(fixture.state().name(), expected);
            },
            SCHEDULES,
        );
    }
}

#[test]
fn slots_of_probes_that_died_come_back_and_are_not_given_out_twice() {
    check_random(
        || {
            let fixture = Fixture::new(last_step());
            for _ in 0..SLOTS {
                let permit = block_on(fixture.instance().acquire()).unwrap();
                assert!(matches!(permit, Permit(PermitKind::Probe(_))));
            }
            fixture.all_call(2, |_| false);
            assert_eq!(fixture.probes.load(SeqCst), 0, "all slots are leased");
            fixture.now.fetch_add(20_000, SeqCst);
            fixture.all_call(6, |_| false);
            assert_eq!(fixture.probes.load(SeqCst), SLOTS);
            assert_eq!(fixture.state(), State::default());
        },
        SCHEDULES,
    );
}
