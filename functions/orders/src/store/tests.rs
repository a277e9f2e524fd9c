use aws_sdk_dynamodb::types::AttributeValue;
use contracts::{OrderStatus, saga::UndoOutcome};
use futures::future::join_all;
use lambda_kit::{
    audit::Actor,
    dynamodb::UnprocessedKeys,
    testing::{Faults, table},
};
use rstest::rstest;

use super::*;
use crate::{
    domain::{Command, Order, Rejected},
    handler::{self, ExecuteError, PlaceOutcome},
    testing::{
        at, cancel, cancel_after, commit as committed, complete, correlation_id, given, order_id, place, sku,
        usd, user_id,
    },
};

const HASH: &str = "0011";
const CHECKOUT_DETAILS: &str = r#"{"payment_method":"pm_1"}"#;

async fn store() -> (Store, Faults) {
    let (table, faults) = table(&[]).await;
    (crate::testing::store(table), faults)
}

async fn place_in(store: &Store, request_hash: &str) -> PlaceOutcome {
    let (order_id, user_id, correlation_id) = (order_id(), user_id(), correlation_id());
    let order = NewOrder {
        order_id: &order_id,
        user_id: &user_id,
        correlation_id: &correlation_id,
        request_hash,
        checkout_details: CHECKOUT_DETAILS,
    };
    handler::place(store, &order, place(), at(0)).await.unwrap()
}

/// A store with one order that took these commands.
async fn with_order(commands: Vec<Command>) -> (Store, Faults) {
    let (store, faults) = store().await;
    assert!(matches!(place_in(&store, HASH).await, PlaceOutcome::Created(_)));
    for command in commands {
        run(&store, command).await.unwrap();
    }
    faults.reset();
    (store, faults)
}

async fn run(store: &Store, command: Command) -> Result<History, ExecuteError> {
    handler::execute(store, &order_id(), &command, &correlation_id(), at(1)).await
}

async fn loaded(store: &Store) -> History {
    store.load(&order_id()).await.unwrap().unwrap()
}

fn types(history: &History) -> Vec<&str> {
    history.events.iter().map(|event| event.envelope.event_type.as_str()).collect()
}

#[tokio::test]
async fn an_order_that_was_never_placed_is_not_there() {
    let (store, _) = store().await;
    assert!(store.load(&order_id()).await.unwrap().is_none());
    let refused = run(&store, Command::RecordReservation).await;
    assert!(matches!(refused, Err(ExecuteError::Rejected(Rejected::NotPlaced))));
}

#[tokio::test]
async fn what_is_read_is_what_was_appended() {
    let (store, faults) = with_order(vec![Command::RecordReservation]).await;
    let completed = run(&store, complete()).await.unwrap();
    assert_eq!(faults.calls(), ["Query", "PutItem"]);
    assert_eq!(loaded(&store).await, completed);
    assert_eq!(completed.order.status, OrderStatus::OrderCompleted);
    assert_eq!(
        types(&completed),
        [
            "order.created",
            "order.inventory_reserved",
            "order.payment_pending",
            "order.payment_succeeded",
            "order.shipment_scheduled",
            "order.completed"
        ]
    );
    let first = &completed.events[0].envelope;
    assert_eq!((first.sequence, first.causation_id.clone()), (1, format!("{}.PlaceOrder", order_id())));
    assert_eq!(first.metadata.user_id, Some(user_id()));
}

#[tokio::test]
async fn a_repeated_command_finds_itself_and_writes_nothing() {
    let (store, faults) = with_order(vec![Command::RecordReservation, complete()]).await;
    for command in [Command::RecordReservation, complete()] {
        let history = run(&store, command).await.unwrap();
        assert_eq!(history.order.version, 6);
    }
    assert_eq!(faults.calls(), ["Query", "Query"]);
}

#[tokio::test]
async fn a_repeat_succeeds_even_when_the_order_would_now_refuse_it() {
    let (store, _) =
        with_order(vec![Command::RecordReservation, cancel("TakePayment", "PaymentDeclined")]).await;
    let history = run(&store, Command::RecordReservation).await.unwrap();
    assert_eq!(history.order.status, OrderStatus::OrderCancelled);
}

#[tokio::test]
async fn a_cancel_repeated_after_a_repair_is_another_command() {
    use UndoOutcome::{Failed, NotNeeded, Released};
    let failed = cancel_after("TakePayment", "PaymentDeclined", [NotNeeded, NotNeeded, Failed]);
    let repaired = cancel_after("TakePayment", "PaymentDeclined", [NotNeeded, NotNeeded, Released]);
    let (store, _) = with_order(vec![Command::RecordReservation, failed.clone()]).await;
    assert_eq!(run(&store, failed.clone()).await.unwrap().order.status, OrderStatus::NeedsAttention);
    assert_eq!(run(&store, repaired).await.unwrap().order.status, OrderStatus::OrderCancelled);
    let late_repeat = run(&store, failed).await.unwrap();
    assert_eq!((late_repeat.order.status, late_repeat.order.version), (OrderStatus::OrderCancelled, 7));
}

#[tokio::test]
async fn of_two_commands_at_the_same_moment_the_second_decides_again() {
    let mut collisions = 0;
    for _ in 0..20 {
        let (store, faults) = with_order(vec![Command::RecordReservation]).await;
        let (requested, done) = tokio::join!(run(&store, Command::RequestCancel), run(&store, complete()));
        // Both read the same version and tried to write it: one write was refused and decided anew.
        collisions += usize::from(faults.calls().iter().filter(|call| *call == "PutItem").count() == 2);
        // The second command saw the first one: an order that completed and has a cancel request is
        // impossible.
        let history = loaded(&store).await;
        match done {
            Ok(_) => {
                assert_eq!(history.order.status, OrderStatus::OrderCompleted);
                assert!(matches!(requested, Err(ExecuteError::Rejected(Rejected::Ended(_)))));
            }
            Err(ExecuteError::Rejected(Rejected::CancelRequested)) => {
                assert!(requested.is_ok());
                assert!(history.order.cancel_requested);
            }
            Err(other) => panic!("{other}"),
        }
    }
    assert!(collisions > 0, "the commands never met");
}

#[tokio::test]
async fn the_same_command_twice_at_the_same_moment_is_one_commit_and_two_successes() {
    let (store, _) = with_order(vec![]).await;
    let both = join_all((0..8).map(|_| run(&store, Command::RecordReservation))).await;
    assert!(both.iter().all(|result| result.as_ref().is_ok_and(|history| history.order.version == 3)));
    assert_eq!(loaded(&store).await.events.len(), 3);
}

#[rstest]
#[case::and_the_sdk_asks_again(1)]
#[case::and_the_sdk_gives_up(3)]
#[tokio::test]
async fn a_lost_answer_leaves_one_commit_and_the_repeat_is_a_success(#[case] lost: u32) {
    let (store, faults) = with_order(vec![]).await;
    faults.lose_answers("PutItem", lost);
    let first = run(&store, Command::RecordReservation).await;
    match lost {
        1 => assert_eq!(first.unwrap().order.version, 3),
        _ => assert!(matches!(first, Err(ExecuteError::Store(StoreError::Table(TableError::Call { .. }))))),
    }
    assert_eq!(run(&store, Command::RecordReservation).await.unwrap().order.version, 3);
    assert_eq!(loaded(&store).await.events.len(), 3);
}

#[tokio::test]
async fn a_lost_answer_of_a_request_to_cancel_is_a_success_too() {
    let (store, faults) = with_order(vec![]).await;
    faults.lose_answers("PutItem", 1);
    assert!(run(&store, Command::RequestCancel).await.unwrap().order.cancel_requested);
    assert_eq!(loaded(&store).await.events.len(), 2);
}

#[rstest]
#[case::and_the_sdk_asks_again(1)]
#[case::and_the_customer_asks_again(3)]
#[tokio::test]
async fn a_new_order_whose_answer_was_lost_is_found_by_the_repeat(#[case] lost: u32) {
    let (store, faults) = store().await;
    faults.lose_answers("PutItem", lost);
    if lost == 3 {
        let (order_id, user_id, correlation_id) = (order_id(), user_id(), correlation_id());
        let order = NewOrder {
            order_id: &order_id,
            user_id: &user_id,
            correlation_id: &correlation_id,
            request_hash: HASH,
            checkout_details: CHECKOUT_DETAILS,
        };
        assert!(handler::place(&store, &order, place(), at(0)).await.is_err());
    }
    let PlaceOutcome::AlreadyPlaced(first) = place_in(&store, HASH).await else { panic!("placed twice") };
    assert_eq!((first.request_hash.as_str(), first.commit.first_version), (HASH, 1));
    assert_eq!(loaded(&store).await.events.len(), 1);
}

/// Writes a commit as another instance could have, with `filler` additional bytes.
async fn put(store: &Store, commit: &Commit, filler: usize) {
    let context = EventContext {
        order_id: &order_id(),
        user_id: &user_id(),
        correlation_id: &correlation_id(),
        occurred_at: at(0),
    };
    let mut item = item::write(commit, context).unwrap();
    item.insert("filler".to_owned(), AttributeValue::S("x".repeat(filler)));
    let table = &store.table;
    table.client.put_item().table_name(&table.name).set_item(Some(item)).send().await.unwrap();
}

#[tokio::test]
async fn an_order_of_several_pages_is_read_whole() {
    let (store, faults) = store().await;
    let mut order = Order::NotPlaced;
    // Each undo fails at first, then one after the other is repaired: five commits of 350 KB in pages of 1 MB.
    use UndoOutcome::{Cancelled, Failed, Refunded, Released};
    let end = |undone| cancel_after("CompleteOrder", "OrderCancelRequested", undone);
    for command in [
        place(),
        Command::RecordReservation,
        end([Failed, Failed, Failed]),
        end([Cancelled, Failed, Failed]),
        end([Cancelled, Refunded, Failed]),
        end([Cancelled, Refunded, Released]),
    ] {
        put(&store, &committed(&order, command.clone(), 0), 350_000).await;
        order = given(order, vec![command]);
    }
    faults.reset();
    let history = loaded(&store).await;
    assert_eq!(Order::Placed(history.order), order);
    assert!(faults.calls().len() >= 2, "one page only: {:?}", faults.calls());
}

#[tokio::test]
async fn a_gap_is_an_error_and_nothing_is_decided_on_it() {
    let (store, _) = with_order(vec![]).await;
    let reserved = given(Order::NotPlaced, vec![place(), Command::RecordReservation]);
    put(&store, &committed(&reserved, complete(), 0), 0).await;
    let error = store.load(&order_id()).await.unwrap_err();
    assert!(matches!(error, StoreError::Broken { source: ReplayError::Gap { expected: 2, found: 4 }, .. }));
    assert!(matches!(
        run(&store, Command::RecordReservation).await,
        Err(ExecuteError::Store(StoreError::Broken { .. }))
    ));
}

#[tokio::test]
async fn an_overlap_is_an_error() {
    let (store, _) = with_order(vec![Command::RecordReservation]).await;
    let reserved = given(Order::NotPlaced, vec![place(), Command::RecordReservation]);
    let mut commit = committed(&reserved, complete(), 0);
    commit.first_version = 3;
    put(&store, &commit, 0).await;
    assert!(matches!(
        store.load(&order_id()).await,
        Err(StoreError::Broken { source: ReplayError::Overlap { found: 3 }, .. })
    ));
}

#[tokio::test]
async fn a_cancel_by_the_staff_has_an_audit_entry_and_the_customers_own_has_none() {
    for (by, entries) in [(user_id(), 0), (UserId::generate(), 1)] {
        let (store, faults) = with_order(vec![]).await;
        let known = loaded(&store).await;
        faults.lose_answers("TransactWriteItems", lambda_kit::aws::MAX_ATTEMPTS);
        for _ in 0..3 {
            // The first request of the staff loses its answer.
            let _ = handler::request_cancel(&store, &known, &by, &correlation_id(), at(1)).await;
        }
        assert!(loaded(&store).await.order.cancel_requested);
        let page = Page { limit: 20, cursor: None };
        let found = store.audit_entries(order_id().as_str(), page).await.unwrap().items;
        assert_eq!(found.len(), entries);
        for entry in found {
            assert_eq!((entry.actor, &*entry.action), (Actor::User(by.clone()), "order.cancel_requested"));
        }
    }
}

#[tokio::test]
async fn time_never_runs_backwards_in_a_history() {
    let (store, _) = with_order(vec![]).await;
    let late =
        handler::execute(&store, &order_id(), &Command::RecordReservation, &correlation_id(), at(60)).await;
    late.unwrap();
    let slow_clock =
        handler::execute(&store, &order_id(), &Command::RequestCancel, &correlation_id(), at(1)).await;
    assert_eq!(slow_clock.unwrap().updated_at, at(60));
}

#[tokio::test]
async fn reading_an_order_does_not_read_what_is_private() {
    let (store, _) = with_order(vec![]).await;
    let key = item::first_key(&order_id());
    let table = &store.table;
    let answer = table.client.get_item().table_name(&table.name).set_key(Some(key)).send().await.unwrap();
    let item = answer.item.unwrap();
    assert_eq!(item.get("private"), Some(&AttributeValue::S(CHECKOUT_DETAILS.to_owned())));
    assert!(!format!("{:?}", item.get("outbox")).contains("pm_1"));
    assert!(!item::COMMIT_ATTRIBUTES.contains("private") && !item::LOOKUP_ATTRIBUTES.contains("private"));
}

#[tokio::test]
async fn one_call_finds_the_order_and_the_prices() {
    let (store, faults) = with_order(vec![]).await;
    let (mug, cup, tea) = (sku("MUG"), sku("CUP"), sku("TEA"));
    store.record_price(&mug, 1, Some(usd(4200))).await.unwrap().unwrap();
    store.record_price(&cup, 2, None).await.unwrap().unwrap();
    faults.reset();
    let found = store.lookup(Some(&order_id()), &user_id(), &[&mug, &cup, &tea], None).await.unwrap();
    assert_eq!(faults.calls(), ["BatchGetItem"]);
    assert_eq!(found.placed.unwrap().request_hash, HASH);
    assert_eq!(found.prices, HashMap::from([(mug, usd(4200))]));
    assert_eq!(found.account, None);
}

#[rstest]
#[case::in_order([1, 2, 3], [true, true, true])]
#[case::backwards([3, 2, 1], [true, false, false])]
#[case::twice([1, 2, 2], [true, true, false])]
#[case::late([1, 3, 2], [true, true, false])]
#[tokio::test]
async fn the_newest_price_stays_whatever_comes_when(#[case] versions: [u64; 3], #[case] recorded: [bool; 3]) {
    let (store, _) = store().await;
    let mug = sku("MUG");
    for (version, recorded) in versions.into_iter().zip(recorded) {
        let amount = i64::try_from(version).unwrap() * 100;
        let result = store.record_price(&mug, version, Some(usd(amount))).await.unwrap();
        assert_eq!(result.is_ok(), recorded, "version {version}");
    }
    let newest = i64::try_from(*versions.iter().max().unwrap()).unwrap() * 100;
    let found = store.lookup(Some(&order_id()), &user_id(), &[&mug], None).await.unwrap();
    assert_eq!(found.prices.get(&mug), Some(&usd(newest)));
}

#[tokio::test]
async fn a_product_that_is_no_longer_sold_does_not_come_back_by_an_old_event() {
    let (store, _) = store().await;
    let mug = sku("MUG");
    store.record_price(&mug, 2, None).await.unwrap().unwrap();
    assert_eq!(store.record_price(&mug, 1, Some(usd(1))).await.unwrap(), Err(Conflict));
    assert!(store.lookup(Some(&order_id()), &user_id(), &[&mug], None).await.unwrap().prices.is_empty());
    store.record_price(&mug, 3, Some(usd(5))).await.unwrap().unwrap();
    assert_eq!(
        store.lookup(Some(&order_id()), &user_id(), &[&mug], None).await.unwrap().prices.get(&mug),
        Some(&usd(5))
    );
}

/// A DynamoDB that leaves out the last key this many times before it returns it. The in-process table never
/// does that.
async fn throttled(times: u64) -> (Store, wiremock::MockServer) {
    use wiremock::{Mock, MockServer, ResponseTemplate, matchers::method};
    let server = MockServer::start().await;
    let price = |name: &str| {
        serde_json::json!({
            "pk": {"S": format!("PRICE#{name}")}, "sk": {"S": "PRICE"}, "amount": {"N": "4200"}, "currency": {"S": "USD"}
        })
    };
    let rest = serde_json::json!({
        "test": {"Keys": [{"pk": {"S": "PRICE#CUP"}, "sk": {"S": "PRICE"}}], "ConsistentRead": true}
    });
    let partly = serde_json::json!({"Responses": {"test": [price("MUG")]}, "UnprocessedKeys": rest});
    let whole = serde_json::json!({"Responses": {"test": [price("CUP")]}, "UnprocessedKeys": {}});
    let answer =
        |body| Mock::given(method("POST")).respond_with(ResponseTemplate::new(200).set_body_json(body));
    answer(partly).up_to_n_times(times).with_priority(1).mount(&server).await;
    answer(whole).mount(&server).await;
    let (config, _) = lambda_kit::testing::sdk_config(&server.uri());
    (crate::testing::store(Table::new(aws_sdk_dynamodb::Client::new(&config), "test")), server)
}

#[tokio::test]
async fn unprocessed_keys_are_read_again() {
    let (store, server) = throttled(1).await;
    let found = store.lookup(Some(&order_id()), &user_id(), &[&sku("MUG"), &sku("CUP")], None).await.unwrap();
    assert_eq!(found.prices.len(), 2);
    let requests = server.received_requests().await.unwrap();
    let again: serde_json::Value = requests[1].body_json().unwrap();
    assert_eq!(again["RequestItems"]["test"]["Keys"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn keys_that_stay_left_out_are_no_unknown_products_but_a_failure() {
    let (store, server) = throttled(9).await;
    let found = store.lookup(Some(&order_id()), &user_id(), &[&sku("MUG"), &sku("CUP")], None).await;
    let Err(StoreError::Table(TableError::Call { source, .. })) = found else { panic!("{found:?}") };
    assert!(source.is::<UnprocessedKeys>(), "{source:?}");
    assert_eq!(server.received_requests().await.unwrap().len(), 2);
}

#[test]
fn a_commit_is_stored_with_the_versions_of_its_first_and_last_event() {
    let order = given(Order::NotPlaced, vec![place()]);
    let context = EventContext {
        order_id: &order_id(),
        user_id: &user_id(),
        correlation_id: &correlation_id(),
        occurred_at: at(1),
    };
    // Two events.
    let commit = committed(&order, Command::RecordReservation, 1);
    let item = item::write(&commit, context).unwrap();
    assert_eq!(
        (item::count(&item, "first_version").unwrap(), item::count(&item, "last_version").unwrap()),
        (2, 3)
    );
}
