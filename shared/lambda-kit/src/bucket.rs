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

#[cfg(all(test, feature = "testing"))]
mod tests;

use std::{
    num::NonZeroU32,
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
    command::chain,
    dynamodb::{Item, Table, TableError, condition_failed, is_busy, key, number, refused_item},
    numbers::ATTEMPT_TIMEOUT,
};

const FULL_AT: &str = "full_at";
const SECOND: i64 = 1_000_000;

/// A full bucket is equivalent to no item, so the item may expire. Clocks and the time of the deletion differ
/// by less than this.
const KEPT_SECONDS: i64 = 3600;

/// At most three tries: "not full", as last seen; "full", as that write found; and "not full" again, when
/// another caller took a token meanwhile. At one `now` it cannot become full again.
const TRIES: usize = 3;

/// How long a caller waits when its bucket's item is throttled. DynamoDB counts the writes of each second.
const THROTTLED: SignedDuration = SignedDuration::from_secs(1);

/// The result of `take`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// `remaining` are left, and the bucket is full again after `reset_after`.
    Taken { remaining: u32, reset_after: SignedDuration },
    /// No token is free before this time has passed. Nothing was taken.
    Wait(SignedDuration),
}

/// The result of `turn`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Turn {
    /// One token belongs to the caller after this time; zero means now.
    After(SignedDuration),
    /// All tokens within the caller's maximum wait are taken by others. Nothing was taken.
    TooFar(SignedDuration),
}

/// `capacity` tokens, of which `per_second` come back.
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
    pub fn new(table: Table, key: impl Into<String>, capacity: u32, per_second: NonZeroU32) -> Self {
        let flow = Flow { capacity: i64::from(capacity), token: token(per_second) };
        Self { table, key: key.into(), flow, seen: AtomicI64::new(0) }
    }

    /// Refills `percent` more slowly. For a rate that a provider enforces: calls sent exactly at its rate
    /// arrive early as often as late, and early ones are refused.
    #[must_use]
    pub fn slower_by(mut self, percent: u32) -> Self {
        self.flow.token += self.flow.token * i64::from(percent) / 100;
        self
    }

    /// Takes one token, if there is one. When the table does not answer, the caller is let through. When the
    /// bucket's own item is throttled, the caller is refused: so many writes come only from callers that are far
    /// above their rate.
    pub async fn take(&self, now: Timestamp) -> Verdict {
        let now = now.as_microsecond();
        match self.advance(now, 1, 0).await {
            Ok(Advance::To(full_at)) => self.flow.taken(full_at, now),
            Ok(Advance::Not(full_at)) => Verdict::Wait(self.flow.turn(full_at + self.flow.token, now)),
            Ok(Advance::Throttled) => Verdict::Wait(THROTTLED),
            Err(error) => {
                self.cannot(&error);
                self.flow.taken(now, now)
            }
        }
    }

    /// Reserves one token that becomes free within `patience`. Waiting callers get consecutive tokens, while
    /// polling would cost a write each time. When the table does not answer, the token is free now.
    pub async fn turn(&self, now: Timestamp, patience: SignedDuration) -> Turn {
        self.turns(1, now, patience).await
    }

    /// Like [`turn`](Self::turn), for `count` tokens with one write: after the returned time all of them
    /// belong to the caller.
    pub async fn turns(&self, count: u32, now: Timestamp, patience: SignedDuration) -> Turn {
        let now = now.as_microsecond();
        match self.advance(now, count, micros(patience)).await {
            Ok(Advance::To(full_at)) => Turn::After(self.flow.turn(full_at, now)),
            Ok(Advance::Not(full_at)) => Turn::TooFar(self.flow.turn(full_at + self.flow.tokens(count), now)),
            Ok(Advance::Throttled) => Turn::TooFar(THROTTLED),
            Err(error) => {
                self.cannot(&error);
                Turn::After(SignedDuration::ZERO)
            }
        }
    }

    /// Waits for a token, up to `patience`.
    ///
    /// # Errors
    /// When no turn is free within that time: how long it would have been. Nothing was taken.
    pub async fn wait(&self, now: Timestamp, patience: Duration) -> Result<(), SignedDuration> {
        let asked = Instant::now();
        match self.turn(now, SignedDuration::try_from(patience).unwrap_or(SignedDuration::MAX)).await {
            Turn::After(wait) => {
                // Counted from the request, since waiting for the answer took some of the time.
                sleep_until(asked + wait.unsigned_abs()).await;
                Ok(())
            }
            Turn::TooFar(wait) => Err(wait),
        }
    }

    fn cannot(&self, error: &TableError) {
        // Without the key, which may contain a person's address.
        tracing::warn!(error = chain(error), "a rate limit cannot be asked: calls go ahead");
    }

    /// Moves `full_at` later by `count` tokens, if it then stays within the capacity and `patience`.
    async fn advance(&self, now: i64, count: u32, patience: i64) -> Result<Advance, TableError> {
        let mut full_at = self.seen.load(Ordering::Relaxed);
        for _ in 0..TRIES {
            let (moved, seen) = match self.move_on(full_at <= now, now, count, patience).await? {
                Move::Done(to) => (true, to),
                Move::Refused(seen) => (false, seen),
                Move::Throttled => return Ok(Advance::Throttled),
            };
            self.seen.fetch_max(seen, Ordering::Relaxed);
            if moved {
                return Ok(Advance::To(seen));
            }
            if seen > self.flow.latest(now, count, patience) {
                return Ok(Advance::Not(seen));
            }
            full_at = seen;
        }
        Err(TableError::call(OPERATION, "the bucket was emptied and deleted meanwhile"))
    }

    async fn move_on(&self, full: bool, now: i64, count: u32, patience: i64) -> Result<Move, TableError> {
        let update = self
            .table
            .client
            .update_item()
            .table_name(&self.table.name)
            .set_key(Some(key(format!("BUCKET#{}", self.key), "BUCKET")))
            .return_values(ReturnValue::UpdatedNew)
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
            .expression_attribute_values(":now", number(now))
            .expression_attribute_values(":expires", number(self.flow.expires(now, count, patience)));
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
                .expression_attribute_values(":latest", number(self.flow.latest(now, count, patience)))
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

enum Move {
    Done(i64),
    /// The bucket becomes full at another time than was thought; 0 when there is none.
    Refused(i64),
    /// One item takes about 1,000 writes a second.
    Throttled,
}

fn read<R: Send + Sync + std::fmt::Debug + 'static>(
    answer: Result<UpdateItemOutput, SdkError<UpdateItemError, R>>,
) -> Result<Move, TableError> {
    match answer {
        Ok(answer) => Ok(Move::Done(full_at(answer.attributes.as_ref())?)),
        Err(error) if condition_failed(&error) => {
            Ok(Move::Refused(refused_item(&error).map_or(Ok(0), |item| full_at(Some(item)))?))
        }
        Err(error) if is_busy(&error) => Ok(Move::Throttled),
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
fn token(per_second: NonZeroU32) -> i64 {
    let per_second = i64::from(per_second.get());
    (SECOND + per_second - 1) / per_second
}

impl Flow {
    /// The time that `count` tokens take to come back.
    fn tokens(self, count: u32) -> i64 {
        i64::from(count) * self.token
    }

    /// With `count` tokens in it at `now + patience`, a bucket becomes full no later than this.
    fn latest(self, now: i64, count: u32, patience: i64) -> i64 {
        now + patience + self.capacity * self.token - self.tokens(count)
    }

    /// The wait for a token, if taking it moves the time at which the bucket is full to `full_at`.
    fn turn(self, full_at: i64, now: i64) -> SignedDuration {
        SignedDuration::from_micros((full_at - self.capacity * self.token - now).max(0))
    }

    fn taken(self, full_at: i64, now: i64) -> Verdict {
        let missing = (full_at - now).max(0);
        let remaining = self.capacity - (missing + self.token - 1) / self.token;
        Verdict::Taken {
            remaining: u32::try_from(remaining).unwrap_or(0),
            reset_after: SignedDuration::from_micros(missing),
        }
    }

    fn expires(self, now: i64, count: u32, patience: i64) -> i64 {
        (self.latest(now, count, patience) + self.tokens(count)) / SECOND + KEPT_SECONDS
    }
}

fn micros(duration: SignedDuration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX / 4)
}
