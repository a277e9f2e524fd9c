//! A token bucket that all instances share through one item of their context's own table.
//!
//! The item holds one number: when the bucket will be full again (the generic cell rate algorithm, ITU-T
//! I.371). Tokens come back at a steady rate, so taking one moves that time later, and the bucket is empty
//! while the time is too far ahead. Taking a token is one conditional write, without a read.
//!
//! Cost: one write unit a token, refused or not, and a second one when the bucket had changed since this
//! instance last saw it, at $0.625 a million (DynamoDB on-demand, us-east-1).
//!
//! Instances compare their own clocks, which Lambda keeps within milliseconds. An instance whose clock is
//! ahead can take only what the bucket gains in that time.

use std::{
    sync::atomic::{AtomicI64, Ordering},
    time::Duration,
};

use aws_sdk_dynamodb::{
    error::SdkError,
    operation::update_item::{UpdateItemError, UpdateItemOutput},
    types::{ReturnValue, ReturnValuesOnConditionCheckFailure},
};
use jiff::{SignedDuration, Timestamp};
use tokio::time::{Instant, sleep_until, timeout};

use crate::{
    dynamodb::{Item, Table, TableError, condition_failed, is_busy, key, number, refused_item},
    error::error_chain,
    limits::{ATTEMPT_TIMEOUT, RateLimit},
};

const FULL_AT: &str = "full_at";
const SECOND: i64 = 1_000_000;

/// How long the item is kept after the bucket is full, in seconds.
// A full bucket is equivalent to no item, so the item may expire. Clocks and the time of the deletion differ by
// less than this.
const KEPT_SECONDS: i64 = 3600;

/// Tries of one write, at most.
// At worst, the first try assumes "not full", as last seen. The second assumes "full", as the first one found.
// The third assumes "not full" again, because another caller took a token meanwhile. At one `now` the bucket
// cannot become full again.
const TRIES: usize = 3;

/// How long a caller waits when its bucket's item is throttled.
// DynamoDB counts the writes of each second.
const THROTTLED: SignedDuration = SignedDuration::from_secs(1);

/// The result of `take`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TakeOutcome {
    /// One token belongs to the caller.
    Taken {
        /// Tokens that are left.
        remaining: u32,
        /// Until the bucket is full again.
        reset_after: SignedDuration,
    },
    /// No token is free before this time has passed. Nothing was taken.
    Wait(SignedDuration),
}

/// The result of `reserve`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TokenReservation {
    /// One token belongs to the caller after this time; zero means now.
    After(SignedDuration),
    /// All tokens within the caller's maximum wait are taken by others. Nothing was taken.
    WouldExceedWait(SignedDuration),
}

/// As many tokens as the burst of a rate, which come back one after the other.
#[derive(Debug)]
pub struct Bucket {
    table: Table,
    key: String,
    flow: Flow,
    /// When it was last seen to become full; 0 before that.
    seen: AtomicI64,
}

impl Bucket {
    /// The bucket `key` in a context's own table (`pk = BUCKET#<key>`, `sk = BUCKET`).
    pub fn new(table: Table, key: impl Into<String>, rate: RateLimit) -> Self {
        let flow = Flow { capacity: i64::from(rate.burst), token: token(rate.interval) };
        Self { table, key: key.into(), flow, seen: AtomicI64::new(0) }
    }

    /// Refills `percent` more slowly, for a rate that a provider enforces.
    // Calls that are sent exactly at its rate arrive early as often as late, and the provider refuses early
    // ones.
    #[must_use]
    pub fn slower_by(mut self, percent: u32) -> Self {
        self.flow.token += self.flow.token * i64::from(percent) / 100;
        self
    }

    /// Takes one token, if there is one. When the table does not answer, the call is allowed (failing open). When
    /// the bucket's own item is throttled, the caller is refused.
    // Only a caller that is far above its rate writes the item so often that DynamoDB throttles it.
    pub async fn take(&self, now: Timestamp) -> TakeOutcome {
        let now = now.as_microsecond();
        match self.advance(now, 1, 0).await {
            Ok(Advance::To(full_at)) => self.flow.taken(full_at, now),
            Ok(Advance::Not(full_at)) => TakeOutcome::Wait(self.flow.wait(full_at + self.flow.token, now)),
            Ok(Advance::Throttled) => TakeOutcome::Wait(THROTTLED),
            Err(error) => {
                self.log_failing_open(&error);
                self.flow.taken(now, now)
            }
        }
    }

    /// Reserves one token that becomes free within `max_wait`. Waiting callers get consecutive tokens. When the
    /// table does not answer, the token is free now.
    // Polling would cost a write each time.
    pub async fn reserve(&self, now: Timestamp, max_wait: SignedDuration) -> TokenReservation {
        self.reserve_many(1, now, max_wait).await
    }

    /// Like [`reserve`](Self::reserve), for `count` tokens with one write: after the returned time all of them
    /// belong to the caller.
    pub async fn reserve_many(
        &self,
        count: u32,
        now: Timestamp,
        max_wait: SignedDuration,
    ) -> TokenReservation {
        let now = now.as_microsecond();
        match self.advance(now, count, micros(max_wait)).await {
            Ok(Advance::To(full_at)) => TokenReservation::After(self.flow.wait(full_at, now)),
            Ok(Advance::Not(full_at)) => {
                TokenReservation::WouldExceedWait(self.flow.wait(full_at + self.flow.tokens(count), now))
            }
            Ok(Advance::Throttled) => TokenReservation::WouldExceedWait(THROTTLED),
            Err(error) => {
                self.log_failing_open(&error);
                TokenReservation::After(SignedDuration::ZERO)
            }
        }
    }

    /// Waits for a token, up to `max_wait`.
    ///
    /// # Errors
    /// When no token is free within that time: how long it would have been. Nothing was taken.
    pub async fn wait(&self, now: Timestamp, max_wait: Duration) -> Result<(), SignedDuration> {
        let asked = Instant::now();
        match self.reserve(now, SignedDuration::try_from(max_wait).unwrap_or(SignedDuration::MAX)).await {
            TokenReservation::After(wait) => {
                // Counted from the request, since waiting for the answer took some of the time.
                sleep_until(asked + wait.unsigned_abs()).await;
                Ok(())
            }
            TokenReservation::WouldExceedWait(wait) => Err(wait),
        }
    }

    fn log_failing_open(&self, error: &TableError) {
        // Without the key, which may contain a person's address.
        tracing::warn!(error = error_chain(error), "a token bucket cannot be read, failing open");
    }

    /// Moves `full_at` later by `count` tokens, if it then stays within the capacity and `max_wait`.
    async fn advance(&self, now: i64, count: u32, max_wait: i64) -> Result<Advance, TableError> {
        // `Relaxed` is enough, because the value is only a guess. The condition of the write checks it.
        let mut full_at = self.seen.load(Ordering::Relaxed);
        for _ in 0..TRIES {
            let (moved, seen) = match self.move_on(full_at <= now, now, count, max_wait).await? {
                WriteOutcome::Done(to) => (true, to),
                WriteOutcome::Refused(seen) => (false, seen),
                WriteOutcome::Throttled => return Ok(Advance::Throttled),
            };
            self.seen.fetch_max(seen, Ordering::Relaxed);
            if moved {
                return Ok(Advance::To(seen));
            }
            if seen > self.flow.latest(now, count, max_wait) {
                return Ok(Advance::Not(seen));
            }
            full_at = seen;
        }
        Err(TableError::call(OPERATION, "the bucket was emptied and deleted meanwhile"))
    }

    async fn move_on(
        &self,
        full: bool,
        now: i64,
        count: u32,
        max_wait: i64,
    ) -> Result<WriteOutcome, TableError> {
        let update = self
            .table
            .client
            .update_item()
            .table_name(&self.table.name)
            .set_key(Some(key(format!("BUCKET#{}", self.key), "BUCKET")))
            .return_values(ReturnValue::UpdatedNew)
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
            .expression_attribute_values(":now", number(now))
            .expression_attribute_values(":expires", number(self.flow.expires(now, count, max_wait)));
        let update = if full {
            update
                .update_expression("SET full_at = :full_at, expires_at = :expires")
                .condition_expression("attribute_not_exists(pk) OR full_at <= :now")
                .expression_attribute_values(":full_at", number(now + self.flow.tokens(count)))
        } else {
            update
                .update_expression("SET full_at = full_at + :token, expires_at = :expires")
                .condition_expression("full_at > :now AND full_at <= :latest")
                .expression_attribute_values(":token", number(self.flow.tokens(count)))
                .expression_attribute_values(":latest", number(self.flow.latest(now, count, max_wait)))
        };
        let answer = timeout(ATTEMPT_TIMEOUT, update.send());
        read(answer.await.map_err(|late| TableError::call(OPERATION, late))?)
    }
}

const OPERATION: &str = "taking from a bucket";

enum Advance {
    To(i64),
    Not(i64),
    Throttled,
}

enum WriteOutcome {
    Done(i64),
    /// The bucket becomes full at another time than was thought; 0 when there is none.
    Refused(i64),
    /// One item takes about 1,000 writes a second.
    Throttled,
}

fn read<R: Send + Sync + std::fmt::Debug + 'static>(
    answer: Result<UpdateItemOutput, SdkError<UpdateItemError, R>>,
) -> Result<WriteOutcome, TableError> {
    match answer {
        Ok(answer) => Ok(WriteOutcome::Done(full_at(answer.attributes.as_ref())?)),
        Err(error) if condition_failed(&error) => {
            Ok(WriteOutcome::Refused(refused_item(&error).map_or(Ok(0), |item| full_at(Some(item)))?))
        }
        Err(error) if is_busy(&error) => Ok(WriteOutcome::Throttled),
        Err(error) => Err(TableError::call(OPERATION, error)),
    }
}

fn full_at(item: Option<&Item>) -> Result<i64, TableError> {
    let value = item.and_then(|item| item.get(FULL_AT)).and_then(|value| value.as_n().ok());
    let number = value.ok_or_else(|| TableError::item(OPERATION, "no full_at"))?;
    number.parse().map_err(|error: std::num::ParseIntError| TableError::item(OPERATION, error))
}

/// The arithmetic of filling and emptying. Times are in microseconds.
#[derive(Debug, Clone, Copy)]
struct Flow {
    capacity: i64,
    /// The time that one token takes to come back.
    token: i64,
}

/// Rounded up, so that the rate is never exceeded.
fn token(interval: Duration) -> i64 {
    i64::try_from(interval.as_nanos().div_ceil(1000)).unwrap_or(i64::MAX / 4)
}

impl Flow {
    /// The time that `count` tokens take to come back.
    fn tokens(self, count: u32) -> i64 {
        i64::from(count) * self.token
    }

    /// With `count` tokens in it at `now + max_wait`, a bucket becomes full no later than this.
    fn latest(self, now: i64, count: u32, max_wait: i64) -> i64 {
        now + max_wait + self.capacity * self.token - self.tokens(count)
    }

    /// The wait for a token, if taking it moves the time at which the bucket is full to `full_at`.
    fn wait(self, full_at: i64, now: i64) -> SignedDuration {
        SignedDuration::from_micros((full_at - self.capacity * self.token - now).max(0))
    }

    fn taken(self, full_at: i64, now: i64) -> TakeOutcome {
        let missing = (full_at - now).max(0);
        let remaining = self.capacity - (missing + self.token - 1) / self.token;
        TakeOutcome::Taken {
            remaining: u32::try_from(remaining).unwrap_or(0),
            reset_after: SignedDuration::from_micros(missing),
        }
    }

    fn expires(self, now: i64, count: u32, max_wait: i64) -> i64 {
        (self.latest(now, count, max_wait) + self.tokens(count)) / SECOND + KEPT_SECONDS
    }
}

fn micros(duration: SignedDuration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX / 4)
}

#[cfg(test)]
mod tests;
