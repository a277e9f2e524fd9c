use contracts::{NewEvent, OrderStatus, UserId, saga::UndoOutcome};
use lambda_kit::testing::{self, table};
use rstest::rstest;

use super::*;
use crate::testing::{at, cancel_after, correlation_id, order_id, place_order, sku, usd, user_id};

async fn store() -> Store {
    crate::testing::store(table(&[]).await.0)
}

fn event<P: EventPayload>(version: u64, payload: &P) -> Envelope {
    let new = NewEvent {
        source: "catalog",
        subject: "MUG",
        sequence: version,
        occurred_at: at(0),
        correlation_id: &correlation_id(),
        causation_id: "request",
        user_id: None,
    };
    Envelope::new(new, payload).unwrap()
}

fn created(version: u64, amount: i64) -> Envelope {
    let (name, category) = ("Mug".to_owned(), "kitchen".to_owned());
    event(version, &ProductCreated { sku: sku("MUG"), name, category, price: usd(amount) })
}

fn updated(version: u64, amount: i64) -> Envelope {
    let (name, category) = ("Mug".to_owned(), "kitchen".to_owned());
    event(version, &ProductUpdated { sku: sku("MUG"), name, category, price: usd(amount) })
}

fn discontinued(version: u64) -> Envelope {
    event(version, &ProductDiscontinued { sku: sku("MUG") })
}

/// The price of a mug after these events, in this order.
async fn price_after(events: Vec<Envelope>) -> Option<Money> {
    let store = store().await;
    for event in events {
        handle(&store, event).await.unwrap();
    }
    let mug = sku("MUG");
    store.lookup(Some(&order_id()), &user_id(), &[&mug], None).await.unwrap().prices.remove(&mug)
}

#[tokio::test]
async fn the_price_book_follows_the_catalogue() {
    assert_eq!(price_after(vec![created(1, 4200)]).await, Some(usd(4200)));
    assert_eq!(price_after(vec![created(1, 4200), updated(2, 3900)]).await, Some(usd(3900)));
    assert_eq!(price_after(vec![created(1, 4200), discontinued(2)]).await, None);
}

#[tokio::test]
async fn events_that_come_late_or_twice_change_nothing() {
    assert_eq!(
        price_after(vec![updated(2, 3900), created(1, 4200), updated(2, 3900)]).await,
        Some(usd(3900))
    );
    assert_eq!(price_after(vec![discontinued(3), updated(2, 3900), created(1, 4200)]).await, None);
}

#[tokio::test]
async fn a_product_that_is_sold_again_has_its_new_price_in_any_order_of_events() {
    let (gone, again) = (discontinued(2), created(3, 3500));
    assert_eq!(price_after(vec![created(1, 4200), gone.clone(), again.clone()]).await, Some(usd(3500)));
    assert_eq!(price_after(vec![again.clone(), gone.clone(), created(1, 4200)]).await, Some(usd(3500)));
    assert_eq!(price_after(vec![again, created(1, 4200), gone]).await, Some(usd(3500)));
}

#[tokio::test]
async fn broken_events_are_delivered_again() {
    let store = store().await;
    let mut broken = created(1, 4200);
    broken.data = serde_json::json!({"sku": "MUG"});
    assert!(matches!(handle(&store, broken).await, Err(MessageError::Decode(_))));
}

/// An event of this customer's account, at second 0.
fn account(event_type: &str, version: u64) -> Envelope {
    let event = testing::event(user_id().as_str(), event_type, version);
    Envelope { occurred_at: at(0), ..event }
}

/// The state of a customer's account, this long after second 0.
async fn state(store: &Store, customer: &UserId, seconds: i64) -> AccountState {
    let found = store.lookup(Some(&order_id()), customer, &[], None).await.unwrap();
    found.account.map_or(AccountState::Active, |mark| mark.state(at(seconds).as_second()))
}

#[rstest]
#[case::deleted("user.deleted", AccountState::Deleted)]
#[case::suspended("user.suspended", AccountState::Suspended)]
#[tokio::test]
async fn a_customer_who_may_order_nothing_is_known_as_long_as_an_access_token_is_valid(
    #[case] event_type: &str,
    #[case] expected: AccountState,
) {
    let (table, _) = table(&[]).await;
    let store = crate::testing::store(table.clone());
    for _ in 0..2 {
        handle(&store, account(event_type, 7)).await.unwrap();
    }
    assert_eq!(state(&store, &user_id(), 16 * 60 - 1).await, expected);
    assert_eq!(state(&store, &user_id(), 16 * 60).await, AccountState::Active, "DynamoDB deletes it later");
    assert_eq!(state(&store, &UserId::generate(), 0).await, AccountState::Active);
    let items = table.client.scan().table_name(&table.name).send().await.unwrap().items.unwrap();
    assert_eq!(items.len(), 1);
}

#[tokio::test]
async fn a_restored_customer_may_order_whatever_the_order_of_the_events() {
    for events in
        [[("user.suspended", 2), ("user.restored", 3)], [("user.restored", 3), ("user.suspended", 2)]]
    {
        let store = store().await;
        for (event_type, version) in events {
            handle(&store, account(event_type, version)).await.unwrap();
        }
        assert_eq!(state(&store, &user_id(), 1).await, AccountState::Active, "{events:?}");
    }
}

#[tokio::test]
async fn a_cancelled_order_whose_refund_failed_needs_attention_and_a_repeat_changes_nothing() {
    let store = store().await;
    place_order(&store).await;
    let undone = [UndoOutcome::NotNeeded, UndoOutcome::Refunded, UndoOutcome::Released];
    for command in [Command::RecordReservation, cancel_after("ScheduleShipment", "ShipmentRejected", undone)]
    {
        crate::handler::execute(&store, &order_id(), &command, &correlation_id(), at(1)).await.unwrap();
    }
    let failed = event(
        9,
        &PaymentRefundFailed {
            order_id: order_id(),
            amount: usd(8400),
            refunded: usd(0),
            refund_id: "re_1".to_owned(),
            reason: "expired_or_canceled_card".to_owned(),
        },
    );
    handle(&store, failed.clone()).await.unwrap();
    let history = store.load(&order_id()).await.unwrap().unwrap();
    assert_eq!(history.order.status, OrderStatus::NeedsAttention);
    handle(&store, failed).await.unwrap();
    assert_eq!(store.load(&order_id()).await.unwrap().unwrap().order.version, history.order.version);
}
