use std::collections::BTreeMap;

use contracts::{Currency, IdempotencyKey, Money, saga::UndoOutcome};
use futures::future::join_all;
use lambda_kit::{
    audit::Actor,
    testing::{Faults, table},
};
use rstest::rstest;

use super::*;
use crate::{
    domain::{Command, History, Reduction},
    handler::{self, ExecuteError, PlaceOutcome},
    testing::{at, cancel, cancel_after, complete, correlation_id, two_mugs, usd},
};

fn terms() -> Terms {
    Terms {
        code: code("TEN"),
        reduction: Reduction::Percentage(10),
        minimum_total: None,
        valid_from: None,
        valid_until: None,
        total_limit: Some(10),
        per_customer_limit: Some(3),
        created_at: at(0),
    }
}

fn code(code: &str) -> DiscountCode {
    DiscountCode::try_from(code.to_owned()).unwrap()
}

fn entry() -> Entry {
    Entry::new(at(0), Actor::System, "test", "TEN", &correlation_id())
}

async fn with(terms: Terms) -> (Store, Faults) {
    let (table, faults) = table(&[]).await;
    let store = crate::testing::store(table);
    assert_eq!(store.create_discount(&terms, &entry()).await.unwrap(), Ok(()));
    faults.reset();
    (store, faults)
}

fn order_of(user: &UserId, n: usize) -> OrderId {
    OrderId::derive(user, &IdempotencyKey::try_from(format!("k-{n}")).unwrap())
}

/// The customer's order with the key `n`: two mugs, with the code.
async fn place(store: &Store, user: &UserId, n: usize) -> Result<PlaceOutcome, ExecuteError> {
    let order_id = order_of(user, n);
    let found = store.lookup(Some(&order_id), user, &[], Some(&code("ten"))).await?;
    if let Some(first) = found.placed {
        return Ok(PlaceOutcome::AlreadyPlaced(first));
    }
    let offer = found.discount.offer(at(1))?;
    let order = NewOrder {
        order_id: &order_id,
        user_id: user,
        correlation_id: &correlation_id(),
        request_hash: "00",
        checkout_details: "{}",
    };
    handler::place(store, &order, Command::Place { items: two_mugs(), offer: Some(offer) }, at(1)).await
}

async fn run(store: &Store, order_id: &OrderId, command: Command) -> Result<History, ExecuteError> {
    handler::execute(store, order_id, &command, &correlation_id(), at(2)).await
}

fn declined() -> Command {
    cancel("TakePayment", "PaymentDeclined")
}

/// The code's counters and the number of its use items: they must agree at all times.
async fn counts(store: &Store) -> (u64, BTreeMap<String, u64>) {
    let all = store.table.client.scan().table_name(&store.table.name).send().await.unwrap();
    let (mut uses, mut total, mut customers) = (0, 0, BTreeMap::new());
    for item in all.items() {
        match text(item, SK).unwrap() {
            USE => uses += 1,
            DISCOUNT => total = count(item, USED).unwrap(),
            CUSTOMER => {
                customers.insert(text(item, "pk").unwrap().to_owned(), count(item, USED).unwrap());
            }
            _ => {}
        }
    }
    assert_eq!(total, uses, "the counter and the uses");
    if !customers.is_empty() {
        assert_eq!(customers.values().sum::<u64>(), total, "the customers' counters");
    }
    (total, customers)
}

#[tokio::test]
async fn of_fifty_orders_at_once_as_many_have_the_code_as_may() {
    let (store, _) = with(Terms { per_customer_limit: None, ..terms() }).await;
    let users: Vec<UserId> = (0..50).map(|_| UserId::generate()).collect();
    let placed = join_all(users.iter().map(|user| place(&store, user, 0))).await;
    let (new, refused): (Vec<_>, Vec<_>) = placed.into_iter().partition(Result::is_ok);
    assert_eq!(new.len(), 10);
    for error in refused {
        let error = error.unwrap_err();
        assert!(
            matches!(error, ExecuteError::Rejected(Rejected::Discount(DiscountError::UsedUp))),
            "{error:?}"
        );
    }
    assert_eq!(counts(&store).await.0, 10);
}

#[tokio::test]
async fn a_customer_has_the_code_as_often_as_he_may_whatever_he_sends_at_once() {
    let (store, _) = with(terms()).await;
    let (anna, ben) = (UserId::generate(), UserId::generate());
    let orders = (0..8).flat_map(|n| [(&anna, n), (&ben, n)]);
    let placed = join_all(orders.map(|(user, n)| place(&store, user, n))).await;
    assert_eq!(placed.iter().filter(|placed| placed.is_ok()).count(), 6);
    let (total, customers) = counts(&store).await;
    assert_eq!((total, customers.into_values().collect::<Vec<_>>()), (6, vec![3, 3]));
}

#[tokio::test]
async fn one_request_sent_twice_at_once_is_one_use() {
    let (store, _) = with(terms()).await;
    let anna = UserId::generate();
    let both = tokio::join!(place(&store, &anna, 0), place(&store, &anna, 0));
    let news = [both.0.unwrap(), both.1.unwrap()];
    assert_eq!(news.iter().filter(|placing| matches!(placing, PlaceOutcome::Created(_))).count(), 1);
    assert_eq!(counts(&store).await.0, 1);
}

#[rstest]
#[case::its_answer_is_lost_once(1)]
#[case::every_answer_is_lost(lambda_kit::aws::MAX_ATTEMPTS)]
#[tokio::test]
async fn an_order_whose_answer_was_lost_uses_the_last_one_once(#[case] lost: u32) {
    let (store, faults) = with(Terms { total_limit: Some(1), ..terms() }).await;
    let anna = UserId::generate();
    faults.lose_answers("TransactWriteItems", lost);
    let first = place(&store, &anna, 0).await;
    assert_eq!(first.is_ok(), lost < lambda_kit::aws::MAX_ATTEMPTS);
    assert!(place(&store, &anna, 0).await.is_ok(), "the same request again, though the code is used up");
    assert_eq!(counts(&store).await.0, 1);
}

#[tokio::test]
async fn others_who_use_the_code_at_this_moment_are_waited_for() {
    let (store, faults) = with(terms()).await;
    let anna = UserId::generate();
    faults.conflict(2);
    place(&store, &anna, 0).await.unwrap();
    assert_eq!(
        faults.calls(),
        ["BatchGetItem", "TransactWriteItems", "TransactWriteItems", "TransactWriteItems"]
    );
    faults.conflict(2);
    run(&store, &order_of(&anna, 0), declined()).await.unwrap();
    assert_eq!(counts(&store).await.0, 0);
    faults.conflict(10_000);
    let contended = place(&store, &anna, 1).await;
    assert!(matches!(contended, Err(ExecuteError::Store(StoreError::Contended(_)))), "{contended:?}");
}

#[tokio::test]
async fn a_cancelled_order_gives_its_use_back_and_a_completed_one_keeps_it() {
    let (store, faults) = with(Terms { total_limit: Some(2), ..terms() }).await;
    let anna = UserId::generate();
    for n in 0..2 {
        place(&store, &anna, n).await.unwrap();
    }
    assert!(place(&store, &anna, 2).await.is_err(), "used up");

    let (kept, cancelled) = (order_of(&anna, 0), order_of(&anna, 1));
    faults.reset();
    for command in [Command::RecordReservation, complete()] {
        run(&store, &kept, command).await.unwrap();
    }
    assert_eq!(faults.calls(), ["Query", "PutItem", "Query", "PutItem"], "a code costs nothing on the way");
    run(&store, &cancelled, Command::RequestCancel).await.unwrap();
    assert_eq!(counts(&store).await.0, 2, "not before it is cancelled");
    for _ in 0..2 {
        let history = run(&store, &cancelled, declined()).await.unwrap();
        assert_eq!(history.order.total, usd(7560), "it keeps what it was placed with");
        assert_eq!(counts(&store).await.0, 1);
    }
    assert!(place(&store, &anna, 2).await.is_ok());
}

#[tokio::test]
async fn an_order_that_needs_attention_releases_its_code_once_it_is_cancelled() {
    use UndoOutcome::{Failed, NotNeeded, Released};
    let (store, _) = with(terms()).await;
    let anna = UserId::generate();
    place(&store, &anna, 0).await.unwrap();
    let order_id = order_of(&anna, 0);
    for (inventory, left) in [(Failed, 1), (Released, 0), (Failed, 0)] {
        let command = cancel_after("TakePayment", "PaymentDeclined", [NotNeeded, NotNeeded, inventory]);
        run(&store, &order_id, command).await.unwrap();
        assert_eq!(counts(&store).await.0, left);
    }
}

#[rstest]
#[case::refused(false, 3)]
#[case::lost(true, 1)]
#[case::all_lost(true, 3)]
#[tokio::test]
async fn a_cancel_that_failed_or_whose_answer_was_lost_gives_back_once(
    #[case] lost: bool,
    #[case] count: u32,
) {
    let (store, faults) = with(terms()).await;
    let anna = UserId::generate();
    place(&store, &anna, 0).await.unwrap();
    if lost {
        faults.lose_answers("TransactWriteItems", count);
    } else {
        faults.refuse("TransactWriteItems", count);
    }
    let order_id = order_of(&anna, 0);
    let cancelled = |history: History| history.order.status == contracts::OrderStatus::OrderCancelled;
    if let Err(error) = run(&store, &order_id, declined()).await {
        assert!(matches!(error, ExecuteError::Store(_)));
        let now = store.load(&order_id).await.unwrap().unwrap();
        assert_eq!(counts(&store).await.0, u64::from(!cancelled(now)), "the cancel and the use go together");
    }
    assert!(cancelled(run(&store, &order_id, declined()).await.unwrap()));
    assert_eq!(counts(&store).await.0, 0);
}

#[tokio::test]
async fn of_many_cancels_at_once_one_gives_back() {
    let (store, _) = with(terms()).await;
    let anna = UserId::generate();
    for n in 0..2 {
        place(&store, &anna, n).await.unwrap();
    }
    let order_id = order_of(&anna, 0);
    for result in join_all((0..6).map(|_| run(&store, &order_id, declined()))).await {
        result.unwrap();
    }
    assert_eq!(counts(&store).await.0, 1);
}

#[tokio::test]
async fn a_code_that_ends_while_an_order_is_on_its_way_is_not_used() {
    let (store, _) = with(terms()).await;
    let anna = UserId::generate();
    let order_id = order_of(&anna, 0);
    let found = store.lookup(Some(&order_id), &anna, &[], Some(&code("TEN"))).await.unwrap();
    let offer = found.discount.offer(at(1)).unwrap();
    assert!(store.end_discount(&code("ten"), &entry()).await.unwrap().is_ok());
    let order = NewOrder {
        order_id: &order_id,
        user_id: &anna,
        correlation_id: &correlation_id(),
        request_hash: "00",
        checkout_details: "{}",
    };
    let placed =
        handler::place(&store, &order, Command::Place { items: two_mugs(), offer: Some(offer) }, at(1)).await;
    assert!(matches!(placed, Err(ExecuteError::Rejected(Rejected::Discount(DiscountError::TooLate)))));
    assert_eq!(counts(&store).await.0, 0);
}

#[tokio::test]
async fn an_ended_code_still_gets_back_what_its_orders_give_back_and_its_name_stays_taken() {
    let (store, _) = with(terms()).await;
    let anna = UserId::generate();
    place(&store, &anna, 0).await.unwrap();
    assert!(store.end_discount(&code("TEN"), &entry()).await.unwrap().is_ok());
    assert!(store.end_discount(&code("TEN"), &entry()).await.unwrap().is_err());
    run(&store, &order_of(&anna, 0), declined()).await.unwrap();
    assert_eq!(counts(&store).await.0, 0);
    assert_eq!(store.create_discount(&terms(), &entry()).await.unwrap(), Err(Conflict));
    assert!(place(&store, &anna, 1).await.is_err());
}

#[tokio::test]
async fn codes_are_listed_by_name_without_those_that_ended() {
    let (store, _) = with(terms()).await;
    for name in ["b", "A", "C"] {
        let reduction = Reduction::Amount(Money::new(5, Currency::EUR));
        store
            .create_discount(&Terms { code: code(name), reduction, ..terms() }, &entry())
            .await
            .unwrap()
            .unwrap();
    }
    store.end_discount(&code("c"), &entry()).await.unwrap().unwrap();
    let names = |(found, more): (Vec<Discount>, bool)| {
        (found.into_iter().map(|discount| discount.terms.code.to_string()).collect::<Vec<_>>(), more)
    };
    assert_eq!(names(store.discounts(2, None).await.unwrap()), (vec!["A".into(), "b".into()], true));
    assert_eq!(names(store.discounts(2, Some(&code("B"))).await.unwrap()), (vec!["TEN".into()], false));
    assert_eq!(names(store.discounts(2, Some(&code("Z"))).await.unwrap()), (vec![], false));
}
