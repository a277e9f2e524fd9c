//! Who changed a product: each change has its entry, and nothing else has one.

use lambda_kit::{
    jwt::{Audience, Role},
    testing::Response,
};

use super::*;

impl TestApi {
    async fn audit(&self, path: &str) -> Response {
        self.app.get(path, &self.tokens.admin()).await
    }

    /// The action, `before` and `after` of each change of the mug, the newest first.
    async fn changes(&self) -> Vec<(Value, Value, Value)> {
        let mut answer = self.audit("/v1/products/MUG/audit").await.body;
        let Value::Array(entries) = answer["items"].take() else { panic!("{answer}") };
        let change = |mut entry: Value| {
            assert_eq!(entry["subject"], "MUG");
            (entry["action"].take(), entry["before"].take(), entry["after"].take())
        };
        entries.into_iter().map(change).collect()
    }
}

fn dearer() -> Value {
    json!({"name": "Mug", "description": "Blue", "category": "kitchen", "price": {"amount": 950, "currency": "USD"}})
}

#[tokio::test]
async fn an_entry_names_the_administrator_the_request_and_the_change() {
    let api = TestApi::open().await;
    api.admin("POST", "/v1/products", &mug("MUG")).await;
    let admin = UserId::generate();
    let bearer = api.tokens.bearer(&admin, vec![Role::Admin], Audience::Api, 4_000_000_000);
    let mut request = json_request("PUT", "/v1/products/MUG", &bearer, &dearer());
    request.headers_mut().insert("if-match", "*".parse().unwrap());
    request.headers_mut().insert("x-correlation-id", "cor-1".parse().unwrap());
    assert_eq!(api.send(request).await.0, StatusCode::OK);

    let answer = api.audit("/v1/products/MUG/audit?limit=1").await;
    assert_eq!((answer.status, answer.header("cache-control")), (StatusCode::OK, Some("no-store")));
    let entry = &answer.body["items"][0];
    assert_eq!(
        (&entry["actor"], &entry["action"], &entry["correlation_id"]),
        (&json!(admin), &json!("product.updated"), &json!("cor-1"))
    );
    assert_eq!(entry["before"], json!({"price": {"amount": 900, "currency": "USD"}}));
    assert_eq!(entry["after"], json!({"price": {"amount": 950, "currency": "USD"}}));

    let cursor = answer.body["next_cursor"].as_str().unwrap();
    let answer = api.audit(&format!("/v1/products/MUG/audit?limit=1&cursor={cursor}")).await;
    assert_eq!(
        (&answer.body["items"][0]["before"], &answer.body["next_cursor"]),
        (&Value::Null, &Value::Null)
    );
}

#[tokio::test]
async fn every_change_has_one_entry_and_a_refused_one_has_none() {
    let api = TestApi::open().await;
    let (stopped, on_sale) = (json!({"discontinued": true}), json!({"discontinued": false}));
    api.admin("POST", "/v1/products", &mug("MUG")).await;
    assert_eq!(api.admin("POST", "/v1/products", &mug("MUG")).await.0, StatusCode::CONFLICT);
    assert_eq!(api.put("MUG", "\"7\"", &dearer()).await.0, StatusCode::PRECONDITION_FAILED);
    assert_eq!(api.admin("DELETE", "/v1/products/MUG", &Value::Null).await.0, StatusCode::NO_CONTENT);
    assert_eq!(api.admin("DELETE", "/v1/products/MUG", &Value::Null).await.0, StatusCode::NOT_FOUND);
    assert_eq!(api.admin("POST", "/v1/products", &mug("MUG")).await.0, StatusCode::CREATED);
    let mut first = mug("MUG");
    first.as_object_mut().unwrap().remove("sku");
    first["discontinued"] = json!(false);
    assert_eq!(
        api.changes().await,
        [
            (json!("product.created"), stopped.clone(), on_sale.clone()),
            (json!("product.discontinued"), on_sale, stopped),
            (json!("product.created"), Value::Null, first),
        ]
    );
}

#[tokio::test]
async fn a_change_whose_answer_is_lost_has_one_entry() {
    let api = TestApi::open().await;
    api.faults.lose_answers("TransactWriteItems", 1);
    assert_eq!(api.admin("POST", "/v1/products", &mug("MUG")).await.0, StatusCode::CREATED);
    api.faults.lose_answers("TransactWriteItems", 1);
    assert_eq!(api.put("MUG", "*", &dearer()).await.0, StatusCode::OK);
    assert_eq!(api.changes().await.len(), 2);
}

#[rstest]
#[case::no_token("/v1/products/MUG/audit", None, 401)]
#[case::a_customer("/v1/products/MUG/audit", Some(false), 403)]
#[case::no_sku("/v1/products/a%20b/audit", Some(true), 404)]
#[case::no_cursor("/v1/products/MUG/audit?cursor=x", Some(true), 422)]
#[case::too_many("/v1/products/MUG/audit?limit=101", Some(true), 422)]
#[case::nothing_changed("/v1/products/MUG/audit", Some(true), 200)]
#[tokio::test]
async fn the_trail_is_for_administrators(
    #[case] path: &str,
    #[case] admin: Option<bool>,
    #[case] expected: u16,
) {
    let api = TestApi::open().await;
    let bearer = match admin {
        Some(true) => api.tokens.admin(),
        Some(false) => api.tokens.user(&UserId::generate()),
        None => String::new(),
    };
    let answer = api.app.get(path, &bearer).await;
    assert_eq!(answer.status.as_u16(), expected, "{}", answer.body);
    if expected == 200 {
        assert_eq!(answer.body, json!({"items": [], "next_cursor": null}));
    }
}
