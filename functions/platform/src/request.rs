use futures::future::try_join_all;
use lambda_kit::{error::error_chain, health::HealthStatus};
use lambda_runtime::Diagnostic;
use serde::{Deserialize, Serialize};

use crate::{Deployments, Versions};

/// What the function is invoked with.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Request {
    /// By CodeDeploy, before a version gets calls (CodeDeploy User Guide, "AppSpec 'hooks' section for an AWS Lambda
    /// deployment").
    #[serde(rename_all = "PascalCase")]
    Deployment { deployment_id: String, lifecycle_event_hook_execution_id: String },
    /// By hand: a function with a version or an alias (`ordersaga-dev-orders-api:live`).
    Version { version: String },
}

/// What the check found.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct Report {
    status: HealthStatus,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
}

/// Checks the version of the request, or those of the request's deployment, and reports the latter to CodeDeploy. A
/// version that is not healthy is a report and no error: Lambda would repeat the request.
///
/// # Errors
/// The request has another form, or the report does not reach CodeDeploy.
pub async fn answer(
    deployments: &Deployments,
    versions: &Versions,
    request: &str,
) -> Result<Report, Diagnostic> {
    let request =
        serde_json::from_str(request).map_err(|error| diagnostic("MalformedRequest", error_chain(&error)))?;
    match request {
        Request::Version { version } => Ok(report(check(versions, &[version]).await)),
        Request::Deployment { deployment_id, lifecycle_event_hook_execution_id } => {
            let checked = match deployments.versions(&deployment_id).await {
                Ok(new) => check(versions, &new).await,
                Err(error) => Err(error_chain(&error)),
            };
            let reported =
                deployments.report(&deployment_id, &lifecycle_event_hook_execution_id, checked.is_ok()).await;
            reported.map_err(|error| diagnostic("NotReported", error_chain(&error)))?;
            Ok(report(checked))
        }
    }
}

async fn check(versions: &Versions, new: &[String]) -> Result<(), String> {
    let checked = try_join_all(new.iter().map(|version| versions.check(version))).await;
    checked.map(drop).map_err(|error| error_chain(&error))
}

fn report(checked: Result<(), String>) -> Report {
    match checked {
        Ok(()) => Report { status: HealthStatus::Ok, reason: None },
        Err(reason) => {
            tracing::error!(error = reason, "a new version is not healthy");
            Report { status: HealthStatus::Down, reason: Some(reason) }
        }
    }
}

fn diagnostic(error_type: &str, error_message: String) -> Diagnostic {
    Diagnostic { error_type: error_type.to_owned(), error_message }
}

#[cfg(test)]
mod tests {
    use lambda_kit::testing::sdk_config;
    use serde_json::{Value, json};
    use wiremock::{
        Mock, MockServer, Request as Sent, ResponseTemplate,
        matchers::{any, header},
    };

    use super::*;
    use crate::health::tests::{answers, versions, well};

    const EVENT: &str =
        r#"{"DeploymentId": "d-1", "LifecycleEventHookExecutionId": "e-1", "Combined": "ignored"}"#;

    /// A CodeDeploy whose deployment brings version 7 of orders-api.
    async fn codedeploy() -> MockServer {
        let server = MockServer::start().await;
        let info = json!({
            "functionName": "orders-api", "functionAlias": "live", "currentVersion": "6", "targetVersion": "7",
        });
        let target =
            json!({"deploymentTargetType": "LambdaFunction", "lambdaTarget": {"lambdaFunctionInfo": info}});
        for (operation, answer) in [
            ("ListDeploymentTargets", json!({"targetIds": ["orders-api:live"]})),
            ("BatchGetDeploymentTargets", json!({"deploymentTargets": [target]})),
            ("PutLifecycleEventHookExecutionStatus", json!({"lifecycleEventHookExecutionId": "e-1"})),
        ] {
            Mock::given(header("x-amz-target", format!("CodeDeploy_20141006.{operation}")))
                .respond_with(ResponseTemplate::new(200).set_body_json(answer))
                .mount(&server)
                .await;
        }
        server
    }

    fn deployments(codedeploy: &MockServer) -> Deployments {
        Deployments::new(aws_sdk_codedeploy::Client::new(&sdk_config(&codedeploy.uri()).0))
    }

    async fn requests(server: &MockServer) -> Vec<Sent> {
        server.received_requests().await.expect("requests are recorded")
    }

    async fn reported(codedeploy: &MockServer) -> Value {
        requests(codedeploy).await.last().expect("a report").body_json().expect("JSON")
    }

    fn put(status: &str) -> Value {
        json!({"deploymentId": "d-1", "lifecycleEventHookExecutionId": "e-1", "status": status})
    }

    #[tokio::test]
    async fn a_healthy_version_lets_its_deployment_go_on() {
        let (codedeploy, lambda) = (codedeploy().await, MockServer::start().await);
        answers(&lambda, 1, well()).await;
        let found = answer(&deployments(&codedeploy), &versions(&lambda), EVENT).await.unwrap();
        assert_eq!(found, Report { status: HealthStatus::Ok, reason: None });
        assert_eq!(reported(&codedeploy).await, put("Succeeded"));
    }

    #[tokio::test]
    async fn a_version_that_crashes_ends_its_deployment() {
        let (codedeploy, lambda) = (codedeploy().await, MockServer::start().await);
        answers(&lambda, 9, ResponseTemplate::new(502)).await;
        let found = answer(&deployments(&codedeploy), &versions(&lambda), EVENT).await.unwrap();
        assert!(found.reason.is_some_and(|reason| reason.contains("orders-api:7 cannot be invoked")));
        assert_eq!(reported(&codedeploy).await, put("Failed"));
    }

    #[tokio::test]
    async fn a_deployment_that_names_no_version_ends() {
        let (codedeploy, lambda) = (MockServer::start().await, MockServer::start().await);
        let nothing = ResponseTemplate::new(200).set_body_json(json!({}));
        Mock::given(any()).respond_with(nothing).mount(&codedeploy).await;
        let found = answer(&deployments(&codedeploy), &versions(&lambda), EVENT).await.unwrap();
        assert!(found.reason.is_some_and(|reason| reason.contains("d-1 names no version")));
        assert_eq!(reported(&codedeploy).await, put("Failed"));
        assert_eq!(requests(&lambda).await.len(), 0);
    }

    #[tokio::test]
    async fn a_version_is_checked_by_hand_without_a_deployment() {
        let (codedeploy, lambda) = (MockServer::start().await, MockServer::start().await);
        answers(&lambda, 1, well()).await;
        let asked = r#"{"version": "orders-api:7"}"#;
        let found = answer(&deployments(&codedeploy), &versions(&lambda), asked).await.unwrap();
        assert_eq!(found.status, HealthStatus::Ok);
        assert_eq!(requests(&codedeploy).await.len(), 0);
    }
}
