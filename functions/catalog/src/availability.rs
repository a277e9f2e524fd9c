//! Availability for the API, from the catalogue's own copy of the stock. A process caches the copy for some
//! seconds, then reads it again, and uses the cached value while the read is slow. While the table cannot be
//! read, the cached value is served as current for a minute, and then for half an hour as last known. While
//! inventory does not answer, its stock is served as last known, too.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use contracts::Sku;
use jiff::Timestamp;
use lambda_kit::{error::error_chain, limits::ATTEMPT_TIMEOUT, switch::FeatureSwitch};

use crate::{
    inventory_health::InventoryProbe,
    stock::{CachedStock, Shown},
    store::Store,
};

/// SKUs that a process caches.
// More than clients request from one process within a minute. A client that walks through a larger catalogue
// causes reads.
const CACHE_CAPACITY: usize = 10_000;

/// How long a request with a usable cached value waits for the current one.
// DynamoDB nearly always answers within 10 ms. A slower read continues in the background, for the next request.
const MAX_WAIT: Duration = Duration::from_millis(50);

#[derive(Debug, Clone)]
pub struct AvailabilityReader {
    store: Store,
    inventory: InventoryProbe,
    /// While it is off, no last known stock is shown.
    limited_stock: FeatureSwitch,
    known: Arc<Mutex<HashMap<Sku, CachedStock>>>,
}

impl AvailabilityReader {
    pub fn new(store: Store, inventory: InventoryProbe, limited_stock: FeatureSwitch) -> Self {
        Self { store, inventory, limited_stock, known: Arc::default() }
    }

    /// The stock to show for each of these SKUs.
    pub async fn of(&self, skus: impl IntoIterator<Item = Sku>, now: Timestamp) -> HashMap<Sku, Shown> {
        let skus: HashSet<Sku> = skus.into_iter().collect();
        let (health, ()) = tokio::join!(self.inventory.health(now), self.refresh(&skus, now));
        let mut stocks: HashMap<Sku, Shown> = self.with(|known| {
            let shown = |sku: &Sku| known.get(sku).map(|read| read.shown(now, health)).unwrap_or_default();
            skus.into_iter().map(|sku| (sku.clone(), shown(&sku))).collect()
        });
        // The switch is read only while there are last known values to show.
        let is_limited = stocks.values().any(Shown::is_limited);
        if is_limited && !self.limited_stock.is_on(now).await {
            stocks
                .values_mut()
                .filter(|shown| shown.is_limited())
                .for_each(|shown| *shown = Shown::default());
        }
        stocks
    }

    /// Reads those of these SKUs that are not fresh. Waits only briefly when all of them have a usable value.
    async fn refresh(&self, skus: &HashSet<Sku>, now: Timestamp) {
        let (wanted, stands_in) = self.with(|known| {
            let read = |sku: &Sku| known.get(sku).copied();
            let wanted = skus.iter().filter(|sku| !read(sku).is_some_and(|read| read.is_fresh(now)));
            let wanted: Vec<Sku> = wanted.cloned().collect();
            let stands_in = wanted.iter().all(|sku| read(sku).is_some_and(|read| read.is_usable(now)));
            (wanted, stands_in)
        });
        if !wanted.is_empty() {
            // The read is a task of its own, so that it goes on after the wait and updates the cache.
            let reading = tokio::spawn(self.clone().read(wanted, now));
            let max_wait = if stands_in { MAX_WAIT } else { ATTEMPT_TIMEOUT };
            // A late or failed read is no error here: the cached value is shown, or `unknown`.
            let _ = tokio::time::timeout(max_wait, reading).await;
        }
    }

    /// Reads these SKUs. On failure the cached values stay.
    async fn read(self, wanted: Vec<Sku>, now: Timestamp) {
        match self.store.stocks(&wanted).await {
            Ok(mut found) => self.with(|known| {
                if known.len() + wanted.len() > CACHE_CAPACITY {
                    known.retain(|_, read| read.is_fresh(now));
                }
                for sku in wanted {
                    // A SKU without an event is cached as well. Otherwise every request for it would read the
                    // table.
                    let stock = found.remove(&sku).unwrap_or_default();
                    // A slow read may end after a later one.
                    if known.get(&sku).is_none_or(|read| read.at <= now) {
                        known.insert(sku, CachedStock { stock, at: now });
                    }
                }
            }),
            Err(error) => {
                tracing::error!(
                    error = error_chain(&error),
                    "availability cannot be read, showing last known values"
                );
            }
        }
    }

    /// The stock to show for one SKU.
    pub async fn of_one(&self, sku: &Sku, now: Timestamp) -> Shown {
        self.of([sku.clone()], now).await.remove(sku).unwrap_or_default()
    }

    fn with<R>(&self, f: impl FnOnce(&mut HashMap<Sku, CachedStock>) -> R) -> R {
        // A panic under the lock leaves whole entries behind, so that the cache stays usable.
        f(&mut self.known.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[cfg(test)]
mod tests;
