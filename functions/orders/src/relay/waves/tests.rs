//! Step Functions with a quota, Lambda's stream mapping, and time, all in this process: what is asserted here is the same
//! in every run.

use std::{
    cell::{Cell, RefCell},
    cmp::Reverse,
    collections::BinaryHeap,
    future::poll_fn,
    pin::pin,
    rc::Rc,
    task::{Context, Poll, Waker},
};

use futures::FutureExt;

use super::*;

const ORDERS: usize = 10_000;
/// As on a new on-demand table (DynamoDB Developer Guide, "On-demand capacity mode").
const SHARDS: usize = 4;
/// The same value as in infra/orders.yaml.
const BATCH: usize = 50;
/// StartExecution in eu-central-1 (Step Functions Developer Guide, "Quotas related to API action throttling").
const PER_SECOND: u64 = 150;
const BURST: u64 = 800;
/// One call, the SDK's tries of it, and the first wait between them.
const CALL: u64 = 35;
const TRIES: u32 = 3;
const PAUSE: u64 = 50;
/// Until Lambda delivers a failed batch again.
const AGAIN: u64 = 500;

/// A clock that goes on when everything waits. In milliseconds.
#[derive(Default)]
struct Clock {
    now: Cell<u64>,
    timers: RefCell<BinaryHeap<Reverse<u64>>>,
}

impl Clock {
    async fn sleep(&self, milliseconds: u64) {
        let until = self.now.get() + milliseconds;
        self.timers.borrow_mut().push(Reverse(until));
        poll_fn(|_| if self.now.get() >= until { Poll::Ready(()) } else { Poll::Pending }).await;
    }

    /// Runs a future to its end. It is polled on every event, so no waker is needed.
    fn run(&self, future: impl Future) {
        let mut future = pin!(future);
        while future.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending() {
            let Reverse(next) = self.timers.borrow_mut().pop().expect("something is waited for");
            self.now.set(next);
        }
    }
}

/// Step Functions: a token for each call, a refused name included; none for a throttled one.
struct StepFunctions {
    clock: Rc<Clock>,
    /// In thousandths of a token.
    tokens: Cell<u64>,
    seen_at: Cell<u64>,
    executions: RefCell<HashSet<String>>,
    repeated: Cell<usize>,
    throttled: Cell<usize>,
}

impl StepFunctions {
    fn new(clock: &Rc<Clock>) -> Self {
        Self {
            clock: Rc::clone(clock),
            tokens: Cell::new(BURST * 1000),
            seen_at: Cell::default(),
            executions: RefCell::default(),
            repeated: Cell::default(),
            throttled: Cell::default(),
        }
    }

    fn takes(&self) -> bool {
        let now = self.clock.now.get();
        let refilled = self.tokens.get() + (now - self.seen_at.replace(now)) * PER_SECOND;
        let tokens = refilled.min(BURST * 1000);
        let takes = tokens >= 1000;
        self.tokens.set(if takes { tokens - 1000 } else { tokens });
        takes
    }

    /// As the SDK calls it.
    async fn start(&self, start: &Start) -> StartAttempt {
        for attempt in 0..TRIES {
            self.clock.sleep(CALL).await;
            if self.takes() {
                if !self.executions.borrow_mut().insert(start.order_id.clone()) {
                    self.repeated.set(self.repeated.get() + 1);
                }
                return StartAttempt::Started;
            }
            self.throttled.set(self.throttled.get() + 1);
            self.clock.sleep(PAUSE << attempt).await;
        }
        StartAttempt::Failed
    }
}

/// A stream's shard: delivers batches as Lambda does, each from the first record that failed.
async fn shard(step_functions: Rc<StepFunctions>, orders: Vec<Start>, turn: impl AsyncFn(u32) -> bool) {
    let (clock, recent) = (Rc::clone(&step_functions.clock), RecentStarts::default());
    let mut next = 0;
    while next < orders.len() {
        let batch = &orders[next..orders.len().min(next + BATCH)];
        let start = async |start: &Start| step_functions.start(start).await;
        let handled = start_in_order(batch, &recent, &turn, start).await;
        match batch.iter().position(|start| handled.failed.contains(&start.origin)) {
            Some(first) => {
                next += first;
                clock.sleep(AGAIN).await;
            }
            None => next += batch.len(),
        }
    }
}

fn start(n: usize) -> Start {
    Start {
        origin: format!("{n:08}"),
        order_id: format!("ord_{n:08}"),
        correlation_id: String::new(),
        input: String::new(),
        span: None,
    }
}

/// Starts all orders that wait in the stream, at `pace` a second for all shards or without a limit. Returns
/// Step Functions in its final state, and the seconds that it took.
fn drain(pace: Option<u64>) -> (Rc<StepFunctions>, u64) {
    let clock = Rc::new(Clock::default());
    let step_functions = Rc::new(StepFunctions::new(&clock));
    let next_turn = Rc::new(Cell::new(0));
    let shards = (0..SHARDS).map(|n| {
        let orders = (0..ORDERS).filter(|order| order % SHARDS == n).map(start).collect();
        let (clock, next_turn) = (Rc::clone(&clock), Rc::clone(&next_turn));
        let turn = async move |count: u32| {
            if let Some(per_second) = pace {
                let at = next_turn.get().max(clock.now.get()) + u64::from(count) * 1000 / per_second;
                next_turn.set(at);
                clock.sleep(at - clock.now.get()).await;
            }
            true
        };
        shard(Rc::clone(&step_functions), orders, turn)
    });
    clock.run(join_all(shards));
    let seconds = clock.now.get().div_ceil(1000);
    (step_functions, seconds)
}

#[test]
fn shards_that_exceed_the_quota_together_start_as_many_sagas_as_it_allows() {
    let (step_functions, seconds) = drain(None);
    assert_eq!(step_functions.executions.borrow().len(), ORDERS);
    assert!(step_functions.throttled.get() > 0, "the quota was exceeded");
    assert_eq!(step_functions.repeated.get(), 0, "no saga was started twice");
    // (10,000 - 800) / 150 = 61.3 s is what the quota allows.
    assert!(seconds <= 68, "{seconds} s: {} a second", ORDERS as u64 / seconds);
}

#[test]
fn starts_at_a_pace_below_the_quota_are_never_throttled() {
    let (step_functions, seconds) = drain(Some(100));
    assert_eq!(step_functions.executions.borrow().len(), ORDERS);
    assert_eq!((step_functions.throttled.get(), step_functions.repeated.get()), (0, 0));
    assert!((100..=105).contains(&seconds), "{seconds} s");
}

/// The calls of one batch of 25 in which these orders end like this, and what became of it.
fn one_batch(
    ended: impl Fn(usize) -> StartAttempt,
    turns: usize,
    recent: &RecentStarts,
) -> (Vec<usize>, Handled) {
    let (calls, turns) = (RefCell::new(Vec::new()), Cell::new(turns));
    let starts: Vec<Start> = (0..25).map(start).collect();
    let turn = async |_| turns.get() > 0 && turns.replace(turns.get() - 1) > 0;
    let call = async |start: &Start| {
        let n = start.origin.parse().unwrap();
        calls.borrow_mut().push(n);
        ended(n)
    };
    let handled = start_in_order(&starts, recent, turn, call).now_or_never().expect("nothing waits");
    (calls.into_inner(), handled)
}

fn origins(orders: impl IntoIterator<Item = usize>) -> std::collections::BTreeSet<String> {
    orders.into_iter().map(|n| format!("{n:08}")).collect()
}

#[test]
fn nothing_behind_a_throttled_start_is_called_and_nothing_that_was_started_is_called_again() {
    let recent = RecentStarts::default();
    let throttled = |n| if n == 13 { StartAttempt::Failed } else { StartAttempt::Started };
    let (calls, handled) = one_batch(throttled, usize::MAX, &recent);
    assert_eq!(calls, (0..20).collect::<Vec<_>>());
    assert_eq!(handled, origins([13].into_iter().chain(20..25)).into());

    // The whole batch again: as after an answer that was lost.
    let (calls, handled) = one_batch(|_| StartAttempt::Started, usize::MAX, &recent);
    assert_eq!(calls, [13, 20, 21, 22, 23, 24]);
    assert_eq!(handled, Handled::default());
}

#[test]
fn a_batch_that_gets_no_turn_in_time_is_delivered_again_from_there() {
    let (calls, handled) = one_batch(|_| StartAttempt::Started, 1, &RecentStarts::default());
    assert_eq!(calls, (0..10).collect::<Vec<_>>());
    assert_eq!(handled, origins(10..25).into());
}

#[test]
fn a_saga_that_can_never_be_started_holds_up_no_other() {
    let refused = |n| if n == 3 { StartAttempt::Rejected } else { StartAttempt::Started };
    let (calls, handled) = one_batch(refused, usize::MAX, &RecentStarts::default());
    assert_eq!((calls.len(), handled.failed.len()), (25, 0));
    assert_eq!(handled.unprocessable, origins([3]));
}
