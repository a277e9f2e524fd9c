//! The resources of a stage on AWS, from the templates: its stacks, the names that can outlive them, and the
//! number of functions that its queues and streams run concurrently.
//!
//! Stages are distinguished by whole names, never by prefixes: `ordersaga-pr-1` is a prefix of names of the
//! stages `pr-1`, `pr-1-x` and `pr-17`.

use std::path::Path;

use local_stack::{AboutFile, Settings, deploy};
use serde_json::{Value, json};

use crate::error::Result;

/// The shards that the stream of an on-demand table begins with, each read by a function of its own.
const SHARDS: u64 = 4;

/// Resources that can exist without their stack.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    Table,
    Secret,
    LogGroup,
}

/// A resource with a name of its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Named {
    pub kind: Kind,
    pub name: String,
    /// The stack that makes it.
    pub stack: String,
}

/// The number of functions that may run concurrently without a request.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Demand {
    pub queues: u64,
    pub streams: u64,
}

#[derive(Debug)]
pub struct Footprint {
    /// In the order of deployment; the stacks of one wave are deployed concurrently.
    pub waves: Vec<Vec<String>>,
    pub named: Vec<Named>,
    pub demand: Demand,
}

impl Kind {
    fn of(resource: &Value) -> Option<(Self, &'static str)> {
        match resource["Type"].as_str()? {
            "AWS::DynamoDB::Table" => Some((Self::Table, "TableName")),
            "AWS::SecretsManager::Secret" => Some((Self::Secret, "Name")),
            "AWS::Logs::LogGroup" => Some((Self::LogGroup, "LogGroupName")),
            _ => None,
        }
    }
}

impl Demand {
    pub const fn total(self) -> u64 {
        self.queues + self.streams
    }
}

impl Footprint {
    /// # Errors
    /// A template cannot be read.
    pub fn read(settings: &Settings, stage: &str) -> Result<Self> {
        let mut footprint = Self { waves: Vec::new(), named: Vec::new(), demand: Demand::default() };
        for wave in deploy::waves(settings) {
            let mut stacks = Vec::new();
            for (template, file) in wave {
                let stack = deploy::stack_name(stage, template);
                footprint.add(&resources(&file)?, stage, &stack);
                stacks.push(stack);
            }
            footprint.waves.push(stacks);
        }
        Ok(footprint)
    }

    fn add(&mut self, resources: &Value, stage: &str, stack: &str) {
        for resource in resources.as_object().into_iter().flat_map(|all| all.values()) {
            let properties = &resource["Properties"];
            if let Some((kind, property)) = Kind::of(resource)
                && let Some(name) = name(&properties[property], stage)
            {
                self.named.push(Named { kind, name, stack: stack.to_owned() });
            }
            for event in properties["Events"].as_object().into_iter().flat_map(|all| all.values()) {
                let source = &event["Properties"];
                match event["Type"].as_str() {
                    // Without a limit a queue may take all; every one of ours has its own.
                    Some("SQS") => {
                        self.demand.queues +=
                            source["ScalingConfig"]["MaximumConcurrency"].as_u64().unwrap_or_default();
                    }
                    Some("DynamoDB") => {
                        self.demand.streams += SHARDS * source["ParallelizationFactor"].as_u64().unwrap_or(1);
                    }
                    _ => {}
                }
            }
        }
    }

    pub fn stacks(&self) -> impl Iterator<Item = &str> {
        self.waves.iter().flatten().map(String::as_str)
    }

    pub fn names(&self, kind: Kind) -> impl Iterator<Item = &str> {
        self.named.iter().filter(move |named| named.kind == kind).map(|named| named.name.as_str())
    }
}

/// A name as the template spells it, on this stage. None when it holds more than the stage, or none is given.
fn name(value: &Value, stage: &str) -> Option<String> {
    let name = value.as_str().or_else(|| value["Fn::Sub"].as_str())?.replace("${Stage}", stage);
    (!name.contains("${")).then_some(name)
}

fn resources(file: &Path) -> Result<Value> {
    let text = std::fs::read_to_string(file).about("cannot read", file)?;
    let document: yaml_serde::Value = yaml_serde::from_str(&text).map_err(|error| {
        local_stack::Error::Template { template: file.to_path_buf(), reason: error.to_string() }
    })?;
    Ok(long_form(document)["Resources"].take())
}

/// The template as JSON, `!Sub x` as `{"Fn::Sub": "x"}`.
fn long_form(value: yaml_serde::Value) -> Value {
    use yaml_serde::Value as Yaml;
    match value {
        Yaml::Null => Value::Null,
        Yaml::Bool(flag) => flag.into(),
        Yaml::Number(number) => serde_json::to_value(number).unwrap_or_default(),
        Yaml::String(text) => text.into(),
        Yaml::Sequence(items) => items.into_iter().map(long_form).collect(),
        Yaml::Mapping(fields) => fields
            .into_iter()
            .filter_map(|(key, value)| Some((key.as_str()?.to_owned(), long_form(value))))
            .collect(),
        Yaml::Tagged(tagged) => {
            let tag = tagged.tag.to_string();
            let name = match tag.trim_start_matches('!') {
                short @ ("Ref" | "Condition") => short.to_owned(),
                function => format!("Fn::{function}"),
            };
            json!({ name: long_form(tagged.value) })
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use local_stack::Port;

    fn footprint(stage: &str) -> Footprint {
        let folder = std::env::temp_dir().join("ordersaga-footprint");
        Footprint::read(&Settings::new(Some(folder), Port::Any, Port::Any).unwrap(), stage).unwrap()
    }

    fn names(stage: &str) -> BTreeSet<(Kind, String)> {
        let named = footprint(stage).named.into_iter();
        named.map(|named| (named.kind, named.name)).collect()
    }

    #[test]
    fn the_templates_say_what_can_outlive_its_stack() {
        let footprint = footprint("pr-1");
        assert_eq!(footprint.waves.first().unwrap(), &["ordersaga-pr-1-platform"]);
        assert_eq!(footprint.waves.last().unwrap(), &["ordersaga-pr-1-users", "ordersaga-pr-1-orders"]);
        assert_eq!(footprint.stacks().count(), 10);
        assert_eq!(footprint.names(Kind::Table).count(), 9);
        let secrets = footprint.names(Kind::Secret).collect::<BTreeSet<_>>();
        assert_eq!(secrets, BTreeSet::from(["ordersaga-pr-1-smtp", "ordersaga-pr-1-stripe"]));
        assert!(footprint.names(Kind::LogGroup).any(|name| name == "/aws/lambda/ordersaga-pr-1-orders-api"));
        let table = footprint.named.iter().find(|named| named.name == "ordersaga-pr-1-orders").unwrap();
        assert_eq!(table.stack, "ordersaga-pr-1-orders");
    }

    #[test]
    fn stages_whose_names_begin_alike_share_no_name() {
        let stages =
            ["pr", "pr-1", "pr-17", "pr-1-x", "pr-1-orders", "pr-1-payments", "pr-1-orders-api"].map(names);
        let all: usize = stages.iter().map(BTreeSet::len).sum();
        let distinct: BTreeSet<_> = stages.into_iter().flatten().collect();
        assert_eq!(distinct.len(), all, "a name belongs to two stages");
    }

    /// Whatever the stages are called: with `ordersaga-${Stage}-b` and `ordersaga-${Stage}-a-b` the stage `x` and the stage
    /// `x-a` would have a name in common.
    #[test]
    fn no_name_of_a_template_ends_with_another() {
        let all: Vec<_> = names("STAGE").into_iter().collect();
        for (kind, name) in &all {
            let (before, own) = name.split_once("STAGE-").unwrap();
            for (_, other) in all.iter().filter(|(other, _)| other == kind) {
                let (other_before, longer) = other.split_once("STAGE-").unwrap();
                assert!(
                    before != other_before || !longer.ends_with(&format!("-{own}")),
                    "{name} of one stage can be {other} of another"
                );
            }
        }
    }

    #[test]
    fn queues_and_streams_say_how_many_functions_they_run_at_once() {
        let mut footprint = Footprint { waves: Vec::new(), named: Vec::new(), demand: Demand::default() };
        let function = json!({"A": {"Type": "AWS::Serverless::Function", "Properties": {"Events": {
            "Queue": {"Type": "SQS", "Properties": {"ScalingConfig": {"MaximumConcurrency": 5}}},
            "Stream": {"Type": "DynamoDB", "Properties": {"ParallelizationFactor": 2}},
            "Clock": {"Type": "ScheduleV2", "Properties": {}},
        }}}});
        footprint.add(&function, "dev", "ordersaga-dev-a");
        assert_eq!(footprint.demand, Demand { queues: 5, streams: 8 });
        let ours = self::footprint("dev").demand;
        assert!(ours.queues >= 50 && ours.streams >= 4 * 8, "{ours:?}");
    }
}
