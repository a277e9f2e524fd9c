//! What operators changed of an account.

use axum::{
    Json,
    extract::{Path, State},
};
use contracts::UserId;
use lambda_kit::{
    audit::Entry,
    http::{Admin, List, Page, Problem},
};

use super::Users;

/// Also of users who were deleted: their entries stay. A user without entries has an empty list.
pub async fn list(
    State(users): State<Users>,
    Admin(_): Admin,
    Path(user): Path<String>,
    page: Page,
) -> Result<Json<List<Entry>>, Problem> {
    let user = UserId::try_from(user).map_err(|_| Problem::not_found("There is no such user."))?;
    users.store.audit(user.as_str(), page).await.map(Json)
}
