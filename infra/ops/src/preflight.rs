//! `cargo ops preflight`: whether a stage can be deployed and will work, before minutes of building. It changes nothing.

mod check;

use std::collections::BTreeMap;
use std::path::Path;

use console::style;
use local_stack::{Progress, Settings, StageConfig};
use serde::Serialize;
use serde_json::{Value, json};
use tokio::process::Command;

use self::check::{Check, Fact, Verdict};
use crate::arch::Arch;
use crate::error::{Error, Result};
use crate::footprint::Footprint;
use crate::parameters;
use crate::remote::Remote;
use crate::stage::Stage;
use crate::survey::Survey;

#[derive(Debug, clap::Args)]
pub struct Preflight {
    /// The stage to be deployed: dev, prod, or a name of your own
    #[arg(long)]
    stage: Stage,
    /// The processor that functions will run on [default: the stage's Architecture in infra/samconfig.toml]
    #[arg(long, value_enum)]
    arch: Option<Arch>,
    /// A template's parameter, in place of the value in infra/samconfig.toml; may be given more than once
    #[arg(long = "parameter", value_name = "NAME=VALUE", value_parser = parameters::parameter)]
    parameters: Vec<(String, String)>,
    /// For machines: one JSON object on standard output
    #[arg(long)]
    json: bool,
}

/// The findings.
#[derive(Debug, Serialize)]
pub struct PreflightReport {
    stage: String,
    region: String,
    account: Option<String>,
    stops: usize,
    warnings: usize,
    checks: Vec<Check>,
}

impl Preflight {
    /// # Errors
    /// A check says stop, or nothing can be checked.
    pub async fn run(self, settings: &Settings, progress: &Progress) -> Result<()> {
        let Self { stage, arch, parameters, json } = self;
        let config = StageConfig::read(&settings.samconfig(), stage.name())?;
        let (arch, parameters) = parameters::chosen(settings, &config, arch, &parameters)?;
        let remote = Remote::aws(settings, &stage, progress).await?;
        let report = examine(settings, &stage, arch, &parameters, &remote, progress).await?;
        if json {
            let text =
                serde_json::to_string_pretty(&report).map_err(|error| Error::Stage(error.to_string()))?;
            println!("{text}");
        } else {
            println!("{report}");
        }
        report.verdict()
    }
}

/// Runs all checks.
///
/// # Errors
/// The templates cannot be read. A refusal by AWS is a finding.
pub async fn examine(
    settings: &Settings,
    stage: &Stage,
    arch: Arch,
    parameters: &BTreeMap<String, String>,
    remote: &Remote,
    progress: &Progress,
) -> Result<PreflightReport> {
    let footprint = Footprint::read(settings, stage.name())?;
    let step = progress.step("checking the account and the stage's configuration");
    let facts = Facts { remote, stage, parameters, footprint: &footprint };
    step.at("credentials");
    let identity = facts.ask("sts", "GetCallerIdentity", json!({})).await;
    let mut checks = vec![check::account(&identity)];
    if identity.is_ok() {
        step.at("quotas and senders");
        checks.push(facts.concurrency().await);
        checks.extend(facts.messages().await);
        let (email, topic) = (facts.parameter("AlarmEmail"), facts.parameter("AlarmTopicArn"));
        checks.push(check::alarms(email, topic, stage.is_production()));
        if facts.parameter("WebSocketAccessLog") == "true" {
            let account = facts.ask("apigateway", "GetAccount", json!({})).await;
            checks.push(check::access_log(&account, remote.region()));
        }
        step.at("keys and what an earlier deployment left");
        checks.extend(facts.stripe().await);
        checks.push(facts.smtp().await);
        checks.push(facts.leftovers().await);
    }
    checks.push(build(settings, arch).await);
    drop(step);
    let count = |verdict| checks.iter().filter(|check| check.verdict == verdict).count();
    Ok(PreflightReport {
        stage: stage.name().to_owned(),
        region: remote.region().to_owned(),
        account: identity.ok().and_then(|identity| identity["Account"].as_str().map(str::to_owned)),
        stops: count(Verdict::Stop),
        warnings: count(Verdict::Warning),
        checks,
    })
}

impl PreflightReport {
    /// # Errors
    /// A check says stop.
    pub fn verdict(&self) -> Result<()> {
        match self.stops {
            0 => Ok(()),
            stops => Err(Error::Stage(format!(
                "stage {} is not ready: {stops} of {} checks say stop (✗). Do what stands below each, and run it again.",
                self.stage,
                self.checks.len()
            ))),
        }
    }

    /// The checks that need an action.
    pub fn concerns(&self) -> impl Iterator<Item = String> {
        self.checks.iter().filter(|check| check.verdict != Verdict::Fine).map(Check::to_string)
    }
}

impl std::fmt::Display for PreflightReport {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { stage, region, warnings, stops, .. } = self;
        writeln!(f, "stage {stage}, region {region}\n")?;
        for check in &self.checks {
            writeln!(f, "{check}")?;
        }
        write!(f, "\n{warnings} warnings, {stops} stops")
    }
}

impl std::fmt::Display for Check {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mark = match self.verdict {
            Verdict::Fine => style("✓").green(),
            Verdict::Warning => style("!").yellow(),
            Verdict::Stop => style("✗").red(),
        };
        write!(f, "{mark} {:<16} {}", self.subject, self.finding)?;
        match &self.next {
            Some(next) => write!(f, "\n{:19}→ {next}", ""),
            None => Ok(()),
        }
    }
}

/// The calls to AWS, each made when its check needs it.
struct Facts<'a> {
    remote: &'a Remote,
    stage: &'a Stage,
    parameters: &'a BTreeMap<String, String>,
    footprint: &'a Footprint,
}

impl Facts<'_> {
    async fn ask(&self, service: &str, operation: &str, input: Value) -> Fact {
        self.remote.repeatable(service, operation, input).await
    }

    fn parameter(&self, name: &str) -> &str {
        self.parameters.get(name).map_or("", String::as_str)
    }

    async fn concurrency(&self) -> Check {
        let reserved = self
            .parameters
            .iter()
            .filter(|(name, _)| name.ends_with("Concurrency"))
            .filter_map(|(_, value)| value.parse::<u64>().ok())
            .sum();
        let settings = self.ask("lambda", "GetAccountSettings", json!({})).await;
        check::concurrency(&settings, self.footprint.demand, reserved)
    }

    async fn messages(&self) -> Vec<Check> {
        let production = self.stage.is_production();
        let account = self.ask("sesv2", "GetAccount", json!({})).await;
        let mut checks = check::email(&account, self.parameter("EmailsPerSecond"), production);

        let from = self.parameter("EmailFrom");
        let address = self.identity(from).await;
        let domain = match from.split_once('@') {
            Some((_, domain)) if address.is_err() => Some(self.identity(domain).await),
            _ => None,
        };
        checks.push(check::sender(from, &address, domain.as_ref(), production));

        let sandbox = self.ask("sns", "GetSMSSandboxAccountStatus", json!({})).await;
        let attributes = self.ask("sns", "GetSMSAttributes", json!({})).await;
        checks.extend(check::sms(&sandbox, &attributes));
        checks
    }

    async fn identity(&self, name: &str) -> Fact {
        self.ask("sesv2", "GetEmailIdentity", json!({"EmailIdentity": name})).await
    }

    async fn stripe(&self) -> Vec<Check> {
        let secret = self.secret("stripe").await;
        let publishable = self.parameter("StripePublishableKey");
        check::stripe(&secret, publishable, self.stage.name(), self.stage.is_production())
    }

    async fn smtp(&self) -> Check {
        let (server, from) = (self.parameter("SmtpServer"), self.parameter("SmtpFrom"));
        check::smtp(server, from, &self.secret("smtp").await, self.stage.name())
    }

    async fn secret(&self, of: &str) -> Fact {
        let id = format!("ordersaga-{}-{of}", self.stage);
        self.ask("secretsmanager", "GetSecretValue", json!({"SecretId": id})).await
    }

    async fn leftovers(&self) -> Check {
        let survey = Survey::take(self.remote, self.footprint, self.stage.name()).await;
        check::leftovers(&survey.map(|survey| survey.without_stack().cloned().collect()), self.stage.name())
    }
}

/// Whether this machine can build for that architecture.
async fn build(settings: &Settings, arch: Arch) -> Check {
    let says = async |program: &str, arguments: &[&str]| {
        let output = Command::new(program).args(arguments).current_dir(&settings.root).output().await.ok()?;
        output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
    };
    let target = arch.target();
    let sysroot = says("rustc", &["--print", "sysroot"]).await.unwrap_or_default();
    let installed = Path::new(&sysroot).join("lib/rustlib").join(target).join("lib").is_dir();
    let rustup = installed || says("rustup", &["--version"]).await.is_some();
    check::target(target, installed, rustup)
}
