//! Queries of other contexts (`orders-commands`, in addition to the saga's commands). They only read.

use contracts::{
    OrderId,
    query::{ORDER_STATUSES_MAX, OrderQuery, OrderStanding, OrderStatuses},
};
use futures::{StreamExt, TryStreamExt, stream};

use crate::store::{Store, StoreError};

/// The orders that are read at the same time.
// The SDK's connection pool serves as many.
const CONCURRENCY: usize = 10;

#[derive(Debug, thiserror::Error)]
pub enum QueryError {
    #[error("{0} orders in one query: the limit is {ORDER_STATUSES_MAX}")]
    TooMany(usize),
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Answers one query.
///
/// # Errors
/// When it names too many orders, or one of them cannot be read: nothing is answered in part.
pub async fn handle(store: &Store, query: OrderQuery) -> Result<OrderStatuses, QueryError> {
    match query {
        OrderQuery::OrderStatuses { order_ids } => order_statuses(store, order_ids).await,
    }
}

async fn order_statuses(store: &Store, order_ids: Vec<OrderId>) -> Result<OrderStatuses, QueryError> {
    if order_ids.len() > ORDER_STATUSES_MAX {
        return Err(QueryError::TooMany(order_ids.len()));
    }
    let standings = stream::iter(order_ids).map(|order_id| standing(store, order_id)).buffered(CONCURRENCY);
    let known: Vec<Option<OrderStanding>> = standings.try_collect().await?;
    Ok(OrderStatuses { orders: known.into_iter().flatten().collect() })
}

async fn standing(store: &Store, order_id: OrderId) -> Result<Option<OrderStanding>, StoreError> {
    // From the order itself and not from its view, which may be behind. Inventory releases or sells stock by
    // this answer.
    Ok(store.load(&order_id).await?.map(|history| OrderStanding {
        order_id,
        status: history.order.status,
        version: history.order.version,
        updated_at: history.updated_at,
    }))
}

#[cfg(test)]
mod tests {
    use contracts::OrderStatus;
    use lambda_kit::testing::{Faults, table};

    use super::*;
    use crate::{
        domain::Command,
        testing::{at, correlation_id, order_id, place_order},
    };

    fn unknown(n: usize) -> OrderId {
        OrderId::try_from(format!("ord_{n:032x}")).unwrap()
    }

    async fn with_order() -> (Store, Faults) {
        let (table, faults) = table(&[]).await;
        let store = crate::testing::store(table);
        let (order_id, correlation_id) = (order_id(), correlation_id());
        place_order(&store).await;
        crate::handler::execute(&store, &order_id, &Command::RecordReservation, &correlation_id, at(1))
            .await
            .unwrap();
        (store, faults)
    }

    async fn ask(store: &Store, order_ids: Vec<OrderId>) -> Result<Vec<OrderStanding>, QueryError> {
        handle(store, OrderQuery::OrderStatuses { order_ids }).await.map(|answer| answer.orders)
    }

    #[tokio::test]
    async fn each_known_order_says_where_it_stands_and_unknown_ones_are_left_out() {
        let (store, _) = with_order().await;
        let standings = ask(&store, vec![unknown(1), order_id(), unknown(2)]).await.unwrap();
        let standing = OrderStanding {
            order_id: order_id(),
            status: OrderStatus::PaymentPending,
            version: 3,
            updated_at: at(1),
        };
        assert_eq!(standings, [standing]);
    }

    #[tokio::test]
    async fn a_query_that_is_too_long_is_refused_before_anything_is_read() {
        let (store, faults) = with_order().await;
        faults.reset();
        let result = ask(&store, (0..=ORDER_STATUSES_MAX).map(unknown).collect()).await;
        assert!(matches!(result, Err(QueryError::TooMany(51))));
        assert!(faults.calls().is_empty());
    }

    #[tokio::test]
    async fn an_order_that_cannot_be_read_is_not_taken_for_unknown() {
        let (store, faults) = with_order().await;
        faults.refuse("Query", lambda_kit::aws::MAX_ATTEMPTS);
        assert!(matches!(ask(&store, vec![order_id()]).await, Err(QueryError::Store(_))));
    }
}
