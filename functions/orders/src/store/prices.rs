//! The price book: a copy of the catalogue's prices, kept by its events.

use std::collections::HashMap;

use contracts::{Currency, Money, Sku};
use lambda_kit::dynamodb::{Item, PK, SK, TableError, condition_failed, key, number, string};

use super::{Store, item::ItemError, item::text};

const PRICE: &str = "PRICE";
const PARTITION: &str = "PRICE#";
const AMOUNT: &str = "amount";
const CURRENCY: &str = "currency";
const PRODUCT_VERSION: &str = "product_version";

/// The outcome of recording a price.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Noted {
    Done,
    /// The same or a newer version was stored already.
    Outdated,
}

impl Store {
    /// Notes what a SKU costs as of `product_version`, or that it is no longer sold. Events may come in any order
    /// and more than once: the newest version stays, also as a mark where nothing is sold any more.
    pub async fn note_price(
        &self,
        sku: &Sku,
        product_version: u64,
        price: Option<Money>,
    ) -> Result<Noted, TableError> {
        let mut item = key_of(sku);
        item.insert(PRODUCT_VERSION.to_owned(), number(product_version));
        if let Some(Money { amount, currency }) = price {
            item.insert(AMOUNT.to_owned(), number(amount));
            item.insert(CURRENCY.to_owned(), string(currency.code()));
        }
        let put = self
            .table
            .client
            .put_item()
            .table_name(&self.table.name)
            .set_item(Some(item))
            .condition_expression("attribute_not_exists(pk) OR product_version < :version")
            .expression_attribute_values(":version", number(product_version));
        match put.send().await {
            Ok(_) => Ok(Noted::Done),
            // It is older, a repeat, or our own earlier try whose answer was lost: nothing is left to do.
            Err(error) if condition_failed(&error) => Ok(Noted::Outdated),
            Err(error) => Err(TableError::call("noting a price", error)),
        }
    }
}

pub(super) fn key_of(sku: &Sku) -> Item {
    key(format!("{PARTITION}{sku}"), PRICE)
}

pub(super) fn is_price(item: &Item) -> bool {
    text(item, SK).is_ok_and(|sk| sk == PRICE)
}

/// The prices of what is sold.
pub(super) fn read(items: Vec<Item>) -> Result<HashMap<Sku, Money>, ItemError> {
    items
        .iter()
        .filter(|item| item.contains_key(AMOUNT))
        .map(|item| {
            let sku = text(item, PK)?.strip_prefix(PARTITION).and_then(|sku| Sku::try_from(sku).ok());
            let amount = item.get(AMOUNT).and_then(|value| value.as_n().ok()?.parse().ok());
            let currency = Currency::from_code(text(item, CURRENCY)?);
            Ok((
                sku.ok_or(ItemError::Attribute(PK))?,
                Money::new(
                    amount.ok_or(ItemError::Attribute(AMOUNT))?,
                    currency.ok_or(ItemError::Attribute(CURRENCY))?,
                ),
            ))
        })
        .collect()
}
