//! Services that are down. An outage delays an order or, if it lasts, cancels it with everything undone. It
//! never prevents placing one, and leaves nothing behind. Runs alone, because every order needs these
//! services.

use contracts::{OrderId, OrderStatus, Sku, saga};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use shop_client::{Answer, NewOrder};

use crate::alarms;
use crate::fixture::{Customer, Fixture, PRICE, Result, address, buy, eventually, unique};
use crate::harness::Outcome;
use crate::page::visit::{is_content, put_in_basket, visit};
use crate::saga::execution_history;

crate::tests![alone:
    with_the_catalog_off_orders_are_accepted_and_complete,
    with_inventory_off_for_ten_minutes_orders_wait_and_complete,
    with_fulfillment_off_for_ten_minutes_orders_wait_and_complete,
    with_payments_off_orders_wait_and_complete,
    with_inventory_off_for_good_the_order_is_cancelled_and_nothing_is_held,
    with_fulfillment_off_for_good_the_order_is_refunded_and_its_stock_released,
    an_undo_waits_for_a_service_that_is_off,
    a_webhook_that_is_lost_costs_time_and_not_the_order,
    while_inventory_does_not_answer_stock_is_limited_and_orders_wait,
    while_the_catalogs_table_is_down_the_shop_shows_what_it_knew_last,
];

/// First try and 14 retries: after that the order has to have time left.
const FAILURES_OF_A_STEP: usize = 15;
/// The emulator's pauses are 1, 2, 4, 8, 16, 32 and then 60 seconds, 543 in all, and from the start when the state is entered
/// again: after this many failures it has been off for ten minutes.
const FAILURES_OF_TEN_MINUTES: usize = FAILURES_OF_A_STEP + 7;
/// Retries come after a hundredth of their time.
const QUICK: u32 = 10;

/// The number of failed tasks in this state of the order's execution.
async fn failures_in(fixture: &Fixture, order: &OrderId, state: &str) -> Outcome<usize> {
    let (mut inside, mut failures) = (false, 0);
    for event in execution_history(fixture, order).await? {
        if let Some(name) = event["stateEnteredEventDetails"]["name"].as_str() {
            inside = name == state;
        }
        failures += usize::from(inside && event["type"] == "TaskFailed");
    }
    Ok(failures)
}

async fn has_failed(fixture: &Fixture, order: &OrderId, state: &str, times: usize) -> Outcome {
    let what = format!("{state} has failed {times} times");
    Ok(eventually(&what, async || {
        let failures = failures_in(fixture, order, state)
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

async fn placed(fixture: &Fixture, country: &str) -> Outcome<Placed> {
    let (customer, sku) = (fixture.customer().await?, fixture.product(5).await?);
    let order = NewOrder { shipping_address: address(country), ..buy(&sku) };
    let order_id = customer.shop.place(&order, &unique("key")).await?.order_id;
    Ok(Placed { customer, sku, order_id })
}

impl Placed {
    async fn completes(&self, fixture: &Fixture) -> Outcome {
        assert_eq!(self.customer.ended(&self.order_id).await?.status, OrderStatus::OrderCompleted);
        assert_eq!(fixture.available(&self.sku).await?, 4);
        let amounts: Vec<i64> =
            fixture.taken(&self.order_id).await?.iter().map(|taken| taken.amount).collect();
        assert_eq!(amounts, [PRICE]);
        Ok(())
    }

    /// Cancelled, the stock whole, and of the money nothing kept.
    async fn is_undone(&self, fixture: &Fixture) -> Outcome {
        assert_eq!(self.customer.ended(&self.order_id).await?.status, OrderStatus::OrderCancelled);
        assert_eq!(fixture.available(&self.sku).await?, 5);
        for taken in fixture.taken(&self.order_id).await? {
            assert_eq!(fixture.gateway.refunded(&taken).await?, taken.amount);
        }
        Ok(())
    }
}

async fn with_the_catalog_off_orders_are_accepted_and_complete(fixture: Fixture) -> Outcome {
    let (customer, sku) = (fixture.customer().await?, fixture.product(5).await?);
    for function in ["catalog-api", "catalog-relay"] {
        fixture.switch_off(function).await?;
    }
    let order_id = customer.shop.place(&buy(&sku), &unique("key")).await?.order_id;
    Placed { customer, sku, order_id }.completes(&fixture).await
}

async fn waits_for(fixture: Fixture, function: &str, state: &str) -> Outcome {
    fixture.pace_retries(QUICK).await?;
    fixture.switch_off(function).await?;
    let placed = placed(&fixture, "DE").await?;
    has_failed(&fixture, &placed.order_id, state, FAILURES_OF_TEN_MINUTES).await?;
    assert!(!placed.customer.shop.order(&placed.order_id).await?.status.is_final());
    fixture.switch_on(function).await?;
    placed.completes(&fixture).await
}

async fn with_inventory_off_for_ten_minutes_orders_wait_and_complete(fixture: Fixture) -> Outcome {
    waits_for(fixture, "inventory-commands", "ReserveInventory").await
}

async fn with_fulfillment_off_for_ten_minutes_orders_wait_and_complete(fixture: Fixture) -> Outcome {
    waits_for(fixture, "fulfillment-commands", "ScheduleShipment").await
}

/// Payments gets its commands through a queue, where they wait.
async fn with_payments_off_orders_wait_and_complete(fixture: Fixture) -> Outcome {
    fixture.switch_off("payments-commands").await?;
    let placed = placed(&fixture, "DE").await?;
    eventually("the order waits for its payment", async || {
        let status = placed.customer.shop.order(&placed.order_id).await?.status;
        if status == OrderStatus::PaymentPending { Ok(()) } else { Err(status)? }
    })
    .await?;
    assert!(fixture.gateway.intents_of(&placed.order_id).await?.is_empty());
    fixture.switch_on("payments-commands").await?;
    placed.completes(&fixture).await
}

async fn with_inventory_off_for_good_the_order_is_cancelled_and_nothing_is_held(fixture: Fixture) -> Outcome {
    fixture.pace_retries(QUICK).await?;
    fixture.end_the_order_wait().await?;
    fixture.switch_off("inventory-commands").await?;
    let placed = placed(&fixture, "DE").await?;
    has_failed(&fixture, &placed.order_id, "ReserveInventory", FAILURES_OF_A_STEP).await?;
    has_failed(&fixture, &placed.order_id, "ReleaseInventory", 2).await?;
    fixture.switch_on("inventory-commands").await?;
    placed.is_undone(&fixture).await?;
    assert_eq!(placed.customer.reason(&placed.order_id).await?, saga::SERVICE_UNAVAILABLE);
    assert!(fixture.gateway.intents_of(&placed.order_id).await?.is_empty(), "it never came to paying");
    alarms::has_been_raised(&fixture, "orders-step-failed").await
}

async fn with_fulfillment_off_for_good_the_order_is_refunded_and_its_stock_released(
    fixture: Fixture,
) -> Outcome {
    fixture.pace_retries(QUICK).await?;
    fixture.end_the_order_wait().await?;
    fixture.switch_off("fulfillment-commands").await?;
    let placed = placed(&fixture, "DE").await?;
    has_failed(&fixture, &placed.order_id, "ScheduleShipment", FAILURES_OF_A_STEP).await?;
    has_failed(&fixture, &placed.order_id, "CancelShipment", 2).await?;
    fixture.switch_on("fulfillment-commands").await?;
    placed.is_undone(&fixture).await?;
    assert_eq!(placed.customer.reason(&placed.order_id).await?, saga::SERVICE_UNAVAILABLE);
    assert_eq!(fixture.taken(&placed.order_id).await?.len(), 1, "it was paid, and is refunded");
    Ok(())
}

/// The money is taken, the shipment is refused, and then payments is down: the refund is made when it is
/// back.
async fn an_undo_waits_for_a_service_that_is_off(fixture: Fixture) -> Outcome {
    fixture.pace_retries(QUICK).await?;
    fixture.switch_off("fulfillment-commands").await?;
    let placed = placed(&fixture, "AQ").await?;
    has_failed(&fixture, &placed.order_id, "ScheduleShipment", 1).await?;
    fixture.switch_off("payments-commands").await?;
    fixture.switch_on("fulfillment-commands").await?;
    has_failed(&fixture, &placed.order_id, "RefundPayment", 2).await?;
    fixture.switch_on("payments-commands").await?;
    placed.is_undone(&fixture).await?;
    assert_eq!(placed.customer.reason(&placed.order_id).await?, saga::SHIPMENT_REJECTED);
    assert_eq!(fixture.taken(&placed.order_id).await?.len(), 1);
    Ok(())
}

/// The gateway sends the webhook once, while the function is off.
async fn a_webhook_that_is_lost_costs_time_and_not_the_order(fixture: Fixture) -> Outcome {
    let (customer, sku) = (fixture.customer().await?, fixture.product(5).await?);
    let (order_id, asked) = customer.order_that_waits(&fixture, &sku).await?;
    fixture.switch_off("payments-api").await?;
    fixture.gateway.authenticate(&asked).await?;
    Placed { customer, sku, order_id }.completes(&fixture).await?;
    // It was off until the order had ended, so the webhook cannot have been delivered.
    fixture.switch_on("payments-api").await?;
    Ok(())
}

/// The shown stock: its class, and whether it is a last known value.
pub fn told(answer: &Value) -> (&str, bool) {
    (answer["availability"].as_str().unwrap_or_default(), answer["as_of"].is_string())
}

pub async fn quote(customer: &Customer, sku: &Sku) -> Result<Value> {
    customer.shop.call(Method::POST, "/v1/quotes").json(&buy(sku)).send().await?.read()
}

pub async fn answer(fixture: &Fixture, path: &str) -> Result<Answer> {
    fixture.shop.call(Method::GET, path).send_once().await
}

/// Waits until the catalogue shows this for a product: it checks every five seconds whether inventory
/// answers.
pub async fn catalog_tells(fixture: &Fixture, sku: &Sku, expected: (&str, bool)) -> Result<()> {
    eventually(&format!("the catalogue tells {expected:?}"), async || {
        let product = answer(fixture, &format!("/v1/products/{sku}")).await?.value();
        if told(&product) == expected { Ok(()) } else { Err(product.to_string())? }
    })
    .await
}

async fn while_inventory_does_not_answer_stock_is_limited_and_orders_wait(fixture: Fixture) -> Outcome {
    fixture.pace_retries(QUICK).await?;
    let (customer, sku) = (fixture.customer().await?, fixture.product(20).await?);
    let stock = format!("/v1/inventory/{sku}");
    catalog_tells(&fixture, &sku, ("in_stock", false)).await?;
    assert_eq!(told(&answer(&fixture, &stock).await?.value()), ("in_stock", false));
    assert_eq!(told(&quote(&customer, &sku).await?), ("in_stock", false));

    for function in ["inventory-api", "inventory-commands"] {
        fixture.cut_off_table(function).await?;
    }
    let limited = answer(&fixture, &stock).await?;
    assert_eq!((limited.status, told(&limited.value())), (StatusCode::OK, ("low_stock", true)));
    assert_eq!(limited.value()["available"], 20);
    let caching = limited.header("cache-control").unwrap_or_default();
    assert!(caching.starts_with("public, max-age=0, stale-if-error="), "{caching}");
    assert_eq!(told(&quote(&customer, &sku).await?), ("low_stock", true));
    catalog_tells(&fixture, &sku, ("low_stock", true)).await?;
    is_limited_on_the_page(&fixture, &sku).await?;

    let order_id = customer.shop.place(&buy(&sku), &unique("key")).await?.order_id;
    has_failed(&fixture, &order_id, "ReserveInventory", 3).await?;
    for function in ["inventory-api", "inventory-commands"] {
        fixture.reach_table(function).await?;
    }
    assert_eq!(customer.ended(&order_id).await?.status, OrderStatus::OrderCompleted);
    let stock = answer(&fixture, &stock).await?.value();
    assert_eq!((told(&stock), &stock["available"]), (("in_stock", false), &json!(19)));
    catalog_tells(&fixture, &sku, ("in_stock", false)).await?;
    Ok(())
}

async fn is_limited_on_the_page(fixture: &Fixture, sku: &Sku) -> Outcome {
    let mut browser = visit(fixture, "limited").await?;
    put_in_basket(&mut browser, sku).await?;
    browser.see_text(&format!(".card[data-sku='{sku}'] .stock"), "Limited stock").await?;
    browser.see_text("#list-note", "You can order, but the order may have to wait.").await?;
    browser.see_text("#basket-lines", "Limited stock: the order may have to wait.").await?;
    browser.screenshot("limited").await?;
    is_content(&browser);
    Ok(())
}

async fn while_the_catalogs_table_is_down_the_shop_shows_what_it_knew_last(fixture: Fixture) -> Outcome {
    let (customer, sku) = (fixture.customer().await?, fixture.product(20).await?);
    let (list, product) = ("/v1/products?limit=100", format!("/v1/products/{sku}"));
    catalog_tells(&fixture, &sku, ("in_stock", false)).await?;
    let current = answer(&fixture, list).await?.value();

    fixture.cut_off_table("catalog-api").await?;
    assert_eq!(told(&answer(&fixture, &product).await?.value()), ("low_stock", true));
    // A page that was read less than 2 seconds ago counts as current.
    let seen = eventually("the list says how old it is", async || {
        let seen = answer(&fixture, list).await?;
        let dated = |item: &Value| item["as_of"].is_string();
        let all = seen.value()["items"].as_array().is_some_and(|items| items.iter().all(dated));
        if all { Ok(seen) } else { Err("not yet")? }
    })
    .await?;
    assert_eq!(seen.status, StatusCode::OK);
    let skus = |list: &Value| {
        list["items"].as_array().map(|items| items.iter().map(|item| item["sku"].clone()).collect::<Vec<_>>())
    };
    assert_eq!(skus(&seen.value()), skus(&current));
    assert_eq!(answer(&fixture, "/v1/products?limit=99").await?.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(answer(&fixture, "/v1/products/NO-SUCH-THING").await?.status, StatusCode::SERVICE_UNAVAILABLE);

    let order_id = customer.shop.place(&buy(&sku), &unique("key")).await?.order_id;
    assert_eq!(customer.ended(&order_id).await?.status, OrderStatus::OrderCompleted);
    fixture.reach_table("catalog-api").await?;
    assert_eq!(told(&answer(&fixture, &product).await?.value()), ("in_stock", false));
    Ok(())
}
