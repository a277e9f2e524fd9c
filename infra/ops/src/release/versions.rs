//! The versions of functions: when new ones are published, and why CodeDeploy rolled one back.

use std::collections::BTreeMap;

use jiff::Timestamp;
use local_stack::Template;
use serde_json::{Value, json};

use crate::error::Result;
use crate::remote::Remote;
use crate::stage::Stage;

/// The template's parameter for what a new version is published for.
pub const FINGERPRINT: &str = "Fingerprint";
/// SAM's name for what it makes in a template whose functions are deployed by CodeDeploy.
const APPLICATION: &str = "ServerlessDeploymentApplication";
/// The deployments that one call of `BatchGetDeployments` takes.
const BATCH: usize = 25;

/// The values of the stage's parameters in the Parameter Store, by their names.
///
/// # Errors
/// The Parameter Store refuses.
pub async fn stored(remote: &Remote, stage: &Stage) -> Result<BTreeMap<String, String>> {
    let input = json!({"Path": format!("/ordersaga/{stage}/")});
    let found = remote.repeatable("ssm", "GetParametersByPath", input).await?;
    let parameters = found["Parameters"].as_array().into_iter().flatten();
    let named = parameters.filter_map(|parameter| {
        let text = |key: &str| parameter[key].as_str().map(str::to_owned);
        Some((text("Name")?, text("Value")?))
    });
    Ok(named.collect())
}

/// What CodeDeploy says about the new versions of a stack that it rolled back since then, a line each. None for a stack
/// that it does not deploy.
///
/// # Errors
/// CloudFormation or CodeDeploy refuses.
pub async fn rolled_back(
    remote: &Remote,
    stack: &str,
    template: &Template,
    since: Timestamp,
) -> Result<Vec<String>> {
    let input = json!({"StackName": stack, "LogicalResourceId": APPLICATION});
    let resource = match remote.repeatable("cloudformation", "DescribeStackResource", input).await {
        Err(refusal) if refusal.is_not_found() => return Ok(Vec::new()),
        answer => answer?,
    };
    let application = &resource["StackResourceDetail"]["PhysicalResourceId"];
    let input = json!({
        "includeOnlyStatuses": ["Failed", "Stopped"], "createTimeRange": {"start": since.as_second()},
    });
    let ids = remote.repeatable("codedeploy", "ListDeployments", input).await?;
    let ids: Vec<&Value> = ids["deployments"].as_array().into_iter().flatten().collect();
    let mut lines = Vec::new();
    for batch in ids.chunks(BATCH) {
        let input = json!({"deploymentIds": batch});
        let found = remote.repeatable("codedeploy", "BatchGetDeployments", input).await?;
        let own = found["deploymentsInfo"].as_array().into_iter().flatten();
        let own = own.filter(|deployment| deployment["applicationName"] == *application);
        lines.extend(own.map(|deployment| reason(deployment, template)));
    }
    lines.sort();
    lines.dedup();
    Ok(lines)
}

/// `orders-api was rolled back: … (ALARM_ACTIVE)`.
fn reason(deployment: &Value, template: &Template) -> String {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let group = text(&deployment["deploymentGroupName"]);
    // CloudFormation names a group after the stack and its logical id, which SAM makes of the function's.
    let deployed = template.functions().iter().find(|function| {
        let id = format!("-{}DeploymentGroup-", function.logical_id);
        group.contains(&id)
    });
    let function = deployed.map_or(group.as_str(), |function| function.name.as_str());
    let error = &deployment["errorInformation"];
    format!(
        "  the new version of {function} was rolled back: {} ({}, deployment {})",
        text(&error["message"]),
        text(&error["code"]),
        text(&deployment["deploymentId"]),
    )
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn a_rollback_names_the_function_and_codedeploys_reason() {
        let orders = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../orders.yaml"));
        let orders = Template::read(orders).unwrap();
        let deployment = json!({
            "deploymentId": "d-1", "status": "Stopped",
            "deploymentGroupName": "ordersaga-prod-orders-OrdersApiDeploymentGroup-1A2B",
            "errorInformation": {"code": "ALARM_ACTIVE", "message": "One or more alarms have been activated."},
        });
        assert_eq!(
            reason(&deployment, &orders),
            "  the new version of orders-api was rolled back: One or more alarms have been activated. (ALARM_ACTIVE, \
             deployment d-1)"
        );
    }
}
