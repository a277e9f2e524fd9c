use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use roxmltree::{Document, Node};
use sha2::{Digest, Sha256};

use super::artifacts;
use crate::emulator::Emulator;
use crate::error::{Error, Result};
use crate::settings::Settings;

const VERSION: &str = "2010-05-15";
const POLL: Duration = Duration::from_millis(200);
/// A stack takes the emulator a second or two; on a machine that also compiles, some ten.
const PATIENCE: Duration = Duration::from_secs(180);

/// One template with its parameters, ready to go.
#[derive(Debug)]
pub struct Stack {
    pub name: String,
    pub file: PathBuf,
    pub body: String,
    pub parameters: BTreeMap<String, String>,
    /// The binaries of the functions that have the platform's alias.
    pub functions: Vec<String>,
}

impl Stack {
    /// Equal when nothing that goes in has changed.
    pub fn fingerprint(&self) -> String {
        let mut hash = Sha256::new();
        hash.update(&self.body);
        for (name, value) in &self.parameters {
            hash.update(format!("\0{name}={value}"));
        }
        hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
    }

    pub async fn exists(&self, emulator: &Emulator) -> Result<bool> {
        Ok(status(emulator, &self.name).await?.is_some_and(|status| status.is_settled()))
    }

    /// Creates or updates it and waits.
    pub async fn deploy(&self, emulator: &Emulator, settings: &Settings) -> Result<()> {
        let exists = match status(emulator, &self.name).await? {
            Some(status) if status.is_unusable() => {
                self.delete(emulator).await?;
                false
            }
            found => found.is_some(),
        };
        let action = if exists { "UpdateStack" } else { "CreateStack" };
        let url = artifacts::upload_template(emulator, &self.name, &self.body).await?;
        match emulator.query("cloudformation", action, VERSION, &self.form(url)).await {
            Err(Error::Refused { reason, .. }) if reason.contains("No updates are to be performed") => {
                return Ok(());
            }
            Err(Error::Refused { reason, .. }) => return Err(self.failed(settings, reason)),
            other => other.map(drop)?,
        }
        let status = self.settled(emulator).await?;
        if status.is_success() {
            return Ok(());
        }
        Err(self.failed(settings, self.reasons(emulator).await?))
    }

    fn form(&self, template_url: String) -> Vec<(String, String)> {
        let mut form = vec![
            ("StackName".to_owned(), self.name.clone()),
            ("TemplateURL".to_owned(), template_url),
            ("Capabilities.member.1".to_owned(), "CAPABILITY_NAMED_IAM".to_owned()),
            ("Capabilities.member.2".to_owned(), "CAPABILITY_AUTO_EXPAND".to_owned()),
        ];
        for (index, (name, value)) in self.parameters.iter().enumerate() {
            form.push((format!("Parameters.member.{}.ParameterKey", index + 1), name.clone()));
            form.push((format!("Parameters.member.{}.ParameterValue", index + 1), value.clone()));
        }
        form
    }

    async fn settled(&self, emulator: &Emulator) -> Result<Status> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            match status(emulator, &self.name).await? {
                Some(status) if status.is_settled() => return Ok(status),
                _ if Instant::now() > deadline => {
                    return Err(Error::Deploy(format!(
                        "stack {} did not finish within {} s. Run `cargo ops down`, then `cargo ops up`.",
                        self.name,
                        PATIENCE.as_secs()
                    )));
                }
                _ => tokio::time::sleep(POLL).await,
            }
        }
    }

    async fn delete(&self, emulator: &Emulator) -> Result<()> {
        let form = [("StackName".to_owned(), self.name.clone())];
        emulator.query("cloudformation", "DeleteStack", VERSION, &form).await?;
        let deadline = Instant::now() + PATIENCE;
        while status(emulator, &self.name).await?.is_some_and(|status| !status.is_deleted()) {
            if Instant::now() > deadline {
                break;
            }
            tokio::time::sleep(POLL).await;
        }
        Ok(())
    }

    /// The failed resources and why, without those that were only cancelled because of them.
    async fn reasons(&self, emulator: &Emulator) -> Result<String> {
        let form = [("StackName".to_owned(), self.name.clone())];
        let xml = emulator.query("cloudformation", "DescribeStackEvents", VERSION, &form).await?;
        Ok(failed_resources(&xml))
    }

    fn failed(&self, settings: &Settings, reasons: String) -> Error {
        let template = self.file.strip_prefix(&settings.root).unwrap_or(&self.file).display().to_string();
        Error::StackFailed { stack: self.name.clone(), template, reasons }
    }
}

/// CloudFormation's name for what a stack is at.
#[derive(Debug, PartialEq, Eq)]
struct Status(String);

impl Status {
    fn is_settled(&self) -> bool {
        !self.0.ends_with("_IN_PROGRESS")
    }

    fn is_success(&self) -> bool {
        matches!(self.0.as_str(), "CREATE_COMPLETE" | "UPDATE_COMPLETE")
    }

    fn is_deleted(&self) -> bool {
        self.0 == "DELETE_COMPLETE"
    }

    /// Cannot be updated, only deleted.
    fn is_unusable(&self) -> bool {
        matches!(self.0.as_str(), "ROLLBACK_COMPLETE" | "ROLLBACK_FAILED" | "CREATE_FAILED" | "DELETE_FAILED")
    }
}

async fn status(emulator: &Emulator, name: &str) -> Result<Option<Status>> {
    let form = [("StackName".to_owned(), name.to_owned())];
    match emulator.query("cloudformation", "DescribeStacks", VERSION, &form).await {
        Err(Error::Refused { reason, .. }) if reason.contains("does not exist") => Ok(None),
        answer => Ok(members(&answer?)
            .into_iter()
            .next()
            .map(|(_, status)| Status(status))
            .filter(|s| !s.is_deleted())),
    }
}

/// All stacks: name and status.
pub async fn list(emulator: &Emulator) -> Result<Vec<(String, String)>> {
    Ok(members(&emulator.query("cloudformation", "DescribeStacks", VERSION, &[]).await?))
}

fn members(xml: &str) -> Vec<(String, String)> {
    let Ok(document) = Document::parse(xml) else { return Vec::new() };
    document
        .descendants()
        .filter(|node| child(*node, "StackName").is_some() && child(*node, "StackStatus").is_some())
        .filter_map(|node| Some((child(node, "StackName")?, child(node, "StackStatus")?)))
        .collect()
}

fn failed_resources(xml: &str) -> String {
    let Ok(document) = Document::parse(xml) else { return xml.to_owned() };
    let mut lines: Vec<String> = document
        .descendants()
        .filter(|node| child(*node, "ResourceStatus").is_some_and(|status| status.ends_with("FAILED")))
        .filter_map(|node| {
            let reason =
                child(node, "ResourceStatusReason").unwrap_or_else(|| "no reason was recorded".into());
            let resource = child(node, "LogicalResourceId")?;
            let kind = child(node, "ResourceType").unwrap_or_default();
            (!reason.contains("cancelled")).then(|| format!("  {resource} ({kind}): {reason}"))
        })
        .collect();
    // Newest first, as CloudFormation answers; the cause is the oldest.
    lines.reverse();
    lines.dedup();
    if lines.is_empty() {
        "  the stack's events name no failed resource".to_owned()
    } else {
        lines.join("\n")
    }
}

fn child(node: Node<'_, '_>, name: &str) -> Option<String> {
    node.children().find(|child| child.tag_name().name() == name)?.text().map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stack(body: &str, stage: &str) -> Stack {
        Stack {
            name: "s".into(),
            file: "f".into(),
            body: body.into(),
            parameters: BTreeMap::from([("Stage".into(), stage.into())]),
            functions: Vec::new(),
        }
    }

    #[test]
    fn a_fingerprint_changes_with_the_template_and_with_a_parameter() {
        assert_eq!(stack("a", "local").fingerprint(), stack("a", "local").fingerprint());
        assert_ne!(stack("a", "local").fingerprint(), stack("b", "local").fingerprint());
        assert_ne!(stack("a", "local").fingerprint(), stack("a", "dev").fingerprint());
    }

    #[test]
    fn a_failure_names_the_resource_and_the_reason_that_came_first() {
        let event = |id: &str, status: &str, reason: &str| {
            format!(
                "<member><LogicalResourceId>{id}</LogicalResourceId><ResourceType>T</ResourceType><ResourceStatus>{status}</ResourceStatus><ResourceStatusReason>{reason}</ResourceStatusReason></member>"
            )
        };
        let xml = format!(
            "<R xmlns=\"x\">{}{}{}</R>",
            event("Queue", "CREATE_FAILED", "Resource creation cancelled"),
            event("Table", "CREATE_FAILED", "name too short"),
            event("Topic", "CREATE_COMPLETE", "")
        );
        assert_eq!(failed_resources(&xml), "  Table (T): name too short");
    }
}
