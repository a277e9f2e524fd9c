//! `cargo ops destroy`: removes a stage from AWS, tables and secrets included. It goes on where an earlier run stopped.

mod confirm;
mod removal;

use local_stack::{Progress, Settings};
use serde_json::json;

use self::removal::Removal;
pub use self::removal::{artifacts_bucket, artifacts_of};
use crate::error::{Error, Result};
use crate::footprint::{Footprint, Kind};
use crate::remote::Remote;
use crate::stage::Stage;
use crate::survey::{self, Survey};

#[derive(Debug, clap::Args)]
pub struct Destroy {
    /// The stage to be removed
    #[arg(long)]
    stage: Stage,
    /// Leave the tables, with their protection against deletion, and say which
    #[arg(long)]
    keep_data: bool,
    /// Do not ask. For prod, --production must stand beside it
    #[arg(long)]
    yes: bool,
    /// Not even for prod
    #[arg(long, requires = "yes")]
    production: bool,
}

impl Destroy {
    /// # Errors
    /// There is no such stage, it was not confirmed, or AWS refuses a part: what is removed by then stays removed, and the
    /// command can be run again.
    pub async fn run(self, settings: &Settings, progress: &Progress) -> Result<()> {
        let Self { stage, keep_data, yes, production } = self;
        confirm::possible(&stage, yes, production)?;
        let remote = Remote::aws(settings, &stage, progress).await?;
        let footprint = Footprint::read(settings, stage.name())?;

        let step = progress.step("looking for what there is of the stage");
        let identity = remote.repeatable("sts", "GetCallerIdentity", json!({})).await?;
        let survey = Survey::take(&remote, &footprint, stage.name()).await?;
        drop(step);
        let place = format!(
            "account {}, region {}",
            identity["Account"].as_str().unwrap_or("unknown"),
            remote.region()
        );
        if survey.is_empty() && survey.scheduled.is_empty() {
            return Err(absent(&remote, &stage, &place).await);
        }
        let removal = Removal {
            remote: &remote,
            stage: &stage,
            footprint: &footprint,
            arn: identity["Arn"].as_str().unwrap_or_default(),
            keep_data,
            progress,
        };
        removal.is_possible(&survey)?;
        progress.say(&removal.announcement(&survey, &place).await?);
        if !yes {
            confirm::ask(&stage, &mut std::io::stdin().lock())?;
        }
        let mut notes = removal.everything(&survey).await?;

        let left = Survey::take(&remote, &footprint, stage.name()).await?;
        notes.extend(left_behind(&left, keep_data)?);
        println!("stage {stage} is removed from {place}. What is left:");
        for note in notes {
            println!("- {note}");
        }
        Ok(())
    }
}

/// With the names of the stages that there are: it was probably mistyped.
async fn absent(remote: &Remote, stage: &Stage, place: &str) -> Error {
    let stages = match survey::stacks(remote, |name| stage_of(name).is_some()).await {
        Ok(stacks) => {
            let mut stages: Vec<&str> = stacks.keys().filter_map(|name| stage_of(name)).collect();
            stages.dedup();
            match stages.as_slice() {
                [] => " There is none.".to_owned(),
                some => format!(" There are: {}.", some.join(", ")),
            }
        }
        Err(_) => String::new(),
    };
    Error::Stage(format!("there is no stage {stage} in {place}; nothing was removed.{stages}"))
}

/// The stage of a platform stack, from its name.
fn stage_of(stack: &str) -> Option<&str> {
    stack.strip_prefix("ordersaga-")?.strip_suffix("-platform")
}

/// The resources that are kept on purpose; an error when there are others.
fn left_behind(survey: &Survey, keep_data: bool) -> Result<Vec<String>> {
    let kept = |kind| keep_data && kind == Kind::Table;
    let stacks = survey.stacks.iter().map(|(name, status)| format!("stack {name} ({status})"));
    let named = survey.named.iter().filter(|named| !kept(named.kind));
    let left: Vec<String> = stacks
        .chain(named.map(|named| named.name.clone()))
        .chain(survey.parameters.iter().cloned())
        .collect();
    if !left.is_empty() {
        return Err(Error::Stage(format!(
            "this is still there: {}. Run the command again; if it stays, see what AWS says in the console.",
            left.join(", ")
        )));
    }
    let tables = survey.names(Kind::Table).map(|name| {
        format!("table {name}: kept. A new deployment takes it over by an import (infra/README.md)")
    });
    let secrets = survey.scheduled.iter().map(|(name, date)| {
        format!(
            "secret {name}: deleted for good on {date}; until then its name is taken. At once: `aws secretsmanager \
             delete-secret --secret-id {name} --force-delete-without-recovery`"
        )
    });
    Ok(tables.chain(secrets).collect())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::footprint::Named;

    fn survey() -> Survey {
        let table = Named {
            kind: Kind::Table,
            name: "ordersaga-dev-orders".to_owned(),
            stack: "ordersaga-dev-orders".to_owned(),
        };
        Survey { named: vec![table], ..Survey::default() }
    }

    #[test]
    fn a_kept_table_is_named_and_one_that_stays_is_an_error() {
        assert!(left_behind(&survey(), true).unwrap()[0].contains("table ordersaga-dev-orders: kept"));
        let error = left_behind(&survey(), false).unwrap_err().to_string();
        assert!(error.contains("ordersaga-dev-orders") && error.contains("again"), "{error}");
        let stacks = BTreeMap::from([("ordersaga-dev-orders".to_owned(), "DELETE_FAILED".to_owned())]);
        let error = left_behind(&Survey { stacks, ..Survey::default() }, true).unwrap_err().to_string();
        assert!(error.contains("DELETE_FAILED"), "{error}");
    }

    #[test]
    fn a_secret_in_its_recovery_window_is_named_with_its_date() {
        let scheduled = vec![("ordersaga-prod-stripe".to_owned(), "2026-12-06".to_owned())];
        let notes = left_behind(&Survey { scheduled, ..Survey::default() }, false).unwrap();
        assert!(notes[0].contains("2026-12-06") && notes[0].contains("--force-delete"), "{notes:?}");
    }

    #[test]
    fn stages_are_read_from_the_stack_that_each_has() {
        assert_eq!(stage_of("ordersaga-pr-1-platform"), Some("pr-1"));
        assert_eq!(stage_of("ordersaga-pr-1-orders"), None);
        assert_eq!(stage_of("another-platform"), None);
    }
}
