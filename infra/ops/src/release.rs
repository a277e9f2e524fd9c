//! `cargo ops deploy`: builds for AWS with cargo-lambda and deploys with SAM.

mod bootstraps;
mod contract;
mod record;
mod sam;
mod stacks;
mod target;
#[cfg(test)]
mod tests;
mod versions;

use std::collections::BTreeMap;
use std::path::PathBuf;

use clap::builder::PossibleValuesParser;
use local_stack::{
    Checkout, Progress, Settings, StageConfig, Template, deploy,
    python::{self, Purpose},
};
use serde_json::json;

use crate::arch::Arch;
use crate::confirm;
use crate::credentials;
use crate::error::Result;
use crate::parameters;
use crate::remote::Remote;
use crate::stage::Stage;
use target::{Named, Target};

/// What `cargo ops deploy` is asked to do.
#[derive(Debug, clap::Args)]
pub struct Deploy {
    /// dev, prod, or one of your own such as alice or pr-17
    #[arg(long)]
    stage: Stage,
    /// The processor that functions run on [default: the stage's Architecture in infra/samconfig.toml]
    #[arg(long, value_enum)]
    arch: Option<Arch>,
    /// Build and deploy only this context; may be given more than once
    #[arg(long, value_name = "CONTEXT", value_parser = PossibleValuesParser::new(deploy::names()))]
    only: Vec<String>,
    /// Show what would change, and stop
    #[arg(long)]
    diff: bool,
    /// Deploy what target/lambda holds: for pipelines that build elsewhere
    #[arg(long)]
    no_build: bool,
    /// A template's parameter, in place of the value in infra/samconfig.toml, for this run; may be given more than once
    #[arg(long = "parameter", value_name = "NAME=VALUE", value_parser = parameters::parameter)]
    parameters: Vec<(String, String)>,
    /// Build and deploy this git revision instead of the files as they are: the way back to an earlier version
    #[arg(long, value_name = "REVISION", conflicts_with = "no_build")]
    rev: Option<String>,
    /// Do not look first for what the account or the configuration lacks
    #[arg(long)]
    skip_preflight: bool,
    /// Do not ask before production
    #[arg(long)]
    yes: bool,
}

impl Deploy {
    /// Builds the functions and deploys the templates: platform, then the contexts side by side, then orders.
    ///
    /// # Errors
    /// Before anything is changed: no credentials, a stack in a state that only a person can mend, a template with an
    /// error, a failed build. Later: a stack fails.
    pub async fn run(self, settings: &Settings, progress: &Progress) -> Result<()> {
        credentials::exist()?;
        let checkout = match &self.rev {
            Some(revision) => Some(Checkout::new(settings, revision)?),
            None => None,
        };
        let source =
            checkout.as_ref().map_or_else(|| settings.clone(), |checkout| checkout.settings(settings));
        let config = StageConfig::read(&source.samconfig(), self.stage.name())?;
        let waves = self.waves(&source)?;
        let (arch, parameters) = self.parameters(&source, &config)?;
        confirm::production(&self.stage, self.yes || self.diff, "This deploys to production.")?;

        let programs = python::environment(settings, Purpose::Deploy, progress).await?;
        let remote = Remote::by(programs.join("python"), &config.region);
        let account = remote.call("sts", "GetCallerIdentity", json!({})).await?;
        let account = account["Account"].as_str().unwrap_or_default();
        progress.say(&format!("AWS account {account}, region {}, stage {}", config.region, self.stage));

        let target =
            Target { source, programs, remote, stage: self.stage.clone(), config, parameters, progress };
        let found = stacks::read(&target.remote, &self.stage).await?;
        let steps = target.steps(&waves, &found)?;
        target.grows(&waves, &found)?;
        let contracts = target.check_contracts(&waves, &found).await?;
        let content = target.content(self.no_build)?;
        if !self.diff && record::matches(&target.remote, &self.stage, &content, &found).await? {
            progress.say("Nothing has changed since the stage was deployed: nothing was built or deployed.");
            return target.print_addresses().await;
        }
        if !self.diff && !self.skip_preflight {
            target.preflight(arch).await?;
        }
        target.check_templates(&waves).await?;
        if !self.no_build {
            target.build(arch, &self.only).await?;
        }
        let all: Vec<(&str, &Template)> = waves.iter().flatten().map(|(name, file)| (*name, file)).collect();
        bootstraps::check(&target.source.root, &target.source.infra(), &all, arch)?;
        if self.diff {
            return target.diff(&waves, &steps).await;
        }
        target.deploy(&waves, &steps, &found, &contracts).await?;
        if self.only.is_empty() {
            let found = stacks::read(&target.remote, &self.stage).await?;
            record::write(&target.remote, &self.stage, &content, &found).await?;
        }
        progress.say(&format!("\nstage {} is deployed", self.stage));
        target.print_addresses().await
    }

    /// The selected templates, in the order of deployment.
    fn waves(&self, source: &Settings) -> Result<Vec<Vec<Named>>> {
        let is_wanted = |name: &str| self.only.is_empty() || self.only.iter().any(|only| only == name);
        let read = |wave: Vec<(&'static str, PathBuf)>| {
            let wanted = wave.into_iter().filter(|(name, _)| is_wanted(name));
            wanted.map(|(name, file)| Ok((name, Template::read(&file)?))).collect::<Result<Vec<Named>>>()
        };
        let waves = deploy::waves(source).into_iter().map(read).collect::<Result<Vec<_>>>()?;
        Ok(waves.into_iter().filter(|wave| !wave.is_empty()).collect())
    }

    fn parameters(
        &self,
        source: &Settings,
        config: &StageConfig,
    ) -> Result<(Arch, BTreeMap<String, String>)> {
        parameters::chosen(source, config, self.arch, &self.parameters)
    }
}
