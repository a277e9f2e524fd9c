//! Every function by `sam local invoke`: its bootstrap in Lambda's own image, with its sample event, against the stack that
//! runs.

mod docker;
mod image;

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use local_stack::{
    AboutFile, Function, LOCAL_STAGE, Progress, REGION, Settings, StateDir, Step,
    containers::{self, Forwarder},
    deploy, invocation,
    python::{self, Purpose},
};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use shop_client::Shop;
use tokio::process::Command;

use crate::error::{Error, Result};

/// The first invocation may download the image.
const FIRST_WITHIN: Duration = Duration::from_secs(900);
/// SAM itself starts in 2 to 10 s, and ends a function at its own timeout (30 s for most).
const WITHIN: Duration = Duration::from_secs(180);
/// SAM removes its container when it is interrupted.
const END_WITHIN: Duration = Duration::from_secs(15);
/// The lines of SAM's output to show when a function gave no answer.
const LAST_LINES: usize = 6;

#[derive(Debug, clap::Args)]
pub struct SamLocal {
    /// Only this function: `orders-api`, or by its logical id, `OrdersApi`
    #[arg(long, value_name = "FUNCTION")]
    only: Option<String>,
    /// Build the functions with cargo-lambda first. Needed where this machine's C library is newer than Lambda's
    #[arg(long)]
    build: bool,
}

/// The result of one invocation.
struct Row {
    function: String,
    outcome: std::result::Result<String, String>,
    /// Milliseconds, as the runtime reports them; SAM's own time is not in it.
    duration: Option<String>,
}

/// The common parameters of all invocations.
struct Invoker<'a> {
    settings: &'a Settings,
    programs: PathBuf,
    environments: PathBuf,
    /// Holds the events, with the access token in them.
    folder: PathBuf,
    token: String,
}

impl SamLocal {
    /// # Errors
    /// No such function, no stack, no Docker, or a function does not answer.
    pub async fn run(self, settings: &Settings, progress: &Progress) -> Result<()> {
        let chosen = choose(deploy::functions(settings)?, self.only.as_deref())?;
        let state = StateDir::new(&settings.state_dir);
        let outputs = state.outputs()?;
        let running = state.running().ok_or(local_stack::Error::NotRunning)?;
        docker::answers().await?;
        let _forwarder = Forwarder::for_stack(&running, containers::host_address()).await?;
        let programs = python::environment(settings, Purpose::Deploy, progress).await?;
        if self.build {
            build_for_lambda(settings, &programs, &chosen).await?;
        }
        let login = Shop::new(&outputs.api_url).login(&outputs.admin.email, &outputs.admin.password).await;
        let shop = login.map_err(|error| Error::SamLocal(format!("the admin cannot log in: {error}")))?;
        let folder = state.path().join("sam-local");
        std::fs::create_dir_all(&folder).about("cannot make", &folder)?;
        let invoker = Invoker {
            settings,
            programs,
            environments: state.environments_file(),
            token: shop.token().unwrap_or_default().to_owned(),
            folder,
        };
        let step = progress.step(&format!("invoking {} functions", chosen.len()));
        let rows = invoker.all(&chosen, &step).await;
        // The events hold a token.
        let _ = std::fs::remove_dir_all(&invoker.folder);
        let rows = rows?;
        let failed = rows.iter().filter(|row| row.outcome.is_err()).count();
        step.done(&format!("{} of {} functions answered", rows.len() - failed, rows.len()));
        print!("{}", table(&rows));
        if failed == 0 {
            return Ok(());
        }
        let first = rows.iter().find(|row| row.outcome.is_err()).map_or("", |row| &row.function);
        let hint = image::hint(settings, &chosen);
        Err(Error::SamLocal(format!(
            "{failed} of {} functions failed. `cargo ops sam-local --only {first}` tries one again.{hint}",
            rows.len()
        )))
    }
}

/// The selected functions, preceded by those that their events depend on.
fn choose(all: Vec<Function>, only: Option<&str>) -> Result<Vec<Function>> {
    let Some(only) = only else { return Ok(all) };
    let Some(chosen) = all.iter().find(|function| function.name == only || function.logical_id == only)
    else {
        let names: Vec<&str> = all.iter().map(|function| function.name.as_str()).collect();
        return Err(Error::SamLocal(format!(
            "there is no function {only}. The functions are {}.",
            names.join(", ")
        )));
    };
    let needed = |function: &&Function| {
        invocation::NEEDS.iter().any(|(name, needs)| *name == chosen.name && *needs == function.name)
    };
    Ok(all.iter().filter(needed).chain([chosen]).cloned().collect())
}

impl Invoker<'_> {
    async fn all(&self, functions: &[Function], step: &Step) -> Result<Vec<Row>> {
        let mut rows = Vec::new();
        for (index, function) in functions.iter().enumerate() {
            step.part(index, functions.len());
            step.at(function.name.clone());
            let patience = if index == 0 { FIRST_WITHIN } else { WITHIN };
            rows.push(self.one(function, patience).await?);
        }
        Ok(rows)
    }

    async fn one(&self, function: &Function, patience: Duration) -> Result<Row> {
        let event = self.folder.join(format!("{}.json", function.name));
        let text = invocation::sample_with_token(&function.name, &self.token)?;
        std::fs::write(&event, text).about("cannot write", &event)?;
        let mut command = self.command(function, &event);
        let child = command
            .spawn()
            .map_err(|source| local_stack::Error::Command { command: "sam".into(), source })?;
        let pid = child.id();
        let started = Instant::now();
        let ended = child.wait_with_output();
        tokio::pin!(ended);
        let output = match tokio::time::timeout(patience, &mut ended).await {
            Ok(output) => output,
            Err(_) => {
                interrupt(pid);
                let _ = tokio::time::timeout(END_WITHIN, &mut ended).await;
                let outcome = Err(format!("no answer within {} s", started.elapsed().as_secs()));
                return Ok(Row { function: function.name.clone(), outcome, duration: None });
            }
        };
        let output =
            output.map_err(|source| local_stack::Error::Command { command: "sam".into(), source })?;
        let said = String::from_utf8_lossy(&output.stderr);
        // SAM exits with 0 when the function fails, so the answer decides.
        let outcome = match serde_json::from_slice::<Value>(&output.stdout) {
            Ok(answer) => invocation::outcome(&answer),
            Err(_) => Err(last_lines(&said)),
        };
        Ok(Row { function: function.name.clone(), outcome, duration: reported_duration(&said) })
    }

    fn command(&self, function: &Function, event: &Path) -> Command {
        let architecture = format!("Architecture={}", deploy::architecture());
        let mut command = python::tool(&self.programs, "sam");
        command
            .args([
                "local",
                "invoke",
                &function.logical_id,
                "--skip-pull-image",
                "--region",
                REGION,
                "--template-file",
            ])
            .arg(&function.template)
            .arg("--event")
            .arg(event)
            .arg("--env-vars")
            .arg(&self.environments)
            .args(["--parameter-overrides", &architecture, &format!("Stage={LOCAL_STAGE}")])
            .current_dir(&self.settings.root)
            .envs([("AWS_ACCESS_KEY_ID", "test"), ("AWS_SECRET_ACCESS_KEY", "test")])
            // A developer's own AWS settings must not reach the function.
            .env_remove("AWS_PROFILE")
            .env_remove("AWS_SESSION_TOKEN")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        command
    }
}

fn interrupt(pid: Option<u32>) {
    if let Some(pid) = pid.and_then(|pid| i32::try_from(pid).ok()) {
        // Gone already is what is wanted.
        let _ = kill(Pid::from_raw(pid), Signal::SIGINT);
    }
}

/// Parses a line such as `REPORT RequestId: … Init Duration: 0.11 ms Duration: 88.51 ms Billed Duration: 89
/// ms …`.
fn reported_duration(said: &str) -> Option<String> {
    let report = said.lines().rfind(|line| line.starts_with("REPORT "))?;
    let duration = report.split('\t').find_map(|part| part.trim().strip_prefix("Duration: "))?;
    duration.strip_suffix(" ms").map(str::to_owned)
}

fn last_lines(said: &str) -> String {
    let lines: Vec<&str> = said.lines().filter(|line| !line.trim().is_empty()).collect();
    lines[lines.len().saturating_sub(LAST_LINES)..].join("\n")
}

fn table(rows: &[Row]) -> String {
    let width = rows.iter().map(|row| row.function.len()).max().unwrap_or_default();
    let mut text = format!("{:<width$}  {:>9}  answer\n", "function", "ms");
    for Row { function, outcome, duration } in rows {
        let duration = duration.as_deref().unwrap_or("–");
        let (Ok(answer) | Err(answer)) = outcome;
        let answer = match outcome {
            Ok(_) => answer.clone(),
            Err(_) => console::style(format!("failed: {answer}")).red().to_string(),
        };
        text.push_str(&format!("{function:<width$}  {duration:>9}  {answer}\n"));
    }
    text
}

/// Builds functions with cargo-lambda for Lambda's image, unoptimised, at the paths that the templates use.
///
/// # Errors
/// The build fails; cargo-lambda has reported why.
async fn build_for_lambda(settings: &Settings, programs: &Path, chosen: &[Function]) -> Result<()> {
    let mut command = python::tool(programs, "cargo-lambda");
    command.args(["lambda", "build"]).current_dir(&settings.root);
    for function in chosen {
        command.args(["--bin", &function.name]);
    }
    match command.stdin(Stdio::null()).kill_on_drop(true).status().await {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(local_stack::Error::Build(format!(
            "`cargo lambda build` ended with {status}; what it said is above."
        ))
        .into()),
        Err(source) => Err(local_stack::Error::Command { command: "cargo-lambda".into(), source }.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn function(logical_id: &str, name: &str) -> Function {
        Function {
            logical_id: logical_id.into(),
            name: name.into(),
            template: "x.yaml".into(),
            routes: Vec::new(),
        }
    }

    fn names(only: &str) -> Vec<String> {
        let all = vec![
            function("InventoryCommands", "inventory-commands"),
            function("InventoryConsumer", "inventory-consumer"),
            function("OrdersApi", "orders-api"),
        ];
        choose(all, Some(only)).unwrap().into_iter().map(|function| function.name).collect()
    }

    #[test]
    fn a_function_is_known_by_both_names_and_brings_what_its_event_needs() {
        assert_eq!(names("orders-api"), ["orders-api"]);
        assert_eq!(names("OrdersApi"), ["orders-api"]);
        assert_eq!(names("inventory-consumer"), ["inventory-commands", "inventory-consumer"]);
    }

    #[test]
    fn an_unknown_function_is_answered_with_those_that_exist() {
        let error =
            choose(vec![function("OrdersApi", "orders-api")], Some("order-api")).unwrap_err().to_string();
        assert!(error.contains("order-api") && error.contains("The functions are orders-api."), "{error}");
    }

    #[test]
    fn the_duration_is_the_runtimes_and_not_what_is_billed() {
        let said = "START RequestId: 1\nREPORT RequestId: 1\tInit Duration: 0.11 ms\tDuration: 88.51 ms\tBilled Duration: 89 ms\t\n";
        assert_eq!(reported_duration(said).as_deref(), Some("88.51"));
        assert_eq!(reported_duration("Error: Running AWS SAM projects locally requires Docker."), None);
    }

    #[test]
    fn the_table_tells_failures_from_answers() {
        let rows = [
            Row {
                function: "orders-api".into(),
                outcome: Ok("200 {}".into()),
                duration: Some("88.51".into()),
            },
            Row { function: "users-relay".into(), outcome: Err("no answer".into()), duration: None },
        ];
        let text = console::strip_ansi_codes(&table(&rows)).into_owned();
        assert!(text.contains("orders-api       88.51  200 {}\n"), "{text}");
        assert!(text.contains("users-relay          –  failed: no answer\n"), "{text}");
    }
}
