//! The sweeper with a real table, and a Lambda that answers for orders.

use std::{
    ops::Range,
    sync::{Arc, Mutex},
};

use contracts::{
    CorrelationId, OrderId, OrderLine,
    query::{OrderQuery, OrderStanding, OrderStatuses},
};
use lambda_kit::{
    dynamodb::{Partitions, Table},
    testing::{Faults, sdk_config},
};
use wiremock::{
    Mock, MockServer, Request, ResponseTemplate,
    matchers::{method, path},
};

use super::*;
use crate::{
    handler::reserve,
    store::HeldPartitions,
    testing::{order, sku, stocked, table, user},
};

const MINUTE: i64 = 60;
const FUNCTION: &str = "ordersaga-test-orders-commands%3Alive";

/// The sweeper, with orders that have the statuses that a test sets. All reservations are held since 1970.
struct TestSweeper {
    store: Store,
    table: Table,
    faults: Faults,
    orders: OrdersClient,
    requests: Arc<Mutex<Vec<usize>>>,
    _lambda: MockServer,
}

impl TestSweeper {
    async fn with(
        held: usize,
        status: impl Fn(&OrderId) -> Option<OrderStatus> + Send + Sync + 'static,
    ) -> Self {
        let (table, faults) = table().await;
        let store = crate::testing::store(table.clone());
        stocked(&store, "MUG", 500, 1).await;
        let (lambda, requests) = (MockServer::start().await, Arc::new(Mutex::new(Vec::new())));
        let log = Arc::clone(&requests);
        Mock::given(method("POST"))
            .and(path(format!("/2015-03-31/functions/{FUNCTION}/invocations")))
            .respond_with(move |request: &Request| {
                let OrderQuery::OrderStatuses { order_ids } = request.body_json().unwrap();
                log.lock().unwrap().push(order_ids.len());
                let standing = |order_id: OrderId| {
                    let status = status(&order_id)?;
                    Some(OrderStanding { order_id, status, version: 1, updated_at: Timestamp::UNIX_EPOCH })
                };
                let orders = order_ids.into_iter().filter_map(standing).collect();
                ResponseTemplate::new(200).set_body_json(OrderStatuses { orders })
            })
            .mount(&lambda)
            .await;
        let (sdk, _) = sdk_config(&lambda.uri());
        let orders = OrdersClient::new(&(&sdk).into(), "test".to_owned());
        let fixture = Self { store, table, faults, orders, requests, _lambda: lambda };
        fixture.reserve(0..held).await;
        fixture
    }

    async fn reserve(&self, orders: Range<usize>) {
        for n in orders {
            let line = OrderLine { sku: sku("MUG"), quantity: 1 };
            reserve(&self.store, &[line], &event_context(&order(n))).await.unwrap();
        }
    }

    async fn sweep_after(&self, seconds: i64) -> Result<SweepReport, String> {
        let deadline = SystemTime::now() + Duration::from_secs(30);
        let now = Timestamp::from_second(seconds).unwrap();
        sweep(&self.store, &self.orders, now, deadline).await.map_err(|diagnostic| diagnostic.error_message)
    }

    async fn available(&self) -> u64 {
        self.store.stock(&sku("MUG")).await.unwrap().unwrap().available()
    }

    async fn status(&self, n: usize) -> Status {
        self.store.reservation(&order(n)).await.unwrap().unwrap().status
    }
}

fn event_context(order_id: &OrderId) -> EventContext {
    EventContext {
        order_id: order_id.clone(),
        user_id: Some(user()),
        correlation_id: CorrelationId::try_from("cor").unwrap(),
        causation_id: "test".to_owned(),
        at: Timestamp::UNIX_EPOCH,
    }
}

#[tokio::test]
async fn a_reservation_held_too_long_is_settled_by_the_status_of_its_order() {
    use OrderStatus::{NeedsAttention, OrderCancelled, OrderCompleted, PaymentPending};
    let fixture = TestSweeper::with(5, |id| {
        let statuses =
            [Some(OrderCompleted), Some(OrderCancelled), Some(PaymentPending), Some(NeedsAttention), None];
        let n = (0..5).find(|n| order(*n) == *id).unwrap();
        statuses[n]
    })
    .await;
    let report =
        SweepReport { committed: 1, released: 1, open: 1, attention: 1, stuck: 1, ..SweepReport::default() };
    assert_eq!(fixture.sweep_after(31 * MINUTE).await, Ok(report));
    assert_eq!(fixture.available().await, 500 - 5 + 1);
    let statuses = [fixture.status(0).await, fixture.status(1).await, fixture.status(2).await];
    assert_eq!(statuses, [Status::Committed, Status::Released, Status::Held]);

    // A settled reservation is not found again.
    let report = SweepReport { open: 1, attention: 1, stuck: 1, ..SweepReport::default() };
    assert_eq!(fixture.sweep_after(31 * MINUTE).await, Ok(report));
    // After the time in which a saga may run, an open one is stuck.
    let report = SweepReport { attention: 1, stuck: 2, ..SweepReport::default() };
    assert_eq!(fixture.sweep_after(13 * 60 * MINUTE).await, Ok(report));
    assert_eq!(fixture.available().await, 496);
}

#[tokio::test]
async fn a_reservation_of_less_than_half_an_hour_is_not_queried() {
    let fixture = TestSweeper::with(1, |_| Some(OrderStatus::OrderCancelled)).await;
    assert_eq!(fixture.sweep_after(30 * MINUTE).await, Ok(SweepReport::default()));
    assert!(fixture.requests.lock().unwrap().is_empty());
}

#[tokio::test]
async fn every_reservation_is_reached_whatever_lies_before_it() {
    let fixture = TestSweeper::with(120, |id| {
        let open = (0..110).any(|n| order(n) == *id);
        Some(if open { OrderStatus::PaymentPending } else { OrderStatus::OrderCancelled })
    })
    .await;
    let report = SweepReport { open: 110, released: 10, ..SweepReport::default() };
    assert_eq!(fixture.sweep_after(31 * MINUTE).await, Ok(report));
    assert_eq!(fixture.requests.lock().unwrap().iter().sum::<usize>(), 120);
}

#[tokio::test]
async fn every_reservation_is_reached_while_the_number_of_partitions_grows() {
    let mut fixture = TestSweeper::with(40, |_| Some(OrderStatus::OrderCancelled)).await;
    fixture.store = Store::new(fixture.table.clone(), HeldPartitions(Partitions::new(25)));
    fixture.reserve(40..60).await;
    let report = SweepReport { released: 60, ..SweepReport::default() };
    assert_eq!(fixture.sweep_after(31 * MINUTE).await, Ok(report));
    assert_eq!(fixture.available().await, 500);
}

#[tokio::test]
async fn two_sweeps_at_once_give_back_once() {
    let fixture = TestSweeper::with(20, |_| Some(OrderStatus::OrderCancelled)).await;
    let (one, other) = tokio::join!(fixture.sweep_after(31 * MINUTE), fixture.sweep_after(31 * MINUTE));
    assert!(one.unwrap().released + other.unwrap().released >= 20);
    assert_eq!(fixture.available().await, 500);
}

#[tokio::test]
async fn a_failed_settlement_is_reported_and_left_for_the_next_sweep() {
    let fixture = TestSweeper::with(1, |_| Some(OrderStatus::OrderCancelled)).await;
    fixture.faults.lose_answers("TransactWriteItems", lambda_kit::aws::MAX_ATTEMPTS);
    assert_eq!(fixture.sweep_after(31 * MINUTE).await.unwrap_err(), "1 reservations could not be settled");
    fixture.sweep_after(31 * MINUTE).await.unwrap();
    assert_eq!(fixture.available().await, 500);
}

#[tokio::test]
async fn nothing_is_settled_while_orders_does_not_answer() {
    let fixture = TestSweeper::with(1, |_| Some(OrderStatus::OrderCancelled)).await;
    let silent = MockServer::start().await;
    let (sdk, _) = sdk_config(&silent.uri());
    let fixture = TestSweeper { orders: OrdersClient::new(&(&sdk).into(), "test".to_owned()), ..fixture };
    assert!(fixture.sweep_after(31 * MINUTE).await.unwrap_err().starts_with("orders does not answer"));
    assert_eq!(fixture.status(0).await, Status::Held);
}

#[tokio::test]
async fn a_sweep_without_time_says_so_instead_of_being_cut_off() {
    let fixture = TestSweeper::with(1, |_| Some(OrderStatus::OrderCancelled)).await;
    let now = Timestamp::from_second(31 * MINUTE).unwrap();
    let report =
        sweep(&fixture.store, &fixture.orders, now, SystemTime::now() + Duration::from_secs(3)).await;
    assert_eq!(report.unwrap_err().error_type, "SweepIncomplete");
}
