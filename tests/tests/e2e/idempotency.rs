//! The same request makes the same order, whatever happens in between.

use contracts::{OrderId, OrderStatus};
use futures::future::join_all;
use reqwest::{Method, StatusCode};
use shop_client::{Answer, NewOrder, Placed};

use crate::fixture::{Customer, Fixture, Result, buy, eventually, one, unique};
use crate::harness::Outcome;
use crate::saga::execution_history;

crate::tests![
    a_repeated_post_answers_the_same_and_makes_one_order,
    twenty_equal_posts_at_once_make_one_order,
    a_repeated_post_finds_its_order_though_the_product_was_discontinued_since,
    the_same_key_with_another_body_is_refused,
    the_same_key_of_another_customer_is_another_order,
];

async fn post(customer: &Customer, order: &NewOrder, key: &str) -> Result<Answer> {
    customer.shop.call(Method::POST, "/v1/orders").header("idempotency-key", key).json(order).send().await
}

fn is_replay(answer: &Answer) -> bool {
    answer.header("idempotent-replayed") == Some("true")
}

async fn a_repeated_post_answers_the_same_and_makes_one_order(fixture: Fixture) -> Outcome {
    let (customer, sku, key) = (fixture.customer().await?, fixture.product(5).await?, unique("key"));
    let first = post(&customer, &buy(&sku), &key).await?;
    let placed: Placed = first.read()?;
    assert_eq!(customer.ended(&placed.order_id).await?.status, OrderStatus::OrderCompleted);

    let again = post(&customer, &buy(&sku), &key).await?;
    assert_eq!((first.status, again.status), (StatusCode::ACCEPTED, StatusCode::ACCEPTED));
    assert_eq!((is_replay(&first), is_replay(&again)), (false, true));
    assert_eq!(first.value(), again.value());
    assert_eq!(first.header("location"), Some(format!("/v1/orders/{}", placed.order_id).as_str()));
    assert_eq!(first.header("location"), again.header("location"));
    assert_happened_once(&fixture, &customer, &placed.order_id).await?;
    assert_eq!(fixture.available(&sku).await?, 4);
    Ok(())
}

async fn twenty_equal_posts_at_once_make_one_order(fixture: Fixture) -> Outcome {
    let (customer, sku, key) = (fixture.customer().await?, fixture.product(5).await?, unique("key"));
    let order = buy(&sku);
    let answers: Vec<Answer> =
        join_all((0..20).map(|_| post(&customer, &order, &key))).await.into_iter().collect::<Result<_>>()?;

    let ids: Vec<OrderId> = answers
        .iter()
        .map(|answer| answer.read::<Placed>().map(|placed| placed.order_id))
        .collect::<Result<_>>()?;
    assert!(ids.iter().all(|id| *id == ids[0]), "{ids:?}");
    assert_eq!(answers.iter().filter(|answer| !is_replay(answer)).count(), 1, "one of them placed the order");
    assert_eq!(customer.ended(&ids[0]).await?.status, OrderStatus::OrderCompleted);
    assert_happened_once(&fixture, &customer, &ids[0]).await?;
    assert_eq!(fixture.available(&sku).await?, 4);
    Ok(())
}

async fn a_repeated_post_finds_its_order_though_the_product_was_discontinued_since(
    fixture: Fixture,
) -> Outcome {
    let (customer, sku, key) = (fixture.customer().await?, fixture.product(5).await?, unique("key"));
    let first = post(&customer, &buy(&sku), &key).await?;
    let path = format!("/v1/products/{sku}");
    let gone = fixture.admin.call(Method::DELETE, &path).send().await?;
    assert_eq!(gone.status, StatusCode::NO_CONTENT);
    eventually("orders know that it is gone", async || customer.has_price(&sku, false).await).await?;

    let new = post(&customer, &buy(&sku), &unique("key")).await?;
    assert_eq!(new.status, StatusCode::UNPROCESSABLE_ENTITY);
    let again = post(&customer, &buy(&sku), &key).await?;
    assert_eq!((again.status, is_replay(&again)), (StatusCode::ACCEPTED, true));
    assert_eq!(first.value(), again.value());
    Ok(())
}

async fn the_same_key_with_another_body_is_refused(fixture: Fixture) -> Outcome {
    let (customer, sku, key) = (fixture.customer().await?, fixture.product(5).await?, unique("key"));
    let placed: Placed = post(&customer, &buy(&sku), &key).await?.read()?;
    let mut two = one(&sku);
    two.quantity = 2;
    let other = post(&customer, &NewOrder { items: vec![two], ..buy(&sku) }, &key).await?;
    assert_eq!(other.status, StatusCode::UNPROCESSABLE_ENTITY);
    customer.ended(&placed.order_id).await?;
    assert_happened_once(&fixture, &customer, &placed.order_id).await?;
    Ok(())
}

async fn the_same_key_of_another_customer_is_another_order(fixture: Fixture) -> Outcome {
    let (anna, ben) = (fixture.customer().await?, fixture.customer().await?);
    let (sku, key) = (fixture.product(5).await?, unique("key"));
    let of_anna: Placed = post(&anna, &buy(&sku), &key).await?.read()?;
    let of_ben: Placed = post(&ben, &buy(&sku), &key).await?.read()?;
    assert_ne!(of_anna.order_id, of_ben.order_id);
    Ok(())
}

/// One creation, one execution, one payment.
async fn assert_happened_once(fixture: &Fixture, customer: &Customer, order: &OrderId) -> Outcome {
    let history = customer.history(order).await?;
    assert_eq!(history.iter().filter(|event_type| *event_type == "order.created").count(), 1);
    let events = execution_history(fixture, order).await?;
    assert_eq!(events.iter().filter(|event| event["type"] == "ExecutionStarted").count(), 1);
    assert_eq!(fixture.gateway.intents_of(order).await?.len(), 1);
    Ok(())
}
