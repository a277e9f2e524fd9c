//! Which stacks, names and parameters of a stage exist on AWS.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use crate::footprint::{Footprint, Kind, Named};
use crate::remote::{Refusal, Remote};

/// Every state of a stack but that of one that is gone.
const STATES: [&str; 22] = [
    "CREATE_IN_PROGRESS",
    "CREATE_FAILED",
    "CREATE_COMPLETE",
    "ROLLBACK_IN_PROGRESS",
    "ROLLBACK_FAILED",
    "ROLLBACK_COMPLETE",
    "DELETE_IN_PROGRESS",
    "DELETE_FAILED",
    "UPDATE_IN_PROGRESS",
    "UPDATE_COMPLETE_CLEANUP_IN_PROGRESS",
    "UPDATE_COMPLETE",
    "UPDATE_FAILED",
    "UPDATE_ROLLBACK_IN_PROGRESS",
    "UPDATE_ROLLBACK_FAILED",
    "UPDATE_ROLLBACK_COMPLETE_CLEANUP_IN_PROGRESS",
    "UPDATE_ROLLBACK_COMPLETE",
    "REVIEW_IN_PROGRESS",
    "IMPORT_IN_PROGRESS",
    "IMPORT_COMPLETE",
    "IMPORT_ROLLBACK_IN_PROGRESS",
    "IMPORT_ROLLBACK_FAILED",
    "IMPORT_ROLLBACK_COMPLETE",
];

#[derive(Debug, Default)]
pub struct Survey {
    /// The stage's stacks that exist, with their states.
    pub stacks: BTreeMap<String, String>,
    /// The names of the footprint that exist.
    pub named: Vec<Named>,
    /// Secrets that wait for their deletion, with its date: their names are taken until then.
    pub scheduled: Vec<(String, String)>,
    /// SSM parameters below the stage's path.
    pub parameters: Vec<String>,
}

impl Survey {
    /// # Errors
    /// AWS refuses to list something.
    pub async fn take(remote: &Remote, footprint: &Footprint, stage: &str) -> Result<Self, Refusal> {
        let mut survey = Self {
            stacks: stacks(remote, |name| footprint.stacks().any(|stack| stack == name)).await?,
            ..Self::default()
        };
        let tables = remote.repeatable("dynamodb", "ListTables", json!({})).await?;
        let mut existing: BTreeSet<String> = texts(&tables["TableNames"], |name| name.as_str());
        for prefix in prefixes(footprint.names(Kind::LogGroup), stage) {
            let input = json!({"logGroupNamePrefix": prefix});
            let groups = remote.repeatable("logs", "DescribeLogGroups", input).await?;
            existing.extend(texts(&groups["logGroups"], |group| group["logGroupName"].as_str()));
        }
        for secret in footprint.names(Kind::Secret) {
            match remote.repeatable("secretsmanager", "DescribeSecret", json!({"SecretId": secret})).await {
                Ok(found) => match found["DeletedDate"].as_str() {
                    Some(date) => survey.scheduled.push((secret.to_owned(), date.to_owned())),
                    None => {
                        existing.insert(secret.to_owned());
                    }
                },
                Err(refusal) if refusal.is_not_found() => {}
                Err(refusal) => return Err(refusal),
            }
        }
        survey.named =
            footprint.named.iter().filter(|named| existing.contains(&named.name)).cloned().collect();
        // A path, not a beginning: it ends at a slash.
        let path = json!({"Path": format!("/ordersaga/{stage}"), "Recursive": true});
        let parameters = remote.repeatable("ssm", "GetParametersByPath", path).await?;
        survey.parameters =
            texts(&parameters["Parameters"], |parameter| parameter["Name"].as_str()).into_iter().collect();
        Ok(survey)
    }

    pub fn is_empty(&self) -> bool {
        self.stacks.is_empty() && self.named.is_empty() && self.parameters.is_empty()
    }

    pub fn names(&self, kind: Kind) -> impl Iterator<Item = &str> {
        self.named.iter().filter(move |named| named.kind == kind).map(|named| named.name.as_str())
    }

    /// Resources that exist although their stack does not.
    pub fn without_stack(&self) -> impl Iterator<Item = &Named> {
        self.named.iter().filter(|named| !self.stacks.contains_key(&named.stack))
    }
}

/// The stacks of this account and region with the wanted names, and their states.
///
/// # Errors
/// AWS refuses to list them.
pub async fn stacks(
    remote: &Remote,
    wanted: impl Fn(&str) -> bool,
) -> Result<BTreeMap<String, String>, Refusal> {
    let answer =
        remote.repeatable("cloudformation", "ListStacks", json!({"StackStatusFilter": STATES})).await?;
    let all = answer["StackSummaries"].as_array().into_iter().flatten();
    Ok(all
        .filter_map(|stack| Some((stack["StackName"].as_str()?, stack["StackStatus"].as_str()?)))
        .filter(|(name, status)| *status != "DELETE_COMPLETE" && wanted(name))
        .map(|(name, status)| (name.to_owned(), status.to_owned()))
        .collect())
}

/// The prefixes of log groups' names, for the request. Which stage they belong to is decided by whole names.
fn prefixes<'a>(names: impl Iterator<Item = &'a str>, stage: &str) -> BTreeSet<String> {
    let own = format!("ordersaga-{stage}-");
    names.filter_map(|name| Some(format!("{}{own}", name.split_once(&own)?.0))).collect()
}

fn texts(list: &Value, text: impl Fn(&Value) -> Option<&str>) -> BTreeSet<String> {
    list.as_array().into_iter().flatten().filter_map(|item| text(item).map(str::to_owned)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn log_groups_are_asked_for_by_folder_and_stage() {
        let names =
            ["/aws/lambda/ordersaga-a-x-api", "/aws/lambda/ordersaga-a-y", "/aws/v/s/ordersaga-a-saga"];
        let found = prefixes(names.into_iter(), "a");
        assert_eq!(
            found.into_iter().collect::<Vec<_>>(),
            ["/aws/lambda/ordersaga-a-", "/aws/v/s/ordersaga-a-"]
        );
    }
}
