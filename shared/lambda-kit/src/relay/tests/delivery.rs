//! Relays batches of a real table to a topic that fails in every way, and applies Lambda's rule for
//! redelivery.

use contracts::Envelope;

use super::*;
use crate::{
    aws::MAX_ATTEMPTS,
    dynamodb::{self, OUTBOX, PK, SK, key},
    relay::parking::{Parked, Request, RetriedPage},
    testing,
    trace::{
        Span,
        tests::{documents, sampled},
    },
};

#[path = "../../../tests/support/topic.rs"]
mod topic;

use topic::{Answer, Topic};

/// Deliveries of one stream until a test gives up.
const DELIVERIES: usize = 200;

struct Fixture {
    table: Table,
    faults: testing::Faults,
    topic: Topic,
    publisher: Publisher,
    parking: Parking,
}

fn envelope(subject: &str, sequence: u64) -> Envelope {
    testing::event(subject, "order.created", sequence)
}

/// The outbox of an item that brings these events, as (subject, sequence).
fn outbox(events: &[(&str, u64)]) -> Value {
    let body = |(subject, sequence): &(&str, u64)| json!({"S": serde_json::to_string(&envelope(subject, *sequence)).unwrap()});
    json!({"L": events.iter().map(body).collect::<Vec<_>>()})
}

/// The outbox of an item that brings an event with this `traceparent`.
fn traced(subject: &str, traceparent: String) -> Value {
    let event = Envelope { traceparent: Some(traceparent), ..envelope(subject, 1) };
    json!({"L": [{"S": serde_json::to_string(&event).unwrap()}]})
}

/// A record of a new item `ITEM#<number>` with this outbox.
fn brings(number: u32, outbox: &Value) -> Value {
    let keys = json!({"pk": {"S": format!("ITEM#{number}")}, "sk": {"S": "ITEM"}});
    let mut image = keys.clone();
    image["outbox"] = outbox.clone();
    let change = json!({"SequenceNumber": number.to_string(), "Keys": keys, "NewImage": image});
    json!({"eventName": "INSERT", "dynamodb": change})
}

/// A record of a new item with one event of this many bytes and more.
fn brings_bytes(number: u32, subject: &str, bytes: usize) -> Value {
    let event = Envelope { data: json!({"text": "x".repeat(bytes)}), ..envelope(subject, 1) };
    brings(number, &json!({"L": [{"S": serde_json::to_string(&event).unwrap()}]}))
}

/// Records 1, 2, … with one event each.
fn each(events: &[(&str, u64)]) -> Vec<Value> {
    (1..).zip(events).map(|(number, event)| brings(number, &outbox(&[*event]))).collect()
}

fn batch(records: &[Value]) -> Arc<StreamEvent> {
    Arc::new(serde_json::from_str(&json!({"Records": records}).to_string()).unwrap())
}

async fn nothing(_: Arc<StreamEvent>) -> Handled {
    Handled::default()
}

impl Fixture {
    async fn open() -> Self {
        let topic = Topic::open().await;
        let (table, faults) = testing::table(&[]).await;
        let sns = aws_sdk_sns::Client::new(&testing::sdk_config(&topic.url()).0);
        let publisher = Publisher::new(sns, "arn:aws:sns:::events.fifo".to_owned());
        Self { parking: Parking::new(table.clone()), table, faults, topic, publisher }
    }

    /// The records that a delivery reports as failed.
    async fn deliver(&self, records: &[Value]) -> Vec<String> {
        self.deliver_to(records, nothing).await
    }

    async fn deliver_to<F, Fut>(&self, records: &[Value], then: F) -> Vec<String>
    where
        F: Fn(Arc<StreamEvent>) -> Fut,
        Fut: Future<Output = Handled>,
    {
        let answer = relay(&self.parking, &self.publisher, batch(records), then).await;
        answer.batch_item_failures.into_iter().map(|failure| failure.item_identifier).collect()
    }

    /// Delivers as Lambda does (Developer Guide, "Reporting batch item failures for Lambda functions with DynamoDB"): the
    /// next delivery begins with the first record that the answer names. Returns how many it took.
    async fn deliver_all(&self, records: &[Value]) -> usize {
        let mut left = records;
        for delivery in 1..=DELIVERIES {
            let failed = self.deliver(left).await;
            let number = |record: &Value| record["dynamodb"]["SequenceNumber"].as_str().unwrap().to_owned();
            match left.iter().position(|record| failed.contains(&number(record))) {
                Some(first) => left = &left[first..],
                None => return delivery,
            }
        }
        panic!("not done after {DELIVERIES} deliveries");
    }

    async fn put(&self, number: u32, outbox: aws_sdk_dynamodb::types::AttributeValue) {
        let mut item = key(format!("ITEM#{number}"), "ITEM");
        item.insert(OUTBOX.to_owned(), outbox);
        self.table.client.put_item().table_name(&self.table.name).set_item(Some(item)).send().await.unwrap();
    }

    /// The sequence numbers of the parked records, and the keys of their items.
    async fn parked(&self) -> Vec<(String, String)> {
        let scan = self.table.client.scan().table_name(&self.table.name).send().await.unwrap();
        let items = scan.items.unwrap_or_default().into_iter();
        let text = |item: &dynamodb::Item, name: &str| item[name].as_s().unwrap().clone();
        let parked = items.filter(|item| text(item, PK) == "PARKED");
        let mut parked: Vec<_> = parked.map(|item| (text(&item, SK), text(&item, "item_pk"))).collect();
        parked.sort();
        parked
    }

    async fn retry(&self) -> RetriedPage {
        self.parking.retry(&Request::default(), &self.publisher, nothing).await.unwrap()
    }
}

fn pairs(parked: &[(&str, &str)]) -> Vec<(String, String)> {
    parked.iter().map(|(number, pk)| ((*number).to_owned(), (*pk).to_owned())).collect()
}

#[tokio::test]
async fn only_an_event_of_a_sampled_trace_hands_the_trace_on() {
    let fixture = Fixture::open().await;
    let trace = "5759e988bd862e3fe1be46a994272793";
    let stored = |subject: &str, flags: &str| traced(subject, format!("00-{trace}-53995c3f42cd8ad8-{flags}"));
    let records =
        [brings(1, &stored("a", "01")), brings(2, &stored("b", "00")), brings(3, &outbox(&[("c", 1)]))];
    assert!(fixture.deliver(&records).await.is_empty());
    let calls = fixture.topic.calls().await;
    let traces: Vec<_> = calls[0].iter().map(|entry| entry.traceparent.as_deref()).collect();
    let [Some(sampled), None, None] = traces[..] else { panic!("{traces:?}") };
    // The relay's span, and not that of the event.
    assert!(sampled.contains(trace) && !sampled.contains("53995c3f42cd8ad8"), "{sampled}");
}

#[tokio::test]
async fn only_the_span_of_an_event_that_the_topic_refuses_has_failed() {
    let fixture = Fixture::open().await;
    fixture.topic.answers([Answer::Refuses(&["a 1"], "InternalError", false)]);
    let (refused, taken) = (sampled(), sampled());
    let records =
        [brings(1, &traced("a", refused.traceparent())), brings(2, &traced("b", taken.traceparent()))];
    assert_eq!(fixture.deliver(&records).await, ["1"]);
    let has_failed = |span: Span| documents(&span.trace_id(), 1)[0]["fault"].clone();
    assert_eq!((has_failed(refused), has_failed(taken)), (json!(true), json!(false)));
}

#[tokio::test]
async fn a_batch_that_the_topic_takes_is_not_delivered_again() {
    let fixture = Fixture::open().await;
    assert!(fixture.deliver(&each(&[("a", 1), ("b", 1), ("a", 2)])).await.is_empty());
    assert_eq!(fixture.topic.taken(), ["a 1", "b 1", "a 2"]);
    assert!(fixture.faults.calls().is_empty(), "nothing is parked, nothing is read");
}

#[tokio::test]
async fn a_topic_that_refuses_every_event_gets_every_record_again() {
    let fixture = Fixture::open().await;
    fixture.topic.answers([Answer::Refuses(&["a 1", "b 1"], "InternalError", false)]);
    let records = each(&[("a", 1), ("b", 1), ("a", 2)]);
    assert_eq!(fixture.deliver(&records).await, ["1", "2", "3"]);
    assert!(fixture.topic.taken().is_empty());
    assert_eq!(fixture.deliver_all(&records).await, 1);
    assert_eq!(fixture.topic.taken(), ["a 1", "b 1", "a 2"]);
}

#[tokio::test]
async fn the_answer_names_the_refused_event_and_the_later_ones_of_its_subject_and_no_others() {
    let fixture = Fixture::open().await;
    fixture.topic.answers([Answer::Refuses(&["a 1"], "InternalError", false)]);
    let records = each(&[("b", 1), ("a", 1), ("c", 1), ("a", 2), ("b", 2)]);
    assert_eq!(fixture.deliver(&records).await, ["2", "4"]);
    assert_eq!(fixture.topic.taken(), ["b 1", "c 1", "b 2"]);
    assert_eq!(fixture.deliver_all(&records[1..]).await, 1);
    assert_eq!(fixture.topic.taken(), ["b 1", "c 1", "b 2", "a 1", "a 2"]);
}

#[tokio::test]
async fn the_later_events_of_a_record_wait_for_the_one_that_was_refused() {
    let fixture = Fixture::open().await;
    fixture.topic.answers([Answer::Takes, Answer::Refuses(&["a 2"], "InternalError", false)]);
    let records = [brings(1, &outbox(&[("a", 1), ("a", 2), ("a", 3)])), brings(2, &outbox(&[("b", 1)]))];
    assert_eq!(fixture.deliver(&records).await, ["1"]);
    assert_eq!(fixture.topic.taken(), ["a 1", "b 1"]);
    assert_eq!(fixture.deliver_all(&records).await, 1);
    assert_eq!(fixture.topic.taken(), ["a 1", "b 1", "a 2", "a 3"]);
    for call in fixture.topic.calls().await {
        let mut groups: Vec<&str> = call.iter().map(|entry| &*entry.group).collect();
        groups.sort_unstable();
        groups.dedup();
        assert_eq!(groups.len(), call.len(), "a call carries one event of each subject: {call:?}");
    }
}

#[tokio::test]
async fn a_topic_that_throttles_is_not_called_for_the_rest_of_the_batch() {
    let fixture = Fixture::open().await;
    let subjects: Vec<String> = (0..25).map(|n| format!("s{n:02}")).collect();
    let events: Vec<(&str, u64)> = subjects.iter().map(|subject| (subject.as_str(), 1)).collect();
    let throttles = (0..MAX_ATTEMPTS).map(|_| Answer::Throttles);
    fixture.topic.answers([Answer::Takes].into_iter().chain(throttles));
    let failed = fixture.deliver(&each(&events)).await;
    assert_eq!((failed.len(), fixture.topic.taken().len()), (15, 10));
    let calls = fixture.topic.calls().await;
    assert!(calls[1..].iter().all(|call| call == &calls[1]), "the third ten were not sent");
}

#[tokio::test]
async fn an_event_whose_answer_was_lost_is_sent_again_under_the_same_deduplication_id() {
    let fixture = Fixture::open().await;
    fixture.topic.answers([Answer::IsLost]);
    let records = each(&[("a", 1), ("a", 2)]);
    assert!(fixture.deliver(&records).await.is_empty(), "the call itself is repeated");
    fixture.topic.answers((0..MAX_ATTEMPTS).map(|_| Answer::IsLost));
    let more = each(&[("b", 1), ("b", 2)]);
    assert_eq!(fixture.deliver(&more).await, ["1", "2"]);
    assert_eq!(fixture.deliver_all(&more).await, 1);
    assert_eq!(fixture.topic.taken(), ["a 1", "a 2", "b 1", "b 2"]);
}

#[tokio::test]
async fn records_that_cannot_be_read_are_parked_and_those_around_them_go_out() {
    let fixture = Fixture::open().await;
    let mut records = each(&[("a", 1), ("b", 1), ("a", 2), ("c", 1)]);
    records[1] = brings(2, &json!({"S": "no list"}));
    records[3] = brings(4, &json!({"L": [{"S": "{}"}]}));
    assert!(fixture.deliver(&records).await.is_empty());
    assert_eq!(fixture.topic.taken(), ["a 1", "a 2"]);
    let expected = pairs(&[("2", "ITEM#2"), ("4", "ITEM#4")]);
    assert_eq!(fixture.parked().await, expected);
    // The answer to Lambda was lost.
    assert!(fixture.deliver(&records).await.is_empty());
    assert_eq!(fixture.parked().await, expected);
}

#[tokio::test]
async fn an_event_that_the_topic_will_never_take_is_parked_and_passed() {
    let fixture = Fixture::open().await;
    fixture.topic.answers([Answer::Refuses(&["a 1"], "InvalidParameter", true)]);
    let mut records = each(&[("a", 1), ("b", 1), ("c", 1)]);
    records[2] = brings_bytes(3, "c", 262_144);
    assert!(fixture.deliver(&records).await.is_empty());
    assert_eq!(fixture.topic.taken(), ["b 1"]);
    assert_eq!(fixture.parked().await, pairs(&[("1", "ITEM#1"), ("3", "ITEM#3")]));
}

#[tokio::test]
async fn a_call_carries_no_more_bytes_than_the_topic_takes() {
    let fixture = Fixture::open().await;
    let records =
        [(1, "a"), (2, "b"), (3, "c")].map(|(number, subject)| brings_bytes(number, subject, 120_000));
    assert!(fixture.deliver(&records).await.is_empty());
    let calls: Vec<usize> = fixture.topic.calls().await.iter().map(Vec::len).collect();
    assert_eq!(calls, [2, 1]);
}

#[tokio::test]
async fn an_event_that_is_throttled_or_refused_by_the_topics_own_fault_is_delivered_again_and_not_parked() {
    let fixture = Fixture::open().await;
    let records = each(&[("a", 1), ("b", 1)]);
    for (code, is_senders) in [("Throttled", true), ("InvalidParameter", false)] {
        fixture.topic.answers([Answer::Refuses(&["a 1"], code, is_senders)]);
        assert_eq!(fixture.deliver(&records).await, ["1"], "{code}");
    }
    assert!(fixture.parked().await.is_empty());
}

#[tokio::test]
async fn a_record_that_could_not_be_parked_is_delivered_again() {
    let fixture = Fixture::open().await;
    let records = [brings(1, &json!({"S": "no list"})), brings(2, &outbox(&[("b", 1)]))];
    fixture.faults.refuse("PutItem", MAX_ATTEMPTS);
    assert_eq!(fixture.deliver(&records).await, ["1"]);
    assert_eq!(fixture.deliver_all(&records).await, 1);
    assert_eq!((fixture.parked().await.len(), fixture.topic.taken()), (1, vec!["b 1".to_owned()]));
}

#[tokio::test]
async fn what_follows_an_event_is_repeated_or_parked_as_it_says() {
    let fixture = Fixture::open().await;
    let records = each(&[("a", 1), ("b", 1), ("c", 1)]);
    let names = |numbers: &[&str]| numbers.iter().map(|number| (*number).to_owned()).collect();
    let then =
        |_| std::future::ready(Handled { failed: names(&["2", "3"]), unprocessable: names(&["1", "3"]) });
    assert_eq!(fixture.deliver_to(&records, then).await, ["2", "3"]);
    // Something of record 3 may still succeed.
    assert_eq!(fixture.parked().await, pairs(&[("1", "ITEM#1")]));
}

#[tokio::test]
async fn a_parked_record_is_published_by_a_retry_once_it_can_be_read() {
    let fixture = Fixture::open().await;
    let broken = json!({"S": "no list"});
    fixture.deliver(&[brings(1, &broken), brings(2, &broken), brings(3, &broken)]).await;
    fixture.put(1, dynamodb::outbox(&[envelope("a", 1), envelope("a", 2)]).unwrap()).await;
    fixture.put(2, dynamodb::string("still no list")).await;

    // Item 3 was deleted.
    let retried = fixture.retry().await;
    assert_eq!((retried.done, retried.failed, retried.cursor), (2, 0, None));
    assert!(matches!(&retried.parked[..], [Parked { pk, sk, .. }] if pk == "ITEM#2" && sk == "ITEM"));
    assert_eq!(fixture.topic.taken(), ["a 1", "a 2"]);
    assert_eq!(fixture.parked().await, pairs(&[("2", "ITEM#2")]));
    assert_eq!(fixture.retry().await.done, 0, "what is done is done once");
}

#[tokio::test]
async fn a_retry_that_fails_leaves_the_record_parked() {
    let fixture = Fixture::open().await;
    fixture.deliver(&[brings(1, &json!({"S": "no list"}))]).await;
    fixture.put(1, dynamodb::outbox(&[envelope("a", 1)]).unwrap()).await;
    fixture.topic.answers([Answer::Refuses(&["a 1"], "InternalError", false)]);
    let retried = fixture.retry().await;
    assert_eq!((retried.done, retried.failed, fixture.parked().await.len()), (0, 1, 1));
    assert_eq!(fixture.retry().await.done, 1);
    assert_eq!((fixture.topic.taken(), fixture.parked().await.len()), (vec!["a 1".to_owned()], 0));
}

#[tokio::test]
async fn retries_go_through_all_parked_records_page_by_page() {
    let fixture = Fixture::open().await;
    let broken = json!({"S": "no list"});
    let records: Vec<Value> = (100..160).map(|number| brings(number, &broken)).collect();
    fixture.deliver(&records).await;
    for number in 100..160 {
        fixture.put(number, dynamodb::string("still no list")).await;
    }
    let (mut request, mut parked, mut pages) = (Request::default(), 0, 0);
    loop {
        let retried = fixture.parking.retry(&request, &fixture.publisher, nothing).await.unwrap();
        (parked, pages) = (parked + retried.parked.len(), pages + 1);
        request.cursor = retried.cursor;
        if request.cursor.is_none() {
            break;
        }
    }
    assert_eq!((parked, pages), (60, 3));
}

#[tokio::test]
async fn a_page_on_which_an_item_was_deleted_is_not_the_last_one() {
    let fixture = Fixture::open().await;
    let records: Vec<Value> = (100..130).map(|number| brings(number, &json!({"S": "no list"}))).collect();
    fixture.deliver(&records).await;
    // Item 100 was deleted.
    for number in 101..130 {
        fixture.put(number, dynamodb::string("still no list")).await;
    }
    let first = fixture.retry().await;
    assert_eq!((first.done, first.parked.len()), (1, 24));
    assert!(first.cursor.is_some());
}

#[tokio::test]
async fn whatever_the_topic_refuses_each_subject_gets_all_its_events_in_order() {
    for seed in 0..20 {
        let fixture = Fixture::open().await;
        let mut chance = fastrand::Rng::with_seed(seed);
        fixture.topic.refuses(move |_| (chance.u8(..10) < 3).then_some(("InternalError", false)));
        let mut records = Vec::new();
        for number in 1..=12 {
            let subject = ["a", "b", "c"][usize::try_from(number % 3).unwrap()];
            let first = u64::from((number - 1) / 3) * 2 + 1;
            records.push(brings(number, &outbox(&[(subject, first), (subject, first + 1)])));
        }
        fixture.deliver_all(&records).await;
        for subject in ["a", "b", "c"] {
            let mut taken = fixture.topic.taken();
            taken.retain(|event| event.starts_with(subject));
            let expected: Vec<String> = (1..=8).map(|sequence| format!("{subject} {sequence}")).collect();
            assert_eq!(taken, expected, "seed {seed}");
        }
    }
}
