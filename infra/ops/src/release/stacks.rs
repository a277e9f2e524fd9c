//! The stacks of a stage: what state CloudFormation has them in, and what that allows.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use local_stack::deploy;
use serde_json::{Value, json};

use crate::error::{Error, Result};
use crate::remote::Remote;
use crate::stage::Stage;

const POLL: Duration = Duration::from_secs(2);
/// A stack whose creation was rolled back is almost empty.
const DELETED_WITHIN: Duration = Duration::from_secs(600);

/// One stack that exists.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Found {
    pub id: String,
    pub status: String,
    /// When it was created or last updated, as CloudFormation writes it.
    pub changed: String,
    /// The parameters that it was deployed with.
    pub parameters: BTreeMap<String, String>,
}

/// How a template is deployed into its stack.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// There is no stack, or its creation failed and kept what was made: a failure keeps what is made then, too.
    Create,
    /// CloudFormation can only delete the stack: its creation was rolled back.
    Replace,
    /// A failure takes the stack back to what it was.
    Update,
}

/// The stacks of a stage that exist, by name.
///
/// # Errors
/// CloudFormation refuses.
pub async fn read(remote: &Remote, stage: &Stage) -> Result<BTreeMap<String, Found>> {
    let prefix = deploy::stack_name(stage.name(), "");
    let mut found = BTreeMap::new();
    let mut input = json!({});
    loop {
        let page = remote.call("cloudformation", "DescribeStacks", input).await?;
        let stacks = page["Stacks"].as_array().into_iter().flatten();
        found.extend(stacks.filter_map(read_one).filter(|(name, _)| name.starts_with(&prefix)));
        match page["NextToken"].as_str() {
            Some(token) => input = json!({"NextToken": token}),
            None => return Ok(found),
        }
    }
}

fn read_one(stack: &Value) -> Option<(String, Found)> {
    let text = |key: &str| stack[key].as_str().map(str::to_owned);
    let status = text("StackStatus").filter(|status| status != "DELETE_COMPLETE")?;
    let changed = text("LastUpdatedTime").or_else(|| text("CreationTime")).unwrap_or_default();
    let parameters = stack["Parameters"].as_array().into_iter().flatten().filter_map(|parameter| {
        let text = |key: &str| parameter[key].as_str().map(str::to_owned);
        Some((text("ParameterKey")?, text("ParameterValue")?))
    });
    let id = text("StackId").unwrap_or_default();
    Some((text("StackName")?, Found { id, status, changed, parameters: parameters.collect() }))
}

/// A parameter that only grows has this at its end: what lies in partitions behind the last one would be found no more.
const GROWS: &str = "Partitions";

/// The parameters that would shrink, each as a message.
pub fn shrinking(name: &str, found: &Found, parameters: &BTreeMap<String, String>) -> Vec<String> {
    let number = |text: &String| text.parse::<u64>().ok();
    let growing = parameters.iter().filter(|(parameter, _)| parameter.ends_with(GROWS));
    let shrinking = growing.filter_map(|(parameter, new)| {
        let deployed = number(found.parameters.get(parameter)?)?;
        let is_smaller = number(new).is_none_or(|new| new < deployed);
        is_smaller.then(|| {
            format!(
                "  {name} has {parameter} {deployed}: with {new} nothing would find what lies in the partitions above. Give \
                 {deployed} or more in infra/samconfig.toml or by `--parameter {parameter}={deployed}`."
            )
        })
    });
    shrinking.collect()
}

/// The possible step for a stack in this state.
///
/// # Errors
/// None is possible before a person has run the command in the message.
pub fn step(name: &str, found: Option<&Found>, region: &str) -> std::result::Result<Step, String> {
    let Some(Found { status, .. }) = found else { return Ok(Step::Create) };
    let command =
        |operation: &str| format!("aws cloudformation {operation} --stack-name {name} --region {region}");
    match status.as_str() {
        // A change set for a new stack was made and never executed.
        "REVIEW_IN_PROGRESS" | "CREATE_FAILED" => Ok(Step::Create),
        "ROLLBACK_COMPLETE" => Ok(Step::Replace),
        "CREATE_COMPLETE"
        | "UPDATE_COMPLETE"
        | "UPDATE_FAILED"
        | "UPDATE_ROLLBACK_COMPLETE"
        | "IMPORT_COMPLETE"
        | "IMPORT_ROLLBACK_COMPLETE" => Ok(Step::Update),
        "ROLLBACK_FAILED" => Err(format!(
            "its creation failed, and so did taking that back: most likely a table is protected from deletion. See \
             which resources are left with `{}`; for a table `aws dynamodb update-table --table-name … \
             --no-deletion-protection-enabled --region {region}` and `aws dynamodb delete-table --table-name … \
             --region {region}`; then `{}`",
            command("describe-stack-resources"),
            command("delete-stack"),
        )),
        "UPDATE_ROLLBACK_FAILED" => Err(format!(
            "its update failed, and so did taking that back. See why with `{}`, mend it, then `{}`",
            command("describe-stack-events"),
            command("continue-update-rollback"),
        )),
        "DELETE_FAILED" => Err(format!(
            "its deletion failed. See why with `{}`, mend it, then `{}`",
            command("describe-stack-events"),
            command("delete-stack"),
        )),
        status if status.ends_with("_IN_PROGRESS") => {
            let operation = match status.split('_').next() {
                Some("CREATE" | "ROLLBACK") => "create",
                Some("DELETE") => "delete",
                _ => "update",
            };
            Err(format!(
                "another deployment is changing it now. Wait for the end: `{}`",
                command(&format!("wait stack-{operation}-complete"))
            ))
        }
        _ => Err(format!(
            "this state is not known here. See what it is about with `{}`",
            command("describe-stack-events")
        )),
    }
}

/// Deletes a stack and waits until it is gone.
///
/// # Errors
/// CloudFormation refuses or cannot delete a resource.
pub async fn delete(remote: &Remote, name: &str, id: &str) -> Result<()> {
    remote.call("cloudformation", "DeleteStack", json!({"StackName": name})).await?;
    let deadline = Instant::now() + DELETED_WITHIN;
    loop {
        // By its id: a deleted stack has no name.
        let answer = remote.call("cloudformation", "DescribeStacks", json!({"StackName": id})).await?;
        match answer["Stacks"][0]["StackStatus"].as_str().unwrap_or("DELETE_COMPLETE") {
            "DELETE_COMPLETE" => return Ok(()),
            "DELETE_IN_PROGRESS" if Instant::now() < deadline => tokio::time::sleep(POLL).await,
            status => {
                return Err(Error::Deploy(format!(
                    "stack {name} cannot be deleted ({status}). `aws cloudformation describe-stack-events --stack-name \
                     {name}` says why; mend it and run the command again."
                )));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(status: &str) -> Found {
        Found {
            id: "arn".to_owned(),
            status: status.to_owned(),
            changed: "now".to_owned(),
            ..Found::default()
        }
    }

    fn step_of(status: &str) -> std::result::Result<Step, String> {
        step("ordersaga-dev-users", Some(&found(status)), "eu-central-1")
    }

    #[test]
    fn a_stack_is_created_updated_or_made_again() {
        assert_eq!(step("ordersaga-dev-users", None, "eu-central-1"), Ok(Step::Create));
        for (status, expected) in [
            ("REVIEW_IN_PROGRESS", Step::Create),
            ("CREATE_FAILED", Step::Create),
            ("ROLLBACK_COMPLETE", Step::Replace),
            ("CREATE_COMPLETE", Step::Update),
            ("UPDATE_COMPLETE", Step::Update),
            ("UPDATE_ROLLBACK_COMPLETE", Step::Update),
        ] {
            assert_eq!(step_of(status), Ok(expected), "{status}");
        }
    }

    #[test]
    fn a_stack_that_needs_a_person_names_the_command() {
        for (status, command) in [
            ("ROLLBACK_FAILED", "--no-deletion-protection-enabled"),
            (
                "UPDATE_ROLLBACK_FAILED",
                "aws cloudformation continue-update-rollback --stack-name ordersaga-dev-users",
            ),
            (
                "DELETE_FAILED",
                "aws cloudformation delete-stack --stack-name ordersaga-dev-users --region eu-central-1",
            ),
            ("UPDATE_IN_PROGRESS", "wait stack-update-complete"),
            ("UPDATE_ROLLBACK_IN_PROGRESS", "wait stack-update-complete"),
            ("ROLLBACK_IN_PROGRESS", "wait stack-create-complete"),
            ("DELETE_IN_PROGRESS", "wait stack-delete-complete"),
            ("SOMETHING_NEW", "describe-stack-events"),
        ] {
            let said = step_of(status).unwrap_err();
            assert!(said.contains(command), "{status}: {said}");
        }
    }

    #[test]
    fn a_deleted_stack_is_none() {
        let stack = json!({"StackName": "s", "StackStatus": "DELETE_COMPLETE", "StackId": "arn"});
        assert_eq!(read_one(&stack), None);
        let stack = json!({"StackName": "s", "StackStatus": "CREATE_COMPLETE", "StackId": "arn", "CreationTime": "then",
            "Parameters": [{"ParameterKey": "Stage", "ParameterValue": "dev"}]});
        let (_, found) = read_one(&stack).unwrap();
        assert_eq!(found.changed, "then");
        assert_eq!(found.parameters, BTreeMap::from([("Stage".to_owned(), "dev".to_owned())]));
    }

    #[test]
    fn partitions_may_become_more_and_not_fewer() {
        let with = |parameter: &str, value: &str| BTreeMap::from([(parameter.to_owned(), value.to_owned())]);
        let deployed = Found { parameters: with("ListPartitions", "16"), ..found("UPDATE_COMPLETE") };
        let said = |parameters| shrinking("ordersaga-dev-orders", &deployed, &parameters);
        for more in ["16", "17", "64"] {
            assert!(said(with("ListPartitions", more)).is_empty(), "{more}");
        }
        for fewer in ["15", "9", ""] {
            let [refusal] = said(with("ListPartitions", fewer)).try_into().expect("one refusal");
            assert!(refusal.contains("above. Give 16 or more"), "{refusal}");
        }
        assert!(said(with("WatchPartitions", "1")).is_empty(), "a parameter that is new");
        let deployed = Found { parameters: with("SagaStartsPerSecond", "100"), ..deployed.clone() };
        assert!(shrinking("s", &deployed, &with("SagaStartsPerSecond", "50")).is_empty());
    }
}
