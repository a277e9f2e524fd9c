//! Lists, and their pages: `?limit=` and `?cursor=`, answered with `items` and `next_cursor`.

use axum::{extract::FromRequestParts, http::request::Parts};
use serde::{Deserialize, Serialize};

use super::{Problem, Query};
use crate::cursor::InvalidCursor;

const DEFAULT_LIMIT: usize = 20;
const MAX_LIMIT: usize = 100;

// `next_cursor` is `None` after the last page.
#[expect(missing_docs, reason = "doc comments would stand in openapi.json, in the schema of every list")]
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "openapi", schemars(rename = "{T}List"))]
pub struct List<T> {
    pub items: Vec<T>,
    pub next_cursor: Option<String>,
}

impl<T> List<T> {
    /// A list that has all of its items on one page.
    pub fn whole(items: Vec<T>) -> Self {
        Self { items, next_cursor: None }
    }
}

/// The page of a list that a request asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    /// The number of items, at most: 1 to 100, and 20 when the request names none.
    pub limit: usize,
    /// `next_cursor` of the previous page, as it was sent; `None` for the first page.
    pub cursor: Option<String>,
}

/// As texts, so that a limit of any other form gets the same answer as one out of range.
#[derive(Deserialize)]
struct Parameters {
    limit: Option<String>,
    cursor: Option<String>,
}

impl<S: Sync> FromRequestParts<S> for Page {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let Query(Parameters { limit, cursor }) = Query::from_request_parts(parts, state).await?;
        let limit = limit.map_or(Ok(DEFAULT_LIMIT), |limit| limit.parse());
        let limit = limit.ok().filter(|limit| (1..=MAX_LIMIT).contains(limit));
        let limit = limit.ok_or_else(|| Problem::field("limit", format!("must be from 1 to {MAX_LIMIT}")))?;
        Ok(Self { limit, cursor })
    }
}

impl From<InvalidCursor> for Problem {
    fn from(error: InvalidCursor) -> Self {
        Self::field("cursor", error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use axum::http::Request;
    use rstest::rstest;

    use super::*;

    async fn page(query: &str) -> Result<Page, Problem> {
        let request = Request::get(format!("/v1/things{query}")).body(()).unwrap();
        Page::from_request_parts(&mut request.into_parts().0, &()).await
    }

    #[rstest]
    #[case("", 20, None)]
    #[case("?limit=1", 1, None)]
    #[case("?q=x&limit=100&cursor=abc", 100, Some("abc"))]
    #[case("?cursor=", 20, Some(""))]
    #[tokio::test]
    async fn a_page_is_read_from_the_query(
        #[case] query: &str,
        #[case] limit: usize,
        #[case] cursor: Option<&str>,
    ) {
        let expected = Page { limit, cursor: cursor.map(str::to_owned) };
        assert_eq!(page(query).await.unwrap(), expected);
    }

    #[rstest]
    #[case("?limit=0", "limit")]
    #[case("?limit=101", "limit")]
    #[case("?limit=-1", "limit")]
    #[case("?limit=x", "limit")]
    #[case("?limit=", "limit")]
    #[case("?limit=1&limit=2", "limit")]
    #[case("?cursor=a&cursor=b", "cursor")]
    #[tokio::test]
    async fn a_parameter_that_cannot_be_read_is_named(#[case] query: &str, #[case] field: &str) {
        assert_eq!(page(query).await.unwrap_err().fields(), [field]);
    }
}
