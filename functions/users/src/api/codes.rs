//! Verifying an e-mail address or phone number, and changing the address.

use axum::{extract::State, http::StatusCode};
use contracts::CorrelationId;
use jiff::Timestamp;
use lambda_kit::http::{Body, Correlation, Identity, Problem, RecentLogin};

use super::{
    Users, random,
    requests::{ConfirmationBody, EmailBody, VerificationBody},
};
use crate::{
    error::UsersError,
    handler::{self, CodeRandom, EventContext},
};

/// Sends a code to the account's address or number.
pub async fn send(
    State(users): State<Users>,
    identity: Identity,
    Correlation(correlation): Correlation,
    Body(VerificationBody { channel }): Body<VerificationBody>,
) -> Result<StatusCode, Problem> {
    let Users { store, messages, sms_countries, .. } = &users;
    let (user, random) = (&identity.user_id, code_random()?);
    handler::send_code(store, messages, sms_countries, user, channel, random, context(&correlation)).await?;
    Ok(StatusCode::ACCEPTED)
}

/// Takes the code that was sent.
pub async fn confirm(
    State(users): State<Users>,
    identity: Identity,
    Correlation(correlation): Correlation,
    Body(ConfirmationBody { channel, code }): Body<ConfirmationBody>,
) -> Result<StatusCode, Problem> {
    let Users { store, messages, .. } = &users;
    let user = &identity.user_id;
    handler::confirm_code(store, messages, user, channel, &code, context(&correlation)).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Sends a code to another address, which becomes the account's when it is confirmed.
pub async fn change_email(
    State(users): State<Users>,
    RecentLogin(identity): RecentLogin,
    Correlation(correlation): Correlation,
    Body(body): Body<EmailBody>,
) -> Result<StatusCode, Problem> {
    let (Users { store, messages, .. }, user) = (&users, &identity.user_id);
    let (email, random) = (body.read()?, code_random()?);
    handler::request_email_change(store, messages, user, email, random, context(&correlation)).await?;
    Ok(StatusCode::ACCEPTED)
}

pub(super) fn code_random() -> Result<CodeRandom, UsersError> {
    Ok(CodeRandom { code: random()?, salt: random()? })
}

pub(super) fn context(correlation_id: &CorrelationId) -> EventContext<'_> {
    EventContext { now: Timestamp::now(), correlation_id }
}
