//! A copy of the catalogue's prices, kept by its events.

use std::collections::HashMap;

use contracts::{Currency, Money, Sku};
use lambda_kit::dynamodb::{Conflict, Expression, Item, PK, SK, TableError, key, number, number_of, string};

use super::{Store, item::ItemError, item::text};

const PRICE: &str = "PRICE";
const PARTITION: &str = "PRICE#";
const AMOUNT: &str = "amount";
const CURRENCY: &str = "currency";
const PRODUCT_VERSION: &str = "product_version";

impl Store {
    /// Records the price of a SKU as of `product_version`, or with `None` that it is no longer sold. Events may
    /// come in any order and repeatedly. Conflicts when the same or a newer version is stored already, perhaps
    /// by our own earlier try.
    pub async fn record_price(
        &self,
        sku: &Sku,
        product_version: u64,
        price: Option<Money>,
    ) -> Result<Result<(), Conflict>, TableError> {
        let mut item = key_of(sku);
        item.insert(PRODUCT_VERSION.to_owned(), number(product_version));
        // A SKU that is no longer sold keeps its item without a price. The item's version refuses an older
        // price that arrives late.
        if let Some(Money { amount, currency }) = price {
            item.insert(AMOUNT.to_owned(), number(amount));
            item.insert(CURRENCY.to_owned(), string(currency.code()));
        }
        let newer = Expression::new("attribute_not_exists(pk) OR product_version < :version")
            .value(":version", number(product_version));
        self.table.put_if("recording a price", item, newer).await
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
            let amount = number_of(item, AMOUNT);
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
