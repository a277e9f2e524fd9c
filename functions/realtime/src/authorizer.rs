//! The authorizer of `$connect`: admits clients with a valid ticket, from pages that may connect.

use std::collections::HashMap;

use lambda_kit::{
    dynamodb::TableError,
    error::error_chain,
    http::ClientAddress,
    telemetry::{self, SecurityEvent},
};
use lambda_runtime::Diagnostic;
use serde::{Deserialize, Serialize};

use crate::{
    domain::{Origins, Ticket, TicketHolder},
    store::Store,
};

/// API Gateway's request to a REQUEST authorizer of a WebSocket API.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Request {
    method_arn: String,
    #[serde(default)]
    headers: Option<HashMap<String, String>>,
    #[serde(default)]
    query_string_parameters: Option<HashMap<String, String>>,
    request_context: RequestContext,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct RequestContext {
    /// The connection has its id already, and keeps it when it is accepted.
    connection_id: String,
    #[serde(default)]
    identity: Caller,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Caller {
    #[serde(default)]
    source_ip: Option<String>,
}

impl Request {
    fn ticket(&self) -> &str {
        self.query_string_parameters.as_ref().and_then(|query| query.get("ticket")).map_or("", String::as_str)
    }

    /// The origin of the page that connects. API Gateway keeps the names of headers as the client spelled them.
    fn origin(&self) -> Option<&str> {
        let mut headers = self.headers.iter().flatten();
        headers.find(|(name, _)| name.eq_ignore_ascii_case("origin")).map(|(_, origin)| origin.as_str())
    }
}

/// The authorizer's response.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Policy {
    principal_id: String,
    policy_document: Document,
    /// Handed to every invocation of the connection.
    // The values are strings, because API Gateway converts each value to one, and takes neither lists nor
    // objects (API Gateway developer guide, "Output from an API Gateway Lambda authorizer").
    #[serde(skip_serializing_if = "HashMap::is_empty")]
    context: HashMap<&'static str, String>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Document {
    version: &'static str,
    statement: [Statement; 1],
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Statement {
    action: &'static str,
    effect: &'static str,
    resource: String,
}

/// Checks tickets.
#[derive(Debug, Clone)]
pub struct Authorizer {
    store: Store,
    origins: Origins,
}

impl Authorizer {
    pub const fn new(store: Store, origins: Origins) -> Self {
        Self { store, origins }
    }

    /// Admits a valid ticket, which is used with that, and denies every other with 403; `now` in Unix seconds. A
    /// request without a ticket does not reach this function: API Gateway answers it with 401.
    ///
    /// # Errors
    /// When the request or the table cannot be read: 500, and the client tries again.
    pub async fn decide(&self, payload: &str, now: i64) -> Result<Policy, Diagnostic> {
        let request: Request =
            serde_json::from_str(payload).map_err(|e| failure("MalformedRequest", &e.to_string()))?;
        // The origin is compared first, so that another site's page cannot use up a ticket.
        if !self.origins.allow(request.origin()) {
            return Ok(refuse("the page's origin is not allowed", request));
        }
        let connection_id = &request.request_context.connection_id;
        match self.holder(request.ticket(), connection_id, now).await {
            Ok(Some(holder)) => Ok(allow(request.method_arn, &holder)),
            Ok(None) => Ok(refuse("the ticket is unknown, used or expired", request)),
            Err(error) => {
                tracing::error!(error = error_chain(&error), "a ticket cannot be checked");
                Err(failure("TableUnavailable", "the ticket cannot be checked now"))
            }
        }
    }

    /// Uses the ticket.
    async fn holder(
        &self,
        ticket: &str,
        connection_id: &str,
        now: i64,
    ) -> Result<Option<TicketHolder>, TableError> {
        match Ticket::parse(ticket) {
            Some(ticket) => self.store.use_ticket(&ticket.hash(), connection_id, now).await,
            // A text of another form costs no call.
            None => Ok(None),
        }
    }
}

fn allow(method_arn: String, holder: &TicketHolder) -> Policy {
    let TicketHolder { user_id, session_id, admin } = holder;
    tracing::Span::current().record("user_id", user_id.as_str());
    let context = HashMap::from([
        ("user_id", user_id.to_string()),
        ("session_id", session_id.to_string()),
        ("admin", admin.to_string()),
    ]);
    policy(user_id.to_string(), "Allow", method_arn, context)
}

fn refuse(reason: &'static str, request: Request) -> Policy {
    tracing::info!(reason, "a connection was refused");
    let address = request.request_context.identity.source_ip.and_then(|address| address.parse().ok());
    telemetry::security(SecurityEvent::TokenRefused, ClientAddress(address).digest().as_deref());
    // The answer is a policy and not the error "Unauthorized". On AWS that error would be a 401,
    // but would count as a failure of the function. Elsewhere it would be a 500.
    policy("nobody".to_owned(), "Deny", request.method_arn, HashMap::new())
}

fn policy(
    principal_id: String,
    effect: &'static str,
    resource: String,
    context: HashMap<&'static str, String>,
) -> Policy {
    let statement = [Statement { action: "execute-api:Invoke", effect, resource }];
    Policy { principal_id, policy_document: Document { version: "2012-10-17", statement }, context }
}

fn failure(name: &str, message: &str) -> Diagnostic {
    Diagnostic { error_type: name.to_owned(), error_message: message.to_owned() }
}

#[cfg(test)]
mod tests;
