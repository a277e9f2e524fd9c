//! Decides how a product or the counts of co-purchases change, and writes the result.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use contracts::{EventId, Sku};
use jiff::Timestamp;
use lambda_kit::dynamodb::{Budget, Conflict, TableError, TransactOutcome, retry_on_conflict};
use tokio::time::timeout;

use crate::{
    domain::{
        self, ChangeContext, ChangeError, Details, KnownVersions, Product, Rejected,
        co_purchases::CoPurchases,
    },
    store::Store,
};

/// How long the counting of one event may take.
// Other instances count the same popular products, and the events of a batch are counted one after the other. A
// batch must end within the consumer's 30 s. Otherwise its counted events would be delivered again with the
// others.
const BUDGET: Duration = Duration::from_secs(10);

/// Why a product was not changed.
#[derive(Debug, thiserror::Error)]
pub enum ProductError {
    #[error("there is no such product on sale")]
    NotOnSale,
    #[error(transparent)]
    Change(#[from] ChangeError),
    #[error("another request changed the product first")]
    Conflict(#[from] Conflict),
    #[error(transparent)]
    Table(#[from] TableError),
}

/// Creates a product, or sells one again that was discontinued.
///
/// # Errors
/// `OnSale` when a product with this SKU is on sale.
pub async fn create(
    store: &Store,
    sku: &Sku,
    details: Details,
    context: ChangeContext<'_>,
) -> Result<Product, ProductError> {
    let ChangeContext { correlation_id, at, .. } = context;
    let change = domain::create(sku.clone(), details.clone(), correlation_id, at)?;
    // The product is written without a read before, so that a new one costs none. The condition of the write
    // finds a product that exists.
    if let Ok(()) = store.write(&change, context).await? {
        return Ok(change.product);
    }
    // Products are not deleted, so the one that refused the write is there.
    let before = store.get(sku).await?.ok_or(ChangeError::from(Rejected::OnSale))?;
    let change = domain::resume(before, details, correlation_id, at)?;
    // Another request sold it again first.
    store.write(&change, context).await?.map_err(|Conflict| ChangeError::from(Rejected::OnSale))?;
    Ok(change.product)
}

/// Changes the details of a product whose version is one of `known`. It is read now: a last known value is no basis
/// for a change.
///
/// # Errors
/// When the product is not on sale, or has another version.
pub async fn update(
    store: &Store,
    sku: &Sku,
    known: &KnownVersions,
    details: Details,
    context: ChangeContext<'_>,
) -> Result<Product, ProductError> {
    let product = store.on_sale(sku).await?.ok_or(ProductError::NotOnSale)?;
    let change = domain::update(product, known, details, context.correlation_id, context.at)?;
    // There is no second try, because the administrator has to see the other change before overwriting it.
    let written = store.write(&change, context).await?;
    written.map_err(|Conflict| ChangeError::from(Rejected::VersionMismatch))?;
    Ok(change.product)
}

/// Discontinues a product.
///
/// # Errors
/// When it is not on sale, or another request changed it first.
pub async fn discontinue(store: &Store, sku: &Sku, context: ChangeContext<'_>) -> Result<(), ProductError> {
    let product = store.on_sale(sku).await?.ok_or(ProductError::NotOnSale)?;
    let change = domain::discontinue(product, context.correlation_id, context.at)?;
    Ok(store.write(&change, context).await??)
}

/// Counts an order of these products, which must be unique. Conflicts when the event was counted before.
///
/// # Errors
/// When the table cannot be read or written, or other writers are faster for too long.
pub async fn record_order(
    store: &Store,
    event_id: &EventId,
    skus: &[Sku],
    now: Timestamp,
) -> Result<Result<(), Conflict>, TableError> {
    const OPERATION: &str = "counting what was bought together";
    if skus.len() < 2 {
        return Ok(Ok(()));
    }
    // The events of a batch would conflict with each other.
    let waiting = Instant::now();
    let _alone = timeout(BUDGET, store.lock_counting())
        .await
        .map_err(|_| TableError::call(OPERATION, "other events of the batch took all the time"))?;
    let budget = Budget::Time(BUDGET.saturating_sub(waiting.elapsed()));
    let counted = retry_on_conflict(budget, || async {
        let counted = counted(skus, store.co_purchases(skus).await?);
        Ok::<_, TableError>(match store.count_order(event_id, &counted, now).await? {
            TransactOutcome::Done => Ok(Ok(())),
            // The mark of the event exists, so the order was counted before. A second try would not help.
            TransactOutcome::ConditionFailed { index: 0 } => Ok(Err(Conflict)),
            TransactOutcome::ConditionFailed { .. } | TransactOutcome::Conflict => Err(Conflict),
        })
    });
    counted.await?.map_err(|conflict| TableError::call(OPERATION, conflict))
}

/// The companions of each of these products, with one more order of them.
fn counted(skus: &[Sku], mut stored: HashMap<Sku, CoPurchases>) -> Vec<(Sku, CoPurchases)> {
    let count = |sku: &Sku| {
        let mut co_purchases = stored.remove(sku).unwrap_or_default();
        co_purchases.record_order(skus.iter().filter(|other| *other != sku));
        (sku.clone(), co_purchases)
    };
    skus.iter().map(count).collect()
}
