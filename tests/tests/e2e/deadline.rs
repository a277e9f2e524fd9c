//! Payments that do not come in time. Alone, because the deadline is one for all orders.

use std::time::{Duration, Instant};

use contracts::{OrderId, OrderStatus, Sku, saga};
use serde_json::json;
use shop_client::NextAction;

use crate::fixture::{Customer, Fixture, PRICE, buy, eventually, unique};
use crate::harness::Outcome;

crate::tests![together:
    an_order_that_is_not_paid_in_time_is_cancelled_and_its_stock_comes_back,
    a_gateway_that_is_down_until_the_deadline_charges_nothing,
    a_payment_that_succeeds_after_its_deadline_is_refunded_by_itself;
    alone: a_payment_message_that_waited_past_its_deadline_charges_nobody,
];

/// 15 minutes in production. Long enough for the bank's request on a slow machine with a cold start.
const DEADLINE_SECONDS: &str = "15";

async fn shorten_the_deadline(fixture: &Fixture) -> Outcome {
    fixture.set_variable("payments-commands", "PAYMENT_DEADLINE_SECONDS", DEADLINE_SECONDS).await
}

struct Waiting {
    customer: Customer,
    sku: Sku,
    order_id: OrderId,
    asked: NextAction,
}

/// An order whose bank waits for the customer's confirmation, which does not come.
async fn waiting_order(fixture: &Fixture) -> Outcome<Waiting> {
    let (customer, sku) = (fixture.customer().await?, fixture.product(5).await?);
    let (order_id, asked) = customer.order_that_waits(fixture, &sku).await?;
    Ok(Waiting { customer, sku, order_id, asked })
}

async fn an_order_that_is_not_paid_in_time_is_cancelled_and_its_stock_comes_back(
    fixture: Fixture,
) -> Outcome {
    shorten_the_deadline(&fixture).await?;
    let Waiting { customer, sku, order_id, .. } = waiting_order(&fixture).await?;
    assert_eq!(customer.ended(&order_id).await?.status, OrderStatus::OrderCancelled);
    assert_eq!(customer.reason(&order_id).await?, saga::PAYMENT_TIMEOUT);
    assert_eq!(fixture.available(&sku).await?, 5);
    let intents = fixture.gateway.intents_of(&order_id).await?;
    assert_eq!(intents.iter().map(|intent| intent.status.as_str()).collect::<Vec<_>>(), ["canceled"]);
    Ok(())
}

async fn a_gateway_that_is_down_until_the_deadline_charges_nothing(fixture: Fixture) -> Outcome {
    shorten_the_deadline(&fixture).await?;
    let (customer, sku) = (fixture.customer().await?, fixture.product(5).await?);
    let future = customer.future_order();
    fixture.fail_gateway(&future.order_id, "create", "refuse", 1000).await?;
    customer.shop.place(&buy(&sku), &future.key).await?;
    assert_eq!(customer.ended(&future.order_id).await?.status, OrderStatus::OrderCancelled);
    assert_eq!(customer.reason(&future.order_id).await?, saga::PAYMENT_TIMEOUT);
    assert_eq!(fixture.available(&sku).await?, 5);
    assert!(fixture.gateway.intents_of(&future.order_id).await?.is_empty());
    Ok(())
}

/// payments-commands is away, and back only after the deadline.
async fn a_payment_message_that_waited_past_its_deadline_charges_nobody(fixture: Fixture) -> Outcome {
    shorten_the_deadline(&fixture).await?;
    let (customer, sku) = (fixture.customer().await?, fixture.product(5).await?);
    fixture.switch_off("payments-commands").await?;
    let order_id = customer.shop.place(&buy(&sku), &unique("key")).await?.order_id;
    let mut pending_since = None;
    eventually("its payment is overdue", async || {
        let status = customer.shop.order(&order_id).await?.status;
        if status != OrderStatus::PaymentPending {
            Err(status)?;
        }
        let waited = pending_since.get_or_insert_with(Instant::now).elapsed();
        if waited > Duration::from_secs(DEADLINE_SECONDS.parse()?) { Ok(()) } else { Err("not yet")? }
    })
    .await?;
    fixture.switch_on("payments-commands").await?;
    assert_eq!(customer.ended(&order_id).await?.status, OrderStatus::OrderCancelled);
    assert_eq!(customer.reason(&order_id).await?, saga::PAYMENT_TIMEOUT);
    assert_eq!(fixture.available(&sku).await?, 5);
    assert!(fixture.gateway.intents_of(&order_id).await?.is_empty(), "no card was touched");
    Ok(())
}

/// The gateway cannot be called to cancel the payment, the saga ends without it, and then the customer pays.
async fn a_payment_that_succeeds_after_its_deadline_is_refunded_by_itself(fixture: Fixture) -> Outcome {
    shorten_the_deadline(&fixture).await?;
    fixture.pace_retries(100).await?;
    let Waiting { customer, sku, order_id, asked } = waiting_order(&fixture).await?;
    let path = format!("/v1/payment_intents/{}/cancel", asked.payment_intent);
    fixture.gateway.plan_fault(&json!({"path_prefix": path, "mode": "refuse", "count": 1000})).await?;
    eventually("the payment is late", async || {
        let payment = customer.shop.payment(&order_id).await?;
        if payment.status == "pending" { Err(payment.status)? } else { Ok(()) }
    })
    .await?;
    fixture.gateway.authenticate(&asked).await?;

    assert_eq!(customer.ended(&order_id).await?.status, OrderStatus::OrderCancelled);
    assert_eq!(customer.reason(&order_id).await?, saga::PAYMENT_TIMEOUT);
    assert_eq!(fixture.available(&sku).await?, 5);
    let refunded = eventually("the money is back", async || {
        let payment = customer.shop.payment(&order_id).await?;
        if payment.status == "refunded" { Ok(payment.refunded.amount) } else { Err(payment.status)? }
    });
    assert_eq!(refunded.await?, PRICE);
    let taken = fixture.taken(&order_id).await?;
    assert_eq!(taken.len(), 1);
    assert_eq!(fixture.gateway.refunded(&taken[0]).await?, PRICE);
    let subject = format!("Your money for order {order_id} is on its way back");
    eventually("the customer is told", async || {
        let subjects: Vec<String> =
            fixture.mails(&customer).await?.into_iter().map(|mail| mail.subject).collect();
        if subjects.contains(&subject) { Ok(()) } else { Err(subjects.join(", "))? }
    })
    .await?;
    Ok(())
}
