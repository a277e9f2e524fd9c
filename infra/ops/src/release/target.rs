use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use futures::future::join_all;
use jiff::Timestamp;
use local_stack::{Progress, Settings, StageConfig, Template, deploy, functions, python};
use serde_json::json;
use tokio::process::Command;

use super::contract::{self, Contracts};
use super::record;
use super::sam::{self, Change, Deployed};
use super::stacks::{self, Found, Step};
use super::versions;
use crate::arch::Arch;
use crate::destroy;
use crate::error::{Error, Result};
use crate::outputs::Addresses;
use crate::preflight;
use crate::remote::Remote;
use crate::stage::Stage;

/// The pause before a retry when AWS was busy.
const BUSY_PAUSE: Duration = Duration::from_secs(5);

/// The template that the others need.
const PLATFORM: &str = "platform";

/// A context and its template.
pub type Named = (&'static str, Template);

/// A stage on AWS, and what goes there.
pub struct Target<'a> {
    pub source: Settings,
    pub programs: PathBuf,
    pub remote: Remote,
    pub stage: Stage,
    pub config: StageConfig,
    pub parameters: BTreeMap<String, String>,
    pub progress: &'a Progress,
}

fn nothing_changed(why: &[String]) -> Error {
    Error::Deploy(format!("nothing was changed.\n{}\nThen run the command again.", why.join("\n")))
}

impl Target<'_> {
    pub fn stack(&self, name: &str) -> String {
        deploy::stack_name(self.stage.name(), name)
    }

    /// The step for each stack.
    pub fn steps(
        &self,
        waves: &[Vec<Named>],
        found: &BTreeMap<String, Found>,
    ) -> Result<BTreeMap<&'static str, Step>> {
        let is_missing = |name: &str| {
            let wanted = waves.iter().flatten().any(|(wanted, _)| *wanted == name);
            !wanted && !found.contains_key(&self.stack(name))
        };
        if is_missing(PLATFORM) {
            return Err(Error::Deploy(format!(
                "stage {0} has no stack {1} yet, which all others need. Deploy the whole stage first: `cargo ops deploy \
                 --stage {0}`.",
                self.stage,
                self.stack(PLATFORM)
            )));
        }
        let mut steps = BTreeMap::new();
        let mut stuck = Vec::new();
        for (name, _) in waves.iter().flatten() {
            let stack = self.stack(name);
            let state = found.get(&stack);
            match stacks::step(&stack, state, &self.config.region) {
                Ok(step) => drop(steps.insert(*name, step)),
                Err(what) => {
                    let status = state.map_or("", |state| state.status.as_str());
                    stuck.push(format!("  {stack} is in {status}: {what}"));
                }
            }
        }
        if stuck.is_empty() {
            return Ok(steps);
        }
        Err(nothing_changed(&stuck))
    }

    /// Settings that only grow: a smaller number is refused.
    pub fn grows(&self, waves: &[Vec<Named>], found: &BTreeMap<String, Found>) -> Result<()> {
        let shrinking = waves.iter().flatten().flat_map(|(name, template)| {
            let stack = self.stack(name);
            let deployed = found.get(&stack);
            deployed.map_or_else(Vec::new, |deployed| {
                stacks::shrinking(&stack, deployed, &template.pick(&self.parameters))
            })
        });
        let shrinking: Vec<String> = shrinking.collect();
        if shrinking.is_empty() { Ok(()) } else { Err(nothing_changed(&shrinking)) }
    }

    /// Compares what these contexts would publish, read and answer with what is live: something that a context could not
    /// understand is refused. Returns the contracts of all contexts in this checkout.
    pub async fn check_contracts(
        &self,
        waves: &[Vec<Named>],
        found: &BTreeMap<String, Found>,
    ) -> Result<Contracts> {
        let contexts: Vec<&str> = deploy::names().into_iter().filter(|name| *name != PLATFORM).collect();
        let contracts = contract::of(&self.source.root, &contexts)?;
        let store = contract::Store::open(&self.remote, &self.stage).await?;
        let (live, unknown) = store.live(&contexts, found).await?;
        if !unknown.is_empty() {
            self.progress.say(&format!(
                "The contracts of {} are not stored in the stage: they were deployed by an earlier version or by other means. \
                 They are not compared.",
                unknown.join(", ")
            ));
        }
        let deployed: Vec<&str> = waves.iter().flatten().map(|(name, _)| *name).collect();
        let differences = contract::differences(&live, &contracts, &deployed, self.stage.name());
        if differences.is_empty() {
            return Ok(contracts);
        }
        Err(nothing_changed(
            &differences.iter().map(|difference| format!("  {difference}")).collect::<Vec<_>>(),
        ))
    }

    /// The content of the whole stage, whichever part of it is deployed.
    pub fn content(&self, built: bool) -> Result<String> {
        let waves = deploy::waves(&self.source).into_iter().flatten();
        let all: Vec<Named> =
            waves.map(|(name, file)| Ok((name, Template::read(&file)?))).collect::<Result<_>>()?;
        let all: Vec<(&str, &Template)> = all.iter().map(|(name, template)| (*name, template)).collect();
        record::content(&self.source.root, &all, &self.parameters, built)
    }

    /// Runs `cargo ops preflight`, and shows only checks that need an action.
    pub async fn preflight(&self, arch: Arch) -> Result<()> {
        let Self { source, stage, parameters, remote, progress, .. } = self;
        let report = preflight::examine(source, stage, arch, parameters, remote, progress).await?;
        for concern in report.concerns() {
            progress.say(&concern);
        }
        report.verdict()
    }

    /// Finds what CloudFormation would refuse, before anything is built or changed.
    pub async fn check_templates(&self, waves: &[Vec<Named>]) -> Result<()> {
        let step = self.progress.step("checking the templates");
        let mut command = self.command("cfn-lint");
        command.args(["--non-zero-exit-code", "error", "--region", &self.config.region, "--"]);
        command.args(waves.iter().flatten().map(|(_, template)| &template.file));
        let output = command
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .output()
            .await
            .map_err(|source| local_stack::Error::Command { command: "cfn-lint".into(), source })?;
        if !output.status.success() {
            let said = [output.stdout, output.stderr].concat();
            return Err(Error::Deploy(format!(
                "a template has an error, and nothing was changed:\n{}\nCorrect it and run the command again.",
                String::from_utf8_lossy(&said).trim()
            )));
        }
        step.done("the templates are well formed");
        Ok(())
    }

    /// Builds the functions of the contexts in `only`; without one, all.
    pub async fn build(&self, arch: Arch, only: &[String]) -> Result<()> {
        let packages = functions::packages(&self.source).await?;
        let names = packages.into_iter().map(|package| package.name);
        let names: Vec<String> = names.filter(|name| only.is_empty() || only.contains(name)).collect();
        if names.is_empty() {
            return Ok(());
        }
        let mut command = self.command("cargo-lambda");
        command.args(["lambda", "build", "--release", arch.build_option()]);
        command.args(names.iter().flat_map(|name| ["--package", name]));
        let status = command.stdin(Stdio::null()).kill_on_drop(true).status().await;
        let status = status
            .map_err(|source| local_stack::Error::Command { command: "cargo-lambda".into(), source })?;
        if status.success() {
            return Ok(());
        }
        Err(Error::Deploy(format!(
            "`cargo lambda build` failed ({status}); what it says is above. For a missing target, run `rustup target add \
             {}`. Nothing was changed.",
            arch.target()
        )))
    }

    /// Deploys wave after wave. All stacks of a wave end, also when one fails.
    pub async fn deploy(
        &self,
        waves: &[Vec<Named>],
        steps: &BTreeMap<&'static str, Step>,
        found: &BTreeMap<String, Found>,
        contracts: &Contracts,
    ) -> Result<()> {
        let mut left: usize = waves.iter().map(Vec::len).sum();
        for wave in waves {
            let results = join_all(wave.iter().map(async |(name, template)| {
                let step = steps.get(name).copied().unwrap_or(Step::Update);
                let result = match self.deploy_one(name, template, step, found).await {
                    Err(reasons) if is_busy(&reasons) => {
                        tokio::time::sleep(BUSY_PAUSE).await;
                        // A stack that had to be replaced has been deleted by now.
                        let step = if step == Step::Replace { Step::Create } else { step };
                        self.deploy_one(name, template, step, found).await
                    }
                    result => result,
                };
                (*name, result)
            }))
            .await;
            left -= wave.len();
            self.publish_contracts(&results, contracts).await?;
            let failed: Vec<String> = results
                .into_iter()
                .filter_map(|(name, result)| Some(format!("{}:\n{}", self.stack(name), result.err()?)))
                .collect();
            if !failed.is_empty() {
                return Err(self.failed(&failed, left));
            }
            if wave.iter().any(|(name, _)| *name == PLATFORM) && self.is_on_emulator() {
                self.make_events_topic_fifo().await?;
            }
        }
        Ok(())
    }

    /// Stores the contracts of the contexts that were deployed.
    async fn publish_contracts(
        &self,
        results: &[(&str, std::result::Result<(), String>)],
        contracts: &Contracts,
    ) -> Result<()> {
        let store = contract::Store::open(&self.remote, &self.stage).await?;
        for (name, _) in results.iter().filter(|(_, result)| result.is_ok()) {
            if let Some(contract) = contracts.get(*name) {
                store.write(name, contract).await?;
            }
        }
        Ok(())
    }

    /// In an emulator, which drops `FifoTopic` as the local stack's does (local-stack's `deploy/amend.rs`).
    async fn make_events_topic_fifo(&self) -> Result<()> {
        let name = format!("/ordersaga/{}/events-topic-arn", self.stage);
        let parameter = self.remote.call("ssm", "GetParameter", json!({"Name": name})).await?;
        let input = json!({
            "TopicArn": parameter["Parameter"]["Value"], "AttributeName": "FifoTopic", "AttributeValue": "true",
        });
        self.remote.call("sns", "SetTopicAttributes", input).await.map(drop)
    }

    fn failed(&self, failed: &[String], left: usize) -> Error {
        let later = match left {
            0 => String::new(),
            1 => " One that needs them was not begun.".to_owned(),
            more => format!(" {more} that need them were not begun."),
        };
        Error::Deploy(format!(
            "{} failed:\n\n{}\n\nThe others that were begun are deployed.{later} A stack that was new keeps what was \
             made; one that was updated is as before. Correct the cause and run the command again: it goes on from there.",
            if failed.len() == 1 { "a stack".to_owned() } else { format!("{} stacks", failed.len()) },
            failed.join("\n\n"),
        ))
    }

    /// An error is the reasons, one a line.
    async fn deploy_one(
        &self,
        name: &str,
        template: &Template,
        step: Step,
        found: &BTreeMap<String, Found>,
    ) -> std::result::Result<(), String> {
        let stack = self.stack(name);
        let shown = self.progress.step(&stack);
        if let (Step::Replace, Some(state)) = (step, found.get(&stack)) {
            shown.at("deleting what its failed creation left");
            stacks::delete(&self.remote, &stack, &state.id).await.map_err(|error| format!("  {error}"))?;
        }
        let extra: &[&str] = if step == Step::Update { &[] } else { &["--disable-rollback"] };
        let began = Timestamp::now();
        let deployed = match self.sam(&stack, template, extra, |detail| shown.at(detail)).await {
            Err(reasons) => return Err(self.with_rollbacks(reasons, &stack, template, began).await),
            Ok(deployed) => deployed,
        };
        shown.done(&match deployed.changes.len() {
            0 => format!("{stack} is unchanged"),
            1 => format!("{stack}: 1 change"),
            more => format!("{stack}: {more} changes"),
        });
        Ok(())
    }

    /// A stack's reasons with CodeDeploy's: CloudFormation only says that an alias was not updated.
    async fn with_rollbacks(
        &self,
        reasons: String,
        stack: &str,
        template: &Template,
        began: Timestamp,
    ) -> String {
        if self.parameters.get("Canary").is_none_or(|canary| canary != "true") {
            return reasons;
        }
        match versions::rolled_back(&self.remote, stack, template, began).await {
            Ok(lines) if lines.is_empty() => reasons,
            Ok(lines) => format!(
                "{}\n{reasons}\n  See \"A new version is rolled back\" in infra/RUNBOOK.md.",
                lines.join("\n")
            ),
            Err(error) => {
                format!("{reasons}\n  Whether CodeDeploy rolled a version back is not known: {error}")
            }
        }
    }

    /// Prints what would change. Change sets that this takes are deleted.
    pub async fn diff(&self, waves: &[Vec<Named>], steps: &BTreeMap<&'static str, Step>) -> Result<()> {
        for wave in waves {
            let results = join_all(wave.iter().map(async |(name, template)| {
                let step = steps.get(name).copied().unwrap_or(Step::Update);
                (*name, self.diff_one(name, template, step).await)
            }))
            .await;
            for (name, result) in results {
                let stack = self.stack(name);
                match result {
                    Ok(text) => println!("{stack}: {text}"),
                    Err(reasons) => {
                        return Err(Error::Deploy(format!(
                            "nothing was changed. The change set of {stack} cannot be made:\n{reasons}"
                        )));
                    }
                }
            }
        }
        Ok(())
    }

    async fn diff_one(
        &self,
        name: &str,
        template: &Template,
        step: Step,
    ) -> std::result::Result<String, String> {
        let stack = self.stack(name);
        match step {
            // A change set would leave a stack behind, and needs parameters that an earlier stack has yet to write.
            Step::Create => return Ok("is created, or goes on being created".to_owned()),
            Step::Replace => return Ok("is deleted and made again: its creation was rolled back".to_owned()),
            Step::Update => {}
        }
        let shown = self.progress.step(&stack);
        let options = ["--no-execute-changeset"];
        let deployed = self.sam(&stack, template, &options, |detail| shown.at(detail)).await;
        let made = deployed.as_ref().ok().and_then(|deployed| deployed.change_set.as_deref());
        let cleared = self.delete_change_sets(&stack, made).await;
        let deployed = deployed?;
        cleared.map_err(|error| format!("  {error}"))?;
        Ok(described(&deployed.changes))
    }

    /// The one that was made, and those that failed: one without changes counts as failed, and SAM leaves it.
    async fn delete_change_sets(&self, stack: &str, made: Option<&str>) -> Result<()> {
        let input = json!({"StackName": stack});
        let listed = self.remote.call("cloudformation", "ListChangeSets", input).await?;
        for set in listed["Summaries"].as_array().into_iter().flatten() {
            let id = set["ChangeSetId"].as_str();
            if id.is_some() && (id == made || set["Status"] == "FAILED") {
                self.remote.call("cloudformation", "DeleteChangeSet", json!({"ChangeSetName": id})).await?;
            }
        }
        Ok(())
    }

    async fn sam(
        &self,
        stack: &str,
        template: &Template,
        extra: &[&str],
        at: impl Fn(String),
    ) -> std::result::Result<Deployed, String> {
        let failed = |error: Error| format!("  {error}");
        let parameters = self.versioned(template).await.map_err(failed)?;
        let command = self.sam_command(stack, template, &parameters, extra).map_err(failed)?;
        sam::run(command, at).await
    }

    /// The template's parameters, with the fingerprint by which it publishes new versions of its functions.
    async fn versioned(&self, template: &Template) -> Result<BTreeMap<String, String>> {
        let mut parameters = template.pick(&self.parameters);
        // An earlier revision has none (--rev).
        if !template.parameters.contains(versions::FINGERPRINT) {
            return Ok(parameters);
        }
        let stored = versions::stored(&self.remote, &self.stage).await?;
        let fingerprint = record::of_functions(&self.source.root, template, &parameters, &stored)?;
        parameters.insert(versions::FINGERPRINT.to_owned(), fingerprint);
        Ok(parameters)
    }

    pub fn sam_command(
        &self,
        stack: &str,
        template: &Template,
        parameters: &BTreeMap<String, String>,
        extra: &[&str],
    ) -> Result<Command> {
        let config = self.source.samconfig();
        // The artifacts have the stage's name as their prefix, so that they can be removed with it.
        let prefix = destroy::artifacts_of(&self.stage);
        let options = [&["--s3-prefix", prefix.trim_end_matches('/')], extra].concat();
        let arguments =
            sam::deploy_arguments(&config, &self.config, &template.file, stack, parameters, &options)?;
        let mut command = self.command("sam");
        command.args(arguments);
        Ok(command)
    }

    fn command(&self, program: &str) -> Command {
        let mut command = python::tool(&self.programs, program);
        command.current_dir(&self.source.root).env("CARGO_TARGET_DIR", &self.source.target);
        command
    }

    /// The templates' own condition.
    fn is_on_emulator(&self) -> bool {
        self.parameters.get("EndpointUrl").is_some_and(|url| !url.is_empty())
    }

    pub async fn print_addresses(&self) -> Result<()> {
        let found = Addresses::read(&self.remote, &self.stage).await?;
        let Addresses { storefront_url, api_url, websocket_url, .. } = found;
        self.progress.say(&format!(
            "\n  shop      {storefront_url}\n  API       {api_url}\n  live      {websocket_url}\n"
        ));
        Ok(())
    }
}

/// Whether the failure was caused by a concurrent deployment: the stacks of a wave create routes of the same
/// API, and two first deployments of an account create SAM's bucket at the same time.
pub fn is_busy(reasons: &str) -> bool {
    [
        "concurrent modification",
        "Rate exceeded",
        "Throttling",
        "TooManyRequests",
        "missing the managed source bucket",
    ]
    .iter()
    .any(|words| reasons.contains(words))
}

/// A change set for people, one change a line.
pub fn described(changes: &[Change]) -> String {
    if changes.is_empty() {
        return "no changes".to_owned();
    }
    let lines = changes.iter().map(|change| {
        let what = match (change.action.as_str(), change.replacement.as_str()) {
            ("Add", _) => "+ add",
            ("Remove", _) => "- remove",
            (_, "True") => "! replace",
            (_, "Conditional") => "! may replace",
            _ => "~ change",
        };
        format!("\n  {what:<13} {} ({})", change.logical_id, change.resource_type)
    });
    let count = if changes.len() == 1 { "1 change".to_owned() } else { format!("{} changes", changes.len()) };
    count + &lines.collect::<String>()
}
