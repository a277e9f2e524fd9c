//! A second version of contexts and of the saga, while customers order. Runs alone, because it changes the saga of all
//! orders.

use contracts::{OrderId, OrderStatus};
use futures::future::try_join_all;
use shop_client::{Answer, NewOrder};

use crate::fixture::{Customer, Fixture, Result, buy, unique};
use crate::harness::Outcome;
use crate::saga::execution_history;

crate::tests![alone: running_sagas_keep_their_definition_and_no_request_fails];

/// The state that the second version of the saga renames.
const BEFORE: &str = "ScheduleShipment";
const AFTER: &str = "BookShipment";
/// The functions that get a second version: of the API, of the saga, and of a queue.
const CHANGED: [&str; 4] = ["orders-api", "orders-commands", "payments-commands", "fulfillment-commands"];
/// Customers who order at the same time.
const CUSTOMERS: usize = 3;
/// Orders of each: before, during and after the change.
const ORDERS: usize = 6;

/// The states that an order's saga has entered.
async fn entered(fixture: &Fixture, order: &OrderId) -> Outcome<Vec<String>> {
    let history = execution_history(fixture, order).await?;
    let names = history.iter().filter_map(|event| event["stateEnteredEventDetails"]["name"].as_str());
    Ok(names.map(str::to_owned).collect())
}

/// One request without retries, so that a failed one is seen.
async fn order_once(customer: &Customer, order: &NewOrder) -> Result<Answer> {
    let call = customer.shop.call(reqwest::Method::POST, "/v1/orders");
    call.header("idempotency-key", &unique("key")).json(order).send_once().await
}

/// Orders one after the other, each when the one before has ended. Returns the orders.
async fn orders_under_load(fixture: &Fixture) -> Outcome<Vec<OrderId>> {
    let (customer, sku) = (fixture.customer().await?, fixture.product(100).await?);
    let mut orders = Vec::new();
    for _ in 0..ORDERS {
        let answer = order_once(&customer, &buy(&sku)).await?;
        assert_eq!(answer.status.as_u16(), 202, "{}", answer.value());
        let order = OrderId::try_from(answer.value()["order_id"].as_str().unwrap_or_default())?;
        assert_eq!(customer.ended(&order).await?.status, OrderStatus::OrderCompleted);
        orders.push(order);
    }
    Ok(orders)
}

async fn running_sagas_keep_their_definition_and_no_request_fails(fixture: Fixture) -> Outcome {
    for function in CHANGED {
        fixture.publish_version(function).await?;
    }
    let (customer, sku) = (fixture.customer().await?, fixture.product(5).await?);
    let (waiting, asked) = customer.order_that_waits(&fixture, &sku).await?;

    let load = try_join_all((0..CUSTOMERS).map(|_| orders_under_load(&fixture)));
    let change = async {
        let rename = |definition: &str, place: &str| {
            definition.replace(&place.replace('#', BEFORE), &place.replace('#', AFTER))
        };
        let renamed = |definition: &str| rename(&rename(definition, "\"#\":"), "\"Next\": \"#\"");
        fixture.redefine(renamed).await?;
        for function in CHANGED {
            fixture.set_variable(function, "LOG_LEVEL", "debug").await?;
            fixture.publish_version(function).await?;
        }
        Ok(())
    };
    let (loaded, changed): (Outcome<Vec<Vec<OrderId>>>, Outcome) = tokio::join!(load, change);
    changed?;
    let last = loaded?.into_iter().filter_map(|mut orders| orders.pop());
    for order in last {
        let states = entered(&fixture, &order).await?;
        assert!(states.iter().any(|state| state == AFTER), "{order} began after the change: {states:?}");
    }

    fixture.gateway.authenticate(&asked).await?;
    assert_eq!(customer.ended(&waiting).await?.status, OrderStatus::OrderCompleted);
    let states = entered(&fixture, &waiting).await?;
    assert!(states.iter().any(|state| state == BEFORE), "{states:?}");
    assert!(!states.iter().any(|state| state == AFTER), "{states:?}");
    Ok(())
}
