//! A circuit breaker whose state all instances share through one item of their context's own table.
//!
//! Rules and numbers: [`crate::limits::BREAKER`]. An instance reads the item at most once a second, and not
//! at all while it makes no calls. It counts its calls in memory and writes only after a failure, then with
//! everything it has counted since its last write. An instance without a failure never reports its calls, so
//! the percentage covers only the instances that see failures: the breaker errs towards opening.
//!
//! Cost: while all is well, an order's calls, which follow each other within a second, share one eventually
//! consistent read of a small or missing item, half a read unit: 6 cents a million orders at $0.125 a million
//! (DynamoDB on-demand, us-east-1). Nothing is written. A failure costs one write unit. A recovery costs 43:
//! 21 probes, each with a write for its lease and one for its result, and the failure that opened the
//! circuit.

mod machine;
#[cfg(test)]
mod schedules;
mod table;

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
};

use contracts::metrics;
use jiff::{SignedDuration, Timestamp};

use crate::{
    dynamodb::{Table, TableError},
    error::error_chain,
    limits::BREAKER,
    provider::{CallOutcome, ProviderError, full_jitter, outcome_of},
    telemetry,
};

pub use machine::{Circuit, Decision, Mode, Probe, State, Tally};
pub use table::TableCircuits;

/// A process reports a circuit that refuses calls at most once in this time.
// The alarm looks at every minute.
const REPORT_PERIOD_MS: i64 = 10_000;

/// Tries of one write of the circuit.
// Only instances whose calls fail at the same moment write at the same time. Once the circuit is open, none
// does.
const TRIES: usize = 10;

/// Stores the circuit that the instances share.
pub trait Circuits: Send + Sync {
    /// Reads the circuit; a new one when there is no item.
    fn read(&self, consistent: bool) -> impl Future<Output = Result<Circuit, TableError>> + Send;

    /// Writes `circuit` if the stored one has the previous version. `false` when another instance wrote
    /// first.
    fn replace(&self, circuit: &Circuit) -> impl Future<Output = Result<bool, TableError>> + Send;
}

type Clock = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// Guards the calls of one dependency. Clones share their state.
pub struct Breaker<C = TableCircuits>(Arc<Instance<C>>);

struct Instance<C> {
    dependency: &'static str,
    circuits: C,
    clock: Clock,
    local: Mutex<Local>,
}

/// The state of this instance, with the calls that it has not reported.
#[derive(Default)]
struct Local {
    /// The circuit as it was read last (`None` when that failed), and the time of the read.
    seen: Option<(Option<Circuit>, i64)>,
    unreported: Tally,
    /// When the metric last said that the circuit is open, in Unix milliseconds.
    reported_open_at: i64,
}

/// A permit for one call, returned with the call's outcome. A lost permit of a probe expires.
#[derive(Debug, PartialEq, Eq)]
#[must_use = "the outcome of the call must be reported"]
pub struct Permit(PermitKind);

#[derive(Debug, PartialEq, Eq)]
enum PermitKind {
    Counted,
    Unmonitored,
    Probe(String),
}

/// The call was not made, because the dependency is considered down.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the circuit is open: not called, to be tried again in {} s", retry_after.as_secs())]
pub struct CircuitOpen {
    /// Until then a new try is of no use.
    pub retry_after: SignedDuration,
}

impl CircuitOpen {
    /// The delay for work that was not done.
    // It is spread over some time, so that not all waiting work returns in the second in which the circuit may
    // close.
    pub fn retry_delay(&self) -> SignedDuration {
        let spread = SignedDuration::try_from(full_jitter(BREAKER.spread)).unwrap_or(SignedDuration::ZERO);
        self.retry_after + spread
    }
}

/// Why a guarded call did not succeed.
#[derive(Debug)]
pub enum Guarded<E> {
    /// The call was not made.
    Open(CircuitOpen),
    /// The call was made, and failed with its own error.
    Call(E),
}

impl<C> Clone for Breaker<C> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<C> fmt::Debug for Breaker<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Breaker({})", self.0.dependency)
    }
}

impl Breaker {
    /// The breaker of `dependency` (`gateway`, `email`, …), with its item in the context's own table.
    pub fn new(table: Table, dependency: &'static str) -> Self {
        Self::over(TableCircuits::new(table, dependency), dependency, Timestamp::now)
    }

    /// As `new`, by another clock.
    pub fn with_clock(
        table: Table,
        dependency: &'static str,
        clock: impl Fn() -> Timestamp + Send + Sync + 'static,
    ) -> Self {
        Self::over(TableCircuits::new(table, dependency), dependency, clock)
    }
}

impl<C: Circuits> Breaker<C> {
    /// The breaker of `dependency`, with its circuit in `circuits`, by this clock. For tests of the breaker itself.
    pub fn over(
        circuits: C,
        dependency: &'static str,
        clock: impl Fn() -> Timestamp + Send + Sync + 'static,
    ) -> Self {
        let local = Mutex::new(Local::default());
        Self(Arc::new(Instance { dependency, circuits, clock: Arc::new(clock), local }))
    }

    /// Makes the call unless the circuit is open, and reports how it ended, by the rule of
    /// [`crate::provider`].
    ///
    /// # Errors
    /// `Open` when the call was not made, or the call's own error.
    pub async fn guard<T, E: ProviderError>(
        &self,
        call: impl Future<Output = Result<T, E>>,
    ) -> Result<T, Guarded<E>> {
        let permit = self.acquire().await.map_err(Guarded::Open)?;
        let result = call.await;
        self.report(permit, outcome_of(&result)).await;
        result.map_err(Guarded::Call)
    }

    /// Acquires a permit for one call. When the circuit cannot be read in time, the call is permitted.
    ///
    /// # Errors
    /// When the circuit is open, or half-open with all probes out.
    pub async fn acquire(&self) -> Result<Permit, CircuitOpen> {
        let now = self.now();
        let id = uuid::Uuid::now_v7().to_string();
        let Some(mut circuit) = self.current(now).await else { return Ok(Permit(PermitKind::Counted)) };
        for _ in 0..TRIES {
            let next = match circuit.decide(&id, now) {
                Decision::Counted => return Ok(Permit(PermitKind::Counted)),
                Decision::Unmonitored => return Ok(Permit(PermitKind::Unmonitored)),
                Decision::Held => return Ok(Permit(PermitKind::Probe(id))),
                Decision::Refused { wait } => {
                    self.report_open(now);
                    return Err(CircuitOpen { retry_after: SignedDuration::from_millis(wait) });
                }
                Decision::Probe(next) => next,
            };
            match self.replace(&circuit, next, now).await {
                Ok(true) => return Ok(Permit(PermitKind::Probe(id))),
                Ok(false) => {}
                // The circuit was open when it was read last, and whether a probe is free is unknown.
                Err(error) => {
                    tracing::warn!(
                        error = error_chain(&error),
                        dependency = self.0.dependency,
                        "no probe could be leased"
                    );
                    break;
                }
            }
            match self.read(true, now).await {
                Some(seen) => circuit = seen,
                None => return Ok(Permit(PermitKind::Counted)),
            }
        }
        // Other instances took the free probes at each try, or no probe could be written. The next second shows
        // a newer circuit.
        Err(CircuitOpen { retry_after: SignedDuration::from_secs(1) })
    }

    /// Whether a call would be refused now. Takes no permit: for work that should not even begin while the
    /// circuit is open.
    pub async fn refuses(&self) -> Option<CircuitOpen> {
        let now = self.now();
        // The decision gets no id, because it is not written: no probe is leased here.
        match self.current(now).await?.decide("", now) {
            Decision::Refused { wait } => {
                self.report_open(now);
                Some(CircuitOpen { retry_after: SignedDuration::from_millis(wait) })
            }
            Decision::Counted | Decision::Unmonitored | Decision::Held | Decision::Probe(_) => None,
        }
    }

    /// Reports how a call ended. A failure to report is logged and does not fail the call.
    pub async fn report(&self, permit: Permit, outcome: CallOutcome) {
        let now = self.now();
        let reported = match permit.0 {
            PermitKind::Unmonitored => return,
            // A throttled call is neither a success nor a failure (`provider`).
            PermitKind::Counted if outcome == CallOutcome::Throttled => return,
            PermitKind::Counted => {
                let failed = outcome == CallOutcome::Failed;
                self.local(|local| local.unreported.count(failed, now));
                if !failed {
                    return;
                }
                self.report_failures(now).await
            }
            PermitKind::Probe(id) => self.change(now, |circuit| circuit.after_probe(&id, outcome, now)).await,
        };
        if let Err(error) = reported {
            // The tally is kept and reported with the next failure; a probe's slot becomes free when its
            // lease ends.
            tracing::warn!(
                error = error_chain(&error),
                dependency = self.0.dependency,
                "the outcome of a call was not reported to its breaker"
            );
        }
    }

    async fn report_failures(&self, now: i64) -> Result<(), TableError> {
        // Taken out before it is reported, so that two concurrent failures are not counted twice.
        let tally = self.local(|local| std::mem::take(&mut local.unreported));
        let reported = self.change(now, |circuit| circuit.after_report(&tally, now)).await;
        if reported.is_err() {
            self.local(|local| local.unreported.merge(&tally));
        }
        reported
    }

    /// Changes the circuit with optimistic locking: retries when another instance has written.
    async fn change(&self, now: i64, next: impl Fn(&Circuit) -> Option<Circuit>) -> Result<(), TableError> {
        // The circuit is taken from memory, which saves a read. If it is outdated, the condition of the write
        // fails, and the circuit is read.
        let seen = self.local(|local| local.seen.clone().and_then(|(circuit, _)| circuit));
        let mut circuit = match seen {
            Some(circuit) => circuit,
            None => self.0.circuits.read(true).await?,
        };
        let writer = uuid::Uuid::now_v7().to_string();
        for _ in 0..TRIES {
            let Some(mut changed) = next(&circuit) else { return Ok(()) };
            changed.written_by.clone_from(&writer);
            if self.replace(&circuit, changed, now).await? {
                return Ok(());
            }
            circuit = self.0.circuits.read(true).await?;
            if circuit.written_by == writer {
                // This is our own write, whose answer was lost.
                self.remember(Some(circuit), now);
                return Ok(());
            }
        }
        Err(TableError::call("writing a circuit", "contended: another instance wrote each time"))
    }

    /// Writes `next` if the circuit is still `before`, and returns whether it did. Logs a change of state.
    async fn replace(&self, before: &Circuit, next: Circuit, now: i64) -> Result<bool, TableError> {
        if !self.0.circuits.replace(&next).await? {
            return Ok(false);
        }
        self.record_transition(before, &next, now);
        self.remember(Some(next), now);
        Ok(true)
    }

    fn record_transition(&self, before: &Circuit, after: &Circuit, now: i64) {
        let (from, to) = (before.state.name(), after.state.name());
        if from == to {
            return;
        }
        let dependency = self.0.dependency;
        match after.state {
            State::Open { .. } => {
                self.report_open(now);
                tracing::error!(dependency, from, to, "a circuit opened: the dependency is not called");
                return;
            }
            State::Closed(_) => telemetry::emit_by(&metrics::BREAKER_OPEN, dependency, 0),
            State::HalfOpen { .. } => {}
        }
        tracing::warn!(dependency, from, to, "a circuit's state changed");
    }

    /// Counts that the circuit is open, for the alarm.
    fn report_open(&self, now: i64) {
        let is_due = self.local(|local| {
            let is_due = now >= local.reported_open_at + REPORT_PERIOD_MS;
            if is_due {
                local.reported_open_at = now;
            }
            is_due
        });
        if is_due {
            telemetry::emit_by(&metrics::BREAKER_OPEN, self.0.dependency, 1);
        }
    }

    /// The circuit as this instance knows it, read again when that is older than `BREAKER.cache_ttl`.
    async fn current(&self, now: i64) -> Option<Circuit> {
        let cache_ttl = i64::try_from(BREAKER.cache_ttl.as_millis()).unwrap_or(i64::MAX);
        let seen = self.local(|local| local.seen.clone());
        match seen {
            // A clock that was set back gives a negative age. The circuit is then read again.
            Some((circuit, at)) if (0..cache_ttl).contains(&(now - at)) => circuit,
            _ => self.read(false, now).await,
        }
    }

    async fn read(&self, consistent: bool, now: i64) -> Option<Circuit> {
        let read = self.0.circuits.read(consistent).await;
        if let Err(error) = &read {
            let dependency = self.0.dependency;
            tracing::warn!(error = error_chain(error), dependency, "a circuit cannot be read, failing open");
        }
        // A failed read is remembered, too. So while the table does not answer, one call of this instance waits
        // for it each second, and not every call.
        self.remember(read.ok(), now)
    }

    /// Remembers the circuit, unless a newer version is known: an eventually consistent read may return an
    /// older one.
    fn remember(&self, circuit: Option<Circuit>, now: i64) -> Option<Circuit> {
        self.local(|local| {
            let known = local.seen.take().and_then(|(known, _)| known);
            let newer =
                circuit.map(|read| known.filter(|known| known.version > read.version).unwrap_or(read));
            local.seen = Some((newer.clone(), now));
            newer
        })
    }

    fn now(&self) -> i64 {
        (self.0.clock)().as_millisecond()
    }

    fn local<R>(&self, f: impl FnOnce(&mut Local) -> R) -> R {
        f(&mut self.0.local.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[cfg(test)]
mod tests;
