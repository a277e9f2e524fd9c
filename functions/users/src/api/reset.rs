//! A new password for a user who has forgotten the old one.

use axum::{extract::State, http::StatusCode};
use lambda_kit::http::{Body, ClientAddress, Correlation, Problem};

use super::{
    Users,
    codes::context,
    random,
    requests::{NewPasswordBody, ResetBody},
};
use crate::{
    domain::{ResetToken, SALT_BYTES},
    handler,
};

/// Sends a token to the address, if an account has it. The answer does not say.
pub async fn request(
    State(users): State<Users>,
    Correlation(correlation): Correlation,
    Body(ResetBody { email }): Body<ResetBody>,
) -> Result<StatusCode, Problem> {
    let token = ResetToken::new(random()?);
    handler::request_reset(&users.store, &users.messages, &email, &token, context(&correlation)).await?;
    Ok(StatusCode::ACCEPTED)
}

/// Sets the new password. A client that repeats the request because the answer was lost gets 422, and can find out
/// by logging in.
pub async fn confirm(
    State(users): State<Users>,
    address: ClientAddress,
    Correlation(correlation): Correlation,
    Body(body): Body<NewPasswordBody>,
) -> Result<StatusCode, Problem> {
    let (token, password) = body.read()?;
    let (salt, network) = (random::<SALT_BYTES>()?, address.network());
    let Users { store, messages, .. } = &users;
    handler::confirm_reset(store, messages, &token, &password, &salt, network, context(&correlation)).await?;
    Ok(StatusCode::NO_CONTENT)
}
