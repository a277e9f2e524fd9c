//! Queries of other contexts (`inventory-commands`, in addition to the saga's commands). They only read.

use contracts::{
    Availability, OrderLine,
    query::{Availabilities, InventoryQuery, SkuAvailability},
};
use futures::{StreamExt, TryStreamExt, stream};
use lambda_kit::dynamodb::TableError;

use crate::store::Store;

/// SKUs that are read concurrently.
// The SDK's connection pool has as many connections.
const CONCURRENCY: usize = 10;

/// Answers one query.
///
/// # Errors
/// When a stock cannot be read: there are no partial answers.
pub async fn handle(store: &Store, query: InventoryQuery) -> Result<Availabilities, TableError> {
    match query {
        InventoryQuery::Availabilities { items } => {
            let items = stream::iter(items).map(|line| availability(store, line)).buffered(CONCURRENCY);
            Ok(Availabilities { items: items.try_collect().await? })
        }
    }
}

async fn availability(store: &Store, line: OrderLine) -> Result<SkuAvailability, TableError> {
    let OrderLine { sku, quantity } = line;
    let stock = store.stock(&sku).await?.filter(|stock| stock.available() >= u64::from(quantity));
    let availability = stock.map_or(Availability::OutOfStock, |stock| stock.availability());
    Ok(SkuAvailability { sku, availability })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{sku, stocked, table};

    #[tokio::test]
    async fn a_quantity_is_available_when_there_is_enough_stock() {
        let store = crate::testing::store(table().await.0);
        stocked(&store, "MUG", 20, 4).await;
        stocked(&store, "CUP", 3, 1).await;
        let line = |name, quantity| OrderLine { sku: sku(name), quantity };
        let items = vec![line("MUG", 20), line("CUP", 3), line("CUP", 4), line("NONE", 1)];
        let answer = handle(&store, InventoryQuery::Availabilities { items }).await.unwrap();
        let classes: Vec<_> = answer.items.iter().map(|item| item.availability).collect();
        use Availability::{InStock, LowStock, OutOfStock};
        assert_eq!(classes, [InStock, LowStock, OutOfStock, OutOfStock]);
    }
}
