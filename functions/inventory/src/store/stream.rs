//! The changes of stock in the table's stream.

use contracts::Sku;
use lambda_kit::{
    dynamodb::{PK, SK, TableError},
    stream::{Image, StreamRecord},
};

use super::{RESERVATION, STOCK, stock::SETTINGS};
use crate::domain::{Reservation, StockMoves, may_have_changed};

/// What the write of a reservation in this record took or returned.
///
/// # Errors
/// When the item is no reservation of this code.
pub fn moves_of(record: &StreamRecord) -> Result<Vec<StockMoves>, TableError> {
    const OPERATION: &str = "reading a reservation of the stream";
    let is_reservation = |image: &&Image| image.string(SK).is_some_and(|sk| sk == RESERVATION);
    let Some(new) = record.dynamodb.new_image.as_ref().filter(is_reservation) else { return Ok(Vec::new()) };
    let read = |image: &Image| image.value::<Reservation>(OPERATION);
    let (before, after) = (record.dynamodb.old_image.as_ref().map(read).transpose()?, read(new)?);
    Ok(StockMoves::of_reservation(before.map(|before| before.status), &after))
}

/// The SKU whose availability this record may have changed, if any.
pub fn changed_sku(record: &StreamRecord) -> Option<Sku> {
    let new = record.dynamodb.new_image.as_ref()?;
    let pk = new.string(PK)?;
    match new.string(SK)?.as_str() {
        SETTINGS => Sku::try_from(pk.strip_prefix("SKU#")?).ok(),
        STOCK => {
            let (sku, _) = pk.strip_prefix("STOCK#")?.rsplit_once('#')?;
            let after = new.number("available")?;
            let before = record.dynamodb.old_image.as_ref().and_then(|old| old.number("available"));
            // A shard to which stock was returned before its SKU was set has no threshold yet.
            let matters = new.number("low_stock").is_none_or(|low| may_have_changed(before, after, low));
            matters.then(|| Sku::try_from(sku).ok()).flatten()
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn record(pk: &str, sk: &str, new: Value, old: Option<u32>) -> StreamRecord {
        let mut image = json!({"pk": {"S": pk}, "sk": {"S": sk}});
        image.as_object_mut().unwrap().extend(new.as_object().unwrap().clone());
        let mut change = json!({"SequenceNumber": "1", "NewImage": image});
        if let Some(old) = old {
            change["OldImage"] = json!({"available": {"N": old.to_string()}});
        }
        serde_json::from_str(&json!({"eventName": "MODIFY", "dynamodb": change}).to_string()).unwrap()
    }

    fn shard(old: Option<u32>, new: u32) -> StreamRecord {
        let image = json!({"available": {"N": new.to_string()}, "low_stock": {"N": "5"}});
        record("STOCK#MUG#12", "STOCK", image, old)
    }

    #[test]
    fn a_shard_that_stays_above_low_does_not_matter() {
        let mug = Some(Sku::try_from("MUG").unwrap());
        assert_eq!(changed_sku(&shard(Some(100), 99)), None);
        assert_eq!(changed_sku(&shard(Some(6), 5)), mug);
        assert_eq!(changed_sku(&shard(None, 100)), mug);
        assert_eq!(
            changed_sku(&record("STOCK#MUG#0", "STOCK", json!({"available": {"N": "9"}}), Some(8))),
            mug
        );
    }

    #[test]
    fn a_setting_matters_and_what_is_no_stock_does_not() {
        assert_eq!(changed_sku(&record("SKU#MUG", "SETTINGS", json!({}), None)), Sku::try_from("MUG").ok());
        assert_eq!(changed_sku(&record("SKU#MUG", "SUMMARY", json!({}), None)), None);
        assert_eq!(changed_sku(&record("RESERVATION#x", "RESERVATION", json!({}), None)), None);
    }
}
