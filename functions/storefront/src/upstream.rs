//! The other contexts' REST APIs, called for a user.
//!
//! A call is the request that API Gateway would send, but invoked directly and signed with IAM. It carries
//! the user's token, which the context checks as usual: nothing can be read here that the user could not
//! read. Through the public API each call would be a second request to the gateway, billed and throttled
//! together with the customers' requests.

use std::time::Duration;

use axum::http::{HeaderMap, StatusCode, header};
use contracts::{CorrelationId, UserId};
use lambda_kit::{
    breaker::{Breaker, CircuitOpen, Guarded},
    dynamodb::Table,
    function_client::{CallError, FunctionClient},
    http::Identity,
    limits,
    provider::{CallOutcome, ProviderError},
};
use serde::Deserialize;
use serde_json::{Value, json};

/// The timeout of a call, which has one try.
// Two calls, one after the other, and what is around them, fit into the function's 3 s. There is no second
// try: a page that is shown in part is better than a late one, and the breaker has to see each failure.
const CALL: Duration = limits::ATTEMPT_TIMEOUT;

/// A context whose REST API is called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Context {
    Users,
    Orders,
    Payments,
    Fulfillment,
    Catalog,
    Inventory,
}

impl Context {
    /// Also its breaker's.
    const fn name(self) -> &'static str {
        match self {
            Self::Users => "users",
            Self::Orders => "orders",
            Self::Payments => "payments",
            Self::Fulfillment => "fulfillment",
            Self::Catalog => "catalog",
            Self::Inventory => "inventory",
        }
    }

    const fn function(self) -> &'static str {
        match self {
            Self::Users => "users-api",
            Self::Orders => "orders-api",
            Self::Payments => "payments-api",
            Self::Fulfillment => "fulfillment-api",
            Self::Catalog => "catalog-api",
            Self::Inventory => "inventory-api",
        }
    }
}

/// The contexts of a stage, each behind a breaker.
#[derive(Debug, Clone)]
pub struct Upstream {
    functions: FunctionClient,
    breakers: Breakers,
}

#[derive(Debug, Clone)]
struct Breakers {
    users: Breaker,
    orders: Breaker,
    payments: Breaker,
    fulfillment: Breaker,
    catalog: Breaker,
    inventory: Breaker,
}

/// The user for whom a call is made.
pub struct Caller {
    pub user_id: UserId,
    /// The caller's `Authorization` header, unchanged.
    authorization: String,
    correlation_id: CorrelationId,
}

impl Caller {
    /// The sender of a request with these headers.
    pub fn new(identity: Identity, correlation_id: CorrelationId, headers: &HeaderMap) -> Self {
        // The user's own token is passed on. The context checks it again, and reads nothing that the user may
        // not read.
        let authorization = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
        let authorization = authorization.unwrap_or_default().to_owned();
        Self { user_id: identity.user_id, authorization, correlation_id }
    }
}

/// Why a context returned no usable answer.
#[derive(Debug, thiserror::Error)]
pub enum UpstreamError {
    #[error(transparent)]
    Open(#[from] CircuitOpen),
    #[error(transparent)]
    Call(#[from] CallError),
    #[error("the answer is no JSON")]
    Answer(#[source] serde_json::Error),
    #[error("the answer is {0}")]
    Status(StatusCode),
}

impl ProviderError for UpstreamError {
    fn outcome(&self) -> CallOutcome {
        match self {
            Self::Status(StatusCode::TOO_MANY_REQUESTS) | Self::Call(CallError::Throttled { .. }) => {
                CallOutcome::Throttled
            }
            // A refusal shows that the context works. Otherwise one customer with an expired token could open
            // the breaker for all.
            Self::Status(status) if !status.is_server_error() => CallOutcome::Refused,
            Self::Status(_) | Self::Open(_) | Self::Call(_) | Self::Answer(_) => CallOutcome::Failed,
        }
    }
}

/// A function's response to API Gateway.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Answer {
    status_code: u16,
    body: Option<String>,
}

impl Upstream {
    /// The breakers are items of `table`.
    pub fn new(sdk: &aws_sdk_lambda::config::Config, stage: String, table: &Table) -> Self {
        let breaker = |context: Context| Breaker::new(table.clone(), context.name());
        let breakers = Breakers {
            users: breaker(Context::Users),
            orders: breaker(Context::Orders),
            payments: breaker(Context::Payments),
            fulfillment: breaker(Context::Fulfillment),
            catalog: breaker(Context::Catalog),
            inventory: breaker(Context::Inventory),
        };
        Self { functions: FunctionClient::new(sdk, stage, CALL), breakers }
    }

    /// Sends GET `path`, which may have a query, and returns the body; `None` on 404.
    ///
    /// # Errors
    /// When the context is down or refuses the request.
    pub async fn get(
        &self,
        context: Context,
        path: &str,
        caller: &Caller,
    ) -> Result<Option<Value>, UpstreamError> {
        let guarded = self.breaker(context).guard(self.call(context, path, caller)).await;
        guarded.map_err(|error| match error {
            Guarded::Open(open) => open.into(),
            Guarded::Call(error) => error,
        })
    }

    fn breaker(&self, context: Context) -> &Breaker {
        let Breakers { users, orders, payments, fulfillment, catalog, inventory } = &self.breakers;
        match context {
            Context::Users => users,
            Context::Orders => orders,
            Context::Payments => payments,
            Context::Fulfillment => fulfillment,
            Context::Catalog => catalog,
            Context::Inventory => inventory,
        }
    }

    async fn call(
        &self,
        context: Context,
        path: &str,
        caller: &Caller,
    ) -> Result<Option<Value>, UpstreamError> {
        let Answer { status_code, body } =
            self.functions.call(context.function(), &request(path, caller)).await?;
        match StatusCode::from_u16(status_code).unwrap_or(StatusCode::BAD_GATEWAY) {
            StatusCode::OK => {
                serde_json::from_str(&body.unwrap_or_default()).map(Some).map_err(UpstreamError::Answer)
            }
            StatusCode::NOT_FOUND => Ok(None),
            status => Err(UpstreamError::Status(status)),
        }
    }
}

/// A request in API Gateway's format (HTTP API, payload format 2.0).
// It has no source address. So the context does not count it against the user's rate limits: the route that the user
// called has counted one request, and an export makes up to 200 of these.
fn request(path: &str, caller: &Caller) -> Value {
    let (path, query) = path.split_once('?').unwrap_or((path, ""));
    json!({
        "version": "2.0",
        "rawPath": path,
        "rawQueryString": query,
        "headers": {"authorization": caller.authorization, "x-correlation-id": caller.correlation_id},
        "requestContext": {"stage": "$default", "http": {"method": "GET", "path": path}},
        "isBase64Encoded": false,
    })
}

#[cfg(test)]
mod tests {
    use lambda_http::{
        RequestExt,
        request::{LambdaRequest, RequestContext},
    };

    use super::*;

    #[test]
    fn a_context_that_throttles_or_refuses_is_not_down() {
        let throttled = CallError::Throttled { function: "orders-api" };
        for (down, ending) in [
            (UpstreamError::Status(StatusCode::TOO_MANY_REQUESTS), CallOutcome::Throttled),
            (UpstreamError::Call(throttled), CallOutcome::Throttled),
            (UpstreamError::Status(StatusCode::FORBIDDEN), CallOutcome::Refused),
            (UpstreamError::Status(StatusCode::SERVICE_UNAVAILABLE), CallOutcome::Failed),
        ] {
            assert_eq!(down.outcome(), ending, "{down}");
        }
    }

    #[test]
    fn a_function_reads_a_call_like_a_request_of_the_gateway() {
        let caller = Caller {
            user_id: UserId::generate(),
            authorization: "Bearer x".to_owned(),
            correlation_id: CorrelationId::try_from("cor_test").unwrap(),
        };
        let event = request("/v1/orders?limit=5&customer=c", &caller).to_string();
        let read: lambda_http::Request = serde_json::from_str::<LambdaRequest>(&event).unwrap().into();
        assert_eq!((read.method().as_str(), read.uri().path()), ("GET", "/v1/orders"));
        assert_eq!(read.uri().query(), Some("limit=5&customer=c"));
        assert_eq!(read.headers()["authorization"], "Bearer x");
        assert_eq!(read.headers()["x-correlation-id"], "cor_test");
        let context = read.request_context();
        let RequestContext::ApiGatewayV2(context) = context else { panic!("another format: {context:?}") };
        assert_eq!(context.http.source_ip, None, "rate limits would count it");
    }
}
