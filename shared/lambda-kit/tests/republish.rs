//! Publishing a table's outboxes again, page by page: a real table, and a topic that keeps what it is given.

use contracts::{Envelope, EventId};
use jiff::Timestamp;
use lambda_kit::{
    aws::MAX_ATTEMPTS,
    dynamodb::{OUTBOX, Table, key, outbox},
    relay::{
        Publisher,
        republish::{RepublishError, RepublishedPage, Republisher, Request},
    },
    testing::{self, Faults},
};

#[expect(dead_code, reason = "the relay's own tests use the rest of it")]
#[path = "support/topic.rs"]
mod topic;

use topic::{Entry, Topic};

struct Fixture {
    table: Table,
    faults: Faults,
    topic: Topic,
    republisher: Republisher,
}

fn event(subject: &str, event_type: &str, sequence: u64) -> Envelope {
    let occurred_at = Timestamp::from_second(i64::try_from(sequence).unwrap()).unwrap();
    Envelope { occurred_at, ..testing::event(subject, event_type, sequence) }
}

impl Fixture {
    async fn open() -> Self {
        let topic = Topic::open().await;
        topic.refuses(|entry| match entry.group.as_str() {
            "bad" => Some(("InternalError", false)),
            "invalid" => Some(("InvalidParameter", true)),
            _ => None,
        });
        let (table, faults) = testing::table(&[]).await;
        let (sdk, _) = testing::sdk_config(&topic.url());
        let publisher =
            Publisher::new(aws_sdk_sns::Client::new(&sdk), "arn:aws:sns:::events.fifo".to_owned());
        Self { republisher: Republisher::new(table.clone(), publisher), table, faults, topic }
    }

    async fn put(&self, pk: &str, sk: &str, events: &[Envelope]) {
        let mut item = key(pk, sk);
        if !events.is_empty() {
            item.insert(OUTBOX.to_owned(), outbox(events).unwrap());
        }
        let put = self.table.client.put_item().table_name(&self.table.name).set_item(Some(item));
        put.send().await.unwrap();
    }

    /// `count` users, each with an account item whose key holds the e-mail address.
    async fn users(&self, count: usize) {
        for i in 0..count {
            self.put(&format!("USER#{i}"), "PROFILE", &[event(&format!("u{i}"), "user.registered", 1)]).await;
            self.put(&format!("EMAIL#{i}@b.example"), "ACCOUNT", &[]).await;
        }
    }

    async fn page(&self, request: &Request) -> Result<RepublishedPage, RepublishError> {
        self.republisher.page(request).await
    }

    /// Pages until the end; how many there were.
    async fn all(&self, request: Request) -> usize {
        let (mut request, mut pages) = (request, 0);
        loop {
            let page = self.page(&request).await.unwrap();
            pages += 1;
            match page.cursor {
                None => return pages,
                cursor => request.cursor = cursor,
            }
        }
    }

    async fn published(&self) -> Vec<Entry> {
        self.topic.calls().await.into_iter().flatten().collect()
    }

    async fn events(&self) -> Vec<String> {
        self.published().await.into_iter().map(|entry| entry.event).collect()
    }
}

fn run(name: &str) -> Request {
    Request { run: name.to_owned(), cursor: None, event_types: vec![], since: None }
}

#[tokio::test]
async fn every_outbox_is_published_again_and_the_events_of_a_subject_in_order() {
    let fixture = Fixture::open().await;
    fixture.put("ORDER#a", "COMMIT#00000001", &[event("a", "order.created", 1)]).await;
    let more = [event("a", "order.inventory_reserved", 2), event("a", "order.payment_pending", 3)];
    fixture.put("ORDER#a", "COMMIT#00000002", &more).await;
    fixture.put("PRICE#MUG", "PRICE", &[]).await;
    let page = fixture.page(&run("r")).await.unwrap();
    assert_eq!(page, RepublishedPage { events: 3, unreadable: 0, cursor: None });
    assert_eq!(fixture.events().await, ["a 1", "a 2", "a 3"]);
}

#[tokio::test]
async fn a_table_of_many_pages_is_gone_through_once() {
    let fixture = Fixture::open().await;
    fixture.users(230).await;
    assert!(fixture.all(run("r")).await > 2);
    let mut events = fixture.events().await;
    events.sort();
    events.dedup();
    assert_eq!((events.len(), fixture.published().await.len()), (230, 230));
}

#[tokio::test]
async fn a_cursor_holds_no_e_mail_address() {
    use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
    let fixture = Fixture::open().await;
    fixture.users(150).await;
    let mut request = run("r");
    while let Some(cursor) = fixture.page(&request).await.unwrap().cursor {
        let key = String::from_utf8(URL_SAFE_NO_PAD.decode(&cursor).unwrap()).unwrap();
        assert!(key.contains("USER#") && !key.contains('@'), "{key}");
        request.cursor = Some(cursor);
    }
}

#[tokio::test]
async fn pages_of_items_that_told_nothing_are_passed_over() {
    let fixture = Fixture::open().await;
    for i in 0..250 {
        fixture.put(&format!("REFRESH#{i}"), "TOKEN", &[]).await;
    }
    assert_eq!(
        fixture.page(&run("r")).await.unwrap(),
        RepublishedPage { events: 0, unreadable: 0, cursor: None }
    );
}

#[tokio::test]
async fn an_event_keeps_its_id_and_the_topic_takes_it_once_in_each_run() {
    let fixture = Fixture::open().await;
    fixture.put("USER#1", "PROFILE", &[event("u", "user.registered", 1)]).await;
    for name in ["first", "first", "second"] {
        fixture.page(&run(name)).await.unwrap();
    }
    let event_id = EventId::derive("test", "u", 1);
    let ids: Vec<String> =
        fixture.published().await.into_iter().map(|entry| entry.deduplication_id).collect();
    assert_eq!(ids, ["first", "first", "second"].map(|run| format!("{event_id}.{run}")));
}

#[tokio::test]
async fn only_what_is_asked_for_is_published() {
    let fixture = Fixture::open().await;
    fixture.put("SKU#MUG", "SUMMARY", &[event("MUG", "inventory.stock_changed", 1)]).await;
    fixture.put("RESERVATION#a", "RESERVATION", &[event("a", "inventory.reserved", 5)]).await;
    let event_types = vec!["inventory.stock_changed".to_owned()];
    fixture.page(&Request { event_types, ..run("r") }).await.unwrap();
    assert_eq!(fixture.events().await, ["MUG 1"]);
    let since = Some(Timestamp::from_second(5).unwrap());
    fixture.page(&Request { since, ..run("s") }).await.unwrap();
    assert_eq!(fixture.events().await, ["MUG 1", "a 5"]);
}

#[tokio::test]
async fn a_page_that_the_topic_did_not_take_whole_is_an_error_and_holds_back_what_comes_behind() {
    let fixture = Fixture::open().await;
    let commit = |n: u64| [event("bad", "order.created", n)];
    fixture.put("ORDER#bad", "COMMIT#00000001", &commit(1)).await;
    for n in 2..15 {
        fixture.put("ORDER#bad", &format!("COMMIT#{n:08}"), &commit(n)).await;
    }
    assert!(matches!(fixture.page(&run("r")).await, Err(RepublishError::NotTaken(1))));
    assert_eq!(fixture.events().await, ["bad 1"], "the later ones are not tried");
}

#[tokio::test]
async fn an_outbox_that_cannot_be_read_is_counted_and_stops_nobody() {
    let fixture = Fixture::open().await;
    let mut broken = key("USER#0", "PROFILE");
    let nonsense = aws_sdk_dynamodb::types::AttributeValue::S("{}".to_owned());
    broken.insert(OUTBOX.to_owned(), aws_sdk_dynamodb::types::AttributeValue::L(vec![nonsense]));
    let put = fixture.table.client.put_item().table_name(&fixture.table.name).set_item(Some(broken));
    put.send().await.unwrap();
    fixture.put("USER#1", "PROFILE", &[event("u", "user.registered", 1)]).await;
    assert_eq!(
        fixture.page(&run("r")).await.unwrap(),
        RepublishedPage { events: 1, unreadable: 1, cursor: None }
    );
}

#[tokio::test]
async fn an_event_that_the_topic_will_never_take_is_counted_and_stops_no_other() {
    let fixture = Fixture::open().await;
    fixture.put("USER#0", "PROFILE", &[event("invalid", "user.registered", 1)]).await;
    fixture.put("USER#1", "PROFILE", &[event("u", "user.registered", 1)]).await;
    let page = fixture.page(&run("r")).await.unwrap();
    assert_eq!(page, RepublishedPage { events: 2, unreadable: 1, cursor: None });
}

#[tokio::test]
async fn a_table_that_does_not_answer_is_an_error_and_nothing_is_published() {
    let fixture = Fixture::open().await;
    fixture.users(1).await;
    fixture.faults.refuse("Scan", MAX_ATTEMPTS);
    assert!(matches!(fixture.page(&run("r")).await, Err(RepublishError::Table(_))));
    assert!(fixture.published().await.is_empty());
}

#[tokio::test]
async fn a_request_that_makes_no_sense_is_refused() {
    let fixture = Fixture::open().await;
    for name in ["", "a b", &"a".repeat(65)] {
        assert!(matches!(fixture.page(&run(name)).await, Err(RepublishError::Run)), "{name}");
    }
    for cursor in ["", "!", "e30"] {
        let request = Request { cursor: Some(cursor.to_owned()), ..run("r") };
        assert!(matches!(fixture.page(&request).await, Err(RepublishError::Cursor)), "{cursor}");
    }
}
