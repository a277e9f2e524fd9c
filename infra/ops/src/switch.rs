//! `cargo ops switch`: the feature switches of a stage, which are parameters of its Parameter Store.

use std::collections::BTreeMap;

use contracts::{CorrelationId, Position, Switch};
use jiff::Timestamp;
use local_stack::{LOCAL_STAGE, Progress, Settings};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::aws::{Aws, Service};
use crate::error::{Error, Result};
use crate::stage::Stage;

/// The time until all functions use a new position. Each reads it again after this time (`SWITCH_CACHE`).
const NOTICED_AFTER: &str = "10 seconds";

#[derive(Debug, clap::Subcommand)]
pub enum Switches {
    /// Show the position of each, and what is different while it is off
    List {
        /// Print JSON
        #[arg(long)]
        json: bool,
        /// On AWS; without it, on this machine's stack
        #[arg(long)]
        stage: Option<Stage>,
    },
    /// Turn one on or off: `cargo ops switch set payments off --reason "the gateway charges twice"`
    Set {
        /// payments, orders, discounts, sms or limited-stock
        switch: Switch,
        /// on or off
        position: Position,
        /// Why, for the audit trail
        #[arg(long, value_parser = reason)]
        reason: String,
        /// On AWS; without it, on this machine's stack
        #[arg(long)]
        stage: Option<Stage>,
    },
}

/// The longest reason, in characters.
const REASON_MAX: usize = 500;

fn reason(text: &str) -> std::result::Result<String, String> {
    let text = text.trim();
    if text.is_empty() || text.chars().count() > REASON_MAX || text.chars().any(char::is_control) {
        return Err(format!("it has 1 to {REASON_MAX} characters, on one line"));
    }
    Ok(text.to_owned())
}

impl Switches {
    /// # Errors
    /// No such stack runs, or AWS refuses.
    pub async fn run(self, settings: &Settings, progress: &Progress) -> Result<()> {
        match self {
            Self::List { json, stage } => {
                let positions = Parameters::of(settings, stage, progress).await?.positions().await?;
                print!("{}", if json { as_json(&positions) } else { as_text(&positions) });
                Ok(())
            }
            Self::Set { switch, position, reason, stage } => {
                let parameters = Parameters::of(settings, stage, progress).await?;
                let before = parameters.positions().await?.get(switch.name()).copied();
                let before = before.unwrap_or(Position::On);
                if before == position {
                    println!("{switch} is {position} already");
                    return Ok(());
                }
                parameters.set(switch, (before, position), &reason).await?;
                println!("{}", line(switch, position));
                eprintln!(
                    "all functions notice it within {NOTICED_AFTER}; `cargo ops audit {}{}` shows who set it",
                    switch.subject(),
                    parameters.aws.option()
                );
                Ok(())
            }
        }
    }
}

/// A stage's switches.
struct Parameters {
    aws: Aws,
    stage: String,
}

impl Parameters {
    async fn of(settings: &Settings, stage: Option<Stage>, progress: &Progress) -> Result<Self> {
        let name = stage.as_ref().map_or(LOCAL_STAGE, Stage::name).to_owned();
        Ok(Self { aws: Aws::of(settings, stage, progress).await?, stage: name })
    }

    /// The positions of all switches by name. One without a parameter was never set, and is on.
    async fn positions(&self) -> Result<BTreeMap<&'static str, Position>> {
        let names = Switch::ALL.map(|switch| switch.parameter(&self.stage));
        let answer = self.aws.call(Service::Ssm, "GetParameters", json!({"Names": names})).await?;
        let found = answer["Parameters"].as_array().cloned().unwrap_or_default();
        let position = |switch: Switch| {
            let name = switch.parameter(&self.stage);
            match found.iter().find(|parameter| parameter["Name"] == name) {
                Some(parameter) => parameter["Value"].as_str().unwrap_or_default().parse(),
                None => Ok(Position::On),
            }
            .map(|position| (switch.name(), position))
            .map_err(|error| {
                Error::Switch(format!(
                    "the parameter {name} cannot be read: {error}. Functions use the position that they read last. \
                     Correct it with `aws ssm put-parameter --overwrite --name {name} --value on`."
                ))
            })
        };
        Switch::ALL.into_iter().map(position).collect()
    }

    /// Writes the audit entry before the change, so that no change is without one. When the change fails, another
    /// entry says so.
    async fn set(&self, switch: Switch, change: (Position, Position), reason: &str) -> Result<()> {
        let (before, after) = change;
        let actor = format!("operator:{}", self.aws.caller().await?);
        let entry = |action, change| entry(switch, action, change, &actor, reason);
        self.record(switch, entry("switch.set", change)).await?;
        let input = json!({
            "Name": switch.parameter(&self.stage), "Type": "String", "Overwrite": true, "Value": after.to_string(),
            "Description": "A feature switch. Set it with `cargo ops switch set`, which records who did and why.",
        });
        let Err(error) = self.aws.call(Service::Ssm, "PutParameter", input).await else { return Ok(()) };
        self.record(switch, entry("switch.not_set", (after, before))).await?;
        Err(error)
    }

    async fn record(&self, switch: Switch, item: Value) -> Result<()> {
        let input = json!({
            "TableName": self.aws.name(switch.context()), "Item": item,
            "ConditionExpression": "attribute_not_exists(pk)",
        });
        self.aws.call(Service::DynamoDb, "PutItem", input).await.map(drop)
    }
}

/// An audit entry as the item that `lambda_kit::audit` reads.
fn entry(
    switch: Switch,
    action: &str,
    (before, after): (Position, Position),
    actor: &str,
    reason: &str,
) -> Value {
    let (at, id) = (Timestamp::now(), Uuid::new_v4().simple().to_string());
    let position = |position: Position| json!({"M": {"position": {"S": position.to_string()}}});
    json!({
        "pk": {"S": format!("AUDIT#{}", switch.subject())},
        "sk": {"S": format!("{at:.6}#{id}")},
        "id": {"S": id},
        "at": {"S": at.to_string()},
        "actor": {"S": actor},
        "action": {"S": action},
        "subject": {"S": switch.subject()},
        "before": position(before),
        "after": position(after),
        "reason": {"S": reason},
        "correlation_id": {"S": CorrelationId::generate().to_string()},
    })
}

fn as_json(positions: &BTreeMap<&str, Position>) -> String {
    let positions: BTreeMap<_, _> =
        positions.iter().map(|(name, position)| (name, position.to_string())).collect();
    format!("{}\n", json!(positions))
}

fn as_text(positions: &BTreeMap<&str, Position>) -> String {
    let position = |switch: Switch| positions.get(switch.name()).copied().unwrap_or(Position::On);
    Switch::ALL.map(|switch| line(switch, position(switch)) + "\n").concat()
}

fn line(switch: Switch, position: Position) -> String {
    let consequence = match position {
        Position::On => "",
        Position::Off => switch.when_off(),
    };
    format!("{:<14} {position:<4} {consequence}", switch.name()).trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_switch_that_is_off_is_shown_with_its_consequence() {
        let positions = Switch::ALL.map(|switch| {
            (switch.name(), if switch == Switch::Orders { Position::Off } else { Position::On })
        });
        let text = as_text(&positions.into());
        assert_eq!(
            text,
            "payments       on\norders         off  new orders are refused with 503\ndiscounts      on\n\
             sms            on\nlimited-stock  on\n"
        );
        let value: Value = serde_json::from_str(&as_json(&positions.into())).unwrap();
        assert_eq!(value["orders"], "off");
    }

    #[test]
    fn a_change_needs_a_reason() {
        assert_eq!(reason("  the gateway charges twice "), Ok("the gateway charges twice".to_owned()));
        for none in ["", "  ", "two\nlines", &"x".repeat(REASON_MAX + 1)] {
            assert!(reason(none).is_err(), "{none:?}");
        }
    }
}
