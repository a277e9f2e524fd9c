//! Services that are down. What is down delays an order or, for good, cancels it with everything undone: it never refuses
//! one, and leaves nothing behind. Alone, because every order needs these services.

use contracts::{OrderId, OrderStatus, Sku, saga};
use ops::shop::NewOrder;

use crate::alarms;
use crate::harness::Outcome;
use crate::saga::execution_history;
use crate::world::{Customer, PRICE, World, address, buy, eventually, unique};

crate::tests![alone:
    with_the_catalog_off_orders_are_accepted_and_complete,
    with_inventory_off_for_ten_minutes_orders_wait_and_complete,
    with_fulfillment_off_for_ten_minutes_orders_wait_and_complete,
    with_payments_off_orders_wait_and_complete,
    with_inventory_off_for_good_the_order_is_cancelled_and_nothing_is_held,
    with_fulfillment_off_for_good_the_order_is_refunded_and_its_stock_released,
    an_undo_waits_for_a_service_that_is_off,
    a_webhook_that_is_lost_costs_time_and_not_the_order,
];

/// First try and 14 retries: after that the order has to have time left.
const FAILURES_OF_A_STEP: usize = 15;
/// The emulator's pauses are 1, 2, 4, 8, 16, 32 and then 60 seconds, 543 in all, and from the start when the state is entered
/// again: after this many failures it has been off for ten minutes.
const FAILURES_OF_TEN_MINUTES: usize = FAILURES_OF_A_STEP + 7;
/// Retries come after a hundredth of their time.
const QUICK: u32 = 10;

/// How often a task of the order's execution has failed in the state.
async fn failures_in(world: &World, order: &OrderId, state: &str) -> Outcome<usize> {
    let (mut inside, mut failures) = (false, 0);
    for event in execution_history(world, order).await? {
        if let Some(name) = event["stateEnteredEventDetails"]["name"].as_str() {
            inside = name == state;
        }
        failures += usize::from(inside && event["type"] == "TaskFailed");
    }
    Ok(failures)
}

async fn has_failed(world: &World, order: &OrderId, state: &str, times: usize) -> Outcome {
    let what = format!("{state} has failed {times} times");
    Ok(eventually(&what, async || {
        let failures = failures_in(world, order, state)
            .await
            .map_err(|error| error.message().unwrap_or_default().to_owned())?;
        if failures >= times { Ok(()) } else { Err(failures)? }
    })
    .await?)
}

struct Placed {
    customer: Customer,
    sku: Sku,
    order_id: OrderId,
}

async fn placed(world: &World, country: &str) -> Outcome<Placed> {
    let (customer, sku) = (world.customer().await?, world.product(5).await?);
    let order = NewOrder { shipping_address: address(country), ..buy(&sku) };
    let order_id = customer.shop.place(&order, &unique("key")).await?.order_id;
    Ok(Placed { customer, sku, order_id })
}

impl Placed {
    async fn completes(&self, world: &World) -> Outcome {
        assert_eq!(self.customer.ended(&self.order_id).await?.status, OrderStatus::OrderCompleted);
        assert_eq!(world.available(&self.sku).await?, 4);
        let amounts: Vec<i64> = world.taken(&self.order_id).await?.iter().map(|taken| taken.amount).collect();
        assert_eq!(amounts, [PRICE]);
        Ok(())
    }

    /// Cancelled, the stock whole, and of the money nothing kept.
    async fn is_undone(&self, world: &World) -> Outcome {
        assert_eq!(self.customer.ended(&self.order_id).await?.status, OrderStatus::OrderCancelled);
        assert_eq!(world.available(&self.sku).await?, 5);
        for taken in world.taken(&self.order_id).await? {
            assert_eq!(world.gateway.refunded(&taken).await?, taken.amount);
        }
        Ok(())
    }
}

async fn with_the_catalog_off_orders_are_accepted_and_complete(world: World) -> Outcome {
    let (customer, sku) = (world.customer().await?, world.product(5).await?);
    for function in ["catalog-api", "catalog-relay"] {
        world.switch_off(function).await?;
    }
    let order_id = customer.shop.place(&buy(&sku), &unique("key")).await?.order_id;
    Placed { customer, sku, order_id }.completes(&world).await
}

async fn waits_for(world: World, function: &str, state: &str) -> Outcome {
    world.pace_retries(QUICK).await?;
    world.switch_off(function).await?;
    let placed = placed(&world, "DE").await?;
    has_failed(&world, &placed.order_id, state, FAILURES_OF_TEN_MINUTES).await?;
    assert!(!placed.customer.shop.order(&placed.order_id).await?.status.is_final());
    world.switch_on(function).await?;
    placed.completes(&world).await
}

async fn with_inventory_off_for_ten_minutes_orders_wait_and_complete(world: World) -> Outcome {
    waits_for(world, "inventory-commands", "ReserveInventory").await
}

async fn with_fulfillment_off_for_ten_minutes_orders_wait_and_complete(world: World) -> Outcome {
    waits_for(world, "fulfillment-commands", "ScheduleShipment").await
}

/// Payments are asked through their queue, where the question waits.
async fn with_payments_off_orders_wait_and_complete(world: World) -> Outcome {
    world.switch_off("payments-commands").await?;
    let placed = placed(&world, "DE").await?;
    eventually("the order waits for its payment", async || {
        let status = placed.customer.shop.order(&placed.order_id).await?.status;
        if status == OrderStatus::PaymentPending { Ok(()) } else { Err(status)? }
    })
    .await?;
    assert!(world.gateway.intents_of(&placed.order_id).await?.is_empty());
    world.switch_on("payments-commands").await?;
    placed.completes(&world).await
}

async fn with_inventory_off_for_good_the_order_is_cancelled_and_nothing_is_held(world: World) -> Outcome {
    world.pace_retries(QUICK).await?;
    world.end_the_order_wait().await?;
    world.switch_off("inventory-commands").await?;
    let placed = placed(&world, "DE").await?;
    has_failed(&world, &placed.order_id, "ReserveInventory", FAILURES_OF_A_STEP).await?;
    has_failed(&world, &placed.order_id, "ReleaseInventory", 2).await?;
    world.switch_on("inventory-commands").await?;
    placed.is_undone(&world).await?;
    assert_eq!(placed.customer.reason(&placed.order_id).await?, saga::SERVICE_UNAVAILABLE);
    assert!(world.gateway.intents_of(&placed.order_id).await?.is_empty(), "it never came to paying");
    alarms::is_raised_by_log(&world, "orders-commands", "step_failed", "orders-step-failed").await
}

async fn with_fulfillment_off_for_good_the_order_is_refunded_and_its_stock_released(world: World) -> Outcome {
    world.pace_retries(QUICK).await?;
    world.end_the_order_wait().await?;
    world.switch_off("fulfillment-commands").await?;
    let placed = placed(&world, "DE").await?;
    has_failed(&world, &placed.order_id, "ScheduleShipment", FAILURES_OF_A_STEP).await?;
    has_failed(&world, &placed.order_id, "CancelShipment", 2).await?;
    world.switch_on("fulfillment-commands").await?;
    placed.is_undone(&world).await?;
    assert_eq!(placed.customer.reason(&placed.order_id).await?, saga::SERVICE_UNAVAILABLE);
    assert_eq!(world.taken(&placed.order_id).await?.len(), 1, "it was paid, and is refunded");
    Ok(())
}

/// The money is taken, the shipment refused, and then payments are away: the refund comes when they are back.
async fn an_undo_waits_for_a_service_that_is_off(world: World) -> Outcome {
    world.pace_retries(QUICK).await?;
    world.switch_off("fulfillment-commands").await?;
    let placed = placed(&world, "AQ").await?;
    has_failed(&world, &placed.order_id, "ScheduleShipment", 1).await?;
    world.switch_off("payments-commands").await?;
    world.switch_on("fulfillment-commands").await?;
    has_failed(&world, &placed.order_id, "RefundPayment", 2).await?;
    world.switch_on("payments-commands").await?;
    placed.is_undone(&world).await?;
    assert_eq!(placed.customer.reason(&placed.order_id).await?, saga::SHIPMENT_REJECTED);
    assert_eq!(world.taken(&placed.order_id).await?.len(), 1);
    Ok(())
}

/// The gateway tells it once, when nobody can hear it.
async fn a_webhook_that_is_lost_costs_time_and_not_the_order(world: World) -> Outcome {
    let (customer, sku) = (world.customer().await?, world.product(5).await?);
    let (order_id, asked) = customer.order_that_waits(&world, &sku).await?;
    world.switch_off("payments-api").await?;
    world.gateway.authenticate(&asked).await?;
    Placed { customer, sku, order_id }.completes(&world).await?;
    // Off until the order had ended: it was not the webhook that told.
    world.switch_on("payments-api").await?;
    Ok(())
}
