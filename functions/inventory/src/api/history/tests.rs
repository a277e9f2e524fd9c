//! The ledger of a SKU: whatever is done to its stock, the moves add up to it.

use std::collections::BTreeMap;

use axum::http::StatusCode;
use contracts::{OrderLine, Position, Switch};
use jiff::Timestamp;
use lambda_kit::{
    dynamodb::{Item, Table, key},
    relay::Handled,
    stream::StreamEvent,
    switch::FeatureSwitch,
    testing::{App, Faults, Response, Tokens},
};
use rstest::rstest;
use serde_json::{Value, json};

use crate::{
    domain::{Command, EventContext},
    handler::{end_reservation, reserve},
    relay::follow_stock,
    store::Store,
    testing::{order, sku, table, user},
};

struct Warehouse {
    app: App,
    store: Store,
    table: Table,
    faults: Faults,
    tokens: Tokens,
}

impl Warehouse {
    /// With mugs in some shards.
    async fn with(available: u32, shards: u32) -> Self {
        let (table, faults) = table().await;
        let (store, tokens) = (crate::testing::store(table.clone()), Tokens::new());
        let limited_stock = FeatureSwitch::fixed(Switch::LimitedStock, Position::On);
        let app = App::new(crate::api::routes(store.clone(), limited_stock), tokens.verifier());
        let warehouse = Self { app, store, table, faults, tokens };
        warehouse.set(json!({"available": available, "shards": shards})).await;
        warehouse
    }

    async fn admin(&self, method: &str, path: &str, body: Value) -> Response {
        let headers = [
            ("authorization", &*self.tokens.admin()),
            ("content-type", "application/json"),
            ("idempotency-key", "k"),
        ];
        self.app.call(method, path, &headers, body.to_string()).await
    }

    async fn set(&self, body: Value) {
        assert_eq!(self.admin("PUT", "/v1/inventory/MUG", body).await.status, StatusCode::OK);
    }

    async fn adjust(&self, delta: i64) {
        let body = json!({"delta": delta, "reason": "broken"});
        let answer = self.admin("POST", "/v1/inventory/MUG/adjustments", body).await;
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.body);
    }

    async fn reservation(&self, n: usize) -> Option<Item> {
        let key = key(format!("RESERVATION#{}", order(n)), "RESERVATION");
        self.table.get_item("test", key).await.unwrap()
    }

    /// Takes mugs for an order. Returns the stream's record of it.
    async fn reserve(&self, n: usize, quantity: u32) -> Value {
        let lines = [OrderLine { sku: sku("MUG"), quantity }];
        reserve(&self.store, &lines, &context(n)).await.unwrap();
        record(None, self.reservation(n).await)
    }

    async fn end(&self, n: usize, command: Command) -> Value {
        let before = self.reservation(n).await;
        end_reservation(&self.store, command, &context(n)).await.unwrap();
        record(before, self.reservation(n).await)
    }

    async fn relay(&self, records: &[Value]) -> Handled {
        let batch: StreamEvent = serde_json::from_value(json!({"Records": records})).unwrap();
        follow_stock(&self.store, &batch, Timestamp::UNIX_EPOCH).await
    }

    /// The rows of all pages of the ledger.
    async fn rows(&self, limit: usize) -> Vec<Value> {
        let (mut rows, mut cursor) = (Vec::new(), String::new());
        loop {
            let path = format!("/v1/inventory/MUG/moves?limit={limit}{cursor}");
            let mut answer = self.app.get(&path, &self.tokens.admin()).await;
            assert_eq!(answer.status, StatusCode::OK, "{}", answer.body);
            let Value::Array(items) = answer.body["items"].take() else { panic!("{}", answer.body) };
            assert!(items.len() <= limit);
            rows.extend(items);
            match answer.body["next_cursor"].as_str() {
                Some(next) => cursor = format!("&cursor={next}"),
                None => return rows,
            }
        }
    }

    /// What the moves say of each shard, and what is in it.
    async fn shards(&self) -> (BTreeMap<u64, i64>, BTreeMap<u64, i64>) {
        let mut sums = BTreeMap::new();
        for row in self.rows(3).await {
            *sums.entry(row["shard"].as_u64().unwrap()).or_default() += row["delta"].as_i64().unwrap();
        }
        let stock = self.store.stock(&sku("MUG")).await.unwrap().unwrap();
        let shards = stock.shards.iter().map(|part| (u64::from(part.shard), i64::from(part.available)));
        let filled = |shards: BTreeMap<u64, i64>| shards.into_iter().filter(|(_, quantity)| *quantity != 0);
        (filled(sums).collect(), filled(shards.collect()).collect())
    }

    async fn adds_up(&self) {
        let (sums, shards) = self.shards().await;
        assert_eq!(sums, shards);
    }

    async fn kinds(&self) -> Vec<(String, i64)> {
        let rows = self.rows(100).await;
        rows.iter()
            .map(|row| (row["kind"].as_str().unwrap().to_owned(), row["delta"].as_i64().unwrap()))
            .collect()
    }
}

fn context(n: usize) -> EventContext {
    EventContext {
        order_id: order(n),
        user_id: Some(user()),
        correlation_id: "cor".try_into().unwrap(),
        causation_id: "test".to_owned(),
        at: Timestamp::now(),
    }
}

/// The stream's record of a write.
fn record(before: Option<Item>, after: Option<Item>) -> Value {
    let image = |item: Item| {
        let attributes = item.into_iter();
        let attributes = attributes.map(|(name, value)| (name, serde_dynamo::AttributeValue::from(value)));
        serde_json::to_value(attributes.collect::<BTreeMap<_, _>>()).unwrap()
    };
    let mut change = json!({"SequenceNumber": "1", "NewImage": image(after.unwrap())});
    if let Some(before) = before {
        change["OldImage"] = image(before);
    }
    json!({"eventName": "MODIFY", "dynamodb": change})
}

#[rstest]
#[case::one_shard(1)]
#[case::several_shards(8)]
#[tokio::test]
async fn the_sum_of_the_moves_is_the_stock_in_each_shard(#[case] shards: u32) {
    let warehouse = Warehouse::with(24, shards).await;
    warehouse.adds_up().await;
    let mut records = vec![warehouse.reserve(1, 3).await, warehouse.reserve(2, 4).await];
    warehouse.adjust(-2).await;
    records.push(warehouse.end(1, Command::Release).await);
    records.push(warehouse.end(2, Command::Commit).await);
    // Of eight shards, a line uses four: others are emptied into them first.
    records.push(warehouse.reserve(3, 15).await);
    assert_eq!(warehouse.relay(&records).await, Handled::default());
    warehouse.adds_up().await;
    warehouse.set(json!({"available": 40, "shards": shards + 2})).await;
    warehouse.adds_up().await;
    let rebalanced = warehouse.kinds().await.iter().any(|(kind, _)| kind == "rebalanced");
    assert_eq!(rebalanced, shards == 8);
}

#[tokio::test]
async fn a_move_says_what_it_was_for_and_who_made_it() {
    let warehouse = Warehouse::with(10, 1).await;
    let records = [warehouse.reserve(1, 3).await, warehouse.end(1, Command::Release).await];
    warehouse.adjust(-4).await;
    warehouse.relay(&records).await;
    let expected = [("adjusted", -4), ("released", 3), ("reserved", -3), ("set", 10)];
    assert_eq!(warehouse.kinds().await, expected.map(|(kind, delta)| (kind.to_owned(), delta)));

    let rows = warehouse.rows(100).await;
    assert_eq!((&rows[0]["reason"], rows[0].get("order_id")), (&json!("broken"), None));
    assert!(rows[0]["actor"].as_str().unwrap().starts_with("usr_"));
    assert_eq!((&rows[1]["order_id"], rows[1].get("actor")), (&json!(order(1)), None));
    assert_eq!((&rows[1]["correlation_id"], &rows[1]["shard"]), (&json!("cor"), &json!(0)));
}

#[tokio::test]
async fn records_that_come_twice_or_in_any_order_are_counted_once() {
    let warehouse = Warehouse::with(10, 4).await;
    let taken = warehouse.reserve(1, 5).await;
    let returned = warehouse.end(1, Command::Release).await;
    for records in [&[returned.clone()][..], &[taken.clone(), returned.clone()], &[taken]] {
        assert_eq!(warehouse.relay(records).await, Handled::default());
    }
    warehouse.adds_up().await;
}

/// As a record is processed again after it was parked.
#[rstest]
#[case::held(None)]
#[case::sold(Some(Command::Commit))]
#[case::returned(Some(Command::Release))]
#[tokio::test]
async fn a_record_of_the_current_reservation_brings_all_of_its_moves(#[case] end: Option<Command>) {
    for seen in [0, 1] {
        let warehouse = Warehouse::with(10, 4).await;
        let taken = warehouse.reserve(1, 5).await;
        warehouse.relay(&[taken][..seen]).await;
        if let Some(end) = end.clone() {
            warehouse.end(1, end).await;
        }
        warehouse.relay(&[record(None, warehouse.reservation(1).await)]).await;
        warehouse.adds_up().await;
    }
}

#[tokio::test]
async fn what_an_order_takes_and_returns_at_one_moment_are_two_moves() {
    let warehouse = Warehouse::with(10, 1).await;
    let (lines, context) = ([OrderLine { sku: sku("MUG"), quantity: 3 }], context(1));
    reserve(&warehouse.store, &lines, &context).await.unwrap();
    end_reservation(&warehouse.store, Command::Release, &context).await.unwrap();
    let ended = record(None, warehouse.reservation(1).await);
    assert_eq!(warehouse.relay(&[ended]).await, Handled::default());
    assert_eq!(warehouse.rows(100).await.len(), 3);
    warehouse.adds_up().await;
}

#[tokio::test]
async fn an_order_that_took_nothing_moves_nothing() {
    let warehouse = Warehouse::with(1, 1).await;
    let lines = [OrderLine { sku: sku("MUG"), quantity: 2 }];
    reserve(&warehouse.store, &lines, &context(1)).await.unwrap_err();
    let refused = record(None, warehouse.reservation(1).await);
    let undone = warehouse.end(1, Command::Release).await;
    let never = warehouse.end(2, Command::Release).await;
    warehouse.faults.reset();
    assert_eq!(warehouse.relay(&[refused, undone, never]).await, Handled::default());
    assert!(warehouse.faults.calls().is_empty());
}

#[tokio::test]
async fn records_whose_moves_cannot_be_written_come_again_and_unreadable_ones_are_parked() {
    let warehouse = Warehouse::with(10, 1).await;
    let taken = warehouse.reserve(1, 5).await;
    warehouse.faults.refuse("BatchWriteItem", u32::MAX);
    let handled = warehouse.relay(std::slice::from_ref(&taken)).await;
    assert_eq!((handled.failed.len(), handled.unprocessable.len()), (1, 0));
    warehouse.faults.reset();

    let mut broken = taken.clone();
    broken["dynamodb"]["SequenceNumber"] = json!("2");
    broken["dynamodb"]["NewImage"]["taken"] = json!({"S": "some"});
    let handled = warehouse.relay(&[taken, broken]).await;
    assert!(handled.failed.is_empty());
    assert_eq!(handled.unprocessable.into_iter().collect::<Vec<_>>(), ["2"]);
    warehouse.adds_up().await;
}

#[rstest]
#[case(1)]
#[case(2)]
#[case(7)]
#[tokio::test]
async fn the_ledger_is_the_same_page_by_page(#[case] limit: usize) {
    let warehouse = Warehouse::with(10, 5).await;
    let mut records = Vec::new();
    for n in 0..6 {
        records.push(warehouse.reserve(n, 1).await);
    }
    warehouse.adjust(-2).await;
    warehouse.relay(&records).await;
    let whole = warehouse.rows(100).await;
    assert_eq!(whole.len(), 5 + 6 + 2, "five shards, six orders, two shards");
    assert_eq!(warehouse.rows(limit).await, whole);
    assert!(whole.is_sorted_by(|left, right| left["at"].as_str() >= right["at"].as_str()));
}

#[tokio::test]
async fn who_set_or_adjusted_the_stock_is_in_the_audit_trail() {
    let warehouse = Warehouse::with(10, 1).await;
    warehouse.adjust(-4).await;
    warehouse.set(json!({"available": 6, "low_stock": 9})).await;
    let answer = warehouse.app.get("/v1/inventory/MUG/audit", &warehouse.tokens.admin()).await;
    let entries = answer.body["items"].as_array().unwrap();
    let changes: Vec<_> =
        entries.iter().map(|entry| json!([entry["action"], entry["before"], entry["after"]])).collect();
    assert_eq!(
        json!(changes),
        json!([
            ["stock.set", {"low_stock": 5}, {"low_stock": 9}],
            ["stock.adjusted", {"available": 10}, {"available": 6}],
            ["stock.set", null, {"available": 10, "shards": 1, "low_stock": 5}],
        ])
    );
    assert_eq!((entries[1]["reason"].as_str(), entries[0].get("reason")), (Some("broken"), None));
    assert!(entries.iter().all(|entry| entry["actor"].as_str().unwrap().starts_with("usr_")));
    warehouse.adds_up().await;
}

#[rstest]
#[case::no_token("moves", None, 401)]
#[case::a_customer("moves", Some(false), 403)]
#[case::no_cursor("moves?cursor=x", Some(true), 422)]
#[case::a_cursor_of_another_sku("moves?cursor=eyJza3UiOiJDVVAiLCJwbGFjZSI6WyJhIiwwXX0", Some(true), 422)]
#[case::too_many("moves?limit=101", Some(true), 422)]
#[case::no_token("audit", None, 401)]
#[case::a_customer("audit", Some(false), 403)]
#[case::no_cursor("audit?cursor=x", Some(true), 422)]
#[tokio::test]
async fn the_history_is_for_administrators(
    #[case] path: &str,
    #[case] admin: Option<bool>,
    #[case] status: u16,
) {
    let warehouse = Warehouse::with(10, 1).await;
    let bearer = match admin {
        Some(true) => warehouse.tokens.admin(),
        Some(false) => warehouse.tokens.user(&user()),
        None => String::new(),
    };
    let answer = warehouse.app.get(&format!("/v1/inventory/MUG/{path}"), &bearer).await;
    answer.assert_problem(StatusCode::from_u16(status).unwrap());
}

#[tokio::test]
async fn a_sku_without_stock_record_has_no_moves() {
    let warehouse = Warehouse::with(10, 1).await;
    for sku in ["NEVER", "a%20b"] {
        let answer =
            warehouse.app.get(&format!("/v1/inventory/{sku}/moves"), &warehouse.tokens.admin()).await;
        answer.assert_problem(StatusCode::NOT_FOUND);
    }
}
