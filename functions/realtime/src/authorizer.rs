//! The authorizer of `$connect`: admits clients with a valid ticket.

use std::{collections::HashMap, sync::Arc};

use lambda_kit::jwt::{Audience, Claims, Role, TokenError, Verifier};
use lambda_runtime::Diagnostic;
use serde::{Deserialize, Serialize};

/// The role that may watch every order, as the connection's context names it.
pub const ADMIN: &str = "admin";

/// API Gateway's request to a REQUEST authorizer of a WebSocket API.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Request {
    method_arn: String,
    #[serde(default)]
    query_string_parameters: Option<HashMap<String, String>>,
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
pub struct Authorizer(Arc<Verifier>);

impl Authorizer {
    pub const fn new(verifier: Arc<Verifier>) -> Self {
        Self(verifier)
    }

    /// Admits a valid ticket and denies every other with 403. A request without a ticket does not reach this
    /// function: API Gateway answers it with 401.
    ///
    /// # Errors
    /// When the request cannot be read or the key cannot be fetched: 500, and the client tries again.
    pub async fn decide(&self, payload: &str) -> Result<Policy, Diagnostic> {
        let request: Request =
            serde_json::from_str(payload).map_err(|e| failure("MalformedRequest", &e.to_string()))?;
        let parameters = request.query_string_parameters.unwrap_or_default();
        let ticket = parameters.get("ticket").map_or("", String::as_str);
        match self.0.verify(ticket, Audience::Realtime).await {
            Ok(claims) => Ok(allow(request.method_arn, &claims)),
            Err(TokenError::Invalid(reason)) => {
                tracing::info!(reason, "a ticket was refused");
                // The answer is a policy and not the error "Unauthorized". On AWS that error would be a 401,
                // but would count as a failure of the function. Elsewhere it would be a 500.
                Ok(policy("nobody".to_owned(), "Deny", request.method_arn, HashMap::new()))
            }
            Err(error @ TokenError::Key(_)) => {
                tracing::error!(error = lambda_kit::error::error_chain(&error), "a ticket cannot be checked");
                Err(failure("KeyUnavailable", "the ticket cannot be checked now"))
            }
        }
    }
}

fn allow(method_arn: String, claims: &Claims) -> Policy {
    tracing::Span::current().record("user_id", claims.sub.as_str());
    let roles: Vec<&str> = claims
        .roles
        .iter()
        .map(|role| match role {
            Role::Admin => ADMIN,
            Role::Fulfillment => "fulfillment",
            Role::Support => "support",
        })
        .collect();
    let context = HashMap::from([("user_id", claims.sub.to_string()), ("roles", roles.join(","))]);
    policy(claims.sub.to_string(), "Allow", method_arn, context)
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
mod tests {
    use contracts::UserId;
    use lambda_kit::testing::Tokens;
    use serde_json::{Value, json};

    use super::*;

    const ARN: &str = "arn:aws:execute-api:us-east-1:000000000000:api/live/$connect";
    const FAR: i64 = 4_000_000_000;

    async fn answer(tokens: &Tokens, ticket: Option<String>) -> Value {
        let query = ticket.map(|ticket| json!({"ticket": ticket}));
        let request = json!({"type": "REQUEST", "methodArn": ARN, "queryStringParameters": query});
        let policy = Authorizer::new(tokens.verifier()).decide(&request.to_string()).await.unwrap();
        serde_json::to_value(policy).unwrap()
    }

    #[tokio::test]
    async fn a_ticket_admits_its_user_with_its_roles() {
        let (tokens, user) = (Tokens::new(), UserId::generate());
        let ticket = |roles| Some(tokens.token(&user, roles, Audience::Realtime, FAR));
        assert_eq!(
            answer(&tokens, ticket(vec![])).await,
            json!({
                "principalId": user,
                "policyDocument": {
                    "Version": "2012-10-17",
                    "Statement": [{"Action": "execute-api:Invoke", "Effect": "Allow", "Resource": ARN}],
                },
                "context": {"user_id": user, "roles": ""},
            })
        );
        assert_eq!(answer(&tokens, ticket(vec![Role::Admin])).await["context"]["roles"], "admin");
    }

    #[tokio::test]
    async fn only_a_valid_ticket_is_admitted() {
        let (tokens, user) = (Tokens::new(), UserId::generate());
        let refused = [
            None,
            Some("ticket".to_owned()),
            Some(tokens.token(&user, vec![], Audience::Realtime, 1)),
            Some(tokens.token(&user, vec![], Audience::Api, FAR)),
            Some(Tokens::new().token(&user, vec![], Audience::Realtime, FAR)),
        ];
        for ticket in refused {
            let answer = answer(&tokens, ticket.clone()).await;
            assert_eq!(answer["policyDocument"]["Statement"][0]["Effect"], "Deny", "{ticket:?}");
            assert_eq!(answer.get("context"), None);
        }
    }

    #[tokio::test]
    async fn a_key_that_cannot_be_fetched_is_a_failure_and_no_denial() {
        let (sdk, faults) = lambda_kit::testing::sdk_config("http://127.0.0.1:9");
        faults.refuse("GetPublicKey", lambda_kit::aws::MAX_ATTEMPTS);
        let kms = Verifier::new(aws_sdk_kms::Client::new(&sdk), vec!["arn:aws:kms:::key/test".to_owned()]);
        let ticket = Tokens::new().token(&UserId::generate(), vec![], Audience::Realtime, FAR);
        let request = json!({"methodArn": ARN, "queryStringParameters": {"ticket": ticket}});
        let failure = Authorizer::new(Arc::new(kms)).decide(&request.to_string()).await.unwrap_err();
        assert_eq!(failure.error_type, "KeyUnavailable");
    }
}
