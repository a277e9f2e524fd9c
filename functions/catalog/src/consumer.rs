//! The events that the catalogue handles (`catalog-consumer`): inventory's stock classes, and orders'
//! completed baskets.

use contracts::{
    Envelope, EventPayload, Sku,
    events::{InventoryStockChanged, OrderCompleted},
};
use jiff::Timestamp;
use lambda_kit::{
    dynamodb::Conflict,
    sqs::{EventTypes, MessageError, joined},
};

use crate::{handler, store::Store};

/// The event types of the subscriptions (infra/catalog.yaml).
// Each has its own queue, so that availability does not wait for the counting of products bought together.
pub const STOCK_EVENT_TYPES: EventTypes = &[InventoryStockChanged::TYPE];
pub const ORDER_EVENT_TYPES: EventTypes = &[OrderCompleted::TYPE];
/// Both.
pub const EVENT_TYPES: EventTypes =
    &joined::<{ STOCK_EVENT_TYPES.len() + ORDER_EVENT_TYPES.len() }>(STOCK_EVENT_TYPES, ORDER_EVENT_TYPES);

/// Records a SKU's stock class, or the products of an order. Events may come in any order and repeatedly.
///
/// # Errors
/// When the event cannot be read, or the table cannot be written.
pub async fn handle(store: &Store, event: Envelope) -> Result<(), MessageError> {
    let recorded = if event.event_type == OrderCompleted::TYPE {
        let OrderCompleted { items, .. } = event.decode()?;
        let skus: Vec<Sku> = items.into_iter().map(|item| item.sku).collect();
        handler::record_order(store, &event.event_id, &skus, Timestamp::now()).await
    } else {
        let InventoryStockChanged { sku, availability } = event.decode()?;
        store.record_stock(&sku, event.sequence, availability, event.occurred_at).await
    };
    // The event is acknowledged. A newer stock is stored, or the order is counted: by an earlier delivery of
    // this event, or by a try whose answer was lost.
    if let Err(Conflict) = recorded.map_err(MessageError::handler)? {
        tracing::info!(sequence = event.sequence, "stale event ignored");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use contracts::{
        Availability, CorrelationId, Currency, Money, NewEvent, OrderLine, events::ProductDiscontinued,
    };
    use futures::future::join_all;
    use lambda_kit::testing;
    use rstest::rstest;

    use super::*;

    fn mug() -> Sku {
        Sku::try_from("MUG").unwrap()
    }

    fn event<P: contracts::EventPayload>(sequence: u64, payload: &P) -> Envelope {
        let new = NewEvent {
            source: "inventory",
            subject: "MUG",
            sequence,
            occurred_at: Timestamp::UNIX_EPOCH,
            correlation_id: &CorrelationId::try_from("cor").unwrap(),
            causation_id: "test",
            user_id: None,
        };
        Envelope::new(new, payload).unwrap()
    }

    fn changed(sequence: u64) -> Envelope {
        use Availability::{InStock, LowStock, OutOfStock};
        let classes = [InStock, LowStock, OutOfStock];
        let availability = classes[usize::try_from(sequence).unwrap() % 3];
        event(sequence, &InventoryStockChanged { sku: mug(), availability })
    }

    #[rstest]
    #[case::in_order(&[1, 2, 3])]
    #[case::backwards(&[3, 2, 1])]
    #[case::twice(&[1, 3, 3, 2])]
    #[tokio::test]
    async fn the_newest_class_stays_in_any_order_of_events(#[case] order: &[u64]) {
        let (table, _) = testing::table(&[]).await;
        let store = Store::new(table);
        for sequence in order {
            handle(&store, changed(*sequence)).await.unwrap();
        }
        let stock = store.stocks(&[mug()]).await.unwrap()[&mug()];
        assert_eq!((stock.availability, stock.version), (Some(Availability::InStock), 3));
        assert_eq!(stock.published_at, Some(Timestamp::UNIX_EPOCH));
    }

    #[tokio::test]
    async fn a_repeated_event_succeeds_when_the_answer_to_its_write_was_lost() {
        let (table, faults) = testing::table(&[]).await;
        let store = Store::new(table);
        faults.lose_answers("PutItem", lambda_kit::aws::MAX_ATTEMPTS);
        assert!(handle(&store, changed(1)).await.is_err());
        handle(&store, changed(1)).await.unwrap();
    }

    #[tokio::test]
    async fn an_event_of_another_type_is_a_fault_of_the_subscription() {
        let (table, _) = testing::table(&[]).await;
        let other = event(1, &ProductDiscontinued { sku: mug() });
        assert!(handle(&Store::new(table), other).await.is_err());
    }

    fn sku(name: &str) -> Sku {
        Sku::try_from(name).unwrap()
    }

    /// An order of these products has completed.
    fn completed(order: &str, skus: &[&str]) -> Envelope {
        let items = skus.iter().map(|name| OrderLine { sku: sku(name), quantity: 2 }).collect();
        let new = NewEvent {
            source: "orders",
            subject: order,
            sequence: 6,
            occurred_at: Timestamp::UNIX_EPOCH,
            correlation_id: &CorrelationId::try_from("cor").unwrap(),
            causation_id: "test",
            user_id: None,
        };
        Envelope::new(new, &OrderCompleted { total: Money::zero(Currency::USD), items }).unwrap()
    }

    async fn companions(store: &Store, name: &str) -> Vec<String> {
        let mut co_purchases = store.co_purchases(&[sku(name)]).await.unwrap();
        let companions = co_purchases.remove(&sku(name)).unwrap_or_default().most_frequent(100);
        companions.iter().map(Sku::to_string).collect()
    }

    #[tokio::test]
    async fn products_of_one_order_are_counted_as_companions_once() {
        let (table, faults) = testing::table(&[]).await;
        let store = Store::new(table);
        handle(&store, completed("o-1", &["A", "B"])).await.unwrap();
        handle(&store, completed("o-2", &["A", "C"])).await.unwrap();
        faults.lose_answers("TransactWriteItems", lambda_kit::aws::MAX_ATTEMPTS);
        assert!(handle(&store, completed("o-3", &["A", "B", "C"])).await.is_err());
        for _ in 0..3 {
            handle(&store, completed("o-3", &["A", "B", "C"])).await.unwrap();
            handle(&store, completed("o-2", &["A", "C"])).await.unwrap();
        }
        assert_eq!(companions(&store, "A").await, ["B", "C"]);
        assert_eq!(companions(&store, "B").await, ["A", "C"]);
        let co_purchases = store.co_purchases(&[sku("A"), sku("B"), sku("C")]).await.unwrap();
        assert_eq!(["A", "B", "C"].map(|name| co_purchases[&sku(name)].version), [3, 2, 2]);
    }

    #[tokio::test]
    async fn orders_that_cannot_be_counted_end_their_batch_in_time() {
        let (table, faults) = testing::table(&[]).await;
        let store = Store::new(table);
        faults.conflict(u32::MAX);
        let started = std::time::Instant::now();
        let orders: Vec<String> = (0..10).map(|n| format!("o-{n}")).collect();
        let batch = orders.iter().map(|order| handle(&store, completed(order, &["A", "B"])));
        assert!(join_all(batch).await.iter().all(Result::is_err));
        // The consumer has 30 s.
        assert!(started.elapsed() < std::time::Duration::from_secs(20), "{:?}", started.elapsed());
    }

    #[tokio::test]
    async fn an_order_of_one_product_or_none_makes_no_call() {
        let (table, faults) = testing::table(&[]).await;
        let store = Store::new(table);
        for skus in [&["A"][..], &[]] {
            handle(&store, completed("o-1", skus)).await.unwrap();
        }
        assert!(faults.calls().is_empty());
    }

    #[tokio::test]
    async fn the_largest_order_is_one_transaction_and_orders_at_once_are_all_counted() {
        let (table, faults) = testing::table(&[]).await;
        let store = Store::new(table.clone());
        let names: Vec<String> = (0..20).map(|n| format!("S{n:02}")).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        handle(&store, completed("o-0", &names)).await.unwrap();
        assert_eq!(faults.calls(), ["BatchGetItem", "TransactWriteItems"]);
        assert_eq!(companions(&store, "S00").await.len(), 19);

        // Two processes that share nothing.
        let other = Store::new(table);
        let orders: Vec<String> = (1..21).map(|n| format!("o-{n}")).collect();
        let both = orders.iter().enumerate().map(|(n, order)| {
            handle(if n % 2 == 0 { &store } else { &other }, completed(order, &["S00", "S01"]))
        });
        for result in join_all(both).await {
            result.unwrap();
        }
        assert_eq!(store.co_purchases(&[sku("S00")]).await.unwrap()[&sku("S00")].version, 21);
        assert_eq!(companions(&store, "S00").await[0], "S01");
    }
}
