//! Changing one's profile.

use axum::http::StatusCode;
use contracts::events::UserUpdated;
use rstest::rstest;
use serde_json::{Value, json};

use crate::fixture::{TestApi, anna};

async fn logged_in() -> (TestApi, String) {
    let api = TestApi::new().await;
    api.post("/v1/auth/register", &anna()).await;
    let tokens = api.login().await;
    (api, tokens["access_token"].as_str().unwrap().to_owned())
}

#[tokio::test]
async fn named_fields_are_changed_and_the_change_is_published() {
    let (api, token) = logged_in().await;
    let wish = json!({"name": " Anna B ", "notification_preferences": {"sms": false}});
    let changed = api.patch(&token, &wish).await;
    assert_eq!(changed.status, StatusCode::OK);
    assert_eq!((&changed.body["name"], &changed.body["phone"]), (&json!("Anna B"), &json!("+14155550123")));
    assert_eq!(changed.body["notification_preferences"], json!({"email": true, "sms": false}));
    assert_eq!(api.get("/v1/users/me", Some(&token)).await.body, changed.body);

    let [event] = &api.events().await[..] else { panic!("one event is new") };
    let updated: UserUpdated = event.decode().unwrap();
    assert_eq!((event.sequence, updated.name.as_str()), (2, "Anna B"));
    assert!(!updated.notification_preferences.sms);
}

#[tokio::test]
async fn a_profile_can_be_sent_back_as_it_was_read_and_nothing_is_published() {
    let (api, token) = logged_in().await;
    let mut me = api.get("/v1/users/me", Some(&token)).await.body;
    assert_eq!(api.patch(&token, &me).await.body, me);
    assert_eq!(api.patch(&token, &json!({})).await.body, me);
    assert_eq!(api.events().await[0].sequence, 1);

    me["phone"] = Value::Null;
    assert_eq!(api.patch(&token, &me).await.body, me);
    assert_eq!(api.events().await[0].sequence, 2);
}

#[tokio::test]
async fn a_change_whose_answer_was_lost_is_made_and_published_once() {
    let (api, token) = logged_in().await;
    api.faults.lose_answers("PutItem", 1);
    let changed = api.patch(&token, &json!({"name": "Anna B"})).await;
    assert_eq!((changed.status, &changed.body["name"]), (StatusCode::OK, &json!("Anna B")));
    assert_eq!(api.events().await[0].sequence, 2);
}

#[tokio::test]
async fn changes_at_the_same_time_are_all_made() {
    let (api, token) = logged_in().await;
    let wishes = [
        json!({"name": "Anna B"}),
        json!({"phone": "+14155550199"}),
        json!({"notification_preferences": {"email": false}}),
    ];
    let answers = futures::future::join_all(wishes.iter().map(|wish| api.patch(&token, wish))).await;
    assert!(answers.iter().all(|answer| answer.status == StatusCode::OK));
    let me = api.get("/v1/users/me", Some(&token)).await.body;
    assert_eq!((&me["name"], &me["phone"]), (&json!("Anna B"), &json!("+14155550199")));
    assert_eq!(me["notification_preferences"]["email"], json!(false));
}

#[tokio::test]
async fn a_merge_patch_is_accepted_and_another_type_gets_an_explanation() {
    let (api, token) = logged_in().await;
    let typed = async |media_type: &str| {
        let headers = [("authorization", &*format!("Bearer {token}")), ("content-type", media_type)];
        api.app.call("PATCH", "/v1/users/me", &headers, r#"{"name": "Anna B"}"#).await
    };
    assert_eq!(typed("application/merge-patch+json").await.status, StatusCode::OK);
    assert_eq!(typed("application/merge-patch+json; charset=utf-8").await.body["name"], "Anna B");
    let refused = typed("application/json-patch+json").await;
    assert_eq!(refused.status, StatusCode::UNSUPPORTED_MEDIA_TYPE);
    assert_eq!(refused.headers["accept-patch"], "application/merge-patch+json, application/json");
}

#[tokio::test]
async fn an_empty_phone_number_is_none_and_one_with_separators_is_kept_without() {
    let (api, token) = logged_in().await;
    let changed = api.patch(&token, &json!({"phone": "+1 (415) 555-0123"})).await;
    assert_eq!(changed.body["phone"], "+14155550123");
    assert_eq!(api.patch(&token, &json!({"phone": ""})).await.body["phone"], Value::Null);
}

#[rstest]
#[case::left_empty("", Value::Null)]
#[case::with_separators("+49 (151) 1234-5678", json!("+4915112345678"))]
#[tokio::test]
async fn a_phone_number_is_registered_as_it_is_changed(#[case] sent: &str, #[case] kept: Value) {
    let api = TestApi::new().await;
    let mut body = anna();
    body["phone"] = json!(sent);
    assert_eq!(api.post("/v1/auth/register", &body).await.status, StatusCode::CREATED);
    let tokens = api.login().await;
    assert_eq!(api.get("/v1/users/me", tokens["access_token"].as_str()).await.body["phone"], kept);
}

#[rstest]
#[case(json!({"name": "Claim at https://evil.example/prize"}), "name")]
#[case(json!({"name": "\u{200b}"}), "name")]
#[case(json!({"name": "a\r\nb"}), "name")]
#[case(json!({"name": " "}), "name")]
#[case(json!({"name": null}), "name")]
#[case(json!({"phone": "0151 123"}), "phone")]
#[case(json!({"email": "ben@example.com"}), "email")]
#[case(json!({"notification_preferences": null}), "notification_preferences")]
#[case(json!({"notification_preferences": {"sms": "yes"}}), "notification_preferences.sms")]
#[tokio::test]
async fn a_change_that_breaks_a_rule_names_the_field(#[case] wish: Value, #[case] field: &str) {
    let (api, token) = logged_in().await;
    let answer = api.patch(&token, &wish).await;
    assert_eq!((answer.status.as_u16(), &answer.body["errors"][0]["field"]), (422, &json!(field)));
    assert_eq!(api.events().await[0].sequence, 1);
}
