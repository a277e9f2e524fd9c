//! The query string.

use axum::{
    extract::{FromRequestParts, Query as AxumQuery},
    http::request::Parts,
};
use serde::de::DeserializeOwned;

use super::Problem;

/// The parameters of the query string. A parameter that cannot be read is answered with 422 and its name.
#[derive(Debug, Clone)]
pub struct Query<T>(pub T);

impl<S: Sync, T: DeserializeOwned> FromRequestParts<S> for Query<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let query = AxumQuery::try_from_uri(&parts.uri).map_err(|rejection| Problem::query(&rejection))?;
        Ok(Self(query.0))
    }
}
