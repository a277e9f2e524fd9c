//! Verifying an e-mail address and a phone number, and changing the address.

use axum::http::StatusCode;
use contracts::{
    AccountContent, Recipient,
    events::{Channel, UserUpdated},
};
use lambda_kit::testing::Response;
use rstest::rstest;
use serde_json::{Value, json};

use crate::fixture::TestApi;

const EMAIL: &str = "anna@example.com";
const NEW: &str = "new@example.com";
const PHONE: &str = "+14155550123";

async fn request(api: &TestApi, token: &str, channel: Channel) -> Response {
    api.post_as(token, "/v1/users/me/verifications", &json!({"channel": channel})).await
}

async fn change_email(api: &TestApi, token: &str, email: &str) -> Response {
    api.post_as(token, "/v1/users/me/email", &json!({"email": email})).await
}

async fn me(api: &TestApi, token: &str) -> Value {
    api.get("/v1/users/me", Some(token)).await.body
}

/// A code of as many digits that is not this one.
fn other(code: &str) -> String {
    let first = if code.starts_with('1') { '2' } else { '1' };
    format!("{first}{}", &code[1..])
}

fn waits(answer: &Response) -> i64 {
    assert_eq!(answer.status, StatusCode::TOO_MANY_REQUESTS);
    answer.headers["retry-after"].to_str().unwrap().parse().unwrap()
}

#[tokio::test]
async fn registering_sends_one_message_with_a_code_that_verifies_the_address() {
    let (api, token) = TestApi::with_anna().await;
    assert_eq!(me(&api, &token).await["email_verified"], false);
    let [welcome] = &api.messages().await[..] else { panic!("one message") };
    assert_eq!(welcome.recipient, Some(Recipient::Email(EMAIL.to_owned())));
    assert!(!welcome.verified && welcome.expires_at > jiff::Timestamp::now());
    let AccountContent::Welcome { code } = &welcome.content else { panic!("{welcome:?}") };

    let confirmed = api.confirm(&token, Channel::Email, code).await;
    assert_eq!((confirmed.status, confirmed.bytes.len()), (StatusCode::NO_CONTENT, 0));
    assert_eq!(me(&api, &token).await["email_verified"], true);
    let [event] = &api.events().await[..] else { panic!("one event is new") };
    assert!(event.decode::<UserUpdated>().unwrap().email_verified);
    assert!(api.claims(&api.login().await).await.email_verified);
}

#[rstest]
#[case(Channel::Email, EMAIL, 8, 30)]
#[case(Channel::Sms, PHONE, 6, 10)]
#[tokio::test]
async fn a_code_is_sent_by_its_channel_and_works_once(
    #[case] channel: Channel,
    #[case] to: &str,
    #[case] digits: usize,
    #[case] minutes: i64,
) {
    let (api, token) = TestApi::with_anna().await;
    let answer = request(&api, &token, channel).await;
    assert_eq!((answer.status, answer.bytes.len()), (StatusCode::ACCEPTED, 0));
    let sent = api.messages().await.pop().unwrap();
    let left = sent.expires_at.as_second() - jiff::Timestamp::now().as_second();
    assert!((minutes * 60 - 10..=minutes * 60).contains(&left), "{left}");
    let code = api.secret_sent_to(to).await;
    assert_eq!(code.len(), digits);

    assert_eq!(api.confirm(&token, channel, &other(&code)).await.status, StatusCode::UNPROCESSABLE_ENTITY);
    assert_eq!(api.confirm(&token, channel, &code).await.status, StatusCode::NO_CONTENT);
    let again = api.confirm(&token, channel, &code).await;
    assert_eq!((again.status.as_u16(), &again.body["errors"][0]["field"]), (422, &json!("code")));
    assert_eq!(
        me(&api, &token).await[format!("{}_verified", if digits == 8 { "email" } else { "phone" })],
        true
    );
    assert_eq!(request(&api, &token, channel).await.status, StatusCode::CONFLICT, "it is verified");
}

#[tokio::test]
async fn only_the_newest_code_counts_and_not_one_of_the_other_channel() {
    let (api, token) = TestApi::with_anna().await;
    let first = api.secret_sent_to(EMAIL).await;
    request(&api, &token, Channel::Email).await;
    let second = api.secret_sent_to(EMAIL).await;
    for wrong in [&first, &first[..6], "", "abcdefgh"] {
        let answer = api.confirm(&token, Channel::Email, wrong).await;
        assert_eq!(answer.status, StatusCode::UNPROCESSABLE_ENTITY, "{wrong}");
    }
    assert_eq!(api.confirm(&token, Channel::Sms, &second).await.status, StatusCode::UNPROCESSABLE_ENTITY);
    let spaced = format!(" {} {}", &second[..4], &second[4..]);
    assert_eq!(api.confirm(&token, Channel::Email, &spaced).await.status, StatusCode::NO_CONTENT);
}

#[tokio::test]
async fn after_three_codes_in_an_hour_a_channel_sends_no_more_and_the_other_one_does() {
    let (api, token) = TestApi::with_anna().await;
    for _ in 0..3 {
        assert_eq!(request(&api, &token, Channel::Email).await.status, StatusCode::ACCEPTED);
    }
    let wait = waits(&request(&api, &token, Channel::Email).await);
    assert!((3590..=3600).contains(&wait), "{wait}");
    assert_eq!(api.messages().await.len(), 4);
    assert_eq!(
        waits(&change_email(&api, &token, NEW).await) / 60,
        wait / 60,
        "that would be one more e-mail"
    );
    assert_eq!(request(&api, &token, Channel::Sms).await.status, StatusCode::ACCEPTED);
}

#[tokio::test]
async fn after_five_wrong_codes_the_right_one_is_refused_until_there_is_another() {
    let (api, token) = TestApi::with_anna().await;
    let code = api.secret_sent_to(EMAIL).await;
    for _ in 0..5 {
        let answer = api.confirm(&token, Channel::Email, &other(&code)).await;
        assert_eq!(answer.status, StatusCode::UNPROCESSABLE_ENTITY);
    }
    assert!(waits(&api.confirm(&token, Channel::Email, &code).await) <= 1800);
    request(&api, &token, Channel::Email).await;
    let code = api.secret_sent_to(EMAIL).await;
    assert_eq!(api.confirm(&token, Channel::Email, &code).await.status, StatusCode::NO_CONTENT);
}

#[tokio::test]
async fn of_codes_tried_side_by_side_five_are_looked_at() {
    let (api, token) = TestApi::with_anna().await;
    let code = api.secret_sent_to(EMAIL).await;
    let wrong = other(&code);
    let tries = (0..100).map(|_| api.confirm(&token, Channel::Email, &wrong));
    let answers = futures::future::join_all(tries).await;
    let looked_at = answers.iter().filter(|answer| answer.status == StatusCode::UNPROCESSABLE_ENTITY).count();
    assert!(looked_at <= 5, "{looked_at}");
    assert_ne!(me(&api, &token).await["email_verified"], true);
}

#[tokio::test]
async fn a_number_needs_another_code_after_it_was_changed() {
    let (api, token) = TestApi::with_anna().await;
    request(&api, &token, Channel::Sms).await;
    let code = api.secret_sent_to(PHONE).await;
    api.patch(&token, &json!({"phone": "+14155550199"})).await;
    assert_eq!(api.confirm(&token, Channel::Sms, &code).await.status, StatusCode::UNPROCESSABLE_ENTITY);

    request(&api, &token, Channel::Sms).await;
    let code = api.secret_sent_to("+14155550199").await;
    assert_eq!(api.confirm(&token, Channel::Sms, &code).await.status, StatusCode::NO_CONTENT);
    assert_eq!(me(&api, &token).await["phone_verified"], true);
    let changed = api.patch(&token, &json!({"phone": PHONE})).await;
    assert_eq!(changed.body["phone_verified"], false);
}

#[rstest]
#[case::none(Value::Null)]
#[case::of_another_country(json!("+4915112345678"))]
#[tokio::test]
async fn no_sms_goes_to_a_profile_without_a_number_that_the_shop_sends_to(#[case] phone: Value) {
    let (api, token) = TestApi::with_anna().await;
    api.patch(&token, &json!({"phone": phone})).await;
    let answer = request(&api, &token, Channel::Sms).await;
    assert_eq!((answer.status.as_u16(), &answer.body["errors"][0]["field"]), (422, &json!("channel")));
    assert_eq!(api.messages().await.len(), 1);
}

#[tokio::test]
async fn neither_code_nor_token_is_stored() {
    let (api, token) = TestApi::with_anna().await;
    request(&api, &token, Channel::Sms).await;
    api.post("/v1/auth/password-reset", &json!({"email": EMAIL})).await;
    let stored = api.stored().await.join("\n");
    let messages = api.messages().await;
    assert_eq!(messages.len(), 3);
    for to in [EMAIL, PHONE] {
        assert!(!stored.contains(&api.secret_sent_to(to).await), "{stored}");
    }
    let AccountContent::Welcome { code } = &messages[0].content else { panic!("{messages:?}") };
    assert!(!stored.contains(code.as_str()), "{stored}");
}

#[tokio::test]
async fn without_the_queue_a_registration_is_made_and_a_code_can_be_asked_for_later() {
    let api = TestApi::new().await;
    api.queue_faults.refuse("SendMessage", 3);
    api.register(EMAIL).await;
    let token = api.login().await["access_token"].as_str().unwrap().to_owned();
    api.queue_faults.refuse("SendMessage", 3);
    assert_eq!(request(&api, &token, Channel::Email).await.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(request(&api, &token, Channel::Email).await.status, StatusCode::ACCEPTED);
    let code = api.secret_sent_to(EMAIL).await;
    assert_eq!(api.confirm(&token, Channel::Email, &code).await.status, StatusCode::NO_CONTENT);
}

#[tokio::test]
async fn a_confirmation_whose_answers_were_lost_is_made_once() {
    let (api, token) = TestApi::with_anna().await;
    let code = api.secret_sent_to(EMAIL).await;
    api.faults.lose_answers("TransactWriteItems", 1);
    api.faults.conflict(1);
    assert_eq!(api.confirm(&token, Channel::Email, &code).await.status, StatusCode::NO_CONTENT);
    assert_eq!(api.events().await[0].sequence, 2);
}

#[tokio::test]
async fn another_address_counts_from_its_confirmation_on_and_the_old_one_is_told() {
    let (api, token) = TestApi::with_anna().await;
    api.make_admin(EMAIL).await;
    let answer = change_email(&api, &token, " New@Example.com ").await;
    assert_eq!((answer.status, answer.bytes.len()), (StatusCode::ACCEPTED, 0));
    assert_eq!(me(&api, &token).await["email"], EMAIL);
    api.login().await;
    let [_, told, code] = &api.messages().await[..] else { panic!("a notice and a code") };
    assert_eq!(told.recipient, Some(Recipient::Email(EMAIL.to_owned())));
    assert_eq!(told.content, AccountContent::EmailChangeRequested);
    assert_eq!(code.recipient, Some(Recipient::Email(NEW.to_owned())));

    let code = api.secret_sent_to(NEW).await;
    assert_eq!(api.confirm(&token, Channel::Email, &code).await.status, StatusCode::NO_CONTENT);
    let profile = me(&api, &token).await;
    assert_eq!((&profile["email"], &profile["email_verified"]), (&json!(NEW), &json!(true)));
    let tokens = api.login_as(NEW).await;
    assert_eq!(api.claims(&tokens).await.roles.len(), 1, "the account keeps its roles");
    let old = api.post("/v1/auth/login", &json!({"email": EMAIL, "password": "blue mug 42"})).await;
    assert_eq!(old.status, StatusCode::UNAUTHORIZED);
    let told = api.messages().await.pop().unwrap();
    assert_eq!(told.recipient, Some(Recipient::Email(EMAIL.to_owned())));
    assert_eq!(told.content, AccountContent::EmailChanged);
    let [event] = &api.events().await[..] else { panic!("one event is new") };
    assert_eq!(event.decode::<UserUpdated>().unwrap().email, NEW);
    api.register(EMAIL).await;
}

#[tokio::test]
async fn sessions_go_on_after_a_change_of_the_address() {
    let api = TestApi::new().await;
    api.register(EMAIL).await;
    let tokens = api.login().await;
    let token = tokens["access_token"].as_str().unwrap();
    change_email(&api, token, NEW).await;
    let code = api.secret_sent_to(NEW).await;
    api.confirm(token, Channel::Email, &code).await;
    let refreshed = api.post("/v1/auth/refresh", &json!({"refresh_token": tokens["refresh_token"]})).await;
    assert_eq!(refreshed.status, StatusCode::OK);
}

#[tokio::test]
async fn an_address_of_another_account_gets_no_code_and_does_not_change_hands() {
    let (api, token) = TestApi::with_anna().await;
    change_email(&api, &token, NEW).await;
    let code = api.secret_sent_to(NEW).await;
    api.register(NEW).await;
    let answer = api.confirm(&token, Channel::Email, &code).await;
    assert_eq!(answer.status, StatusCode::CONFLICT, "it was registered meanwhile");
    assert_eq!(me(&api, &token).await["email"], EMAIL);
    let sent = api.messages().await.len();
    assert_eq!(change_email(&api, &token, NEW).await.status, StatusCode::CONFLICT);
    assert_eq!(api.messages().await.len(), sent);
    api.login_as(NEW).await;
    api.login_as(EMAIL).await;
}

#[rstest]
#[case(json!({"email": "anna"}))]
#[case(json!({"email": " ANNA@example.com"}))]
#[case(json!({}))]
#[tokio::test]
async fn an_address_that_is_none_or_the_same_is_refused(#[case] body: Value) {
    let (api, token) = TestApi::with_anna().await;
    let answer = api.post_as(&token, "/v1/users/me/email", &body).await;
    assert_eq!((answer.status.as_u16(), &answer.body["errors"][0]["field"]), (422, &json!("email")));
    assert_eq!(api.messages().await.len(), 1);
}

#[tokio::test]
async fn another_address_needs_a_recent_login() {
    let api = TestApi::new().await;
    api.register(EMAIL).await;
    let stale = api.stale_access_token(&api.login().await).await;
    let headers = [("authorization", &*stale), ("content-type", "application/json")];
    let body = json!({"email": NEW}).to_string();
    let answer = api.app.call("POST", "/v1/users/me/email", &headers, body).await;
    assert_eq!(answer.status, StatusCode::UNAUTHORIZED);
    let challenge = answer.headers["www-authenticate"].to_str().unwrap();
    assert!(challenge.contains("insufficient_user_authentication"), "{challenge}");
}

#[tokio::test]
async fn one_network_registers_five_accounts_and_then_one_a_minute() {
    let api = TestApi::new().await;
    let register =
        async |address: &str, n: u32| api.register_from(address, &format!("customer-{n}@example.com")).await;
    for n in 0..5 {
        assert_eq!(register("192.0.2.1", n).await.status, StatusCode::CREATED);
    }
    let wait = waits(&register("192.0.2.1", 5).await);
    assert!((50..=61).contains(&wait), "{wait}");
    assert_eq!(register("192.0.2.2", 5).await.status, StatusCode::CREATED);
    assert!(!api.stored().await.join("\n").contains("192.0.2"));
}
