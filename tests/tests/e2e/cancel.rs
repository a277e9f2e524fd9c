//! Customers who change their mind, at any moment: the order completes or it is undone, and nothing is in between.

use std::time::Duration;

use contracts::{OrderStatus, Sku, saga};
use futures::future::try_join_all;
use reqwest::StatusCode;

use crate::fixture::{Customer, Fixture, PRICE, buy, unique};
use crate::harness::Outcome;

crate::tests![
    an_order_that_waits_for_its_payment_is_cancelled_at_once,
    an_order_that_has_ended_cannot_be_cancelled,
    somebody_elses_order_cannot_be_cancelled,
    orders_cancelled_at_any_moment_complete_or_are_undone,
];

async fn an_order_that_waits_for_its_payment_is_cancelled_at_once(fixture: Fixture) -> Outcome {
    let (customer, sku) = (fixture.customer().await?, fixture.product(5).await?);
    let (order_id, asked) = customer.order_that_waits(&fixture, &sku).await?;

    assert_eq!(customer.cancel(&order_id).await?, StatusCode::ACCEPTED);
    // At once: without the cancel the payment would wait for its customer for 15 minutes, longer than this does.
    assert_eq!(customer.ended(&order_id).await?.status, OrderStatus::OrderCancelled);
    assert_eq!(customer.reason(&order_id).await?, saga::ORDER_CANCEL_REQUESTED);
    assert_eq!(fixture.available(&sku).await?, 5);
    assert!(fixture.gateway.authenticate(&asked).await.is_err(), "nothing can be paid any more");
    assert!(fixture.taken(&order_id).await?.is_empty());
    Ok(())
}

async fn an_order_that_has_ended_cannot_be_cancelled(fixture: Fixture) -> Outcome {
    let (customer, sku) = (fixture.customer().await?, fixture.product(1).await?);
    for expected in [OrderStatus::OrderCompleted, OrderStatus::OrderCancelled] {
        let order_id = customer.shop.place(&buy(&sku), &unique("key")).await?.order_id;
        assert_eq!(customer.ended(&order_id).await?.status, expected, "one piece, two orders");
        assert_eq!(customer.cancel(&order_id).await?, StatusCode::CONFLICT);
        assert_eq!(customer.shop.order(&order_id).await?.status, expected);
    }
    Ok(())
}

async fn somebody_elses_order_cannot_be_cancelled(fixture: Fixture) -> Outcome {
    let (customer, sku) = (fixture.customer().await?, fixture.product(1).await?);
    let order_id = customer.shop.place(&buy(&sku), &unique("key")).await?.order_id;
    let stranger = fixture.customer().await?;
    assert_eq!(stranger.cancel(&order_id).await?, StatusCode::NOT_FOUND);
    assert_eq!(customer.ended(&order_id).await?.status, OrderStatus::OrderCompleted);
    Ok(())
}

/// A saga of this stack takes some hundred milliseconds: the cancels come before, in every step, and after.
async fn orders_cancelled_at_any_moment_complete_or_are_undone(fixture: Fixture) -> Outcome {
    const ORDERS: u32 = 16;
    const APART: Duration = Duration::from_millis(120);
    let (customer, sku) = (fixture.customer().await?, fixture.product(ORDERS).await?);
    let ended = try_join_all((0..ORDERS).map(|nth| {
        let (fixture, customer, sku) = (&fixture, &customer, &sku);
        async move { cancelled_after(fixture, customer, sku, APART * nth).await }
    }))
    .await?;

    let completed = ended.iter().filter(|status| **status == OrderStatus::OrderCompleted).count();
    let left = u64::from(ORDERS) - u64::try_from(completed)?;
    assert_eq!(fixture.available(&sku).await?, left, "{completed} completed");
    assert!(ended.contains(&OrderStatus::OrderCancelled), "the first cancel comes at once");
    Ok(())
}

/// Places an order, cancels it after this time, and returns how it ended, after checking where the money is.
async fn cancelled_after(
    fixture: &Fixture,
    customer: &Customer,
    sku: &Sku,
    delay: Duration,
) -> Outcome<OrderStatus> {
    let order_id = customer.shop.place(&buy(sku), &unique("key")).await?.order_id;
    // The moment of the cancel is what is tested, so this waits for nothing else.
    tokio::time::sleep(delay).await;
    let answer = customer.cancel(&order_id).await?;
    let status = customer.ended(&order_id).await?.status;
    match (answer, status) {
        // Asked for in time, or too late to matter; but never refused and then done.
        (StatusCode::ACCEPTED, OrderStatus::OrderCancelled)
        | (StatusCode::CONFLICT, OrderStatus::OrderCompleted) => {}
        other => return Err(format!("{order_id}: {other:?}").into()),
    }
    let taken = fixture.taken(&order_id).await?;
    let mut kept = 0;
    for intent in &taken {
        kept += intent.amount - fixture.gateway.refunded(intent).await?;
    }
    let owed = if status == OrderStatus::OrderCompleted { PRICE } else { 0 };
    assert_eq!((taken.len() <= 1, kept), (true, owed), "{order_id} {status}");
    Ok(status)
}
