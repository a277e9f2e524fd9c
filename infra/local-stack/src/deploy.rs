//! Deploying the templates into the emulator, unchanged but for where their artifacts lie.
//!
//! This does what `sam deploy` does, without starting it once per template.

mod amend;
pub(crate) mod artifacts;
mod stack;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use futures::future::join_all;

use crate::emulator::Emulator;
use crate::error::Result;
use crate::progress::Progress;
use crate::samconfig::StageConfig;
use crate::settings::{LOCAL_STAGE, Settings};
use crate::state::{Running, StateDir};
use crate::template::{Function, Template};

/// The templates in waves: those of a wave need only what earlier waves made.
const ORDER: &[&[&str]] = &[
    &["platform"],
    &["catalog", "inventory", "payments", "fulfillment", "notifications", "realtime", "storefront"],
    // users takes the address of notifications' queue of codes. orders takes those of payments' queue and of
    // notifications' queue of e-mails, and holds the state machine that names all command functions.
    &["users", "orders"],
];

/// The existing templates, in the order of deployment.
pub fn waves(settings: &Settings) -> Vec<Vec<(&'static str, PathBuf)>> {
    ORDER
        .iter()
        .map(|wave| {
            wave.iter()
                .map(|name| (*name, settings.infra().join(format!("{name}.yaml"))))
                .filter(|(_, file)| file.exists())
                .collect::<Vec<_>>()
        })
        .filter(|wave| !wave.is_empty())
        .collect()
}

/// All templates by name, in that order.
pub fn names() -> Vec<&'static str> {
    ORDER.concat()
}

/// Every function of every template, by its name.
///
/// # Errors
/// A template cannot be read.
pub fn functions(settings: &Settings) -> Result<Vec<Function>> {
    let mut all = Vec::new();
    for (_, file) in waves(settings).into_iter().flatten() {
        all.extend(Template::read(&file)?.into_functions());
    }
    all.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(all)
}

pub fn stack_name(stage: &str, template: &str) -> String {
    format!("ordersaga-{stage}-{template}")
}

/// Deploys every template that changed since the last time into this instance.
///
/// # Errors
/// A stack fails: with the reasons that CloudFormation recorded.
pub async fn local(
    settings: &Settings,
    state: &StateDir,
    running: &Running,
    progress: &Progress,
) -> Result<()> {
    let emulator = Emulator::new(&running.endpoint());
    let waves = waves(settings);
    let total = waves.iter().map(Vec::len).sum::<usize>();
    let step = progress.step(&format!("deploying {total} stacks"));
    let parameters = parameters(settings, running)?;
    let mut deployed = state.deployed(&running.instance);
    let store = artifacts::Store::open(&emulator, settings).await?;
    let (mut done, mut unchanged) = (0, 0);

    for wave in waves {
        let holds_platform = wave.iter().any(|(name, _)| *name == "platform");
        let mut changed = Vec::new();
        for (name, file) in wave {
            let template = Template::read(&file)?;
            step.at(format!("{name}: uploading"));
            let packed = store.pack(&template, &mut deployed.artifacts).await?;
            let stack = stack::Stack {
                name: stack_name(LOCAL_STAGE, name),
                file,
                body: packed,
                parameters: template.pick(&parameters),
                functions: template.functions().iter().map(|function| function.name.clone()).collect(),
            };
            if deployed.stacks.get(&stack.name) == Some(&stack.fingerprint())
                && stack.exists(&emulator).await?
            {
                done += 1;
                unchanged += 1;
            } else {
                changed.push(stack);
            }
        }
        let names: Vec<&str> = changed.iter().map(|stack| stack.name.as_str()).collect();
        step.at(names.join(", "));
        step.part(done, total);
        let results = join_all(changed.iter().map(async |stack| {
            let result = match stack.deploy(&emulator, settings).await {
                Ok(()) => amend::aliases(&emulator, &stack.functions).await,
                failed => failed,
            };
            (stack, result)
        }))
        .await;
        let mut failure = None;
        for (stack, result) in results {
            match result {
                Ok(()) => {
                    deployed.stacks.insert(stack.name.clone(), stack.fingerprint());
                    done += 1;
                }
                Err(error) => {
                    deployed.stacks.remove(&stack.name);
                    failure.get_or_insert(error);
                }
            }
        }
        step.part(done, total);
        state.record_deployed(&deployed)?;
        if let Some(error) = failure {
            return Err(error);
        }
        if holds_platform {
            amend::events_topic(&emulator).await?;
        }
    }
    step.done(&match unchanged {
        0 => format!("deployed {total} stacks"),
        all if all == total => format!("{total} stacks are unchanged"),
        some => format!("deployed {} stacks, {some} are unchanged", total - some),
    });
    Ok(())
}

/// Deploys one more template beside the platform's.
///
/// # Errors
/// The stack fails: with the reasons that CloudFormation recorded.
pub async fn beside(settings: &Settings, running: &Running, name: &str, file: &Path) -> Result<()> {
    let emulator = Emulator::new(&running.endpoint());
    let template = Template::read(file)?;
    let store = artifacts::Store::open(&emulator, settings).await?;
    let stack = stack::Stack {
        name: stack_name(LOCAL_STAGE, name),
        file: file.to_path_buf(),
        body: store.pack(&template, &mut BTreeSet::new()).await?,
        parameters: template.pick(&parameters(settings, running)?),
        // Without the platform's alias.
        functions: Vec::new(),
    };
    stack.deploy(&emulator, settings).await
}

/// The stage's parameters from samconfig.toml, and those of the running stack.
fn parameters(settings: &Settings, running: &Running) -> Result<BTreeMap<String, String>> {
    let mut all = StageConfig::read(&settings.samconfig(), LOCAL_STAGE)?.parameters;
    all.extend(settings.parameters.clone());
    all.insert("Stage".to_owned(), LOCAL_STAGE.to_owned());
    all.insert("Architecture".to_owned(), architecture().to_owned());
    all.insert("EndpointUrl".to_owned(), running.endpoint());
    let gateway = settings.functions_gateway.clone().unwrap_or_else(|| running.stripe_url());
    all.insert("StripeUrl".to_owned(), gateway);
    Ok(all)
}

/// This machine's processor, as Lambda names it.
pub const fn architecture() -> &'static str {
    if cfg!(target_arch = "aarch64") { "arm64" } else { "x86_64" }
}

/// The names of all stacks and their states.
///
/// # Errors
/// The emulator does not answer.
pub async fn stacks(running: &Running) -> Result<Vec<(String, String)>> {
    stack::list(&Emulator::new(&running.endpoint())).await
}
