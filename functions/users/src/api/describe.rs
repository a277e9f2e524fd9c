//! The descriptions of the operations for openapi.json.

use lambda_kit::openapi::{Operation, Who};
use serde_json::{Value, json};

use super::{
    auth::{RegisteredView, TokensView},
    profile::{Jwks, ProfileView},
    requests::{LoginBody, ProfileBody, RefreshTokenBody, RegisterBody},
};

const USER_ID: &str = "usr_0123456789abcdef0123456789abcdef";

pub fn operations() -> Vec<Operation> {
    let refresh = || json!({"refresh_token": "b2Zf3kD0Yw6mJ1sQ8vT4xR7uN5aLcE9hGiKoPqSrUtw"});
    vec![
        Operation::post("/v1/auth/register", Who::Public, "Register a customer")
            .takes::<RegisterBody>(json!({
                "email": "ada@example.com", "password": "correct horse battery", "name": "Ada Lovelace",
                "phone": "+14155550123"
            }))
            .answers::<RegisteredView>(
                201,
                "The customer is registered.",
                &[],
                json!({
                    "user_id": USER_ID, "email": "ada@example.com", "name": "Ada Lovelace"
                }),
            )
            .problem(409, "There is an account with this e-mail address.")
            .limited(),
        Operation::post(
            "/v1/auth/login",
            Who::Public,
            "Log in: tokens for an e-mail address and its password",
        )
        .takes::<LoginBody>(json!({"email": "ada@example.com", "password": "correct horse battery"}))
        .answers::<TokensView>(200, "The tokens.", &["Cache-Control"], tokens())
        .problem(401, "There is no such account, or the password is wrong.")
        .limited(),
        Operation::post("/v1/auth/refresh", Who::Public, "New tokens for a refresh token, which is spent")
            .takes::<RefreshTokenBody>(refresh())
            .answers::<TokensView>(200, "The tokens.", &["Cache-Control"], tokens())
            .problem(401, "The token is unknown, expired, or was spent before: its whole family is revoked.")
            .limited(),
        Operation::post("/v1/auth/logout", Who::Public, "End a session")
            .takes::<RefreshTokenBody>(refresh())
            .answers_nothing(204, "The session has ended, if there was one.")
            .limited(),
        Operation::get("/v1/users/me", Who::User, "One's own profile")
            .answers::<ProfileView>(200, "The profile.", &["Cache-Control"], profile())
            .problem(404, "The account was deleted."),
        Operation::patch(
            "/v1/users/me",
            Who::User,
            "Change one's own profile (RFC 7396: what is not named stays)",
        )
        .takes::<ProfileBody>(json!({"phone": null, "notification_preferences": {"sms": false}}))
        .answers::<ProfileView>(200, "The profile as it is now.", &["Cache-Control"], profile())
        .problem(404, "The account was deleted."),
        Operation::delete(
            "/v1/users/me",
            Who::User,
            "Erase one's own account, and what the system holds about the person",
        )
        .answers_nothing(202, "The account is erased, and the rest follows.")
        .problem(404, "There is no such account."),
        Operation::get(
            "/.well-known/jwks.json",
            Who::Public,
            "The keys that access tokens are checked with (RFC 7517)",
        )
        .answers::<Jwks>(
            200,
            "The keys.",
            &["Cache-Control"],
            json!({"keys": [{
                "kty": "EC", "crv": "P-256", "alg": "ES256", "use": "sig", "kid": "b7c5",
                "x": "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",
                "y": "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"
            }]}),
        ),
    ]
}

fn profile() -> Value {
    json!({
        "user_id": USER_ID, "email": "ada@example.com", "name": "Ada Lovelace", "phone": "+14155550123",
        "notification_preferences": {"email": true, "sms": false}
    })
}

fn tokens() -> Value {
    json!({
        "access_token": "eyJhbGciOiJFUzI1NiJ9.eyJzdWIiOiJ1c3JfMDEifQ.c2lnbmF0dXJl", "token_type": "Bearer",
        "expires_in": 900, "refresh_token": "b2Zf3kD0Yw6mJ1sQ8vT4xR7uN5aLcE9hGiKoPqSrUtw"
    })
}
