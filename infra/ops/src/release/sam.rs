//! Runs `sam deploy` and parses its output.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::Path;
use std::process::Stdio;

use local_stack::StageConfig;
use serde::Deserialize;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::process::Command;

use crate::error::{Error, Result};

/// A line of `sam deploy --output json`.
#[derive(Debug, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Line {
    Changeset(Change),
    Event {
        status: String,
        resource_type: String,
        logical_id: String,
        reason: String,
    },
    Result(Ended),
    #[serde(other)]
    Other,
}

/// One change of a change set.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Change {
    /// `Add`, `Modify` or `Remove`.
    pub action: String,
    pub logical_id: String,
    pub resource_type: String,
    /// `True`, `False`, `Conditional` or `N/A`.
    pub replacement: String,
}

#[derive(Debug, Deserialize)]
#[serde(tag = "status", rename_all = "snake_case")]
enum Ended {
    Success,
    NoChanges,
    ChangesetCreated { changeset_id: String },
    Failure { error: Failure },
}

#[derive(Debug, Deserialize)]
struct Failure {
    message: String,
}

/// The result of one `sam deploy`.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Deployed {
    /// Empty when the stack is up to date.
    pub changes: Vec<Change>,
    /// The change set that was created and not executed.
    pub change_set: Option<String>,
}

/// The arguments for `sam` to deploy one template. `config` is infra/samconfig.toml, `extra` the options of
/// this run.
///
/// Paths must be absolute: SAM looks for a relative samconfig.toml beside the template.
///
/// # Errors
/// One of the values cannot be passed to SAM.
pub fn deploy_arguments(
    config: &Path,
    stage: &StageConfig,
    template: &Path,
    stack: &str,
    parameters: &BTreeMap<String, String>,
    extra: &[&str],
) -> Result<Vec<OsString>> {
    let mut arguments: Vec<OsString> = vec!["deploy".into(), "--template-file".into(), template.into()];
    arguments.extend(["--config-file".into(), config.into()]);
    let options = ["--config-env", &stage.section, "--region", &stage.region, "--stack-name", stack];
    arguments.extend(
        options
            .into_iter()
            .chain(["--no-progressbar", "--output", "json"])
            .chain(extra.iter().copied())
            .map(OsString::from),
    );
    arguments.push("--parameter-overrides".into());
    for (name, value) in parameters {
        arguments.push(override_argument(name, value)?.into());
    }
    Ok(arguments)
}

/// One value of `--parameter-overrides`. In this long form SAM reads no second parameter out of a value.
pub fn override_argument(name: &str, value: &str) -> Result<String> {
    // SAM removes a backslash there, and has no way to write it (samcli/cli/types.py, _unquote_wrapped_quotes).
    let is_lost = |rest: &str| rest.is_empty() || rest.starts_with(['"', '\'', ' ']);
    if value.match_indices('\\').any(|(at, _)| is_lost(&value[at + 1..])) {
        return Err(Error::Deploy(format!(
            "parameter {name} cannot be given to SAM: it has a backslash before a quote, before a space or at its end."
        )));
    }
    Ok(format!("ParameterKey={name},ParameterValue=\"{}\"", value.replace('"', "\\\"")))
}

/// Runs `sam`, and reports each resource in progress.
///
/// # Errors
/// The reasons of the failed resources, or SAM's own output.
pub async fn run(mut sam: Command, at: impl Fn(String)) -> std::result::Result<Deployed, String> {
    let cannot = |error: std::io::Error| format!("sam cannot be run: {error}");
    // A profile with MFA reads the code from the terminal and not from standard input.
    let pipes = sam.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = pipes.kill_on_drop(true).spawn().map_err(cannot)?;
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    let said = async {
        let mut text = Vec::new();
        if let Some(mut stream) = stderr {
            // A read error ends the output.
            let _ = stream.read_to_end(&mut text).await;
        }
        String::from_utf8_lossy(&text).into_owned()
    };
    let mut report = SamRun::default();
    let read = async {
        let Some(stream) = stdout else { return };
        let mut lines = BufReader::new(stream).lines();
        while let Ok(Some(line)) = lines.next_line().await {
            report.read(&line, &at);
        }
    };
    let (said, ()) = tokio::join!(said, read);
    let status = child.wait().await.map_err(cannot)?;
    if status.success() { Ok(report.deployed) } else { Err(report.why(&said, &status.to_string())) }
}

/// The parsed lines of one run.
#[derive(Debug, Default)]
struct SamRun {
    deployed: Deployed,
    failed: Vec<String>,
    message: Option<String>,
}

impl SamRun {
    fn read(&mut self, line: &str, at: impl Fn(String)) {
        // Other lines are for people; errors among them are repeated on standard error.
        let Ok(line) = serde_json::from_str(line) else { return };
        match line {
            Line::Changeset(change) => self.deployed.changes.push(change),
            Line::Event { status, resource_type, logical_id, reason } => {
                // Resources that are cancelled because another failed name no cause.
                if status.ends_with("_FAILED") && !reason.contains("cancelled") {
                    self.failed.push(format!("  {logical_id} ({resource_type}): {reason}"));
                }
                at(format!("{logical_id} {status}"));
            }
            Line::Result(Ended::ChangesetCreated { changeset_id }) => {
                self.deployed.change_set = Some(changeset_id);
            }
            Line::Result(Ended::Failure { error }) => self.message = Some(error.message),
            Line::Result(Ended::Success | Ended::NoChanges) | Line::Other => {}
        }
    }

    fn why(mut self, said: &str, status: &str) -> String {
        // The stack's own event repeats the names of the resources that failed.
        if self.failed.len() > 1 {
            self.failed.retain(|line| !line.contains("(AWS::CloudFormation::Stack)"));
        }
        if !self.failed.is_empty() {
            return self.failed.join("\n");
        }
        let lines = said.lines().filter(|line| !line.trim().is_empty());
        let lines: Vec<&str> = lines.map(|line| line.strip_prefix("Error: ").unwrap_or(line)).collect();
        let last = lines[lines.len().saturating_sub(5)..].join("\n  ");
        let words = self.message.unwrap_or(last);
        if words.is_empty() {
            format!("  sam ended with {status} and said nothing")
        } else {
            format!("  {words}")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EVENTS: &str = r#"
Uploading something for people
{"type": "info", "managed_s3_bucket": "b"}
{"type": "changeset", "action": "Add", "logical_id": "Table", "resource_type": "AWS::DynamoDB::Table", "replacement": "N/A"}
{"type": "event", "status": "CREATE_FAILED", "detailed_status": null, "resource_type": "AWS::DynamoDB::Table", "logical_id": "Table", "reason": "it exists", "timestamp": "t"}
{"type": "event", "status": "CREATE_FAILED", "detailed_status": null, "resource_type": "AWS::SQS::Queue", "logical_id": "Queue", "reason": "Resource creation cancelled", "timestamp": "t"}
{"type": "event", "status": "CREATE_FAILED", "detailed_status": null, "resource_type": "AWS::CloudFormation::Stack", "logical_id": "s", "reason": "The following resource(s) failed to create: [Table, Queue]. ", "timestamp": "t"}
{"type": "result", "status": "failure", "error": {"type": "DeployFailedError", "message": "Waiter failed", "resources": null}}
"#;

    fn read(lines: &str) -> SamRun {
        let mut report = SamRun::default();
        lines.lines().for_each(|line| report.read(line, drop));
        report
    }

    #[test]
    fn a_failure_names_the_resource_and_why() {
        assert_eq!(read(EVENTS).why("", "exit status: 1"), "  Table (AWS::DynamoDB::Table): it exists");
    }

    #[test]
    fn a_failure_before_the_first_resource_is_told_in_sams_words() {
        let line = r#"{"type": "result", "status": "failure", "error": {"type": "X", "message": "no bucket", "resources": null}}"#;
        assert_eq!(read(line).why("", "exit status: 1"), "  no bucket");
        assert_eq!(read("").why("a\n\nError: bad option\n", "exit status: 2"), "  a\n  bad option");
        assert!(read("").why("", "exit status: 2").contains("exit status: 2"));
    }

    #[test]
    fn the_changes_and_the_change_set_are_read() {
        let line = r#"{"type": "result", "status": "changeset_created", "changeset_id": "arn:1"}"#;
        let deployed = read(&format!("{EVENTS}{line}")).deployed;
        assert_eq!(deployed.changes.len(), 1);
        assert_eq!(deployed.change_set.as_deref(), Some("arn:1"));
        assert_eq!(
            read(r#"{"type": "result", "status": "no_changes", "message": "m"}"#).deployed,
            Deployed::default()
        );
    }

    #[test]
    fn a_value_that_sam_would_change_is_refused() {
        for value in ["a\\", "a\\\"b", "a\\ b", "\\'"] {
            assert!(
                override_argument("Name", value).unwrap_err().to_string().contains("backslash"),
                "{value}"
            );
        }
        assert_eq!(override_argument("Name", "C:\\x").unwrap(), "ParameterKey=Name,ParameterValue=\"C:\\x\"");
        assert_eq!(override_argument("Name", "").unwrap(), "ParameterKey=Name,ParameterValue=\"\"");
    }
}
