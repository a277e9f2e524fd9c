//! The availability of a SKU, which is published when it changes.

use contracts::{Availability, CorrelationId, Envelope, NewEvent, Sku, events::InventoryStockChanged};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{SOURCE, stock::Stock};

/// The availability of a SKU, as it was last published.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Summary {
    pub sku: Sku,
    pub availability: Availability,
    /// Counts the changes, from 1. It is the `sequence` of the event of a change.
    pub version: u64,
    pub updated_at: Timestamp,
}

/// One write of a summary, and its event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SummaryChange {
    pub summary: Summary,
    pub event: Envelope,
}

/// Whether a change of one shard may have changed the availability of the SKU, as far as the shard alone can
/// show.
// One shard above the threshold means that the total is above it, whatever the other shards have. So most
// changes of a well-stocked SKU cost no read.
pub fn may_have_changed(before: Option<u32>, after: u32, low_stock: u32) -> bool {
    before.is_none_or(|before| before != after && before.min(after) <= low_stock)
}

/// The summary of the current stock. `None` when its availability has been published already.
///
/// # Errors
/// When the event has no JSON form.
pub fn availability_change(
    before: Option<&Summary>,
    stock: &Stock,
    correlation_id: &CorrelationId,
    causation_id: &str,
    at: Timestamp,
) -> Result<Option<SummaryChange>, serde_json::Error> {
    let availability = stock.availability();
    if before.is_some_and(|before| before.availability == availability) {
        return Ok(None);
    }
    let sku = stock.settings.sku.clone();
    let version = before.map_or(0, |before| before.version) + 1;
    let event = Envelope::new(
        NewEvent {
            source: SOURCE,
            subject: sku.as_str(),
            sequence: version,
            occurred_at: at,
            correlation_id,
            causation_id,
            user_id: None,
        },
        &InventoryStockChanged { sku: sku.clone(), availability },
    )?;
    Ok(Some(SummaryChange { summary: Summary { sku, availability, version, updated_at: at }, event }))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rstest::rstest;

    use super::*;
    use crate::domain::{Settings, Shard};

    fn stock(available: &[u32]) -> Stock {
        let settings = Settings {
            sku: Sku::try_from("MUG").unwrap(),
            shards: 1,
            low_stock: 5,
            version: 1,
            updated_at: Timestamp::UNIX_EPOCH,
        };
        let shards = (0..).zip(available).map(|(shard, available)| Shard { shard, available: *available });
        Stock { settings, shards: shards.collect() }
    }

    fn published(before: Option<&Summary>, available: &[u32]) -> Option<SummaryChange> {
        let correlation_id = CorrelationId::try_from("cor").unwrap();
        availability_change(before, &stock(available), &correlation_id, "test", Timestamp::UNIX_EPOCH)
            .unwrap()
    }

    #[test]
    fn an_availability_is_published_once_and_each_change_with_the_next_version() {
        let first = published(None, &[9]).unwrap();
        assert_eq!((first.summary.availability, first.summary.version), (Availability::InStock, 1));
        assert_eq!(published(Some(&first.summary), &[6]), None);
        let second = published(Some(&first.summary), &[3, 2]).unwrap();
        assert_eq!((second.event.sequence, second.event.subject.as_str()), (2, "MUG"));
        let payload: InventoryStockChanged = second.event.decode().unwrap();
        assert_eq!(payload.availability, Availability::LowStock);
    }

    #[rstest]
    #[case::a_new_shard(None, 100, true)]
    #[case::nothing_moved(Some(3), 3, false)]
    #[case::both_above(Some(100), 99, false)]
    #[case::down_to_low(Some(6), 5, true)]
    #[case::up_from_low(Some(5), 6, true)]
    #[case::within_low(Some(3), 2, true)]
    fn a_shard_above_low_says_enough_of_the_whole(
        #[case] before: Option<u32>,
        #[case] after: u32,
        #[case] expected: bool,
    ) {
        assert_eq!(may_have_changed(before, after, 5), expected);
    }

    proptest! {
        #[test]
        fn no_change_of_availability_is_missed(others in 0..20_u32, before in 0..20_u32, after in 0..20_u32) {
            let changed = stock(&[others, before]).availability() != stock(&[others, after]).availability();
            prop_assert!(!changed || may_have_changed(Some(before), after, 5));
        }
    }
}
