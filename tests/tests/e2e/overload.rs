//! A gateway that allows fewer payments a second than are requested, and one that is down for a while: orders
//! wait, and none is lost. Runs alone, because every order pays through it.

use std::time::Duration;

use contracts::{OrderId, OrderStatus, Sku};
use futures::future::try_join_all;
use serde_json::json;
use tokio::time::{Instant, sleep_until};

use crate::fixture::{Customer, Fixture, PRICE, buy, unique};
use crate::harness::Outcome;

crate::tests![alone:
    twice_what_the_gateway_allows_is_paid_at_its_rate_and_every_order_completes,
    a_gateway_that_is_down_for_some_seconds_costs_time_and_no_order,
];

/// Requests a second to each endpoint: few, so that the test is about the limit and not about the machine. On two busy cores
/// the emulator brings some four orders a second as far as their payment.
const LIMIT: usize = 2;
/// Orders, and how many a second: twice the limit for a while, and then half of it.
const OFFERED: [(usize, u64); 2] = [(50, 4), (10, 1)];
/// How many times longer than the limit allows all payments may take. Retries that pile up or wait too long take far longer;
/// the rest is for a machine that is busy.
const LONGER: u64 = 2;

/// Places this many orders at this rate, for the customers in turn.
async fn offer(
    customers: &[Customer],
    sku: &Sku,
    (orders, per_second): (usize, u64),
) -> Outcome<Vec<(Customer, OrderId)>> {
    let started = Instant::now();
    let placed = customers.iter().cycle().take(orders).zip(0_u32..).map(|(customer, n)| async move {
        sleep_until(started + Duration::from_secs(1) * n / u32::try_from(per_second)?).await;
        let order_id = customer.shop.place(&buy(sku), &unique("key")).await?.order_id;
        Ok::<_, libtest_mimic::Failed>((customer.clone(), order_id))
    });
    try_join_all(placed).await
}

async fn each_completes(fixture: &Fixture, placed: &[(Customer, OrderId)]) -> Outcome {
    for (customer, order_id) in placed {
        let order = customer.ended(order_id).await?;
        assert_eq!(order.status, OrderStatus::OrderCompleted, "{order_id}");
    }
    // Only some are checked, because reading an intent means listing all of them.
    for (_, order_id) in placed.iter().step_by(25) {
        let amounts: Vec<i64> = fixture.taken(order_id).await?.iter().map(|taken| taken.amount).collect();
        assert_eq!(amounts, [PRICE], "{order_id}");
    }
    Ok(())
}

async fn customers(fixture: &Fixture, number: usize) -> Outcome<Vec<Customer>> {
    let customers = try_join_all((0..number).map(|_| fixture.customer())).await?;
    Ok(customers)
}

async fn twice_what_the_gateway_allows_is_paid_at_its_rate_and_every_order_completes(
    fixture: Fixture,
) -> Outcome {
    let sku = fixture.product(1000).await?;
    let customers = customers(&fixture, 5).await?;
    fixture.set_variable("payments-commands", "GATEWAY_REQUESTS_PER_SECOND", &LIMIT.to_string()).await?;
    fixture.gateway.plan_fault(&json!({"mode": "at_most", "per_second": LIMIT})).await?;
    fixture.switch_breaker("payments", "gateway", "normal").await?;
    let since_ms = fixture.gateway.calls().await?.now_ms;

    let mut placed = Vec::new();
    for offered in OFFERED {
        placed.extend(offer(&customers, &sku, offered).await?);
    }
    each_completes(&fixture, &placed).await?;

    let calls = fixture.gateway.calls().await?;
    let (paid, throttled) = (calls.paid(since_ms), calls.throttled(since_ms));
    assert_eq!(paid.len(), placed.len(), "each is confirmed once");
    let took_ms = paid[paid.len() - 1] - paid[0];
    let said = format!(
        "{} payments at {LIMIT} a second took {} s; {throttled} calls were throttled",
        paid.len(),
        took_ms / 1000
    );
    assert!(took_ms <= LONGER * paid.len() as u64 * 1000 / LIMIT as u64, "{said}");
    eprintln!("{said}");
    Ok(())
}

async fn a_gateway_that_is_down_for_some_seconds_costs_time_and_no_order(fixture: Fixture) -> Outcome {
    let sku = fixture.product(100).await?;
    let customers = customers(&fixture, 2).await?;
    fixture.switch_breaker("payments", "gateway", "normal").await?;
    fixture.gateway.plan_fault(&json!({"mode": "down", "seconds": 10})).await?;
    let placed = offer(&customers, &sku, (20, 4)).await?;
    each_completes(&fixture, &placed).await
}
