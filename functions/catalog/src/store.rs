//! The catalogue's table.
//!
//! | pk | sk | holds |
//! |---|---|---|
//! | `PRODUCT#<sku>` | `PRODUCT` | a product, with its outbox; while it is on sale in the indexes `listing` and `category` (`listing`) |
//! | `PRODUCT#<sku>` | `WORD#<position>` | where the product is found in both indexes by a word of its name, while it is on sale |
//! | `PRODUCT#<sku>` | `STOCK` | what is known of its stock (`stocks`) |
//! | `PRODUCT#<sku>` | `TOGETHER` | its co-purchases (`co_purchases`) |
//! | `AUDIT#<sku>` | | who changed the product (`lambda_kit::audit`) |
//! | `EVENT#<event>` | `EVENT` | that the order of this event is counted there |

mod co_purchases;
mod listing;
mod stocks;

use std::{fmt::Display, sync::Arc};

use contracts::Sku;
use lambda_kit::{
    audit::{self, Actor, Entry},
    dynamodb::{
        Conflict, Item, Table, TableError, TransactOutcome, Write, at_version, key, key_of, to_item,
        with_outbox,
    },
    http::{List, Page, Problem},
};
use tokio::sync::Mutex;

pub use self::listing::{ListError, ProductFilter, ProductPage};
use crate::domain::{Change, ChangeContext, Product};

const PRODUCT: &str = "PRODUCT";

#[derive(Debug, Clone)]
pub struct Store {
    table: Table,
    /// Held while counting products that are bought together (`co_purchases`).
    counting: Arc<Mutex<()>>,
}

impl Store {
    pub fn new(table: Table) -> Self {
        Self { table, counting: Arc::default() }
    }

    pub async fn get(&self, sku: &Sku) -> Result<Option<Product>, TableError> {
        self.table.get("reading a product", product_key(sku)).await
    }

    /// The product, unless it is unknown or discontinued.
    pub async fn on_sale(&self, sku: &Sku) -> Result<Option<Product>, TableError> {
        Ok(self.get(sku).await?.filter(|product| !product.discontinued))
    }

    /// Writes a product over the version that the change was decided on, or a new one, with its audit entry. A
    /// repeat whose first answer was lost is a success.
    pub async fn write(
        &self,
        change: &Change,
        context: ChangeContext<'_>,
    ) -> Result<Result<(), Conflict>, TableError> {
        const OPERATION: &str = "writing a product";
        let mut writes = vec![put(OPERATION, change)?];
        writes.extend(words(change));
        writes.push(entry(OPERATION, change, context)?);
        match self.table.transact(OPERATION, writes).await? {
            TransactOutcome::Done => Ok(Ok(())),
            TransactOutcome::ConditionFailed { .. } => {
                // The SDK retries after a lost answer, so the stored item may be our own earlier try.
                let ours =
                    self.get(&change.product.sku).await?.is_some_and(|stored| stored == change.product);
                Ok(if ours { Ok(()) } else { Err(Conflict) })
            }
            // Another transaction is under way on the product. The administrator gets 503 and can try again.
            TransactOutcome::Conflict => Err(TableError::call(OPERATION, Conflict)),
        }
    }

    /// Who changed the product of this SKU, the newest change first.
    pub async fn audit_entries(&self, sku: &Sku, page: Page) -> Result<List<Entry>, Problem> {
        audit::list(&self.table, sku.as_str(), page).await
    }
}

fn entry(operation: &'static str, change: &Change, context: ChangeContext<'_>) -> Result<Write, TableError> {
    let ChangeContext { by, correlation_id, at } = context;
    let before = change.before.as_ref().map(Product::audited);
    let difference = audit::difference(&before, &change.product.audited());
    let difference = difference.map_err(|e| TableError::item(operation, e))?;
    let (actor, sku) = (Actor::User(by.clone()), change.product.sku.as_str());
    Entry::new(at, actor, &change.event.event_type, sku, correlation_id).with_change(difference).write()
}

fn put(operation: &'static str, change: &Change) -> Result<Write, TableError> {
    let product = &change.product;
    let mut item = to_item(operation, product_key(&product.sku), product)?;
    item.extend(listing::product_keys(product));
    let item = with_outbox(operation, item, std::slice::from_ref(&change.event))?;
    Ok(Write::put(item).when(at_version(change.before.as_ref().map_or(0, |before| before.version))))
}

/// The changes to the items by which the product is found.
fn words(change: &Change) -> Vec<Write> {
    let before = change.before.as_ref().map(listing::words).unwrap_or_default();
    let after = listing::words(&change.product);
    let positions = 0..before.len().max(after.len());
    let write = |position: usize| match (before.get(position), after.get(position)) {
        (before, Some(item)) if before != Some(item) => Some(Write::put(item.clone())),
        (Some(item), None) => Some(Write::delete(key_of(item))),
        _ => None,
    };
    positions.filter_map(write).collect()
}

fn partition(sku: impl Display) -> String {
    format!("PRODUCT#{sku}")
}

fn product_key(sku: &Sku) -> Item {
    key(partition(sku), PRODUCT)
}
