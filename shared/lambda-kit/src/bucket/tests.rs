use std::num::NonZeroU32;

use jiff::{SignedDuration, Timestamp};
use proptest::prelude::*;

use super::*;
use crate::testing::{self, Faults};

const T: i64 = 1_800_000_000_000;

fn at(milliseconds: i64) -> Timestamp {
    Timestamp::from_millisecond(T + milliseconds).unwrap()
}

const fn ms(milliseconds: i64) -> SignedDuration {
    SignedDuration::from_millis(milliseconds)
}

fn rate(burst: u32, per_second: u32) -> RateLimit {
    RateLimit::per_second(burst, NonZeroU32::new(per_second).unwrap())
}

fn bucket(table: &Table, capacity: u32, per_second: u32) -> Bucket {
    Bucket::new(table.clone(), "test", rate(capacity, per_second))
}

async fn alone(capacity: u32, per_second: u32) -> (Bucket, Faults) {
    let (table, faults) = testing::table(&[]).await;
    (bucket(&table, capacity, per_second), faults)
}

#[tokio::test]
async fn a_bucket_gives_what_it_holds_and_then_what_comes_back() {
    let (bucket, _) = alone(3, 2).await;
    for remaining in [2, 1, 0] {
        let reset_after = ms(500 * i64::from(3 - remaining));
        assert_eq!(bucket.take(at(0)).await, TakeOutcome::Taken { remaining, reset_after });
    }
    assert_eq!(bucket.take(at(0)).await, TakeOutcome::Wait(ms(500)));
    assert_eq!(bucket.take(at(499)).await, TakeOutcome::Wait(ms(1)));
    assert!(matches!(bucket.take(at(500)).await, TakeOutcome::Taken { remaining: 0, .. }));
    assert!(matches!(bucket.take(at(500)).await, TakeOutcome::Wait(_)));
    // Full again, and no fuller.
    assert!(matches!(bucket.take(at(60_000)).await, TakeOutcome::Taken { remaining: 2, .. }));
}

#[tokio::test]
async fn instances_share_it() {
    let (table, _) = testing::table(&[]).await;
    let (one, other) = (bucket(&table, 2, 1), bucket(&table, 2, 1));
    assert!(matches!(one.take(at(0)).await, TakeOutcome::Taken { remaining: 1, .. }));
    assert!(matches!(other.take(at(0)).await, TakeOutcome::Taken { remaining: 0, .. }));
    assert_eq!(one.take(at(0)).await, TakeOutcome::Wait(ms(1000)));
    assert_eq!(other.take(at(0)).await, TakeOutcome::Wait(ms(1000)));
    let another = Bucket::new(table, "another", rate(2, 1));
    assert!(matches!(another.take(at(0)).await, TakeOutcome::Taken { remaining: 1, .. }));
}

#[tokio::test]
async fn a_rate_may_be_slower_than_one_a_second() {
    let (table, _) = testing::table(&[]).await;
    let bucket = Bucket::new(table, "slow", RateLimit::every(2, Duration::from_secs(60)));
    assert_eq!(bucket.take(at(0)).await, TakeOutcome::Taken { remaining: 1, reset_after: ms(60_000) });
    assert_eq!(bucket.take(at(0)).await, TakeOutcome::Taken { remaining: 0, reset_after: ms(120_000) });
    assert_eq!(bucket.take(at(1000)).await, TakeOutcome::Wait(ms(59_000)));
    assert!(matches!(bucket.take(at(60_000)).await, TakeOutcome::Taken { remaining: 0, .. }));
}

#[tokio::test]
async fn a_token_is_one_write_as_long_as_the_bucket_is_as_it_was_last_seen() {
    let (bucket, faults) = alone(10, 1).await;
    bucket.take(at(0)).await;
    bucket.take(at(1)).await;
    bucket.take(at(2)).await;
    bucket.take(at(60_000)).await;
    assert_eq!(faults.calls(), ["UpdateItem"; 4]);
}

#[tokio::test]
async fn callers_get_turns_in_a_row_as_far_as_they_would_wait() {
    let (bucket, faults) = alone(1, 10).await;
    for turn in 0..=5 {
        assert_eq!(bucket.reserve(at(0), ms(500)).await, TokenReservation::After(ms(turn * 100)));
    }
    assert_eq!(bucket.reserve(at(0), ms(500)).await, TokenReservation::WouldExceedWait(ms(600)));
    assert_eq!(bucket.reserve(at(100), ms(500)).await, TokenReservation::After(ms(500)));
    assert_eq!(faults.calls().len(), 8);
    // A caller that does not wait cannot take a token that is reserved.
    assert_eq!(bucket.take(at(100)).await, TakeOutcome::Wait(ms(600)));
}

#[tokio::test]
async fn who_waits_gets_a_turn_after_the_one_before_or_is_sent_away_at_once() {
    let (bucket, _) = alone(1, 10).await;
    let started = std::time::Instant::now();
    let max_wait = Duration::from_millis(250);
    let waits = futures::future::join_all((0..4).map(|_| bucket.wait(at(0), max_wait))).await;
    assert_eq!(waits.iter().filter(|wait| wait.is_ok()).count(), 3, "at 0, 100 and 200 ms");
    assert!(started.elapsed() >= Duration::from_millis(200));
    assert!(waits.contains(&Err(ms(300))), "{waits:?}");
}

#[tokio::test]
async fn a_caller_may_wait_for_as_long_as_it_takes() {
    let (bucket, _) = alone(1, 10).await;
    for turn in [0, 100, 200] {
        assert_eq!(bucket.reserve(at(0), SignedDuration::MAX).await, TokenReservation::After(ms(turn)));
    }
}

#[tokio::test]
async fn several_tokens_are_one_write_and_wait_for_the_last_of_them() {
    let (bucket, faults) = alone(10, 10).await;
    assert_eq!(bucket.reserve_many(10, at(0), ms(1000)).await, TokenReservation::After(ms(0)));
    assert_eq!(bucket.reserve_many(5, at(0), ms(1000)).await, TokenReservation::After(ms(500)));
    assert_eq!(bucket.reserve_many(5, at(0), ms(1000)).await, TokenReservation::After(ms(1000)));
    assert_eq!(bucket.reserve_many(5, at(0), ms(1000)).await, TokenReservation::WouldExceedWait(ms(1500)));
    assert_eq!(bucket.reserve(at(0), ms(1000)).await, TokenReservation::WouldExceedWait(ms(1100)));
    assert_eq!(faults.calls(), ["UpdateItem"; 5]);
}

#[tokio::test]
async fn a_table_that_does_not_answer_lets_callers_through() {
    let (bucket, faults) = alone(1, 1).await;
    faults.refuse("UpdateItem", crate::aws::MAX_ATTEMPTS * 2);
    assert!(matches!(bucket.take(at(0)).await, TakeOutcome::Taken { .. }));
    let (reserved, lines) = testing::logged(bucket.reserve(at(0), ms(0))).await;
    assert_eq!(reserved, TokenReservation::After(SignedDuration::ZERO));
    assert!(lines.iter().any(|line| line.contains("WARN") && line.contains("failing open")), "{lines:?}");
}

#[tokio::test]
async fn a_bucket_whose_item_is_throttled_refuses_its_callers() {
    let (bucket, faults) = alone(10, 1).await;
    faults.throttle_calls("UpdateItem", crate::aws::MAX_ATTEMPTS);
    assert_eq!(bucket.take(at(0)).await, TakeOutcome::Wait(ms(1000)));
    faults.throttle_calls("UpdateItem", crate::aws::MAX_ATTEMPTS);
    assert_eq!(bucket.reserve(at(0), ms(0)).await, TokenReservation::WouldExceedWait(ms(1000)));
    assert!(matches!(bucket.take(at(0)).await, TakeOutcome::Taken { remaining: 9, .. }), "nothing was taken");
}

#[tokio::test]
async fn the_item_expires_an_hour_after_the_bucket_is_full_at_the_latest() {
    let (table, _) = testing::table(&[]).await;
    // Five seconds from empty to full.
    let bucket = bucket(&table, 10, 2);
    let expires_at = async || -> i64 {
        let read =
            table.client.get_item().table_name(&table.name).set_key(Some(key("BUCKET#test", "BUCKET")));
        let item = read.consistent_read(true).send().await.unwrap().item.unwrap();
        item["expires_at"].as_n().unwrap().parse().unwrap()
    };
    bucket.take(at(0)).await;
    assert_eq!(expires_at().await, T / 1000 + 5 + 3600);
    bucket.reserve_many(10, at(700), ms(1500)).await;
    assert_eq!(expires_at().await, T / 1000 + 7 + 3600, "the caller waits for 1.5 s");
}

#[tokio::test]
async fn a_slower_bucket_gives_its_turns_further_apart() {
    let (table, _) = testing::table(&[]).await;
    let bucket = bucket(&table, 1, 2).slower_by(5);
    for wait in [0, 525, 1050] {
        let turn = bucket.reserve(at(0), SignedDuration::from_secs(2)).await;
        assert_eq!(turn, TokenReservation::After(SignedDuration::from_millis(wait)));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_at_once_get_no_more_than_there_is() {
    let (table, _) = testing::table(&[]).await;
    let instances: Vec<Bucket> = (0..5).map(|_| bucket(&table, 20, 5)).collect();
    let takes = instances.iter().flat_map(|instance| (0..10).map(|_| instance.take(at(0))));
    let verdicts = futures::future::join_all(takes).await;
    let taken = verdicts.iter().filter(|verdict| matches!(verdict, TakeOutcome::Taken { .. })).count();
    assert_eq!(taken, 20);
}

proptest! {
    /// Whatever the order and the times of asking: within any span, no more than the bucket holds and gets in it.
    #[test]
    fn no_span_sees_more_than_it_may(
        capacity in 1_i64..20,
        per_second in 1_u32..300,
        gaps in proptest::collection::vec(0_i64..50_000, 1..200),
    ) {
        let flow = Flow { capacity, token: token(rate(1, per_second).interval) };
        let (mut now, mut full_at, mut taken) = (0, 0, Vec::new());
        for gap in gaps {
            now += gap;
            // The combined effect of the two writes.
            let next = full_at.max(now);
            if next <= flow.latest(now, 1, 0) {
                full_at = next + flow.token;
                prop_assert_eq!(flow.wait(full_at, now), SignedDuration::ZERO);
                taken.push(now);
            } else {
                prop_assert!(flow.wait(next + flow.token, now) > SignedDuration::ZERO);
            }
        }
        for (i, from) in taken.iter().enumerate() {
            for (n, to) in taken[i..].iter().enumerate() {
                let came_back = (to - from) * i64::from(per_second) / SECOND;
                prop_assert!(i64::try_from(n).unwrap() < capacity + came_back + 1);
            }
        }
    }
}
