//! The audit trail, composed of those of the contexts.

use contracts::{CorrelationId, UserId};
use jiff::Timestamp;
use lambda_kit::audit::{Actor, Entry};
use rstest::rstest;
use serde_json::{Value, json};
use wiremock::{Mock, matchers::any};

use super::{
    TestApi,
    composed::{Down, Functions, list},
};

const ORDER: &str = "ord_0123456789abcdef0123456789abcdef";
const USER: &str = "usr_0123456789abcdef0123456789abcdef";

struct Trail {
    api: TestApi,
    functions: Functions,
}

impl Trail {
    async fn new() -> Self {
        let (api, functions) = (TestApi::new().await, Functions::default());
        Mock::given(any()).respond_with(functions.clone()).mount(&api.lambda).await;
        Self { api, functions }
    }

    async fn get(&self, query: &str) -> (u16, Value) {
        let answer = self.api.app.get(&format!("/v1/audit{query}"), &self.api.tokens.admin()).await;
        (answer.status.as_u16(), answer.body)
    }

    /// The actions of a page, and the cursor of the next one.
    async fn page(&self, query: &str) -> (String, Option<String>) {
        let (status, page) = self.get(query).await;
        assert_eq!(status, 200, "{page}");
        let items = page["items"].as_array().unwrap();
        let actions = items.iter().map(|entry| entry["action"].as_str().unwrap()).collect();
        (actions, page["next_cursor"].as_str().map(str::to_owned))
    }

    /// The paths that were asked for, sorted.
    fn asked(&self) -> Vec<String> {
        let asked = self.functions.asked();
        let mut paths: Vec<_> =
            asked.iter().map(|request| request["rawPath"].as_str().unwrap().to_owned()).collect();
        paths.sort();
        paths
    }
}

fn entry(second: i64) -> Value {
    let (at, correlation_id) = (Timestamp::from_second(second).unwrap(), CorrelationId::generate());
    json!(Entry::new(at, Actor::System, &second.to_string(), "MUG", &correlation_id))
}

#[rstest]
#[case(
    "MUG.blue-1_x",
    &["/v1/discounts/MUG.blue-1_x/audit", "/v1/inventory/MUG.blue-1_x/audit", "/v1/products/MUG.blue-1_x/audit"]
)]
#[case(ORDER, &[
    "/v1/orders/ord_0123456789abcdef0123456789abcdef/audit", "/v1/payments/ord_0123456789abcdef0123456789abcdef/audit"
])]
#[case(USER, &["/v1/users/usr_0123456789abcdef0123456789abcdef/audit"])]
#[tokio::test]
async fn a_subject_is_looked_for_where_it_can_be(#[case] subject: &str, #[case] paths: &[&str]) {
    let trail = Trail::new().await;
    let (status, page) = trail.get(&format!("?subject={subject}")).await;
    assert_eq!((status, page), (200, json!({"items": [], "next_cursor": null})));
    assert_eq!(trail.asked(), paths);
}

#[tokio::test]
async fn entries_of_all_contexts_are_one_list_page_by_page() {
    let trail = Trail::new().await;
    let (products, stock) = ("/v1/products/MUG/audit?limit=2", "/v1/inventory/MUG/audit?limit=2");
    trail.functions.answer(products, list(&[entry(9), entry(3)], json!("more")));
    trail.functions.answer(stock, list(&[entry(7), entry(5)], json!("more")));
    let (first, cursor) = trail.page("?subject=MUG&limit=2").await;
    assert_eq!(first, "97");
    let cursor = cursor.unwrap();
    trail.functions.answer(&format!("{products}&cursor={cursor}"), list(&[entry(3)], Value::Null));
    trail.functions.answer(&format!("{stock}&cursor={cursor}"), list(&[entry(5)], Value::Null));
    assert_eq!(trail.page(&format!("?subject=MUG&limit=2&cursor={cursor}")).await, ("53".to_owned(), None));
}

#[tokio::test]
async fn a_trail_is_whole_or_not_at_all() {
    for down in [Down::Off, Down::Fails, Down::Answers503] {
        let trail = Trail::new().await;
        trail.functions.answer("/v1/products/MUG/audit?limit=20", list(&[entry(1)], Value::Null));
        trail.functions.down("inventory-api", down);
        let (status, problem) = trail.get("?subject=MUG").await;
        assert_eq!(status, 503, "{down:?}");
        assert!(!problem.to_string().contains("secret"));
    }
}

#[rstest]
#[case::no_subject("", "subject")]
#[case::an_empty_subject("?subject=", "subject")]
#[case::a_path("?subject=..", "subject")]
#[case::another_path("?subject=a/b", "subject")]
#[case::a_query("?subject=a%3Flimit%3D1", "subject")]
#[case::too_long("?subject=aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", "subject")]
#[case::no_limit("?subject=MUG&limit=0", "limit")]
#[case::a_parameter_in_the_cursor("?subject=MUG&cursor=a%26limit%3D1", "cursor")]
#[tokio::test]
async fn a_request_that_cannot_be_read_asks_no_context(#[case] query: &str, #[case] field: &str) {
    let trail = Trail::new().await;
    let (status, problem) = trail.get(query).await;
    assert_eq!((status, &problem["errors"][0]["field"]), (422, &json!(field)));
    assert!(trail.asked().is_empty());
}

#[tokio::test]
async fn the_trail_is_for_administrators() {
    let trail = Trail::new().await;
    for (bearer, status) in [(String::new(), 401), (trail.api.tokens.user(&UserId::generate()), 403)] {
        assert_eq!(trail.api.app.get("/v1/audit?subject=MUG", &bearer).await.status.as_u16(), status);
    }
    assert!(trail.asked().is_empty());
}
