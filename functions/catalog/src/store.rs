//! The catalogue's table: one item a product, and one beside it for its stock (`stocks`).
//!
//! `pk = PRODUCT#<sku>`, `sk = PRODUCT`. Products on sale are in the index `listing` (`gsi1pk = PRODUCTS`,
//! `gsi1sk = <sku>`); a discontinued one leaves it.

mod stocks;

use aws_sdk_dynamodb::types::AttributeValue;
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use contracts::Sku;
use lambda_kit::dynamodb::{self, Item, TableError, condition_failed, key, number, string};
use lambda_kit::dynamodb::{OUTBOX, Table};

pub use self::stocks::Noted;
use crate::domain::{Change, Product};

const PRODUCT: &str = "PRODUCT";
const LISTING: &str = "listing";
const LISTED: &str = "PRODUCTS";

#[derive(Debug, Clone)]
pub struct Store {
    table: Table,
}

/// What became of a write.
#[derive(Debug, PartialEq, Eq)]
pub enum Written {
    Done,
    /// The product changed meanwhile, or exists already.
    Conflict,
}

/// One page of products on sale, by SKU.
#[derive(Debug)]
pub struct Page {
    pub products: Vec<Product>,
    pub next_cursor: Option<String>,
}

impl Store {
    pub fn new(table: Table) -> Self {
        Self { table }
    }

    pub async fn get(&self, sku: &Sku) -> Result<Option<Product>, TableError> {
        const OPERATION: &str = "reading a product";
        let answer =
            self.table.client.get_item().table_name(&self.table.name).set_key(Some(product_key(sku)));
        let answer = answer.consistent_read(true).send().await.map_err(|e| TableError::call(OPERATION, e))?;
        answer.item.map(|item| read(OPERATION, item)).transpose()
    }

    /// Writes a product that is new. A repeat whose first answer was lost is a success.
    pub async fn create(&self, change: &Change) -> Result<Written, TableError> {
        const OPERATION: &str = "creating a product";
        let put = self.put(OPERATION, change)?.condition_expression("attribute_not_exists(pk)");
        self.written(OPERATION, put, change).await
    }

    /// Writes a product over its version before.
    pub async fn update(&self, change: &Change) -> Result<Written, TableError> {
        const OPERATION: &str = "changing a product";
        let put = self
            .put(OPERATION, change)?
            .condition_expression("version = :before")
            .expression_attribute_values(":before", number(change.product.version - 1));
        self.written(OPERATION, put, change).await
    }

    /// Products on sale, `limit` at most, from `cursor` on. `None` when the cursor is not one of ours.
    pub async fn list(&self, limit: i32, cursor: Option<&str>) -> Result<Option<Page>, TableError> {
        const OPERATION: &str = "listing products";
        let start = match cursor.map(parse_cursor) {
            None => None,
            Some(Some(sku)) => Some(start_key(&sku)),
            Some(None) => return Ok(None),
        };
        let answer = self
            .table
            .client
            .query()
            .table_name(&self.table.name)
            .index_name(LISTING)
            .key_condition_expression("gsi1pk = :listed")
            .expression_attribute_values(":listed", string(LISTED))
            .limit(limit)
            .set_exclusive_start_key(start)
            .send()
            .await
            .map_err(|e| TableError::call(OPERATION, e))?;
        let next_cursor = answer
            .last_evaluated_key
            .and_then(|key| key.get("gsi1sk")?.as_s().ok().map(|sku| URL_SAFE_NO_PAD.encode(sku)));
        let products = answer
            .items
            .unwrap_or_default()
            .into_iter()
            .map(|item| read(OPERATION, item))
            .collect::<Result<_, _>>()?;
        Ok(Some(Page { products, next_cursor }))
    }

    fn put(
        &self,
        operation: &'static str,
        change: &Change,
    ) -> Result<aws_sdk_dynamodb::operation::put_item::builders::PutItemFluentBuilder, TableError> {
        let product = &change.product;
        let mut item: Item = serde_dynamo::to_item(product).map_err(|e| TableError::item(operation, e))?;
        item.extend(product_key(&product.sku));
        if !product.discontinued {
            item.insert("gsi1pk".to_owned(), string(LISTED));
            item.insert("gsi1sk".to_owned(), string(product.sku.as_str()));
        }
        let outbox = dynamodb::outbox(std::slice::from_ref(&change.event))
            .map_err(|e| TableError::item(operation, e))?;
        item.insert(OUTBOX.to_owned(), outbox);
        Ok(self.table.client.put_item().table_name(&self.table.name).set_item(Some(item)))
    }

    async fn written(
        &self,
        operation: &'static str,
        put: aws_sdk_dynamodb::operation::put_item::builders::PutItemFluentBuilder,
        change: &Change,
    ) -> Result<Written, TableError> {
        match put.send().await {
            Ok(_) => Ok(Written::Done),
            Err(error) if condition_failed(&error) => {
                // The SDK tries again after a lost answer: what is there may be our own earlier try.
                let ours =
                    self.get(&change.product.sku).await?.is_some_and(|stored| stored == change.product);
                Ok(if ours { Written::Done } else { Written::Conflict })
            }
            Err(error) => Err(TableError::call(operation, error)),
        }
    }
}

fn read(operation: &'static str, item: Item) -> Result<Product, TableError> {
    serde_dynamo::from_item(item).map_err(|e| TableError::item(operation, e))
}

fn product_key(sku: &Sku) -> Item {
    key(format!("PRODUCT#{sku}"), PRODUCT)
}

fn parse_cursor(cursor: &str) -> Option<Sku> {
    let bytes = URL_SAFE_NO_PAD.decode(cursor).ok()?;
    Sku::try_from(String::from_utf8(bytes).ok()?).ok()
}

fn start_key(sku: &Sku) -> std::collections::HashMap<String, AttributeValue> {
    let mut key = product_key(sku);
    key.insert("gsi1pk".to_owned(), string(LISTED));
    key.insert("gsi1sk".to_owned(), string(sku.as_str()));
    key
}
