//! The catalogue's table.
//!
//! | pk | sk | holds |
//! |---|---|---|
//! | `PRODUCT#<sku>` | `PRODUCT` | a product, with its outbox; while it is on sale in the indexes `listing` and `category` (`listing`) |
//! | `PRODUCT#<sku>` | `WORD#<position>` | where the product is found in both indexes by a word of its name, while it is on sale |
//! | `PRODUCT#<sku>` | `STOCK` | what is known of its stock (`stocks`) |
//! | `PRODUCT#<sku>` | `TOGETHER` | what it is bought together with (`together`) |
//! | `EVENT#<event>` | `EVENT` | that the order of this event is counted there |

mod batch;
mod listing;
mod stocks;
mod together;

use std::{fmt::Display, sync::Arc};

use aws_sdk_dynamodb::types::{Delete, Put, TransactWriteItem};
use contracts::Sku;
use lambda_kit::dynamodb::{self, Item, OUTBOX, PK, SK, Table, TableError, Transacted, key, number};
use tokio::sync::Mutex;

pub use self::{
    listing::{Filter, ListError, Page},
    stocks::Noted,
};
use crate::domain::{Change, Product};

const PRODUCT: &str = "PRODUCT";

#[derive(Debug, Clone)]
pub struct Store {
    table: Table,
    /// Held while counting products that are bought together (`together`).
    counting: Arc<Mutex<()>>,
}

/// The outcome of a write.
#[derive(Debug, PartialEq, Eq)]
pub enum Written {
    Done,
    /// The product was changed by another request, or exists already.
    Conflict,
}

impl Store {
    pub fn new(table: Table) -> Self {
        Self { table, counting: Arc::default() }
    }

    pub async fn get(&self, sku: &Sku) -> Result<Option<Product>, TableError> {
        const OPERATION: &str = "reading a product";
        let answer =
            self.table.client.get_item().table_name(&self.table.name).set_key(Some(product_key(sku)));
        let answer = answer.consistent_read(true).send().await.map_err(|e| TableError::call(OPERATION, e))?;
        answer.item.map(|item| read(OPERATION, item)).transpose()
    }

    /// Writes a new product. A repeat whose first answer was lost is a success.
    pub async fn create(&self, change: &Change) -> Result<Written, TableError> {
        self.write("creating a product", change).await
    }

    /// Writes a product, with its previous version as the condition.
    pub async fn update(&self, change: &Change) -> Result<Written, TableError> {
        self.write("changing a product", change).await
    }

    /// A plain write; a transaction only when the items by which the product is found change.
    async fn write(&self, operation: &'static str, change: &Change) -> Result<Written, TableError> {
        let put = self.put(operation, change)?;
        let words = self.words(operation, change)?;
        let is_done = if words.is_empty() {
            self.table.put_item_alone(operation, put).await?
        } else {
            let put = TransactWriteItem::builder().put(put).build();
            match self.table.transact_items(operation, std::iter::once(put).chain(words).collect()).await? {
                Transacted::Done => true,
                Transacted::First | Transacted::Other => false,
                Transacted::Busy => {
                    return Err(TableError::call(
                        operation,
                        "another transaction was under way on the product",
                    ));
                }
            }
        };
        if is_done {
            return Ok(Written::Done);
        }
        // The SDK retries after a lost answer, so the stored item may be our own earlier try.
        let ours = self.get(&change.product.sku).await?.is_some_and(|stored| stored == change.product);
        Ok(if ours { Written::Done } else { Written::Conflict })
    }

    fn put(&self, operation: &'static str, change: &Change) -> Result<Put, TableError> {
        let product = &change.product;
        let mut item: Item = serde_dynamo::to_item(product).map_err(|e| TableError::item(operation, e))?;
        item.extend(product_key(&product.sku));
        item.extend(listing::product_keys(product));
        let outbox = dynamodb::outbox(std::slice::from_ref(&change.event))
            .map_err(|e| TableError::item(operation, e))?;
        item.insert(OUTBOX.to_owned(), outbox);
        let put = Put::builder().table_name(&self.table.name).set_item(Some(item));
        let put = match &change.before {
            None => put.condition_expression("attribute_not_exists(pk)"),
            Some(before) => put
                .condition_expression("version = :before")
                .expression_attribute_values(":before", number(before.version)),
        };
        put.build().map_err(|e| TableError::call(operation, e))
    }

    /// The changes to the items by which the product is found.
    fn words(&self, operation: &'static str, change: &Change) -> Result<Vec<TransactWriteItem>, TableError> {
        let before = change.before.as_ref().map(listing::words).unwrap_or_default();
        let after = listing::words(&change.product);
        let mut writes = Vec::new();
        for position in 0..before.len().max(after.len()) {
            let write = TransactWriteItem::builder();
            let write = match (before.get(position), after.get(position)) {
                (before, Some(item)) if before != Some(item) => {
                    let put = Put::builder().table_name(&self.table.name).set_item(Some(item.clone()));
                    write.put(put.build().map_err(|e| TableError::call(operation, e))?)
                }
                (Some(item), None) => {
                    let key = item.iter().filter(|(name, _)| [PK, SK].contains(&name.as_str()));
                    let key = key.map(|(name, value)| (name.clone(), value.clone())).collect();
                    let delete = Delete::builder().table_name(&self.table.name).set_key(Some(key));
                    write.delete(delete.build().map_err(|e| TableError::call(operation, e))?)
                }
                _ => continue,
            };
            writes.push(write.build());
        }
        Ok(writes)
    }
}

fn read(operation: &'static str, item: Item) -> Result<Product, TableError> {
    serde_dynamo::from_item(item).map_err(|e| TableError::item(operation, e))
}

fn partition(sku: impl Display) -> String {
    format!("PRODUCT#{sku}")
}

fn product_key(sku: &Sku) -> Item {
    key(partition(sku), PRODUCT)
}
