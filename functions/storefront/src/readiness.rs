//! How the whole is: every context is asked how it is, side by side.

use std::{collections::BTreeMap, time::Duration};

use futures::future::join_all;
use lambda_kit::{
    command::chain,
    health::{Health, Status},
    peers::Peers,
};
use serde::Serialize;
use serde_json::json;

/// A function's own timeout is 3 s (DESIGN.md section 10): this leaves it time to answer.
const DEADLINE: Duration = Duration::from_secs(2);

/// Each context with the function that answers for it. The template's policy names the same functions.
const ASKED: [(&str, &str); 8] = [
    ("users", "users-api"),
    ("catalog", "catalog-api"),
    ("inventory", "inventory-api"),
    ("orders", "orders-api"),
    ("payments", "payments-api"),
    ("fulfillment", "fulfillment-api"),
    ("notifications", "notifications-consumer"),
    ("realtime", "realtime-api"),
];

/// The other contexts of a stage.
#[derive(Debug, Clone)]
pub struct Contexts(Peers);

/// How all contexts are.
#[derive(Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "openapi", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "openapi", schemars(rename = "Readiness"))]
pub struct Report {
    pub status: Status,
    pub contexts: BTreeMap<&'static str, Health>,
}

impl Contexts {
    pub fn new(sdk: &aws_sdk_lambda::config::Config, stage: String) -> Self {
        Self(Peers::new(sdk, stage, DEADLINE))
    }

    /// Asks all of them at once. Who does not say how it is, is down.
    pub async fn ask(&self) -> Report {
        let answers = join_all(ASKED.map(|(context, binary)| async move {
            let health = self.0.call(binary, &json!({"action": "health"})).await.unwrap_or_else(|silent| {
                tracing::warn!(context, error = chain(&silent), "a context does not say how it is");
                Health { status: Status::Down, checks: BTreeMap::new() }
            });
            (context, health)
        }));
        Report::from(answers.await.into_iter().collect::<BTreeMap<_, _>>())
    }
}

impl From<BTreeMap<&'static str, Health>> for Report {
    fn from(contexts: BTreeMap<&'static str, Health>) -> Self {
        Self { status: Status::from(contexts.values().all(|health| health.status == Status::Ok)), contexts }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The policy must name what is asked, and nothing else.
    #[test]
    fn the_templates_policy_names_the_functions_that_are_asked() {
        let template = include_str!("../../../infra/storefront.yaml");
        let named: Vec<_> =
            template.lines().filter_map(|line| line.split_once(":function:ordersaga-${Stage}-")).collect();
        assert_eq!(
            named.iter().map(|(_, binary)| *binary).collect::<Vec<_>>(),
            ASKED.map(|(_, binary)| binary)
        );
    }
}
