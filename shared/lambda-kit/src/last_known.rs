//! A bounded cache of values for times when their source cannot be read.

use std::{
    collections::HashMap,
    hash::Hash,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use ::http::HeaderValue;
use jiff::Timestamp;

use crate::{
    error::error_chain,
    limits::{LAST_KNOWN, LAST_KNOWN_READ},
};

/// The last known values by key. Clones share them; they last as long as the process.
#[derive(Debug, Clone)]
pub struct LastKnown<K, V> {
    values: Arc<Mutex<HashMap<K, Known<V>>>>,
    capacity: usize,
}

/// A value, and when it was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Known<V> {
    /// As it was read.
    pub value: V,
    /// When it was read.
    pub at: Timestamp,
}

/// The result of a read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Read<V> {
    /// Read from the source now.
    Current(V),
    /// The source does not answer; this is the last known value.
    Earlier(Known<V>),
}

impl<V> Read<V> {
    /// The value, and when it was read if that was not just now.
    pub fn into_parts(self) -> (V, Option<Timestamp>) {
        match self {
            Self::Current(value) => (value, None),
            Self::Earlier(Known { value, at }) => (value, Some(at)),
        }
    }
}

impl<K: Clone + Eq + Hash, V: Clone> LastKnown<K, V> {
    /// Keeps at most `capacity` values: the oldest makes room for a new one.
    pub fn new(capacity: usize) -> Self {
        Self { values: Arc::default(), capacity }
    }

    /// The last known value, unless it has expired.
    pub fn get(&self, key: &K, now: Timestamp) -> Option<Known<V>> {
        let known = self.lock().get(key).cloned();
        known.filter(|known| !remaining(known.at, now).is_zero())
    }

    /// Keeps a value that was read at `at`, unless a newer one is kept.
    pub fn set(&self, key: K, value: V, at: Timestamp) {
        let mut values = self.lock();
        // A slow read may end after a later one.
        if values.get(&key).is_some_and(|known| known.at > at) {
            return;
        }
        if values.len() >= self.capacity && !values.contains_key(&key) {
            let oldest = values.iter().min_by_key(|(_, known)| known.at).map(|(key, _)| key.clone());
            oldest.map(|key| values.remove(&key));
        }
        values.insert(key, Known { value, at });
    }

    /// Forgets all values.
    pub fn clear(&self) {
        self.lock().clear();
    }

    /// Reads a value and keeps it. When the source has none (`None`), the known value is removed. When the
    /// source does not answer, because the read fails with an outage or takes too long, returns the last
    /// known value.
    ///
    /// # Errors
    /// The read's own error, when no value is known or it is not an outage.
    pub async fn or_last<E: std::error::Error>(
        &self,
        key: K,
        now: Timestamp,
        is_outage: impl Fn(&E) -> bool,
        read: impl Future<Output = Result<Option<V>, E>>,
    ) -> Result<Option<Read<V>>, E> {
        let read = match self.get(&key, now) {
            // This read has no shorter timeout, because there is no value to fall back on.
            None => read.await,
            Some(known) => match tokio::time::timeout(LAST_KNOWN_READ, read).await {
                Err(slow) => return Ok(Some(earlier(known, &slow))),
                Ok(Err(outage)) if is_outage(&outage) => return Ok(Some(earlier(known, &outage))),
                Ok(read) => read,
            },
        };
        let value = read?;
        match &value {
            Some(value) => self.set(key, value.clone(), now),
            None => drop(self.lock().remove(&key)),
        }
        Ok(value.map(Read::Current))
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<K, Known<V>>> {
        self.values.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn earlier<V>(known: Known<V>, error: &dyn std::error::Error) -> Read<V> {
    tracing::warn!(error = error_chain(error), "read failed, the last known value is used");
    Read::Earlier(known)
}

/// How much longer a value that was read `at` may be used.
fn remaining(at: Timestamp, now: Timestamp) -> Duration {
    let age = Duration::try_from(now.duration_since(at)).unwrap_or_default();
    LAST_KNOWN.saturating_sub(age)
}

/// `Cache-Control` of a public response whose data was read `at`. A cache may reuse it for `fresh`, and when
/// it gets no newer response, until the data expires (`stale-if-error`, RFC 5861).
pub fn cache_control(fresh: Duration, at: Timestamp, now: Timestamp) -> HeaderValue {
    let (fresh, stale) = (fresh.as_secs(), remaining(at, now).as_secs());
    let text = format!("public, max-age={fresh}, stale-if-error={stale}");
    HeaderValue::try_from(text).expect("letters and digits are a header value")
}

#[cfg(test)]
mod tests {
    use std::future::pending;

    use jiff::SignedDuration;

    use super::*;

    #[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
    enum Failure {
        #[error("the source is down")]
        Down,
        #[error("the question is wrong")]
        Wrong,
    }

    const NOW: Timestamp = Timestamp::UNIX_EPOCH;

    fn after(time: Duration) -> Timestamp {
        NOW + SignedDuration::try_from(time).unwrap()
    }

    async fn read(
        last: &LastKnown<&'static str, u8>,
        now: Timestamp,
        answer: Result<Option<u8>, Failure>,
    ) -> Result<Option<Read<u8>>, Failure> {
        last.or_last("a", now, |error| *error == Failure::Down, async move { answer }).await
    }

    #[tokio::test]
    async fn the_last_known_value_replaces_an_outage_and_no_other_error() {
        let last = LastKnown::new(2);
        assert_eq!(read(&last, NOW, Err(Failure::Down)).await, Err(Failure::Down), "nothing is known");
        assert_eq!(read(&last, NOW, Ok(Some(1))).await, Ok(Some(Read::Current(1))));
        let known = Read::Earlier(Known { value: 1, at: NOW });
        let later = after(Duration::from_secs(1));
        assert_eq!(read(&last, later, Err(Failure::Down)).await, Ok(Some(known)));
        assert_eq!(read(&last, later, Err(Failure::Wrong)).await, Err(Failure::Wrong));
        assert_eq!(read(&last, later, Ok(Some(2))).await, Ok(Some(Read::Current(2))));
    }

    #[tokio::test]
    async fn a_read_that_takes_too_long_is_given_up_only_where_something_is_known() {
        let last = LastKnown::new(2);
        last.set("a", 1, NOW);
        let slow = |key| {
            let read = last.or_last(key, NOW, |_: &Failure| true, pending());
            tokio::time::timeout(LAST_KNOWN_READ + Duration::from_millis(500), read)
        };
        let (known, unknown) = tokio::join!(slow("a"), slow("b"));
        assert_eq!(known, Ok(Ok(Some(Read::Earlier(Known { value: 1, at: NOW })))));
        assert!(unknown.is_err(), "it is still waited for");
    }

    #[tokio::test]
    async fn what_is_no_longer_there_is_not_told_again() {
        let last = LastKnown::new(2);
        read(&last, NOW, Ok(Some(1))).await.unwrap();
        assert_eq!(read(&last, NOW, Ok(None)).await, Ok(None));
        assert_eq!(read(&last, NOW, Err(Failure::Down)).await, Err(Failure::Down));
    }

    #[tokio::test]
    async fn a_value_is_told_for_its_time_counted_from_when_it_was_read() {
        let last = LastKnown::new(2);
        read(&last, NOW, Ok(Some(1))).await.unwrap();
        let end = after(LAST_KNOWN);
        let just_before = end - SignedDuration::from_secs(1);
        assert!(read(&last, just_before, Err(Failure::Down)).await.is_ok());
        assert_eq!(
            read(&last, end, Err(Failure::Down)).await,
            Err(Failure::Down),
            "telling it keeps it no longer"
        );
    }

    #[test]
    fn the_oldest_value_makes_room_and_an_older_read_replaces_nothing() {
        let last = LastKnown::new(2);
        let at = |second| after(Duration::from_secs(second));
        for (key, second) in [("a", 1), ("b", 2), ("a", 3), ("c", 4), ("a", 2)] {
            last.set(key, second, at(second));
        }
        let known = ["a", "b", "c"].map(|key| last.get(&key, at(5)).map(|known| known.value));
        assert_eq!(known, [Some(3), None, Some(4)]);
    }

    #[test]
    fn a_cache_tells_it_no_longer_than_this_process_would() {
        let fresh = Duration::from_secs(5);
        assert_eq!(cache_control(fresh, NOW, NOW), "public, max-age=5, stale-if-error=1800");
        let later = after(Duration::from_secs(600));
        assert_eq!(cache_control(Duration::ZERO, NOW, later), "public, max-age=0, stale-if-error=1200");
        let ahead = cache_control(Duration::ZERO, later, NOW);
        assert_eq!(ahead, "public, max-age=0, stale-if-error=1800", "a clock that went back");
    }
}
