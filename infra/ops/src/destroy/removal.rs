//! The steps of a removal. Each lists what exists and may be repeated.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use local_stack::{Progress, deploy};
use serde_json::{Value, json};

use crate::error::{Error, Result};
use crate::footprint::{Footprint, Kind};
use crate::remote::{Refusal, Remote};
use crate::stage::Stage;
use crate::stripe;
use crate::survey::{self, Survey};

/// A stack of functions takes some minutes. A deletion that fails does so within the hour.
const STACKS_WITHIN: Duration = Duration::from_secs(60 * 60);
const TABLES_WITHIN: Duration = Duration::from_secs(10 * 60);
/// An emulator is done at once, CloudFormation throttles.
const FIRST_LOOK: Duration = Duration::from_millis(300);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// Looks in a row that show a failed deletion.
const CERTAIN: u32 = 3;
/// Retries of failed stack deletions.
const AGAIN: u32 = 2;
/// S3's limit of objects to delete in one call.
const OBJECTS: usize = 1000;
/// The limit of Systems Manager for one call.
const PARAMETERS: usize = 10;
/// The least that Secrets Manager keeps a secret for.
const RECOVERY_DAYS: u64 = 7;
/// SAM's stack for `--resolve-s3`, one for each account and region.
const SAM_STACK: &str = "aws-sam-cli-managed-default";

pub struct Removal<'a> {
    pub remote: &'a Remote,
    pub stage: &'a Stage,
    pub footprint: &'a Footprint,
    /// The caller's, for the partition and account of others.
    pub arn: &'a str,
    pub keep_data: bool,
    pub progress: &'a Progress,
}

impl Removal<'_> {
    /// # Errors
    /// A stack is being changed by another.
    pub fn is_possible(&self, survey: &Survey) -> Result<()> {
        let busy: Vec<String> = survey
            .stacks
            .iter()
            .filter(|(_, status)| is_changing(status))
            .map(|(name, status)| format!("{name} ({status})"))
            .collect();
        if busy.is_empty() {
            return Ok(());
        }
        Err(Error::Stage(format!(
            "the stage is being changed: {}. Nothing was removed. Wait until that has ended, or end it (`aws \
             cloudformation cancel-update-stack --stack-name …`), and run the command again.",
            busy.join(", ")
        )))
    }

    /// Lists what is about to be removed.
    pub async fn announcement(&self, survey: &Survey, place: &str) -> Result<String> {
        let mut lines = vec![format!("stage {} in {place}:", self.stage)];
        lines.push(format!("  {} stacks with their functions, queues and APIs", survey.stacks.len()));
        for table in survey.names(Kind::Table) {
            let about = self.table(table).await?;
            let items = about["ItemCount"].as_u64().unwrap_or_default();
            let fate = if self.keep_data { "is kept" } else { "is deleted with all it holds" };
            // DynamoDB counts every six hours.
            lines.push(format!("  table {table}, {items} items some hours ago: {fate}"));
        }
        for secret in survey.names(Kind::Secret) {
            let fate = if self.stage.is_production() {
                format!("is deleted, and can be restored for {RECOVERY_DAYS} days")
            } else {
                "is deleted".to_owned()
            };
            lines.push(format!("  secret {secret}: {fate}"));
        }
        Ok(lines.join("\n"))
    }

    /// In the order in which nothing still needs what goes. Answers what it left, for the report.
    ///
    /// # Errors
    /// AWS refuses.
    pub async fn everything(&self, survey: &Survey) -> Result<Vec<String>> {
        let mut notes = Vec::new();
        notes.extend(self.webhook(survey).await);
        if !self.keep_data {
            self.unprotect(survey).await?;
        }
        self.stop_sagas().await?;
        for wave in self.footprint.waves.iter().rev() {
            self.stacks(wave).await?;
        }
        // A later run does not look for SAM's uploads in a stage that has nothing else. So tables, which take
        // longest, go last.
        notes.extend(self.artifacts().await?);
        self.secrets().await?;
        self.log_groups().await?;
        self.parameters().await?;
        if !self.keep_data {
            self.tables().await?;
        }
        notes.push(
            "the keys that signed tokens: KMS deletes them 30 days after their stack, and takes no money meanwhile".to_owned(),
        );
        notes.push(
            "senders that are verified in SES, and what CloudWatch and X-Ray keep for a time".to_owned(),
        );
        Ok(notes)
    }

    /// Stripe would go on telling an address that is gone, and write to its owner about that.
    async fn webhook(&self, survey: &Survey) -> Option<String> {
        let payments = deploy::stack_name(self.stage.name(), "payments");
        survey.stacks.get(&payments)?;
        let step = self.progress.step("removing the webhook at Stripe");
        let removed = async {
            let url = self.stripe_url(&payments).await?;
            stripe::remove_webhook(self.remote, self.stage, &url).await
        };
        match removed.await {
            Ok(0) => None,
            Ok(count) => {
                step.done(&format!("removed {count} webhook endpoints at Stripe"));
                None
            }
            Err(error) => Some(format!(
                "the webhook at Stripe, if there is one: remove it in Stripe's dashboard (Developers, Webhooks). {error}"
            )),
        }
    }

    /// The gateway that the stage's payments use.
    async fn stripe_url(&self, payments: &str) -> Result<String> {
        let found = self.call("cloudformation", "DescribeStacks", json!({"StackName": payments})).await?;
        let mut parameters = found["Stacks"][0]["Parameters"].as_array().into_iter().flatten();
        let url = parameters.find(|parameter| parameter["ParameterKey"] == "StripeUrl");
        url.and_then(|url| url["ParameterValue"].as_str())
            .map(str::to_owned)
            .ok_or_else(|| Error::Stage(format!("stack {payments} does not say which gateway it uses.")))
    }

    async fn unprotect(&self, survey: &Survey) -> Result<()> {
        for table in survey.names(Kind::Table) {
            if self.table(table).await?["DeletionProtectionEnabled"] == true {
                let input = json!({"TableName": table, "DeletionProtectionEnabled": false});
                self.call("dynamodb", "UpdateTable", input).await?;
            }
        }
        Ok(())
    }

    /// A state machine is gone only when its last execution is, and an order that waits for its payment takes a quarter
    /// of an hour.
    async fn stop_sagas(&self) -> Result<()> {
        let Some(machine) = state_machine(self.arn, self.remote.region(), self.stage.name()) else {
            return Ok(());
        };
        let input = json!({"stateMachineArn": machine, "statusFilter": "RUNNING"});
        let running = match self.remote.repeatable("stepfunctions", "ListExecutions", input).await {
            Ok(running) => running["executions"].as_array().cloned().unwrap_or_default(),
            Err(refusal) if refusal.is_not_found() => return Ok(()),
            Err(refusal) => return Err(refusal.into()),
        };
        if running.is_empty() {
            return Ok(());
        }
        let step = self.progress.step("stopping orders that are under way");
        for (index, execution) in running.iter().enumerate() {
            step.part(index, running.len());
            let input =
                json!({"executionArn": execution["executionArn"], "cause": "the stage is being removed"});
            // It may have ended by itself.
            self.gone("stepfunctions", "StopExecution", input).await?;
        }
        step.done(&format!("stopped {} orders that were under way", running.len()));
        Ok(())
    }

    /// Side by side.
    async fn stacks(&self, wave: &[String]) -> Result<()> {
        let mine = |name: &str| wave.iter().any(|stack| stack == name);
        let found = survey::stacks(self.remote, mine).await?;
        if found.is_empty() {
            return Ok(());
        }
        let total = found.len();
        let step = self.progress.step(&format!("deleting {}", counted(total, "stack")));
        for (name, _) in found.iter().filter(|(_, status)| *status != "DELETE_IN_PROGRESS") {
            self.delete_stack(name).await?;
        }
        // The first status may be of an earlier run's failure, and concurrent deletions of routes of one API
        // can conflict.
        let (mut failures, mut again) = (0, AGAIN);
        self.until(STACKS_WITHIN, "the stacks are not gone", async || {
            let left = survey::stacks(self.remote, mine).await?;
            step.part(total - left.len().min(total), total);
            step.at(left.keys().map(String::as_str).collect::<Vec<_>>().join(", "));
            let failed: Vec<&String> =
                left.iter().filter(|(_, status)| *status == "DELETE_FAILED").map(|(name, _)| name).collect();
            failures = if failed.is_empty() { 0 } else { failures + 1 };
            if failures >= CERTAIN {
                let Some(fewer) = again.checked_sub(1) else { return Err(self.reasons(&failed).await) };
                (failures, again) = (0, fewer);
                for name in failed {
                    self.delete_stack(name).await?;
                }
            }
            Ok(left.is_empty())
        })
        .await?;
        step.done(&format!("deleted {}", found.into_keys().collect::<Vec<_>>().join(", ")));
        Ok(())
    }

    async fn delete_stack(&self, name: &str) -> Result<()> {
        let input = json!({"StackName": name});
        let deleted = self.call("cloudformation", "DeleteStack", input).await;
        deleted.map(drop).map_err(|refusal| cannot_delete(name, refusal))
    }

    /// Why the deletion of stacks failed.
    async fn reasons(&self, stacks: &[&String]) -> Error {
        let mut reasons = BTreeSet::new();
        for stack in stacks {
            let input = json!({"StackName": stack});
            // Without the events, the error still names the stacks.
            let events = self.call("cloudformation", "DescribeStackEvents", input).await.unwrap_or_default();
            reasons.extend(failures(&events).map(|reason| format!("  {stack}: {reason}")));
        }
        let stacks: Vec<&str> = stacks.iter().map(|stack| stack.as_str()).collect();
        Error::Stage(format!(
            "{} cannot be deleted:\n{}\nCorrect that and run the command again; it goes on where it stopped.",
            stacks.join(", "),
            reasons.into_iter().collect::<Vec<_>>().join("\n")
        ))
    }

    /// A table that is being changed, by the end of its protection for example, cannot be deleted yet: each look tries.
    async fn tables(&self) -> Result<()> {
        let found = self.look().await?;
        let tables: Vec<&str> = found.names(Kind::Table).collect();
        if tables.is_empty() {
            return Ok(());
        }
        let step = self.progress.step(&format!("deleting {}", counted(tables.len(), "table")));
        // Protected again, when its stack was deployed between two runs.
        self.unprotect(&found).await?;
        self.until(TABLES_WITHIN, "the tables are not gone", async || {
            let survey = self.look().await?;
            let left: Vec<&str> = survey.names(Kind::Table).collect();
            step.part(tables.len() - left.len().min(tables.len()), tables.len());
            for table in &left {
                if self.table(table).await?["TableStatus"] == "ACTIVE" {
                    self.gone("dynamodb", "DeleteTable", json!({"TableName": table})).await?;
                }
            }
            Ok(left.is_empty())
        })
        .await?;
        step.done(&format!("deleted {}", tables.join(", ")));
        Ok(())
    }

    /// Outside production at once: the secrets hold copies of what the providers have, and a secret that waits for its deletion
    /// blocks the next deployment. In production it can be restored.
    async fn secrets(&self) -> Result<()> {
        let found = self.look().await?;
        let waiting = found.scheduled.iter().map(|(name, _)| name.as_str());
        let names: Vec<&str> = if self.stage.is_production() {
            found.names(Kind::Secret).collect()
        } else {
            found.names(Kind::Secret).chain(waiting).collect()
        };
        for name in names {
            let input = if self.stage.is_production() {
                json!({"SecretId": name, "RecoveryWindowInDays": RECOVERY_DAYS})
            } else {
                json!({"SecretId": name, "ForceDeleteWithoutRecovery": true})
            };
            self.gone("secretsmanager", "DeleteSecret", input).await?;
            self.progress.say(&format!("deleted secret {name}"));
        }
        Ok(())
    }

    /// A function's last line makes its log group again when that went first.
    async fn log_groups(&self) -> Result<()> {
        let found = self.look().await?;
        let groups: Vec<&str> = found.names(Kind::LogGroup).collect();
        for group in &groups {
            self.gone("logs", "DeleteLogGroup", json!({"logGroupName": group})).await?;
        }
        if !groups.is_empty() {
            self.progress.say(&format!("deleted {}", counted(groups.len(), "log group")));
        }
        Ok(())
    }

    async fn parameters(&self) -> Result<()> {
        let found = self.look().await?;
        for names in found.parameters.chunks(PARAMETERS) {
            self.call("ssm", "DeleteParameters", json!({"Names": names})).await?;
        }
        Ok(())
    }

    /// Deletes SAM's uploads for this stage, all versions. Returns a note about the bucket that remains.
    async fn artifacts(&self) -> Result<Option<String>> {
        let Some(bucket) = artifacts_bucket(self.remote).await? else { return Ok(None) };
        let input = json!({"Bucket": bucket, "Prefix": artifacts_of(self.stage)});
        let listed = self.call("s3", "ListObjectVersions", input).await?;
        let objects = versions(&listed);
        for some in objects.chunks(OBJECTS) {
            let input = json!({"Bucket": bucket, "Delete": {"Objects": some, "Quiet": true}});
            let answer = self.call("s3", "DeleteObjects", input).await?;
            if let Some(error) = answer["Errors"].as_array().and_then(|errors| errors.first()) {
                return Err(Error::Stage(format!("S3 keeps objects of the stage in {bucket}: {error}")));
            }
        }
        if !objects.is_empty() {
            self.progress
                .say(&format!("deleted {} in {bucket}", counted(objects.len(), "uploaded artifact")));
        }
        Ok(Some(format!("the bucket {bucket} of SAM (stack {SAM_STACK}), which other deployments share")))
    }

    async fn look(&self) -> Result<Survey> {
        Ok(Survey::take(self.remote, self.footprint, self.stage.name()).await?)
    }

    async fn table(&self, name: &str) -> Result<Value> {
        match self.remote.repeatable("dynamodb", "DescribeTable", json!({"TableName": name})).await {
            Ok(mut answer) => Ok(answer["Table"].take()),
            Err(refusal) if refusal.is_not_found() => Ok(Value::Null),
            Err(refusal) => Err(refusal.into()),
        }
    }

    async fn call(
        &self,
        service: &str,
        operation: &str,
        input: Value,
    ) -> std::result::Result<Value, Refusal> {
        self.remote.repeatable(service, operation, input).await
    }

    /// A deletion of what may be gone, or going, already.
    async fn gone(&self, service: &str, operation: &str, input: Value) -> Result<()> {
        match self.call(service, operation, input).await {
            Ok(_) => Ok(()),
            Err(refusal) if refusal.is_not_found() || refusal.code == "ResourceInUseException" => Ok(()),
            Err(refusal) => Err(refusal.into()),
        }
    }

    async fn until(
        &self,
        within: Duration,
        what: &str,
        mut probe: impl AsyncFnMut() -> Result<bool>,
    ) -> Result<()> {
        let deadline = Instant::now() + within;
        let mut pause = FIRST_LOOK;
        loop {
            tokio::time::sleep(pause).await;
            if probe().await? {
                return Ok(());
            }
            if Instant::now() > deadline {
                let minutes = within.as_secs() / 60;
                return Err(Error::Stage(format!(
                    "{what} after {minutes} minutes. Look at them in the console and run the command again; it goes on \
                     where it stopped."
                )));
            }
            pause = (pause * 3 / 2).min(LONGEST_PAUSE);
        }
    }
}

/// The bucket of SAM's uploads, once a first deployment has made it.
///
/// # Errors
/// AWS refuses.
pub async fn artifacts_bucket(remote: &Remote) -> Result<Option<String>> {
    let input = json!({"StackName": SAM_STACK, "LogicalResourceId": "SamCliSourceBucket"});
    match remote.repeatable("cloudformation", "DescribeStackResource", input).await {
        Ok(found) => Ok(found["StackResourceDetail"]["PhysicalResourceId"].as_str().map(str::to_owned)),
        Err(refusal) if refusal.is_not_found() => Ok(None),
        Err(refusal) => Err(refusal.into()),
    }
}

/// The prefix of SAM's uploads for a stage. The slash ends the stage's name.
pub fn artifacts_of(stage: &Stage) -> String {
    format!("ordersaga-{stage}/")
}

/// A deletion that is under way may be waited for.
fn is_changing(status: &str) -> bool {
    status.ends_with("_IN_PROGRESS") && !["DELETE_IN_PROGRESS", "REVIEW_IN_PROGRESS"].contains(&status)
}

/// The resources that could not be deleted, each with its reason.
fn failures(events: &Value) -> impl Iterator<Item = String> {
    let all = events["StackEvents"].as_array().into_iter().flatten();
    let failed = all.filter(|event| event["ResourceStatus"] == "DELETE_FAILED");
    failed.filter_map(|event| {
        let text = |key: &str| event[key].as_str();
        Some(format!("{}: {}", text("LogicalResourceId")?, text("ResourceStatusReason")?))
    })
}

fn cannot_delete(stack: &str, refusal: Refusal) -> Error {
    if refusal.message.contains("TerminationProtection") {
        return Error::Stage(format!(
            "stack {stack} is protected against deletion. Allow it with `aws cloudformation \
             update-termination-protection --no-enable-termination-protection --stack-name {stack}`, and run the command \
             again."
        ));
    }
    refusal.into()
}

/// The machine's ARN, in the caller's partition and account.
fn state_machine(caller: &str, region: &str, stage: &str) -> Option<String> {
    let mut parts = caller.split(':');
    let (partition, account) = (parts.nth(1)?, parts.nth(2)?);
    Some(format!("arn:{partition}:states:{region}:{account}:stateMachine:ordersaga-{stage}-order-saga"))
}

fn versions(listed: &Value) -> Vec<Value> {
    let of = |key: &str| listed[key].as_array().cloned().unwrap_or_default();
    of("Versions")
        .into_iter()
        .chain(of("DeleteMarkers"))
        .map(|version| json!({"Key": version["Key"], "VersionId": version["VersionId"]}))
        .collect()
}

fn counted(count: usize, what: &str) -> String {
    if count == 1 { format!("1 {what}") } else { format!("{count} {what}s") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stack_is_left_alone_while_another_changes_it() {
        assert!(is_changing("UPDATE_IN_PROGRESS") && is_changing("ROLLBACK_IN_PROGRESS"));
        for fine in ["DELETE_IN_PROGRESS", "DELETE_FAILED", "ROLLBACK_FAILED", "CREATE_COMPLETE"] {
            assert!(!is_changing(fine), "{fine}");
        }
    }

    #[test]
    fn the_saga_is_found_in_the_callers_account_and_partition() {
        let arn = state_machine("arn:aws-cn:iam::123456789012:user/ada", "cn-north-1", "pr-1");
        assert_eq!(
            arn.unwrap(),
            "arn:aws-cn:states:cn-north-1:123456789012:stateMachine:ordersaga-pr-1-order-saga"
        );
    }

    #[test]
    fn every_version_of_an_artifact_is_deleted_and_markers_too() {
        let listed = json!({
            "Versions": [{"Key": "ordersaga-a/1", "VersionId": "v1", "Size": 3}],
            "DeleteMarkers": [{"Key": "ordersaga-a/2", "VersionId": "v2"}],
        });
        assert_eq!(
            versions(&listed),
            [
                json!({"Key": "ordersaga-a/1", "VersionId": "v1"}),
                json!({"Key": "ordersaga-a/2", "VersionId": "v2"})
            ]
        );
    }

    #[test]
    fn artifacts_of_a_stage_are_below_its_whole_name() {
        let of = |name: &str| artifacts_of(&name.parse().unwrap());
        assert!(!of("pr-17").starts_with(&of("pr-1")) && !of("pr-1-x").starts_with(&of("pr-1")));
    }

    #[test]
    fn each_resource_that_stays_is_named_with_its_reason() {
        let event = |status: &str, reason: &str| json!({"LogicalResourceId": "Table", "ResourceStatus": status, "ResourceStatusReason": reason});
        let events =
            json!({"StackEvents": [event("DELETE_FAILED", "it is in use"), event("DELETE_COMPLETE", "")]});
        assert_eq!(failures(&events).collect::<Vec<_>>(), ["Table: it is in use"]);
    }

    #[test]
    fn a_protected_stack_is_explained() {
        let refusal = Refusal {
            operation: "DeleteStack".into(),
            code: "ValidationError".into(),
            message: "Stack [x] cannot be deleted while TerminationProtection is enabled".into(),
        };
        assert!(cannot_delete("x", refusal).to_string().contains("update-termination-protection"));
    }
}
