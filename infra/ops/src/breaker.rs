//! The circuit breakers: their state, and the operator's switch.

use local_stack::{Progress, Settings};
use serde_json::{Value, json};

use crate::aws::{Aws, Service};
use crate::error::{Error, Result};
use crate::stage::Stage;

/// All breakers: the context whose table holds it, and the dependency.
const BREAKERS: [(&str, &str); 8] = [
    ("payments", "gateway"),
    ("notifications", "email"),
    ("storefront", "users"),
    ("storefront", "orders"),
    ("storefront", "payments"),
    ("storefront", "fulfillment"),
    ("storefront", "catalog"),
    ("storefront", "inventory"),
];

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

/// A stage's tables.
#[derive(Debug)]
struct Tables(Aws);

impl Breaker {
    /// # Errors
    /// No such stack or breaker, or the table refuses.
    pub async fn run(self, settings: &Settings, progress: &Progress) -> Result<()> {
        match self {
            Self::List { stage } => {
                let tables = Tables::of(settings, stage, progress).await?;
                for (context, dependency) in BREAKERS {
                    let item = tables.get(context, dependency).await?;
                    println!("{}", line(&format!("{context}/{dependency}"), &item));
                }
                Ok(())
            }
            Self::Set { name, mode, stage } => {
                let (context, dependency) = known(&name)?;
                let tables = Tables::of(settings, stage, progress).await?;
                tables.set(context, dependency, mode).await?;
                let item = tables.get(context, dependency).await?;
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

/// One that never saw a failure has no item, and is closed.
fn line(name: &str, item: &Value) -> String {
    let mode = item["mode"]["S"].as_str().unwrap_or("normal").replace('_', "-");
    let state = item["state"]["M"].as_object().and_then(|state| state.keys().next());
    let state = state.map_or("closed", String::as_str).replace('_', "-");
    format!("{name:<24} {mode:<12} {state}")
}

impl Tables {
    async fn of(settings: &Settings, stage: Option<Stage>, progress: &Progress) -> Result<Self> {
        Aws::of(settings, stage, progress).await.map(Self)
    }

    async fn get(&self, context: &str, dependency: &str) -> Result<Value> {
        let mut answer = self.call("GetItem", context, dependency, json!({"ConsistentRead": true})).await?;
        Ok(answer["Item"].take())
    }

    async fn set(&self, context: &str, dependency: &str, mode: Mode) -> Result<()> {
        self.call("UpdateItem", context, dependency, switch(mode)).await.map(drop)
    }

    async fn call(
        &self,
        operation: &str,
        context: &str,
        dependency: &str,
        mut input: Value,
    ) -> Result<Value> {
        input["TableName"] = json!(self.0.name(context));
        input["Key"] = json!({"pk": {"S": format!("BREAKER#{dependency}")}, "sk": {"S": "BREAKER"}});
        self.0.call(Service::DynamoDb, operation, input).await
    }
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
    fn an_unknown_breaker_is_told_by_the_names_that_there_are() {
        assert_eq!(known("payments/gateway").unwrap(), ("payments", "gateway"));
        let error = known("payments/stripe").unwrap_err().to_string();
        assert!(error.contains("payments/gateway, notifications/email"), "{error}");
    }
}
