use contracts::{OrderId, UserId};
use lambda_kit::{
    jwt::Role,
    testing::{App, Tokens},
};
use rstest::rstest;
use serde_json::{Value, json};

use crate::{
    domain::Command,
    store::Store,
    testing::{at, correlation_id, listed_api, listed_store, order_of},
    views::Projector,
};

struct TestApi {
    app: App,
    store: Store,
    tokens: Tokens,
    anna: UserId,
}

impl TestApi {
    async fn new() -> Self {
        let (store, table, _) = listed_store().await;
        let tokens = Tokens::new();
        let app = listed_api(&table, &tokens);
        Self { app, store, tokens, anna: UserId::generate() }
    }

    /// Places `count` orders, of which every second one is reserved. Returns their ids, the newest first.
    async fn orders(&self, customer: &UserId, count: i64) -> Vec<OrderId> {
        let mut placed = vec![];
        for n in 0..count {
            let order_id = order_of(&self.store, customer, &format!("k-{n}"), n).await;
            if n % 2 == 1 {
                let command = Command::RecordReservation;
                crate::handler::execute(&self.store, &order_id, &command, &correlation_id(), at(n))
                    .await
                    .unwrap();
            }
            Projector::new(self.store.clone()).catch_up(&order_id).await;
            placed.insert(0, order_id);
        }
        placed
    }

    async fn get(&self, token: &str, query: &str) -> (u16, Value) {
        let response = self.app.get(&format!("/v1/orders{query}"), token).await;
        (response.status.as_u16(), response.body)
    }

    /// All pages of a list: the ids on each.
    async fn pages(&self, token: &str, query: &str) -> Vec<Vec<Value>> {
        let (mut pages, mut cursor) = (vec![], String::new());
        loop {
            let (status, page) = self.get(token, &format!("{query}{cursor}")).await;
            assert_eq!(status, 200, "{page}");
            pages.push(
                page["items"].as_array().unwrap().iter().map(|order| order["order_id"].clone()).collect(),
            );
            let Some(next) = page["next_cursor"].as_str() else { return pages };
            cursor = format!("&cursor={next}");
        }
    }

    fn anna(&self) -> String {
        self.tokens.user(&self.anna)
    }
}

#[tokio::test]
async fn a_customer_sees_their_own_orders_the_newest_first() {
    let api = TestApi::new().await;
    let orders = api.orders(&api.anna, 5).await;
    api.orders(&UserId::generate(), 3).await;
    assert_eq!(
        api.pages(&api.anna(), "?limit=2").await.concat(),
        orders.iter().map(|o| json!(o)).collect::<Vec<_>>()
    );
    assert_eq!(api.pages(&api.anna(), "?limit=5").await.len(), 1, "no page without anything on it");
    let (_, list) = api.get(&api.anna(), "").await;
    let (_, order) = api.get(&api.anna(), &format!("/{}", orders[0])).await;
    assert_eq!(list["items"][0], order, "a list shows an order as it shows itself");
    assert_eq!(list["next_cursor"], Value::Null);
}

#[tokio::test]
async fn a_list_can_be_of_one_status() {
    let api = TestApi::new().await;
    let orders = api.orders(&api.anna, 6).await;
    let reserved: Vec<Value> = orders.iter().step_by(2).map(|order| json!(order)).collect();
    for token in [api.anna(), api.tokens.admin()] {
        assert_eq!(api.pages(&token, "?limit=2&status=PaymentPending").await.concat(), reserved);
    }
}

#[tokio::test]
async fn the_support_and_administrators_see_all_orders() {
    let api = TestApi::new().await;
    let annas = api.orders(&api.anna, 2).await;
    let bens = api.orders(&UserId::generate(), 2).await;
    let mut expected: Vec<String> = annas.iter().chain(&bens).map(ToString::to_string).collect();
    expected.sort();
    for staff in [Role::Support, Role::Admin] {
        let pages = api.pages(&api.tokens.staff(staff), "?limit=3").await;
        let mut all: Vec<String> = pages.concat().iter().map(|id| id.as_str().unwrap().to_owned()).collect();
        all.sort();
        assert_eq!(all, expected);
    }
    assert!(api.pages(&api.tokens.staff(Role::Fulfillment), "?limit=3").await.concat().is_empty());
}

#[tokio::test]
async fn a_cursor_is_good_for_its_own_list_only() {
    let api = TestApi::new().await;
    api.orders(&api.anna, 3).await;
    let (_, page) = api.get(&api.anna(), "?limit=1").await;
    let cursor = page["next_cursor"].as_str().unwrap();
    let ben = api.tokens.user(&UserId::generate());
    for (token, query) in [
        (ben, format!("?cursor={cursor}")),
        (api.tokens.admin(), format!("?cursor={cursor}")),
        (api.anna(), format!("?status=PaymentPending&cursor={cursor}")),
        (api.anna(), format!("?cursor={}{}", if cursor.starts_with('A') { 'B' } else { 'A' }, &cursor[1..])),
    ] {
        let (status, problem) = api.get(&token, &query).await;
        assert_eq!((status, &problem["errors"][0]["field"]), (422, &json!("cursor")), "{query}");
    }
    assert_eq!(api.get(&api.anna(), &format!("?cursor={cursor}")).await.0, 200);
}

#[rstest]
#[case("limit=0", "limit")]
#[case("limit=101", "limit")]
#[case("limit=many", "limit")]
#[case("status=Lost", "status")]
#[case("status=", "status")]
#[case("cursor=", "cursor")]
#[case("cursor=%00", "cursor")]
#[tokio::test]
async fn what_cannot_be_listed_is_said(#[case] query: &str, #[case] field: &str) {
    let api = TestApi::new().await;
    let (status, problem) = api.get(&api.anna(), &format!("?{query}")).await;
    assert_eq!((status, &problem["errors"][0]["field"]), (422, &json!(field)));
}

#[tokio::test]
async fn nobody_sees_a_list_without_a_token() {
    let api = TestApi::new().await;
    assert_eq!(api.get("", "").await.0, 401);
}

#[tokio::test]
async fn only_the_support_and_administrators_can_list_another_customers_orders() {
    let api = TestApi::new().await;
    let annas = api.orders(&api.anna, 2).await;
    api.orders(&UserId::generate(), 2).await;
    let query = format!("?limit=5&customer={}", api.anna);
    let expected: Vec<Value> = annas.iter().map(|order| json!(order)).collect();
    for token in [api.tokens.admin(), api.tokens.staff(Role::Support), api.anna()] {
        assert_eq!(api.pages(&token, &query).await.concat(), expected);
    }
    let ben = api.tokens.user(&UserId::generate());
    assert_eq!(api.get(&ben, &query).await.0, 404);
    assert_eq!(api.get(&ben, "?customer=nobody").await.0, 404);
}

#[tokio::test]
async fn a_forged_cursor_shows_no_orders_of_others() {
    let api = TestApi::new().await;
    let annas = api.orders(&api.anna, 2).await;
    api.orders(&UserId::generate(), 2).await;
    for place in ["X", "ORDER#9", ""] {
        let cursor =
            super::cursor_of(&super::Scope::Customer(api.anna.clone()), None, place.to_owned()).unwrap();
        let shown = api.pages(&api.anna(), &format!("?limit=5&cursor={cursor}")).await.concat();
        assert_eq!(shown, annas.iter().map(|order| json!(order)).collect::<Vec<_>>(), "{place}");
    }
}
