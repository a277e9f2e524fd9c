use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use contracts::{OrderId, UserId};
use jiff::civil::{Date, date};
use lambda_kit::dynamodb::{Item, Table, key, number, string};
use proptest::{prelude::*, test_runner::TestRunner};

use super::*;
use crate::{
    domain::{Command, DailyTotals, SalesMetric},
    store::Store,
    testing::{at, cancel, complete, correlation_id, listed_store, order_of},
};

/// A day in seconds: orders are spread over several.
const DAY: i64 = 24 * 60 * 60;

/// The state that an order's saga has reached.
#[derive(Debug, Clone, Copy)]
enum Life {
    Placed,
    Paying,
    Completed,
    Declined,
    OutOfStock,
}

impl Life {
    fn commands(self) -> Vec<Command> {
        match self {
            Self::Placed => vec![],
            Self::Paying => vec![Command::RecordReservation],
            Self::Completed => vec![Command::RecordReservation, complete()],
            Self::Declined => vec![Command::RecordReservation, cancel("TakePayment", "PaymentDeclined")],
            Self::OutOfStock => vec![cancel("ReserveInventory", "InventoryNotAvailable")],
        }
    }
}

fn life() -> impl Strategy<Value = Life> {
    prop_oneof![
        Just(Life::Placed),
        Just(Life::Paying),
        Just(Life::Completed),
        Just(Life::Declined),
        Just(Life::OutOfStock),
    ]
}

/// One more step of an order, if there is one left.
async fn step(store: &Store, order_id: &OrderId, (n, life): (i64, Life), step: usize) {
    if let Some(command) = life.commands().get(step) {
        let second = n * DAY / 3 + i64::try_from(step).unwrap() * DAY;
        crate::handler::execute(store, order_id, command, &correlation_id(), at(second)).await.unwrap();
    }
}

/// Orders of two customers with these lives, followed live: some commits wake the projector twice, some together.
async fn live(lives: &[Life]) -> (Store, Table, Projector, Vec<OrderId>) {
    let (store, table, _) = listed_store().await;
    let projector = Projector::new(store.clone());
    let customers = [UserId::generate(), UserId::generate()];
    let mut orders = vec![];
    for (n, life) in (0_i64..).zip(lives) {
        let customer = &customers[usize::try_from(n).unwrap() % 2];
        let order_id = order_of(&store, customer, &format!("k-{n}"), n * DAY / 3).await;
        for part in 0..2 {
            if n % 3 != 0 {
                projector.catch_up(&order_id).await;
            }
            step(&store, &order_id, (n, *life), part).await;
            if n % 4 == 0 {
                projector.catch_up(&order_id).await;
            }
        }
        projector.catch_up(&order_id).await;
        orders.push(order_id);
    }
    (store, table, projector, orders)
}

/// Everything that is shown: the views without their bookkeeping, and the sales.
async fn shown(
    store: &Store,
    table: &Table,
) -> (BTreeMap<(String, String), Item>, BTreeMap<Date, DailyTotals>) {
    let all = table.client.scan().table_name(&table.name).send().await.unwrap();
    let views =
        all.items.unwrap().into_iter().filter(|item| item["pk"].as_s().unwrap().starts_with("CUSTOMER#"));
    let views = views.map(|mut view| {
        view.remove("revision");
        view.remove("counted");
        ((view["pk"].as_s().unwrap().clone(), view["sk"].as_s().unwrap().clone()), view)
    });
    (views.collect(), store.sales(date(2026, 1, 1), date(2027, 12, 31)).await.unwrap())
}

/// Runs a whole replay in the smallest possible parts.
async fn replay(projector: &Projector, projection: Projection) -> Part {
    let mut sum = Part::default();
    let mut position = None;
    loop {
        let part = projector.replay(projection, position, Instant::now()).await.unwrap();
        sum.orders += part.orders;
        sum.removed += part.removed;
        position = part.position;
        if position.is_none() {
            return sum;
        }
    }
}

async fn spoil(table: &Table, pk: &str, sk: &str) {
    let update = table.client.update_item().table_name(&table.name).set_key(Some(key(pk, sk)));
    let update = update
        .update_expression("SET #order = :lie, version = :late")
        .expression_attribute_names("#order", "order")
        .expression_attribute_values(":lie", string("{}"))
        .expression_attribute_values(":late", number(99));
    update.send().await.unwrap();
}

#[test]
fn a_replay_ends_equal_to_what_was_followed_live() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let mut runner = TestRunner::new(ProptestConfig::with_cases(8));
    let lives = proptest::collection::vec(life(), 1..12);
    let result = runner.run(&lives, |lives| {
        runtime.block_on(async {
            let (store, table, projector, orders) = live(&lives).await;
            let before = shown(&store, &table).await;
            assert_eq!(before.0.len(), lives.len());
            assert_eq!(replay(&projector, Projection::Sales).await.orders, orders.len() as u64);
            assert_eq!(store.projection_versions().await.unwrap().active, 2);
            assert_eq!(shown(&store, &table).await, before);
            assert_eq!(replay(&projector, Projection::Orders).await.removed, 0);
            assert_eq!(shown(&store, &table).await, before);
        });
        Ok(())
    });
    result.unwrap();
}

#[tokio::test]
async fn a_replay_repairs_missing_wrong_and_orphaned_views() {
    let (store, table, projector, _) = live(&[Life::Completed, Life::Paying, Life::Declined]).await;
    let before = shown(&store, &table).await;
    let keys: Vec<_> = before.0.keys().cloned().collect();
    let (pk, sk) = &keys[0];
    table.client.delete_item().table_name(&table.name).set_key(Some(key(&**pk, &**sk))).send().await.unwrap();
    spoil(&table, &keys[1].0, &keys[1].1).await;
    let mut view = before.0[&keys[2]].clone();
    view.insert("sk".to_owned(), string(format!("ORDER#2020-01-01T00:00:00.000Z#ord_{:032x}", 7)));
    view.insert("revision".to_owned(), number(1));
    table.client.put_item().table_name(&table.name).set_item(Some(view)).send().await.unwrap();
    assert_ne!(shown(&store, &table).await.0, before.0);
    let part = replay(&projector, Projection::Orders).await;
    assert_eq!((part.orders, part.removed), (3, 1));
    assert_eq!(shown(&store, &table).await.0, before.0);
}

/// The stream continues during a replay, also with a projector that does not know about it.
#[tokio::test]
async fn what_happens_during_a_replay_is_counted_once() {
    let (store, table, unaware, orders) = live(&[Life::Placed, Life::Placed, Life::Placed]).await;
    let replayer = Projector::new(store.clone());
    let projection_version = store.begin_projection_version().await.unwrap();
    let projection_versions = store.projection_versions().await.unwrap();
    // The first order is replayed, then goes on; the second goes on and is then replayed; the third does not.
    replayer.project(orders[0].clone(), projection_versions, Purpose::CatchUp).await.unwrap();
    for order_id in &orders[..2] {
        for part in 0..2 {
            step(&store, order_id, (0, Life::Completed), part).await;
        }
        unaware.catch_up(order_id).await;
    }
    let new = order_of(&store, &UserId::generate(), "new", 0).await;
    unaware.catch_up(&new).await;
    let position = Position { projection_version: Some(projection_version), after: None };
    let part =
        replayer.replay(Projection::Sales, Some(position), Instant::now() + Duration::from_secs(60)).await;
    assert_eq!(part.unwrap().position, None);
    // As a replay from nothing counts it.
    let counted = shown(&store, &table).await.1;
    replay(&replayer, Projection::Sales).await;
    assert_eq!(shown(&store, &table).await.1, counted);
    let sum = |name: &str| {
        counted
            .values()
            .flatten()
            .filter(|(metric, _)| metric.name() == name)
            .map(|(_, count)| count)
            .sum::<i64>()
    };
    assert_eq!((sum("orders"), sum("completed"), sum("revenue.USD")), (4, 2, 16800));
}

/// A projector read the projection versions, a replay began and passed by, and only then the projector wrote a new order.
#[tokio::test]
async fn an_order_that_was_written_behind_a_replay_is_counted_by_its_projector() {
    let (store, table, unaware, _) = live(&[Life::Completed]).await;
    replay(&Projector::new(store.clone()), Projection::Sales).await;
    let late = order_of(&store, &UserId::generate(), "late", 0).await;
    unaware.catch_up(&late).await;
    let (_, sales) = shown(&store, &table).await;
    assert_eq!(sales.values().filter_map(|day| day.get(&SalesMetric::Orders)).sum::<i64>(), 2);
}

#[tokio::test]
async fn a_replay_that_another_one_replaced_does_not_go_on() {
    let (store, _, projector, _) = live(&[Life::Completed]).await;
    let first = projector.begin(Projection::Sales).await.unwrap();
    replay(&projector, Projection::Sales).await;
    let went_on = projector.replay(Projection::Sales, Some(first.clone()), Instant::now()).await;
    assert!(matches!(went_on, Err(StoreError::ReplaySuperseded)));
    let second = projector.begin(Projection::Sales).await.unwrap();
    assert_ne!(first, second);
    assert_eq!(
        store.projection_versions().await.unwrap().active,
        3,
        "the first one's number is not used again"
    );
}

#[tokio::test]
async fn projection_versions_that_are_no_longer_read_are_deleted() {
    let (_, table, projector, _) = live(&[Life::Completed, Life::Declined]).await;
    for _ in 0..3 {
        replay(&projector, Projection::Sales).await;
    }
    let all = table.client.scan().table_name(&table.name).send().await.unwrap();
    let of_sales = all.items().iter().filter_map(|item| item["pk"].as_s().unwrap().strip_prefix("SALES#"));
    let projection_versions: std::collections::BTreeSet<&str> = of_sales.map(|rest| &rest[..1]).collect();
    assert_eq!(projection_versions.into_iter().collect::<Vec<_>>(), ["3", "4"]);
}

#[tokio::test]
async fn the_end_of_a_replay_whose_answer_is_lost_is_its_end() {
    let (store, _, faults) = listed_store().await;
    let projector = Projector::new(store.clone());
    let position = projector.begin(Projection::Sales).await.unwrap();
    faults.lose_answers("PutItem", 1);
    let part = projector.replay(Projection::Sales, Some(position.clone()), Instant::now()).await.unwrap();
    assert_eq!(part.position, None);
    // The answer of the whole part was lost, too: the caller repeats it.
    assert!(projector.replay(Projection::Sales, Some(position), Instant::now()).await.is_ok());
    assert_eq!(store.projection_versions().await.unwrap().active, 2);
}
