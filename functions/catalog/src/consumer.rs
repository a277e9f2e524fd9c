//! Inventory's events keep the copy of what can be sold (`catalog-consumer`).

use contracts::{Envelope, events::InventoryStockChanged};
use lambda_kit::sqs::MessageError;

use crate::store::{Noted, Store};

/// Notes the class of a SKU's stock. In any order, and as often as it comes.
///
/// # Errors
/// When the event cannot be read, or the table cannot be written.
pub async fn handle(store: &Store, event: Envelope) -> Result<(), MessageError> {
    let InventoryStockChanged { sku, availability } = event.decode()?;
    let noted = store.note_stock(&sku, event.sequence, availability).await.map_err(MessageError::handler)?;
    if noted == Noted::Outdated {
        tracing::info!(version = event.sequence, "as much was known already");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use contracts::{Availability, CorrelationId, NewEvent, Sku, events::ProductDiscontinued};
    use jiff::Timestamp;
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
    async fn the_newest_class_stays_whatever_comes_when(#[case] order: &[u64]) {
        let (table, _) = testing::table(&[]).await;
        let store = Store::new(table);
        for sequence in order {
            handle(&store, changed(*sequence)).await.unwrap();
        }
        let stock = store.stocks(&[mug()]).await.unwrap()[&mug()];
        assert_eq!((stock.availability, stock.version), (Some(Availability::InStock), 3));
    }

    #[tokio::test]
    async fn a_note_whose_answer_is_lost_is_a_success_when_the_event_comes_again() {
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
}
