//! The copy of the stock classes, updated by inventory's events: `pk = PRODUCT#<sku>`, `sk = STOCK`. It is a
//! separate item, so that these writes do not change the product's version.

use std::collections::HashMap;

use contracts::{Availability, Sku};
use jiff::Timestamp;
use lambda_kit::dynamodb::{Item, TableError, condition_failed, key, number};
use serde::{Deserialize, Serialize};

use super::{Store, partition};
use crate::stock::Stock;

const STOCK: &str = "STOCK";

/// The outcome of recording a stock class.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Noted {
    Done,
    /// The same or a newer version was stored already.
    Outdated,
}

#[derive(Serialize, Deserialize)]
struct Row {
    sku: Sku,
    availability: Availability,
    stock_version: u64,
    /// Absent in items of an earlier code version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    told_at: Option<Timestamp>,
}

impl Store {
    /// Records the class of a SKU's stock at `version`, published at this time, unless a newer one is stored.
    /// The SKU need not be a product.
    pub async fn note_stock(
        &self,
        sku: &Sku,
        version: u64,
        availability: Availability,
        told_at: Timestamp,
    ) -> Result<Noted, TableError> {
        const OPERATION: &str = "noting a stock";
        let row = Row { sku: sku.clone(), availability, stock_version: version, told_at: Some(told_at) };
        let mut item: Item = serde_dynamo::to_item(row).map_err(|e| TableError::item(OPERATION, e))?;
        item.extend(stock_key(sku));
        let put = self
            .table
            .client
            .put_item()
            .table_name(&self.table.name)
            .set_item(Some(item))
            .condition_expression("attribute_not_exists(pk) OR stock_version < :version")
            .expression_attribute_values(":version", number(version));
        match put.send().await {
            Ok(_) => Ok(Noted::Done),
            // It is older, a repeat, or our own earlier try whose answer was lost: nothing is left to do.
            Err(error) if condition_failed(&error) => Ok(Noted::Outdated),
            Err(error) => Err(TableError::call(OPERATION, error)),
        }
    }

    /// The stored stock of these SKUs; those without events are left out. Eventually consistent, at half the
    /// price: the copy is behind the stock by more than a replica's lag anyway.
    pub async fn stocks(&self, skus: &[Sku]) -> Result<HashMap<Sku, Stock>, TableError> {
        const OPERATION: &str = "reading stocks";
        let mut stocks = HashMap::new();
        for item in self.items(OPERATION, skus.iter().map(stock_key).collect()).await? {
            let row: Row = serde_dynamo::from_item(item).map_err(|e| TableError::item(OPERATION, e))?;
            let Row { sku, availability, stock_version: version, told_at } = row;
            stocks.insert(sku, Stock { availability: Some(availability), version, told_at });
        }
        Ok(stocks)
    }
}

fn stock_key(sku: &Sku) -> Item {
    key(partition(sku), STOCK)
}
