//! Changing one's own password.

use axum::{extract::State, http::StatusCode};
use jiff::Timestamp;
use lambda_kit::http::{Body, ClientAddress, Correlation, Problem, RecentLogin};

use super::{Users, random, requests::PasswordBody};
use crate::handler::{self, NewPassword};

/// Ends every other session. A client whose answer was lost finds out by logging in.
pub async fn change(
    State(users): State<Users>,
    RecentLogin(identity): RecentLogin,
    address: ClientAddress,
    Correlation(correlation): Correlation,
    Body(body): Body<PasswordBody>,
) -> Result<StatusCode, Problem> {
    let change = NewPassword {
        current: &body.current_password,
        new: body.new_password()?,
        salt: random()?,
        network: address.network(),
    };
    let (Users { store, messages, .. }, now) = (&users, Timestamp::now());
    handler::change_password(store, messages, &identity, change, now, &correlation).await?;
    Ok(StatusCode::NO_CONTENT)
}
