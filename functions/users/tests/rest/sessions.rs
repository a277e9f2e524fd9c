//! Sessions: their refresh tokens, each of which works once, and their ends.

use axum::http::StatusCode;
use serde_json::{Value, json};

use lambda_kit::testing::Response;

use crate::fixture::{TestApi, anna};

async fn logged_in() -> (TestApi, Value) {
    let api = TestApi::new().await;
    api.post("/v1/auth/register", &anna()).await;
    let tokens = api.login().await;
    (api, tokens)
}

async fn refresh(api: &TestApi, tokens: &Value) -> Response {
    api.post("/v1/auth/refresh", &json!({"refresh_token": tokens["refresh_token"]})).await
}

#[tokio::test]
async fn a_refresh_token_brings_new_tokens_with_the_roles_of_now() {
    let (api, first) = logged_in().await;
    api.make_admin("anna@example.com").await;
    let second = refresh(&api, &first).await;
    assert_eq!(second.status, StatusCode::OK);
    assert_eq!(second.headers["cache-control"], "no-store");
    assert_ne!(second.body["refresh_token"], first["refresh_token"]);
    let (before, after) = (api.claims(&first).await, api.claims(&second.body).await);
    assert_eq!((after.sub, after.roles.len()), (before.sub, 1));
    assert_eq!(refresh(&api, &second.body).await.status, StatusCode::OK);
}

#[tokio::test]
async fn a_reused_token_ends_its_session_and_no_other() {
    let (api, first) = logged_in().await;
    let other = api.login().await;
    let second = refresh(&api, &first).await.body;
    assert_eq!(refresh(&api, &first).await.status, StatusCode::UNAUTHORIZED);
    assert_eq!(refresh(&api, &second).await.status, StatusCode::UNAUTHORIZED);
    assert_eq!(refresh(&api, &other).await.status, StatusCode::OK);
}

#[tokio::test]
async fn of_two_refreshes_at_once_at_most_one_succeeds() {
    let (api, first) = logged_in().await;
    let (a, b) = tokio::join!(refresh(&api, &first), refresh(&api, &first));
    let mut statuses = [a.status, b.status];
    statuses.sort();
    assert_eq!(statuses, [StatusCode::OK, StatusCode::UNAUTHORIZED]);
}

#[tokio::test]
async fn a_refresh_that_fails_halfway_leaves_the_token_good() {
    let (api, first) = logged_in().await;
    api.faults.refuse("UpdateItem", 3);
    assert_eq!(refresh(&api, &first).await.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(refresh(&api, &first).await.status, StatusCode::OK);
}

#[tokio::test]
async fn logging_out_ends_the_session_and_may_be_repeated() {
    let (api, first) = logged_in().await;
    let second = refresh(&api, &first).await.body;
    for _ in 0..2 {
        let answer = api.post("/v1/auth/logout", &json!({"refresh_token": second["refresh_token"]})).await;
        assert_eq!((answer.status, answer.bytes.len()), (StatusCode::NO_CONTENT, 0));
    }
    assert_eq!(refresh(&api, &second).await.status, StatusCode::UNAUTHORIZED);
    let unknown = api.post("/v1/auth/logout", &json!({"refresh_token": "unknown"})).await;
    assert_eq!(unknown.status, StatusCode::NO_CONTENT);
}

#[tokio::test]
async fn an_unknown_token_is_refused() {
    let (api, _) = logged_in().await;
    for wrong in ["", "unknown", &"A".repeat(43)] {
        let answer = refresh(&api, &json!({"refresh_token": wrong})).await;
        assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "{wrong}");
    }
}

#[tokio::test]
async fn neither_password_nor_token_is_stored() {
    let (api, tokens) = logged_in().await;
    let stored = api.stored().await.join("\n");
    assert!(stored.contains("$argon2id$v=19$m=19456,t=2,p=1$"));
    assert!(!stored.contains("blue mug 42"));
    for secret in tokens["refresh_token"].as_str().unwrap().split('.').skip(2) {
        assert!(!stored.contains(secret), "{stored}");
    }
}

/// The token with another part between its dots.
fn with_part(tokens: &Value, part: usize, text: &str) -> Value {
    let token = tokens["refresh_token"].as_str().unwrap();
    let parts: Vec<&str> =
        token.split('.').enumerate().map(|(n, old)| if n == part { text } else { old }).collect();
    json!({"refresh_token": parts.join(".")})
}

#[tokio::test]
async fn a_stranger_who_knows_the_ids_cannot_end_a_session() {
    let (api, first) = logged_in().await;
    let guess = "A".repeat(22);
    let stranger = with_part(&with_part(&first, 2, &guess), 3, &guess);
    assert_eq!(refresh(&api, &stranger).await.status, StatusCode::UNAUTHORIZED);
    assert_eq!(api.post("/v1/auth/logout", &stranger).await.status, StatusCode::NO_CONTENT);
    let second = refresh(&api, &first).await;
    assert_eq!(second.status, StatusCode::OK);
    // A forged token with the session's own secret can only come from one that was stolen.
    assert_eq!(refresh(&api, &with_part(&first, 3, &guess)).await.status, StatusCode::UNAUTHORIZED);
    assert_eq!(refresh(&api, &second.body).await.status, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn a_refreshed_token_keeps_the_session_and_the_time_of_its_login() {
    let (api, first) = logged_in().await;
    let second = refresh(&api, &first).await.body;
    let (before, after) = (api.claims(&first).await, api.claims(&second).await);
    assert_eq!((&after.sid, after.auth_time), (&before.sid, before.auth_time));
    assert!(!after.email_verified);
    assert_ne!(api.claims(&api.login().await).await.sid, before.sid);
}

#[tokio::test]
async fn sessions_are_listed_and_the_current_one_is_marked() {
    let (api, first) = logged_in().await;
    let second = api.login().await;
    let listed = api.get("/v1/users/me/sessions", first["access_token"].as_str()).await;
    assert_eq!(
        (listed.status, listed.headers["cache-control"].to_str().unwrap()),
        (StatusCode::OK, "no-store")
    );
    assert_eq!(listed.body["next_cursor"], Value::Null);
    let sessions = listed.body["items"].as_array().unwrap();
    let current: Vec<_> = sessions.iter().filter(|session| session["current"] == true).collect();
    let (first_id, second_id) = (api.claims(&first).await.sid, api.claims(&second).await.sid);
    assert_eq!((sessions.len(), &current[0]["session_id"]), (2, &json!(first_id)));
    assert!(sessions.iter().any(|session| session["session_id"] == json!(second_id)));
    assert_eq!(current[0]["opened_at"], current[0]["last_used_at"]);
}

#[tokio::test]
async fn one_session_is_ended_by_its_id_and_another_users_is_not_found() {
    let (api, first) = logged_in().await;
    let second = api.login().await;
    let path = |id: &str| format!("/v1/users/me/sessions/{id}");
    let token = first["access_token"].as_str().unwrap();
    let ended = path(api.claims(&second).await.sid.as_str());
    assert_eq!(api.delete_at(&ended, token).await.status, StatusCode::NO_CONTENT);
    assert_eq!(refresh(&api, &second).await.status, StatusCode::UNAUTHORIZED);
    for unknown in [&*ended, &path("ses_0123456789abcdef0123456789abcdef"), &path("nonsense")] {
        assert_eq!(api.delete_at(unknown, token).await.status, StatusCode::NOT_FOUND, "{unknown}");
    }

    api.register("ben@example.com").await;
    let ben = api.login_as("ben@example.com").await;
    let bens = path(api.claims(&ben).await.sid.as_str());
    assert_eq!(api.delete_at(&bens, token).await.status, StatusCode::NOT_FOUND);
    assert_eq!(refresh(&api, &ben).await.status, StatusCode::OK);

    let current = path(api.claims(&first).await.sid.as_str());
    assert_eq!(api.delete_at(&current, token).await.status, StatusCode::NO_CONTENT);
    assert_eq!(refresh(&api, &first).await.status, StatusCode::UNAUTHORIZED);
    let ended = api.events().await.into_iter().filter(|event| event.event_type == "session.ended");
    assert_eq!(
        ended.map(|event| event.subject).collect::<Vec<_>>(),
        [api.claims(&first).await.sid.to_string()]
    );
}

#[tokio::test]
async fn all_other_sessions_are_ended_at_once() {
    let (api, first) = logged_in().await;
    let (second, third) = (api.login().await, api.login().await);
    let token = third["access_token"].as_str().unwrap();
    for _ in 0..2 {
        assert_eq!(api.delete_at("/v1/users/me/sessions", token).await.status, StatusCode::NO_CONTENT);
    }
    for ended in [&first, &second] {
        assert_eq!(refresh(&api, ended).await.status, StatusCode::UNAUTHORIZED);
    }
    assert_eq!(refresh(&api, &third).await.status, StatusCode::OK);
    let ended = api.events().await.into_iter().filter(|event| event.event_type == "session.ended");
    assert_eq!(ended.count(), 2);
}

#[tokio::test]
async fn the_21st_login_ends_the_oldest_session() {
    let (api, first) = logged_in().await;
    let mut logins = vec![];
    for _ in 0..20 {
        logins.push(api.login().await);
    }
    assert_eq!(refresh(&api, &first).await.status, StatusCode::UNAUTHORIZED);
    let token = logins[19]["access_token"].as_str();
    let sessions = api.get("/v1/users/me/sessions", token).await.body;
    assert_eq!(sessions["items"].as_array().unwrap().len(), 20);
    assert_eq!(refresh(&api, &logins[0]).await.status, StatusCode::OK);
}

#[tokio::test]
async fn the_sessions_and_the_deletion_need_a_recent_login() {
    let (api, first) = logged_in().await;
    let stale = api.stale_access_token(&first).await;
    let calls = [
        ("GET", "/v1/users/me/sessions"),
        ("DELETE", "/v1/users/me/sessions"),
        ("DELETE", "/v1/users/me/sessions/ses_0123456789abcdef0123456789abcdef"),
        ("DELETE", "/v1/users/me"),
    ];
    for (method, path) in calls {
        let answer = api.app.call(method, path, &[("authorization", &*stale)], "").await;
        assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "{method} {path}");
        let challenge = "Bearer error=\"insufficient_user_authentication\", max_age=900";
        assert_eq!(answer.headers["www-authenticate"], challenge);
    }
    assert_eq!(refresh(&api, &first).await.status, StatusCode::OK);
}

#[tokio::test]
async fn the_sessions_that_go_on_are_in_the_export_of_the_profile() {
    let (api, first) = logged_in().await;
    let (second, third) = (api.login().await, refresh(&api, &first).await.body);
    api.post("/v1/auth/logout", &json!({"refresh_token": second["refresh_token"]})).await;
    let me = api.get("/v1/users/me?include=sessions", third["access_token"].as_str()).await.body;
    let sessions = me["sessions"].as_array().unwrap();
    assert_eq!(sessions.len(), 1, "one was ended: {sessions:?}");
    assert!(sessions[0]["opened_at"].as_str().unwrap() < sessions[0]["expires_at"].as_str().unwrap());
    let me = api.get("/v1/users/me", third["access_token"].as_str()).await.body;
    assert!(me.get("sessions").is_none());
}
