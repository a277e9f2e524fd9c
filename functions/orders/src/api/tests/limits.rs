//! Rate limits for orders.

use super::*;

#[tokio::test]
async fn a_customer_who_orders_too_often_learns_when_to_retry() {
    let api = api().await;
    api.empty_bucket("orders", 40).await;
    let refused = api.order("k-1", &two_mugs()).await;
    assert_eq!((refused.status, &refused.body["status"]), (StatusCode::TOO_MANY_REQUESTS, &json!(429)));
    let said = ["retry-after", "ratelimit-limit", "ratelimit-remaining"].map(|name| refused.header(name));
    assert_eq!(said, [Some("1"), Some("40"), Some("0")]);
    let other = TestApi { anna: UserId::generate(), ..api };
    assert_eq!(other.order("k-1", &two_mugs()).await.status, StatusCode::ACCEPTED);
}

#[tokio::test]
async fn a_limit_that_cannot_be_read_refuses_no_order() {
    let api = api().await;
    api.faults.refuse("UpdateItem", 10);
    assert_eq!(api.order("k-1", &two_mugs()).await.status, StatusCode::ACCEPTED);
}
