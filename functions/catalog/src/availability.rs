//! Availability for the API: from the catalogue's own copy, kept in the process for some seconds. A table that cannot
//! be read costs nobody their page: what was known stands in for a minute, and then it is unknown.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex, PoisonError},
};

use contracts::Sku;
use jiff::Timestamp;
use lambda_kit::command::chain;

use crate::{
    stock::{Read, Stock},
    store::Store,
};

/// More than a process is asked for within a minute; whoever walks through a larger catalogue reads the table.
const KEPT: usize = 10_000;

#[derive(Debug, Clone)]
pub struct Availabilities {
    store: Store,
    known: Arc<Mutex<HashMap<Sku, Read>>>,
}

impl Availabilities {
    pub fn new(store: Store) -> Self {
        Self { store, known: Arc::default() }
    }

    /// What is known of the stock of these SKUs: of each of them something.
    pub async fn of(&self, skus: impl IntoIterator<Item = Sku>, now: Timestamp) -> HashMap<Sku, Stock> {
        let skus: HashSet<Sku> = skus.into_iter().collect();
        let wanted: Vec<Sku> = self.with(|known| {
            let is_fresh = |sku: &&Sku| known.get(*sku).is_some_and(|read| read.is_fresh(now));
            skus.iter().filter(|sku| !is_fresh(sku)).cloned().collect()
        });
        if !wanted.is_empty() {
            match self.store.stocks(&wanted).await {
                Ok(mut found) => self.with(|known| {
                    if known.len() + wanted.len() > KEPT {
                        known.retain(|_, read| read.is_fresh(now));
                    }
                    for sku in wanted {
                        let stock = found.remove(&sku).unwrap_or_default();
                        known.insert(sku, Read { stock, at: now });
                    }
                }),
                Err(error) => {
                    tracing::error!(
                        error = chain(&error),
                        "availability cannot be read: the last known stands in"
                    );
                }
            }
        }
        self.with(|known| {
            let stock = |sku: &Sku| known.get(sku).filter(|read| read.is_usable(now)).map(|read| read.stock);
            skus.into_iter().map(|sku| (sku.clone(), stock(&sku).unwrap_or_default())).collect()
        })
    }

    /// Of one SKU.
    pub async fn of_one(&self, sku: &Sku, now: Timestamp) -> Stock {
        self.of([sku.clone()], now).await.remove(sku).unwrap_or_default()
    }

    fn with<R>(&self, f: impl FnOnce(&mut HashMap<Sku, Read>) -> R) -> R {
        f(&mut self.known.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[cfg(test)]
mod tests;
