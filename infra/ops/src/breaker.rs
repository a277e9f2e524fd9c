//! The circuit breakers: their state, and the operator's switch.

use local_stack::{Progress, Settings};
use serde_json::{Value, json};

use crate::aws::{Aws, Service};
use crate::error::{Error, Result};
use crate::stage::Stage;

/// All breakers: the context whose table holds it, and the dependency.
const BREAKERS: [(&str, &str); 10] = [
    ("payments", "gateway"),
    ("notifications", "email"),
    ("notifications", "sms"),
    ("notifications", "smtp"),
    ("storefront", "users"),
    ("storefront", "orders"),
    ("storefront", "payments"),
    ("storefront", "fulfillment"),
    ("storefront", "catalog"),
    ("storefront", "inventory"),
];

/// Those of the providers that an order waits for. The storefront's own are for its pages.
pub fn providers() -> impl Iterator<Item = (&'static str, &'static str)> {
    BREAKERS.into_iter().filter(|(context, _)| *context != "storefront")
}

#[derive(Debug, clap::Subcommand)]
pub enum Breaker {
    /// Say how each stands
    List {
        /// On AWS; without it, on this machine's stack
        #[arg(long)]
        stage: Option<Stage>,
    },
    /// Switch one: `cargo ops breaker set payments/gateway forced-open`
    Set {
        /// `<context>/<dependency>`, as `list` shows it
        name: String,
        #[arg(value_enum)]
        mode: Mode,
        /// On AWS; without it, on this machine's stack
        #[arg(long)]
        stage: Option<Stage>,
    },
}

/// What an operator wants of a breaker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Mode {
    /// By its own rules
    Normal,
    /// No call goes through: the dependency is left alone, and what needs it waits
    ForcedOpen,
    /// Every call goes through, and none is counted
    Off,
}

impl Mode {
    /// As the item spells it.
    const fn as_str(self) -> &'static str {
        match self {
            Self::Normal => "normal",
            Self::ForcedOpen => "forced_open",
            Self::Off => "off",
        }
    }
}

impl Breaker {
    /// # Errors
    /// No such stack or breaker, or the table refuses.
    pub async fn run(self, settings: &Settings, progress: &Progress) -> Result<()> {
        match self {
            Self::List { stage } => {
                let aws = Aws::of(settings, stage, progress).await?;
                for (context, dependency) in BREAKERS {
                    let item = get(&aws, context, dependency).await?;
                    println!("{}", line(&format!("{context}/{dependency}"), &item));
                }
                Ok(())
            }
            Self::Set { name, mode, stage } => {
                let (context, dependency) = known(&name)?;
                let aws = Aws::of(settings, stage, progress).await?;
                set(&aws, &name, mode).await?;
                let item = get(&aws, context, dependency).await?;
                println!("{}", line(&name, &item));
                eprintln!("functions notice it within a second");
                Ok(())
            }
        }
    }
}

/// The breaker of that name.
fn known(name: &str) -> Result<(&'static str, &'static str)> {
    let found = BREAKERS.into_iter().find(|(context, dependency)| name == format!("{context}/{dependency}"));
    found.ok_or_else(|| {
        let names: Vec<String> = BREAKERS.iter().map(|(c, d)| format!("{c}/{d}")).collect();
        Error::Deploy(format!("there is no breaker {name}. There are: {}.", names.join(", ")))
    })
}

/// A breaker's mode and its own state, as they are shown. One that never saw a failure has no item, and is closed.
fn mode_and_state(item: &Value) -> (String, String) {
    let mode = item["mode"]["S"].as_str().unwrap_or("normal").replace('_', "-");
    let state = item["state"]["M"].as_object().and_then(|state| state.keys().next());
    (mode, state.map_or("closed", String::as_str).replace('_', "-"))
}

fn line(name: &str, item: &Value) -> String {
    let (mode, state) = mode_and_state(item);
    format!("{name:<24} {mode:<12} {state}")
}

/// The mode and the state of a breaker, as `cargo ops breaker list` shows them.
///
/// # Errors
/// The table refuses.
pub async fn read(aws: &Aws, context: &str, dependency: &str) -> Result<(String, String)> {
    let answer = aws.call(Service::DynamoDb, "GetItem", of(aws, context, dependency)).await?;
    Ok(mode_and_state(&answer["Item"]))
}

/// The table and the key of a breaker's item.
fn of(aws: &Aws, context: &str, dependency: &str) -> Value {
    json!({
        "TableName": aws.name(context),
        "Key": {"pk": {"S": format!("BREAKER#{dependency}")}, "sk": {"S": "BREAKER"}},
    })
}

async fn get(aws: &Aws, context: &str, dependency: &str) -> Result<Value> {
    let mut answer = call(aws, "GetItem", context, dependency, json!({"ConsistentRead": true})).await?;
    Ok(answer["Item"].take())
}

/// Switches the breaker of this name, as `list` shows it.
///
/// # Errors
/// There is no such breaker, or its table refuses.
async fn set(aws: &Aws, name: &str, mode: Mode) -> Result<()> {
    let (context, dependency) = known(name)?;
    call(aws, "UpdateItem", context, dependency, switch(mode)).await.map(drop)
}

async fn call(
    aws: &Aws,
    operation: &str,
    context: &str,
    dependency: &str,
    mut input: Value,
) -> Result<Value> {
    let of = of(aws, context, dependency);
    input["TableName"].clone_from(&of["TableName"]);
    input["Key"].clone_from(&of["Key"]);
    aws.call(Service::DynamoDb, operation, input).await
}

/// The version counts every write, so that an instance that is writing at the same moment reads the switch first.
fn switch(mode: Mode) -> Value {
    json!({
        "UpdateExpression": "SET #mode = :mode ADD version :one",
        "ExpressionAttributeNames": {"#mode": "mode"},
        "ExpressionAttributeValues": {":mode": {"S": mode.as_str()}, ":one": {"N": "1"}},
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_breaker_is_shown_by_its_item_or_as_closed_without_one() {
        assert_eq!(line("payments/gateway", &Value::Null), "payments/gateway         normal       closed");
        let item = json!({"mode": {"S": "forced_open"}, "state": {"M": {"half_open": {"M": {}}}}});
        assert_eq!(line("x/y", &item), "x/y                      forced-open  half-open");
    }

    #[test]
    fn every_breaker_that_is_counted_can_be_switched() {
        let counted = contracts::metrics::BREAKER_OPEN.series.iter();
        let counted: Vec<_> = counted.filter_map(|series| series.service.zip(series.value)).collect();
        assert_eq!(BREAKERS[..], counted);
    }

    #[test]
    fn an_unknown_breaker_is_told_by_the_names_that_there_are() {
        assert_eq!(known("payments/gateway").unwrap(), ("payments", "gateway"));
        let error = known("payments/stripe").unwrap_err().to_string();
        assert!(error.contains("payments/gateway, notifications/email"), "{error}");
    }
}
