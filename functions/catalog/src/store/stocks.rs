//! The copy of the stock classes, updated by inventory's events: `pk = PRODUCT#<sku>`, `sk = STOCK`. It is a
//! separate item, so that these writes do not change the product's version.

use std::collections::HashMap;

use contracts::{Availability, Sku};
use jiff::Timestamp;
use lambda_kit::dynamodb::{
    BatchRead, Conflict, Expression, Item, TableError, from_item, key, number, to_item,
};
use serde::{Deserialize, Serialize};

use super::{Store, partition};
use crate::stock::StockCopy;

const STOCK: &str = "STOCK";

#[derive(Serialize, Deserialize)]
struct Row {
    sku: Sku,
    availability: Availability,
    stock_version: u64,
    /// Absent in items of an earlier code version.
    // The attribute has the name that it had when it was introduced, because stored items have it.
    #[serde(rename = "told_at", default, skip_serializing_if = "Option::is_none")]
    published_at: Option<Timestamp>,
}

impl Store {
    /// Records the class of a SKU's stock at `version`, published at this time. Conflicts when the same or a
    /// newer version is stored already, perhaps by our own earlier try. The SKU need not be a product.
    pub async fn record_stock(
        &self,
        sku: &Sku,
        version: u64,
        availability: Availability,
        published_at: Timestamp,
    ) -> Result<Result<(), Conflict>, TableError> {
        const OPERATION: &str = "recording a stock";
        let row =
            Row { sku: sku.clone(), availability, stock_version: version, published_at: Some(published_at) };
        // Events arrive twice and in any order. Only a newer class may replace the stored one.
        let newer = Expression::new("attribute_not_exists(pk) OR stock_version < :version")
            .value(":version", number(version));
        self.table.put_if(OPERATION, to_item(OPERATION, stock_key(sku), &row)?, newer).await
    }

    /// The stored stock of these SKUs; those without events are left out. Eventually consistent.
    pub async fn stocks(&self, skus: &[Sku]) -> Result<HashMap<Sku, StockCopy>, TableError> {
        const OPERATION: &str = "reading stocks";
        let mut stocks = HashMap::new();
        let keys = skus.iter().map(stock_key).collect();
        // The read costs half as much as a consistent one. The copy is behind the stock by more than a
        // replica's lag anyway.
        for item in self.table.batch_get(OPERATION, keys, BatchRead::EVENTUAL).await? {
            let Row { sku, availability, stock_version: version, published_at } = from_item(OPERATION, item)?;
            stocks.insert(sku, StockCopy { availability: Some(availability), version, published_at });
        }
        Ok(stocks)
    }
}

fn stock_key(sku: &Sku) -> Item {
    key(partition(sku), STOCK)
}
