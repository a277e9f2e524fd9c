//! A gateway with every kind of failure: no customer is charged twice, or for an order that did not complete.

use contracts::{OrderId, OrderStatus, saga};
use shop_client::NewOrder;

use crate::fixture::{Customer, Fixture, PRICE, address, buy};
use crate::harness::Outcome;

crate::tests![
    a_gateway_that_fails_before_it_charges_charges_once_in_the_end,
    a_gateway_that_fails_after_it_charged_does_not_charge_again,
    an_answer_that_gets_lost_on_the_way_from_the_gateway_charges_once,
    a_gateway_that_is_down_delays_the_order_and_does_not_end_it,
    a_refund_whose_answer_gets_lost_is_given_once,
    a_refund_that_the_gateway_fails_at_is_given_in_the_end,
];

/// An order that meets this failure of the gateway, once it has ended.
async fn order_with(
    fixture: &Fixture,
    operation: &str,
    mode: &str,
    count: u32,
    country: &str,
) -> Outcome<(Customer, OrderId, OrderStatus)> {
    let (customer, sku) = (fixture.customer().await?, fixture.product(5).await?);
    let future = customer.future_order();
    fixture.fail_gateway(&future.order_id, operation, mode, count).await?;
    let order = NewOrder { shipping_address: address(country), ..buy(&sku) };
    customer.shop.place(&order, &future.key).await?;
    let status = customer.ended(&future.order_id).await?.status;
    let left = if status == OrderStatus::OrderCompleted { 4 } else { 5 };
    assert_eq!(fixture.available(&sku).await?, left, "what is not sold is back");
    Ok((customer, future.order_id, status))
}

async fn completes_and_is_charged_once(
    fixture: &Fixture,
    operation: &str,
    mode: &str,
    count: u32,
) -> Outcome {
    let (_, order_id, status) = order_with(fixture, operation, mode, count, "DE").await?;
    assert_eq!(status, OrderStatus::OrderCompleted, "{operation} {mode}");
    let amounts: Vec<i64> = fixture.taken(&order_id).await?.iter().map(|intent| intent.amount).collect();
    assert_eq!(amounts, [PRICE], "{operation} {mode}");
    Ok(())
}

async fn a_gateway_that_fails_before_it_charges_charges_once_in_the_end(fixture: Fixture) -> Outcome {
    completes_and_is_charged_once(&fixture, "confirm", "error_500_before", 1).await
}

async fn a_gateway_that_fails_after_it_charged_does_not_charge_again(fixture: Fixture) -> Outcome {
    completes_and_is_charged_once(&fixture, "confirm", "error_500_after", 1).await
}

async fn an_answer_that_gets_lost_on_the_way_from_the_gateway_charges_once(fixture: Fixture) -> Outcome {
    for operation in ["create", "confirm"] {
        completes_and_is_charged_once(&fixture, operation, "drop_answer", 1).await?;
    }
    Ok(())
}

async fn a_gateway_that_is_down_delays_the_order_and_does_not_end_it(fixture: Fixture) -> Outcome {
    // Asked again after 5 seconds, and after 10 more; each time, a connection that breaks is tried twice more at once.
    completes_and_is_charged_once(&fixture, "create", "refuse", 6).await
}

async fn is_refunded_once(fixture: &Fixture, mode: &str) -> Outcome {
    let (customer, order_id, status) = order_with(fixture, "refund", mode, 1, "AQ").await?;
    assert_eq!(status, OrderStatus::OrderCancelled, "{mode}");
    assert_eq!(customer.reason(&order_id).await?, saga::SHIPMENT_REJECTED);
    let taken = fixture.taken(&order_id).await?;
    assert_eq!(taken.len(), 1, "{mode}");
    assert_eq!(fixture.gateway.refunded(&taken[0]).await?, PRICE, "{mode}");
    assert_eq!(customer.shop.payment(&order_id).await?.refunded.amount, PRICE, "{mode}");
    Ok(())
}

async fn a_refund_whose_answer_gets_lost_is_given_once(fixture: Fixture) -> Outcome {
    for mode in ["drop_answer", "error_500_after"] {
        is_refunded_once(&fixture, mode).await?;
    }
    Ok(())
}

async fn a_refund_that_the_gateway_fails_at_is_given_in_the_end(fixture: Fixture) -> Outcome {
    for mode in ["error_500_before", "refuse"] {
        is_refunded_once(&fixture, mode).await?;
    }
    Ok(())
}
