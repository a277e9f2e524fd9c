//! The helpers against a DynamoDB in process, with faults.

use std::{future::ready, time::Duration};

use futures::future::join_all;
use rstest::rstest;
use serde::Deserialize;
use serde_json::{Value, json};
use wiremock::{Mock, MockServer, ResponseTemplate, matchers::method};

use super::*;
use crate::testing::{self, Faults};

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Counter {
    version: u64,
    count: u64,
}

const FIRST: Counter = Counter { version: 1, count: 1 };

fn counter_key() -> Item {
    key("COUNTER", "COUNTER")
}

async fn put(table: &Table, counter: &Counter) -> Result<Result<(), Conflict>, TableError> {
    let item = to_item("counting", counter_key(), counter)?;
    table.put_if("counting", item, at_version(counter.version - 1)).await
}

async fn stored(table: &Table) -> Option<Counter> {
    table.get("reading a counter", counter_key()).await.unwrap()
}

/// A table with one counter, and the calls since then.
async fn counted() -> (Table, Faults) {
    let (table, faults) = testing::table(&[]).await;
    put(&table, &FIRST).await.unwrap().unwrap();
    faults.reset();
    (table, faults)
}

#[tokio::test]
async fn an_item_is_read_as_a_value_and_an_item_of_another_format_is_an_error() {
    let (table, _) = testing::table(&[]).await;
    assert_eq!(stored(&table).await, None);
    put(&table, &FIRST).await.unwrap().unwrap();
    assert_eq!(stored(&table).await, Some(FIRST));
    table.put("writing", counter_key()).await.unwrap();
    let broken = table.get::<Counter>("reading a counter", counter_key()).await;
    assert!(matches!(broken, Err(TableError::Item { .. })), "{broken:?}");
}

#[tokio::test]
async fn a_put_over_another_version_conflicts_and_changes_nothing() {
    let (table, _) = counted().await;
    assert_eq!(put(&table, &FIRST).await.unwrap(), Err(Conflict), "there is an item");
    assert_eq!(put(&table, &Counter { version: 3, count: 9 }).await.unwrap(), Err(Conflict));
    assert_eq!(stored(&table).await, Some(FIRST));
    let second = Counter { version: 2, count: 2 };
    assert_eq!(put(&table, &second).await.unwrap(), Ok(()));
    assert_eq!(stored(&table).await, Some(second));
}

#[tokio::test]
async fn a_put_whose_answer_is_lost_conflicts_with_itself() {
    let (table, faults) = counted().await;
    faults.lose_answers("PutItem", 1);
    let second = Counter { version: 2, count: 2 };
    assert_eq!(put(&table, &second).await.unwrap(), Err(Conflict));
    assert_eq!(stored(&table).await, Some(second));
}

#[tokio::test]
async fn an_update_and_its_condition_share_their_placeholders() {
    let (table, _) = counted().await;
    let add = |limit: u64| {
        let update = Expression::new("SET #count = #count + :one").value(":one", number(1));
        let condition =
            Expression::new("#count < :limit").name("#count", "count").value(":limit", number(limit));
        table.update_if("counting", counter_key(), update, condition)
    };
    assert_eq!(add(2).await.unwrap(), Ok(()));
    assert_eq!(add(2).await.unwrap(), Err(Conflict));
    assert_eq!(stored(&table).await.unwrap().count, 2);
}

#[tokio::test]
async fn a_delete_with_a_condition_keeps_an_item_that_does_not_meet_it() {
    let (table, _) = counted().await;
    let delete = |version| table.delete_if("deleting", counter_key(), at_version(version));
    assert_eq!(delete(2).await.unwrap(), Err(Conflict));
    assert_eq!(delete(1).await.unwrap(), Ok(()));
    assert_eq!(stored(&table).await, None);
    table.delete("deleting", counter_key()).await.unwrap();
}

#[tokio::test]
async fn a_batch_is_read_in_calls_of_100_keys() {
    let (table, faults) = testing::table(&[]).await;
    let keys: Vec<Item> = (0..200).map(|n| key("BATCH", format!("{n:03}"))).collect();
    for key in keys.iter().step_by(50) {
        table.put("writing", key.clone()).await.unwrap();
    }
    faults.reset();
    let found = table.batch_get("reading", keys, BatchRead::CONSISTENT).await.unwrap();
    assert_eq!((found.len(), faults.calls()), (4, vec!["BatchGetItem".to_owned(); 2]));
    faults.reset();
    assert_eq!(table.batch_get("reading", vec![], BatchRead::EVENTUAL).await.unwrap(), []);
    assert!(faults.calls().is_empty());
}

/// A DynamoDB that leaves the key `B` unprocessed this many times, which the table in process never does.
async fn throttled(times: u64) -> (Table, MockServer) {
    let server = MockServer::start().await;
    let item = |sk: &str| json!({"pk": {"S": "P"}, "sk": {"S": sk}});
    let rest =
        json!({"test": {"Keys": [item("B")], "ConsistentRead": true, "ProjectionExpression": "pk, sk"}});
    let partly = json!({"Responses": {"test": [item("A")]}, "UnprocessedKeys": rest});
    let whole = json!({"Responses": {"test": [item("B")]}, "UnprocessedKeys": {}});
    let answer = |body: Value| {
        Mock::given(method("POST")).respond_with(ResponseTemplate::new(200).set_body_json(body))
    };
    answer(partly).up_to_n_times(times).with_priority(1).mount(&server).await;
    answer(whole).mount(&server).await;
    (testing::table_at(&server.uri()).0, server)
}

async fn read_both(table: &Table, tries: u32) -> Result<Vec<Item>, TableError> {
    let read = BatchRead { attributes: Some("pk, sk"), tries, ..BatchRead::CONSISTENT };
    table.batch_get("reading", vec![key("P", "A"), key("P", "B")], read).await
}

#[tokio::test]
async fn unprocessed_keys_are_requested_again_and_no_others() {
    let (table, server) = throttled(1).await;
    assert_eq!(read_both(&table, 2).await.unwrap(), [key("P", "A"), key("P", "B")]);
    let requests = server.received_requests().await.unwrap();
    let requested = |n: usize| requests[n].body_json::<Value>().unwrap()["RequestItems"]["test"].clone();
    let (first, second) = (requested(0), requested(1));
    assert_eq!(second["Keys"], json!([{"pk": {"S": "P"}, "sk": {"S": "B"}}]));
    for request in [first, second] {
        let read = (&request["ConsistentRead"], &request["ProjectionExpression"]);
        assert_eq!(read, (&json!(true), &json!("pk, sk")));
    }
}

#[rstest]
#[case(1)]
#[case(2)]
#[case(4)]
#[tokio::test]
async fn keys_that_stay_unprocessed_are_an_error_after_the_last_try(#[case] tries: u32) {
    let (table, server) = throttled(9).await;
    let Err(TableError::Call { source, .. }) = read_both(&table, tries).await else { panic!("a part") };
    assert_eq!(source.downcast_ref(), Some(&UnprocessedKeys { keys: 1, tries }));
    assert_eq!(server.received_requests().await.unwrap().len(), usize::try_from(tries).unwrap());
}

#[tokio::test]
async fn a_batch_is_written_in_calls_of_25_writes() {
    let (table, faults) = testing::table(&[]).await;
    let items = || (0..60).map(|n| key("BATCH", format!("{n:02}"))).collect::<Vec<Item>>();
    table.batch_put("writing", items()).await.unwrap();
    assert_eq!(faults.calls(), ["BatchWriteItem"; 3]);
    assert_eq!(table.batch_get("reading", items(), BatchRead::CONSISTENT).await.unwrap().len(), 60);
    faults.reset();
    table.batch_delete("deleting", items()).await.unwrap();
    assert_eq!(faults.calls(), ["BatchWriteItem"; 3]);
    assert_eq!(table.batch_get("reading", items(), BatchRead::CONSISTENT).await.unwrap(), []);
    faults.reset();
    table.batch_delete("deleting", vec![]).await.unwrap();
    assert!(faults.calls().is_empty());
}

/// A DynamoDB that leaves the write of `B` unprocessed this many times.
async fn throttling_writes(times: u64) -> (Table, MockServer) {
    let server = MockServer::start().await;
    let rest = json!({"test": [{"PutRequest": {"Item": {"pk": {"S": "P"}, "sk": {"S": "B"}}}}]});
    for (answer, times) in [(json!({"UnprocessedItems": rest}), Some(times)), (json!({}), None)] {
        let mock = Mock::given(method("POST")).respond_with(ResponseTemplate::new(200).set_body_json(answer));
        match times {
            Some(times) => mock.up_to_n_times(times).with_priority(1).mount(&server).await,
            None => mock.mount(&server).await,
        }
    }
    (testing::table_at(&server.uri()).0, server)
}

#[tokio::test]
async fn unprocessed_writes_are_repeated_and_no_others() {
    let (table, server) = throttling_writes(2).await;
    table.batch_put("writing", vec![key("P", "A"), key("P", "B")]).await.unwrap();
    let requests = server.received_requests().await.unwrap();
    let written = |request: &wiremock::Request| {
        request.body_json::<Value>().unwrap()["RequestItems"]["test"].as_array().unwrap().len()
    };
    assert_eq!(requests.iter().map(written).collect::<Vec<_>>(), [2, 1, 1]);
}

#[tokio::test]
async fn writes_that_stay_unprocessed_are_an_error_after_the_last_try() {
    let (table, server) = throttling_writes(9).await;
    let written = table.batch_put("writing", vec![key("P", "A"), key("P", "B")]).await;
    let Err(TableError::Call { source, .. }) = written else { panic!("a part") };
    assert_eq!(source.downcast_ref(), Some(&UnprocessedKeys { keys: 1, tries: 3 }));
    assert_eq!(server.received_requests().await.unwrap().len(), 3);
}

#[tokio::test]
async fn a_query_returns_the_items_of_all_its_pages_or_one_page_and_the_start_of_the_next() {
    let (table, faults) = testing::table(&[]).await;
    let keys: Vec<Item> = (0..5).map(|n| key("LIST", n.to_string())).collect();
    for key in &keys {
        table.put("writing", key.clone()).await.unwrap();
    }
    faults.reset();
    let query = || {
        let query = table.query().key_condition_expression("pk = :list").limit(2);
        query.expression_attribute_values(":list", string("LIST"))
    };
    assert_eq!(table.query_all("listing", query()).await.unwrap(), keys);
    assert_eq!(faults.calls(), ["Query"; 3]);

    let page = table.query_page("listing", query()).await.unwrap();
    assert_eq!((page.items.as_slice(), page.next.is_some()), (&keys[..2], true));
    let rest = query().limit(9).set_exclusive_start_key(page.next);
    let page = table.query_page("listing", rest).await.unwrap();
    assert_eq!((page.items.as_slice(), page.next), (&keys[2..], None));

    let page = table.scan_page("scanning", table.scan().limit(4)).await.unwrap();
    assert_eq!((page.items.len(), page.next.is_some()), (4, true));
}

#[tokio::test]
async fn a_query_that_fails_on_a_later_page_returns_no_part() {
    let (table, faults) = testing::table(&[]).await;
    for n in 0..3 {
        table.put("writing", key("LIST", n.to_string())).await.unwrap();
    }
    faults.lose_answers_after(1, "Query", crate::aws::MAX_ATTEMPTS);
    let query = table.query().key_condition_expression("pk = :list").limit(1);
    let query = query.expression_attribute_values(":list", string("LIST"));
    assert!(table.query_all("listing", query).await.is_err());
}

fn once(sk: &str) -> Write {
    Write::put(key("ONCE", sk)).when(ABSENT)
}

#[tokio::test]
async fn a_transaction_makes_all_of_its_writes_or_names_the_condition_that_failed() {
    let (table, faults) = counted().await;
    let count = |limit: u64| {
        let update = Expression::new("ADD #count :one").name("#count", "count").value(":one", number(1));
        Write::update(counter_key(), update)
            .when(Expression::new("#count < :limit").value(":limit", number(limit)))
    };
    let writes = |sk: &str, limit| vec![once(sk), count(limit), Write::delete(key("GONE", sk))];
    assert_eq!(table.transact("t", writes("a", 2)).await.unwrap(), TransactOutcome::Done);
    let failed = |index| TransactOutcome::ConditionFailed { index };
    assert_eq!(table.transact("t", writes("a", 2)).await.unwrap(), failed(0));
    assert_eq!(table.transact("t", writes("b", 2)).await.unwrap(), failed(1));
    assert_eq!(stored(&table).await.unwrap().count, 2);
    assert_eq!(table.get_item("t", key("ONCE", "b")).await.unwrap(), None);
    assert_eq!(faults.calls()[..3], ["TransactWriteItems"; 3]);
}

#[tokio::test]
async fn a_transaction_that_meets_another_one_or_is_throttled_conflicts() {
    let (table, faults) = testing::table(&[]).await;
    for fault in [Faults::conflict, Faults::throttle] {
        fault(&faults, 1);
        let writes = || vec![once("a"), once("b")];
        assert_eq!(table.transact("t", writes()).await.unwrap(), TransactOutcome::Conflict);
    }
    faults.lose_answers("TransactWriteItems", crate::aws::MAX_ATTEMPTS);
    assert!(table.transact("t", vec![once("a"), once("b")]).await.is_err(), "it may have taken effect");
}

#[tokio::test]
async fn a_single_put_is_no_transaction_and_has_the_same_outcomes() {
    let (table, faults) = testing::table(&[]).await;
    assert_eq!(table.transact("t", vec![once("a")]).await.unwrap(), TransactOutcome::Done);
    let again = table.transact("t", vec![once("a")]).await.unwrap();
    assert_eq!(again, TransactOutcome::ConditionFailed { index: 0 });
    assert_eq!(faults.calls(), ["PutItem"; 2]);
    table.transact("t", vec![Write::delete(key("ONCE", "a"))]).await.unwrap();
    assert_eq!(table.get_item("t", key("ONCE", "a")).await.unwrap(), None);
}

#[tokio::test]
async fn items_are_read_as_of_one_moment() {
    let (table, faults) = counted().await;
    let found =
        table.transact_get("reading", vec![counter_key(), key("NONE", "NONE")]).await.unwrap().unwrap();
    let counters: Vec<Counter> = found.into_iter().map(|item| from_item("reading", item).unwrap()).collect();
    assert_eq!(counters, [FIRST]);
    assert_eq!(faults.calls(), ["TransactGetItems"]);
}

/// Reads the counter, and writes it with one more.
async fn count_once(table: &Table) -> Result<Result<u64, Conflict>, TableError> {
    let Counter { version, count } = stored(table).await.unwrap_or_default();
    let next = Counter { version: version + 1, count: count + 1 };
    Ok(put(table, &next).await?.map(|()| next.count))
}

#[tokio::test]
async fn writers_at_the_same_time_are_all_counted() {
    let (table, _) = testing::table(&[]).await;
    let budget = Budget::Time(Duration::from_secs(30));
    let counted = join_all((0..8).map(|_| retry_on_conflict(budget, || count_once(&table)))).await;
    let mut counts: Vec<u64> = counted.into_iter().map(|count| count.unwrap().unwrap()).collect();
    counts.sort_unstable();
    assert_eq!(counts, (1..=8).collect::<Vec<u64>>());
    assert_eq!(stored(&table).await, Some(Counter { version: 8, count: 8 }));
}

#[rstest]
#[case::tries(Budget::Tries(3), 3..=3)]
#[case::no_time(Budget::Time(Duration::ZERO), 1..=2)]
#[case::time(Budget::Time(Duration::from_millis(60)), 1..=60)]
#[tokio::test]
async fn a_budget_that_is_spent_ends_as_a_conflict(
    #[case] budget: Budget,
    #[case] expected: std::ops::RangeInclusive<u32>,
) {
    let mut tries = 0;
    let attempt = || {
        tries += 1;
        ready(Ok::<Result<(), Conflict>, TableError>(Err(Conflict)))
    };
    let result = retry_on_conflict(budget, attempt).await;
    assert_eq!(result.unwrap(), Err(Conflict));
    assert!(expected.contains(&tries), "{tries} tries");
}

#[tokio::test]
async fn an_error_is_not_retried() {
    let mut tries = 0;
    let attempt = || {
        tries += 1;
        ready(Err::<Result<(), Conflict>, _>(TableError::call("counting", "it is down")))
    };
    let result = retry_on_conflict(Budget::Tries(3), attempt).await;
    assert!(result.is_err());
    assert_eq!(tries, 1);
}

#[tokio::test]
async fn each_attempt_gets_the_state_that_the_one_before_returned() {
    let count_to = |end: u32| async move {
        retry_on_conflict_with(Budget::Tries(3), 1, |n: u32| {
            ready(Ok::<_, TableError>(if n == end { Ok(n) } else { Err(n + 1) }))
        })
        .await
        .unwrap()
    };
    assert_eq!(count_to(3).await, Ok(3));
    assert_eq!(count_to(4).await, Err(Conflict));
}
