//! Building for AWS and deploying there, with cargo-lambda and SAM.

mod sam;

use std::io::{BufRead, IsTerminal};
use std::path::{Path, PathBuf};
use std::process::Stdio;

use tokio::process::Command;

use crate::deploy::{self, StageConfig};
use crate::error::{Error, Result};
use crate::functions;
use crate::progress::Progress;
use crate::python::{self, Purpose};
use crate::remote::Remote;
use crate::settings::{REGION, Settings};
use crate::stage::Stage;

/// The processor that functions run on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Arch {
    Arm64,
    #[value(name = "x86_64")]
    X86_64,
}

impl Arch {
    fn name(self) -> &'static str {
        match self {
            Self::Arm64 => "arm64",
            Self::X86_64 => "x86_64",
        }
    }

    fn build_option(self) -> &'static str {
        match self {
            Self::Arm64 => "--arm64",
            Self::X86_64 => "--x86-64",
        }
    }
}

/// What `cargo ops deploy` is asked to do.
#[derive(Debug, Clone)]
pub struct Release {
    pub stage: Stage,
    pub arch: Arch,
    /// Do not ask before production.
    pub yes: bool,
}

/// Builds every function and deploys every template, in order.
///
/// # Errors
/// There are no credentials, a tool is missing, the build or a stack fails.
pub async fn deploy(settings: &Settings, release: Release, progress: &Progress) -> Result<()> {
    credentials_exist()?;
    confirm(&release)?;
    let programs = python::environment(settings, Purpose::Deploy, progress).await?;
    let account = account(&programs).await?;
    progress.say(&format!("AWS account {account}, stage {}", release.stage.name()));
    build(settings, &programs, release.arch).await?;
    for (name, template) in deploy::waves(settings).into_iter().flatten() {
        progress.say(&format!("\ndeploying {}", deploy::stack_name(release.stage.name(), name)));
        template_to_aws(settings, &programs, &release, name, &template).await?;
    }
    progress.say(&format!("\nstage {} is deployed", release.stage.name()));
    Ok(())
}

/// Before anything that takes minutes: whether there is any place that credentials could come from.
pub fn credentials_exist() -> Result<()> {
    const VARIABLES: [&str; 6] = [
        "AWS_ACCESS_KEY_ID",
        "AWS_PROFILE",
        "AWS_WEB_IDENTITY_TOKEN_FILE",
        "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
        "AWS_CONTAINER_CREDENTIALS_FULL_URI",
        "AWS_SHARED_CREDENTIALS_FILE",
    ];
    let home = std::env::home_dir().unwrap_or_default().join(".aws");
    let variable = VARIABLES.iter().any(|name| std::env::var_os(name).is_some_and(|value| !value.is_empty()));
    if variable || home.join("credentials").exists() || home.join("config").exists() {
        return Ok(());
    }
    Err(no_credentials("there are none in the environment and none in ~/.aws."))
}

fn no_credentials(why: &str) -> Error {
    Error::Deploy(format!(
        "no AWS credentials: {why}\nSign in (`aws sso login`, or set AWS_PROFILE, or AWS_ACCESS_KEY_ID and \
         AWS_SECRET_ACCESS_KEY) and run the command again."
    ))
}

/// Production is asked for once.
fn confirm(release: &Release) -> Result<()> {
    if !release.stage.is_production() || release.yes {
        return Ok(());
    }
    let refused =
        || Error::Deploy("production was not confirmed. Add --yes to deploy without being asked.".to_owned());
    if !std::io::stdin().is_terminal() {
        return Err(refused());
    }
    eprint!("This deploys to production. Type `prod` to go on: ");
    let mut answer = String::new();
    std::io::stdin().lock().read_line(&mut answer).map_err(|_| refused())?;
    if answer.trim() == "prod" { Ok(()) } else { Err(refused()) }
}

/// The account that the credentials are for: they may be there and have expired.
async fn account(programs: &Path) -> Result<String> {
    // The account is the same in every region.
    let remote = Remote::by(programs.join("python"), REGION);
    let identity = remote.call("sts", "GetCallerIdentity", serde_json::json!({})).await?;
    Ok(identity["Account"].as_str().unwrap_or_default().to_owned())
}

async fn build(settings: &Settings, programs: &Path, arch: Arch) -> Result<()> {
    let mut command = Command::new(programs.join("cargo-lambda"));
    command.args(["lambda", "build", "--release", arch.build_option()]).current_dir(&settings.root);
    for package in functions::packages(settings).await? {
        command.args(["--package", &package.name]);
    }
    run(command.env("PATH", path_with(programs)), "cargo lambda build").await.map_err(|code| {
        Error::Deploy(format!(
            "`cargo lambda build` failed ({code}); what it says is above. For a missing target, run `rustup target add \
             {}`.",
            if arch == Arch::Arm64 { "aarch64-unknown-linux-gnu" } else { "x86_64-unknown-linux-gnu" }
        ))
    })
}

async fn template_to_aws(
    settings: &Settings,
    programs: &Path,
    release: &Release,
    name: &str,
    template: &Path,
) -> Result<()> {
    let config = settings.samconfig();
    let stage = StageConfig::read(&config, release.stage.name())?;
    let mut parameters = stage.parameters.clone();
    parameters.insert("Architecture".to_owned(), release.arch.name().to_owned());
    let stack = deploy::stack_name(release.stage.name(), name);
    let mut command = Command::new(programs.join("sam"));
    command
        .args(sam::deploy_arguments(&config, &stage, template, &stack, &parameters, &[])?)
        .current_dir(&settings.root)
        .env("PATH", path_with(programs))
        .env("SAM_CLI_TELEMETRY", "0");
    run(&mut command, "sam deploy").await.map_err(|code| {
        Error::Deploy(format!(
            "stack {stack} failed ({code}); CloudFormation's reasons are above. The stacks before it are deployed. \
             Correct {} and run the command again: it goes on where it stopped.",
            template.strip_prefix(&settings.root).unwrap_or(template).display()
        ))
    })
}

/// Runs a tool that speaks for itself. An error is how it ended.
async fn run(command: &mut Command, what: &str) -> std::result::Result<(), String> {
    match command.stdin(Stdio::null()).kill_on_drop(true).status().await {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(status.to_string()),
        Err(error) => Err(format!("{what} cannot be run: {error}")),
    }
}

/// cargo-lambda looks for zig there.
fn path_with(programs: &Path) -> std::ffi::OsString {
    let old = std::env::var_os("PATH").unwrap_or_default();
    let all = std::iter::once(PathBuf::from(programs)).chain(std::env::split_paths(&old));
    std::env::join_paths(all).unwrap_or(old)
}
