//! Customers who may order nothing.

use lambda_kit::{
    account::AccountState,
    jwt::{Audience, Claims},
    testing,
};

use super::*;

impl TestApi {
    /// Anna's account has this state at this version, as of now.
    async fn account_is(&self, state: AccountState, version: u64) {
        let mut event = testing::event(self.anna.as_str(), "user.updated", version);
        event.occurred_at = Timestamp::now();
        self.store.record_account(&self.anna, state, &event).await.unwrap().unwrap();
    }
}

#[tokio::test]
async fn whoever_was_deleted_orders_nothing_with_a_token_from_before_and_hears_of_earlier_orders() {
    let api = api().await;
    let first = api.order("k-1", &two_mugs()).await;
    api.account_is(AccountState::Deleted, 2).await;
    let next = api.order("k-2", &two_mugs()).await;
    assert_eq!((next.status, api.commits().await), (StatusCode::UNAUTHORIZED, 1));
    assert_eq!(api.order("k-1", &two_mugs()).await.body, first.body);
}

#[tokio::test]
async fn whoever_is_suspended_orders_nothing_until_restored() {
    let api = api().await;
    api.account_is(AccountState::Suspended, 2).await;
    let refused = api.order("k-1", &two_mugs()).await;
    assert_eq!((refused.status, api.commits().await), (StatusCode::FORBIDDEN, 0));
    assert!(refused.body["detail"].as_str().unwrap().contains("suspended"));
    api.account_is(AccountState::Active, 3).await;
    assert_eq!(api.order("k-1", &two_mugs()).await.status, StatusCode::ACCEPTED);
}

#[tokio::test]
async fn a_shop_may_take_orders_only_with_a_verified_address() {
    let strict = api_that(OrderRules { requires_verified_email: true, ..rules() }, unanswered()).await;
    let lenient = api().await;
    let token = |api: &TestApi, email_verified| {
        let claims = testing::claims(&api.anna, vec![], Audience::Api, 4_000_000_000);
        format!("Bearer {}", api.tokens.sign(&Claims { email_verified, ..claims }))
    };
    let refused = strict.order_as(&token(&strict, false), "k-1", &two_mugs()).await;
    assert_eq!((refused.status, strict.commits().await), (StatusCode::FORBIDDEN, 0));
    let detail = refused.body["detail"].as_str().unwrap();
    assert!(detail.contains("/v1/users/me/verifications") && detail.contains("refresh"), "{detail}");

    // With a token from after the verification the same request is accepted, and a repeat gets its answer.
    for verified in [true, false] {
        let placed = strict.order_as(&token(&strict, verified), "k-1", &two_mugs()).await;
        assert_eq!((placed.status, strict.commits().await), (StatusCode::ACCEPTED, 1));
    }
    let placed = lenient.order_as(&token(&lenient, false), "k-1", &two_mugs()).await;
    assert_eq!(placed.status, StatusCode::ACCEPTED);
}
