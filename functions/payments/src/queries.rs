//! Queries of other contexts (`payments-commands`, in addition to the saga's commands). They only read.

use contracts::{
    OrderId,
    query::{PAYMENT_STATUSES_MAX, PaymentQuery, PaymentStanding, PaymentStatuses},
};
use futures::{StreamExt, TryStreamExt, stream};
use lambda_kit::dynamodb::TableError;

use crate::store::Store;

/// Payments that are read at the same time.
const CONCURRENCY: usize = 10;

#[derive(Debug, thiserror::Error)]
pub enum QueryError {
    #[error("{0} payments in one query: the limit is {PAYMENT_STATUSES_MAX}")]
    TooMany(usize),
    #[error(transparent)]
    Table(#[from] TableError),
}

/// Answers one query.
///
/// # Errors
/// When it names too many orders, or a payment cannot be read: nothing is answered in part.
pub async fn handle(store: &Store, query: PaymentQuery) -> Result<PaymentStatuses, QueryError> {
    let PaymentQuery::PaymentStatuses { order_ids } = query;
    if order_ids.len() > PAYMENT_STATUSES_MAX {
        return Err(QueryError::TooMany(order_ids.len()));
    }
    let standings = stream::iter(order_ids).map(|order_id| standing(store, order_id)).buffered(CONCURRENCY);
    let known: Vec<Option<PaymentStanding>> = standings.try_collect().await?;
    Ok(PaymentStatuses { payments: known.into_iter().flatten().collect() })
}

async fn standing(store: &Store, order_id: OrderId) -> Result<Option<PaymentStanding>, TableError> {
    // An undo would have nothing to do. Otherwise the payment holds money, or has an intent that could take
    // some.
    let at_rest = store.get(&order_id).await?.map(|payment| payment.undo_outcome().is_some());
    Ok(at_rest.map(|at_rest| PaymentStanding { order_id, at_rest }))
}

#[cfg(test)]
mod tests {
    use contracts::UserId;

    use super::*;
    use crate::testing::{Fixture, order_of};

    async fn ask(fixture: &Fixture, order_ids: Vec<OrderId>) -> Vec<(OrderId, bool)> {
        let query = PaymentQuery::PaymentStatuses { order_ids };
        let answer = handle(&fixture.payments.recorder.store, query).await.unwrap();
        answer.payments.into_iter().map(|payment| (payment.order_id, payment.at_rest)).collect()
    }

    #[tokio::test]
    async fn a_payment_is_at_rest_once_its_money_is_back_and_not_before() {
        let fixture = Fixture::new().await;
        let other = order_of(&UserId::generate());
        assert_eq!(ask(&fixture, vec![fixture.order.clone()]).await, []);
        fixture.take("pm_card_visa", "t1").await.unwrap();
        assert_eq!(
            ask(&fixture, vec![other.clone(), fixture.order.clone()]).await,
            [(fixture.order.clone(), false)]
        );
        fixture.undo().await.unwrap();
        assert_eq!(ask(&fixture, vec![fixture.order.clone(), other]).await, [(fixture.order.clone(), true)]);
    }

    #[tokio::test]
    async fn a_payment_that_was_undone_before_it_began_is_at_rest() {
        let fixture = Fixture::new().await;
        fixture.undo().await.unwrap();
        assert_eq!(ask(&fixture, vec![fixture.order.clone()]).await, [(fixture.order.clone(), true)]);
    }

    #[tokio::test]
    async fn a_query_that_is_too_long_is_refused_before_anything_is_read() {
        let fixture = Fixture::new().await;
        fixture.faults.reset();
        let order_ids = vec![fixture.order.clone(); PAYMENT_STATUSES_MAX + 1];
        let result =
            handle(&fixture.payments.recorder.store, PaymentQuery::PaymentStatuses { order_ids }).await;
        assert!(matches!(result, Err(QueryError::TooMany(51))));
        assert!(fixture.faults.calls().is_empty());
    }
}
