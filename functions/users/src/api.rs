//! REST: registration, tokens, and the user's own profile.

mod audit;
mod auth;
mod codes;
mod password;
mod profile;
mod requests;
mod reset;
mod sessions;

use std::sync::Arc;

use axum::{
    Router,
    routing::{delete, get, patch, post},
};
use contracts::SmsCountries;
use lambda_kit::{
    http::limit,
    jwt::{Signer, Verifier},
    limits::{AUTH, LISTS, PROFILE, READS, RateLimit},
    random::fill,
};

use crate::{error::UsersError, messages::Messages, store::Store};

/// The dependencies of the endpoints.
#[derive(Debug, Clone)]
pub struct Users {
    pub store: Store,
    pub signer: Signer,
    pub verifier: Arc<Verifier>,
    pub messages: Messages,
    pub sms_countries: SmsCountries,
    /// How many accounts may be registered from one network.
    pub registrations: RateLimit,
}

pub fn routes(users: Users) -> Router {
    Router::new()
        .route("/v1/auth/register", limit::before(&AUTH, post(auth::register)))
        .route("/v1/auth/login", limit::before(&AUTH, post(auth::login)))
        .route("/v1/auth/refresh", limit::before(&AUTH, post(auth::refresh)))
        .route("/v1/auth/logout", limit::before(&AUTH, post(auth::logout)))
        .route("/v1/auth/password-reset", limit::before(&AUTH, post(reset::request)))
        .route("/v1/auth/password-reset/confirm", limit::before(&AUTH, post(reset::confirm)))
        .route(
            "/v1/users/me",
            limit::during(&READS, get(profile::me))
                .merge(limit::before(&PROFILE, patch(profile::change).delete(profile::delete))),
        )
        .route(
            "/v1/users/me/sessions",
            limit::during(&READS, get(sessions::list))
                .merge(limit::before(&PROFILE, delete(sessions::end_others))),
        )
        .route("/v1/users/me/sessions/{session_id}", limit::before(&PROFILE, delete(sessions::end)))
        .route("/v1/users/me/password", limit::before(&PROFILE, post(password::change)))
        .route("/v1/users/{user_id}/audit", limit::during(&LISTS, get(audit::list)))
        .route("/v1/users/me/email", limit::before(&PROFILE, post(codes::change_email)))
        .route("/v1/users/me/verifications", limit::before(&PROFILE, post(codes::send)))
        .route("/v1/users/me/verifications/confirm", limit::before(&PROFILE, post(codes::confirm)))
        .route("/.well-known/jwks.json", get(profile::jwks))
        .with_state(users)
}

fn random<const N: usize>() -> Result<[u8; N], UsersError> {
    let mut bytes = [0; N];
    fill(&mut bytes)?;
    Ok(bytes)
}

/// The routes as openapi.json describes them.
#[cfg(feature = "openapi")]
pub fn operations() -> Vec<lambda_kit::openapi::Operation> {
    use lambda_kit::{
        http::List,
        openapi::{Operation, Who},
    };
    use serde_json::json;

    use auth::{RegisteredView, TokensView};
    use profile::{Jwks, ProfileView};
    use requests::{
        ConfirmationBody, EmailBody, LoginBody, NewPasswordBody, PasswordBody, ProfileBody, RefreshTokenBody,
        RegisterBody, ResetBody, VerificationBody,
    };
    use sessions::OpenSessionView;

    let user_id = "usr_0123456789abcdef0123456789abcdef";
    let refresh = || json!({"refresh_token": "b2Zf3kD0Yw6mJ1sQ8vT4xR7uN5aLcE9hGiKoPqSrUtw"});
    let tokens = || {
        json!({
            "access_token": "eyJhbGciOiJFUzI1NiJ9.eyJzdWIiOiJ1c3JfMDEifQ.c2lnbmF0dXJl", "token_type": "Bearer",
            "expires_in": 900, "refresh_token": "b2Zf3kD0Yw6mJ1sQ8vT4xR7uN5aLcE9hGiKoPqSrUtw"
        })
    };
    let profile = || {
        json!({
            "user_id": user_id, "email": "ada@example.com", "name": "Ada Lovelace", "phone": "+14155550123",
            "notification_preferences": {"email": true, "sms": false}, "email_verified": true, "phone_verified": false
        })
    };
    vec![
        Operation::post(
            "/v1/auth/register",
            "registerUser",
            Who::Public,
            "Register a customer",
            "An e-mail address has one account. The customer then logs in for tokens. A code goes to the address, for \
             POST /v1/users/me/verifications/confirm. One network may register 5 accounts, and then one a minute.",
        )
        .limited(&AUTH)
        .takes::<RegisterBody>(json!({
            "email": "ada@example.com", "password": "correct horse battery", "name": "Ada Lovelace",
            "phone": "+14155550123"
        }))
        .answers::<RegisteredView>(
            201,
            "The customer is registered.",
            &[],
            json!({"user_id": user_id, "email": "ada@example.com", "name": "Ada Lovelace"}),
        )
        .problem(409, "There is an account with this e-mail address."),
        Operation::post(
            "/v1/auth/login",
            "logIn",
            Who::Public,
            "Log in: tokens for an e-mail address and its password",
            "The access token is good for 15 minutes; the refresh token gets the next one. Too many wrong passwords \
             for an address, or from one, are answered with 429. An account has at most 20 sessions: one more login \
             ends the oldest.",
        )
        .limited(&AUTH)
        .takes::<LoginBody>(json!({"email": "ada@example.com", "password": "correct horse battery"}))
        .answers::<TokensView>(200, "The tokens.", &["Cache-Control"], tokens())
        .problem(401, "There is no such account, or the password is wrong.")
        .problem(403, "The account is suspended."),
        Operation::post(
            "/v1/auth/refresh",
            "refreshTokens",
            Who::Public,
            "New tokens for a refresh token, which is spent",
            "A refresh token can be used once. A client that did not get the answer must log in again: a second use \
             ends the session, because it may be a thief's.",
        )
        .limited(&AUTH)
        .takes::<RefreshTokenBody>(refresh())
        .answers::<TokensView>(200, "The tokens.", &["Cache-Control"], tokens())
        .problem(401, "The token is unknown, or was spent before: its session has ended."),
        Operation::post(
            "/v1/auth/logout",
            "logOut",
            Who::Public,
            "End a session",
            "Its refresh token is worth nothing from now on. An access token of it is good until it expires.",
        )
        .limited(&AUTH)
        .takes::<RefreshTokenBody>(refresh())
        .answers_nothing(204, "The session has ended, if there was one."),
        Operation::post(
            "/v1/auth/password-reset",
            "requestPasswordReset",
            Who::Public,
            "Forgot the password: a token by e-mail",
            "It goes to the address if an account has it. The answer does not say whether one has. The token is good for \
             30 minutes, and once. An address gets 3, and then one in 20 minutes.",
        )
        .limited(&AUTH)
        .takes::<ResetBody>(json!({"email": "ada@example.com"}))
        .answers_nothing(202, "If an account has the address, a token is on its way."),
        Operation::post(
            "/v1/auth/password-reset/confirm",
            "confirmPasswordReset",
            Who::Public,
            "A new password for the token of an e-mail",
            "All sessions of the account end. A token that is unknown, used or too old is answered with 422.",
        )
        .limited(&AUTH)
        .takes::<NewPasswordBody>(json!({
            "token": "b2Zf3kD0Yw6mJ1sQ8vT4xR7uN5aLcE9hGiKoPqSrUtw", "new_password": "correct horse battery"
        }))
        .answers_nothing(204, "The account has the new password.")
        .problem(403, "The account is suspended."),
        Operation::post(
            "/v1/users/me/verifications",
            "requestVerification",
            Who::User,
            "A code for one's own e-mail address or phone number",
            "8 digits by e-mail, good for 30 minutes, or 6 by SMS, good for 10 minutes. Each channel sends 3 in an hour. \
             The newest one counts.",
        )
        .limited(&PROFILE)
        .takes::<VerificationBody>(json!({"channel": "email"}))
        .answers_nothing(202, "The code is on its way.")
        .problem(403, "The account is suspended.")
        .problem(404, "The account was deleted.")
        .problem(409, "The address or number is verified already."),
        Operation::post(
            "/v1/users/me/verifications/confirm",
            "confirmVerification",
            Who::User,
            "Confirm an address or number by its code",
            "A code can be tried 5 times. A wrong, used or old one is answered with 422. The next access token has the \
             claim `email_verified`.",
        )
        .limited(&PROFILE)
        .takes::<ConfirmationBody>(json!({"channel": "email", "code": "12345678"}))
        .answers_nothing(204, "The address or number is verified.")
        .problem(403, "The account is suspended.")
        .problem(404, "The account was deleted.")
        .problem(409, "Another account has the new address meanwhile."),
        Operation::post(
            "/v1/users/me/email",
            "requestEmailChange",
            Who::User,
            "Another e-mail address: a code to it",
            "It becomes the account's when its code is confirmed (channel `email`). The present address is told. Needs a \
             login within the last 15 minutes.",
        )
        .limited(&PROFILE)
        .takes::<EmailBody>(json!({"email": "ada@example.org"}))
        .answers_nothing(202, "The code is on its way.")
        .problem(403, "The account is suspended.")
        .problem(404, "The account was deleted.")
        .problem(409, "There is an account with this e-mail address."),
        Operation::get(
            "/v1/users/me",
            "getProfile",
            Who::User,
            "One's own profile",
            "The account of the token: its address, name, phone number, and which messages it wants.",
        )
        .limited(&READS)
        .answers::<ProfileView>(200, "The profile.", &["Cache-Control"], profile())
        .problem(404, "The account was deleted."),
        Operation::patch(
            "/v1/users/me",
            "updateProfile",
            Who::User,
            "Change one's own profile (RFC 7396: what is not named stays)",
            "The e-mail address identifies the account: POST /v1/users/me/email changes it. Another phone number is not \
             verified.",
        )
        .limited(&PROFILE)
        .takes::<ProfileBody>(json!({"phone": null, "notification_preferences": {"sms": false}}))
        .answers::<ProfileView>(200, "The profile as it is now.", &["Cache-Control"], profile())
        .problem(404, "The account was deleted."),
        Operation::delete(
            "/v1/users/me",
            "deleteAccount",
            Who::User,
            "Erase one's own account, and what the system holds about the person",
            "Cannot be undone. Orders remain, without the person's data. Needs a login within the last 15 minutes.",
        )
        .limited(&PROFILE)
        .answers_nothing(202, "The account is erased, and the rest follows.")
        .problem(403, "The account is suspended.")
        .problem(404, "There is no such account."),
        Operation::post(
            "/v1/users/me/password",
            "updatePassword",
            Who::User,
            "Change one's own password",
            "Every other session ends. Needs a login within the last 15 minutes. Wrong current passwords count as failed \
             logins.",
        )
        .limited(&PROFILE)
        .takes::<PasswordBody>(json!({
            "current_password": "correct horse battery", "new_password": "staple of the stable"
        }))
        .answers_nothing(204, "The password is changed.")
        .problem(403, "The account is suspended.")
        .problem(404, "The account was deleted."),
        Operation::get(
            "/v1/users/me/sessions",
            "listSessions",
            Who::User,
            "Where one is logged in",
            "The open sessions, the one that was used last first: all on one page. Needs a login within the last 15 \
             minutes.",
        )
        .limited(&READS)
        .answers::<List<OpenSessionView>>(
            200,
            "The sessions.",
            &["Cache-Control"],
            json!({"items": [{
                "session_id": "ses_0123456789abcdef0123456789abcdef", "opened_at": "2026-11-21T12:00:00Z",
                "last_used_at": "2026-11-22T08:30:00Z", "current": true
            }], "next_cursor": null}),
        ),
        Operation::delete(
            "/v1/users/me/sessions",
            "endOtherSessions",
            Who::User,
            "End all other sessions",
            "Only the session of this request's access token goes on. Needs a login within the last 15 minutes. Access \
             tokens of the others are good until they expire.",
        )
        .limited(&PROFILE)
        .answers_nothing(204, "They have ended."),
        Operation::delete(
            "/v1/users/me/sessions/{session_id}",
            "endSession",
            Who::User,
            "End one session",
            "It may be the current one. Needs a login within the last 15 minutes.",
        )
        .limited(&PROFILE)
        .answers_nothing(204, "It has ended."),
        lambda_kit::audit::operation(
            "/v1/users/{user_id}/audit",
            "listUserAuditEntries",
            "What operators changed of an account: its roles, its suspension",
            json!({
                "id": "019abcde0123456789abcdef01234567", "at": "2026-11-21T12:00:00Z",
                "actor": "operator:arn:aws:iam::000000000000:user/grace", "action": "role.granted",
                "subject": user_id, "before": {"roles": []}, "after": {"roles": ["support"]},
                "reason": "joins the customer service", "correlation_id": "cor_0123456789abcdef0123456789abcdef"
            }),
        )
        .limited(&LISTS),
        Operation::get(
            "/.well-known/jwks.json",
            "getSigningKeys",
            Who::Public,
            "The keys that access tokens are checked with (RFC 7517)",
            "Two keys while one replaces the other.",
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
