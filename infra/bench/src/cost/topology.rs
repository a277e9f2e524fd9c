//! The connections that do not pass the proxy, as the emulator knows them: the functions behind the REST API,
//! the functions behind queues, the subscriptions to events, and the schedules.

use std::collections::{BTreeMap, BTreeSet};

use local_stack::call::{access_keys, short};
use local_stack::{Emulator, LOCAL_STAGE};
use reqwest::Method;
use serde_json::{Value, json};

use super::proxy::Published;
use crate::error::{Error, Result};

#[derive(Debug)]
pub struct Topology {
    /// By access key: the short name, `orders-api`.
    pub names: BTreeMap<String, String>,
    /// By short name.
    pub functions: BTreeMap<String, Function>,
    pub subscriptions: Vec<Subscription>,
    /// The queues that Lambda polls, once for each mapping.
    pub polled: Vec<Queue>,
    pub state_machine: String,
    /// By state: the function that it invokes itself.
    pub tasks: BTreeMap<String, String>,
}

#[derive(Debug, Default)]
pub struct Function {
    pub memory_mb: u64,
    /// Each invocation is a request to the HTTP API.
    pub answers_rest: bool,
    pub polls: Option<Queue>,
    /// Its invocations by clients or a stream begin traces, which are recorded.
    pub begins_traces: bool,
    /// Lambda logs lines of its own about each invocation.
    pub is_logged_by_lambda: bool,
    /// It runs by the clock, and not because of an order.
    pub is_scheduled: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Queue {
    Standard,
    Fifo,
}

/// A queue that listens to the topic.
#[derive(Debug)]
pub struct Subscription {
    pub queue: Queue,
    filter: Value,
}

impl Topology {
    /// # Errors
    /// The emulator does not answer, or has something this cannot read.
    pub async fn read(emulator: &Emulator) -> Result<Self> {
        let (mut names, mut functions, mut traced) = (BTreeMap::new(), BTreeMap::new(), BTreeSet::new());
        for function in get(emulator, "lambda", "/2015-03-31/functions/", "Functions").await? {
            let text = |name: &str| function[name].as_str().unwrap_or_default();
            let name = short(text("FunctionName")).to_owned();
            let keys = access_keys(text("FunctionArn"), text("Role"));
            names.extend(keys.map(|key| (key, name.clone())));
            let memory_mb = function["MemorySize"].as_u64().unwrap_or_default();
            let is_logged_by_lambda = function["LoggingConfig"]["SystemLogLevel"] != "WARN";
            if function["TracingConfig"]["Mode"] == "Active" {
                traced.insert(name.clone());
            }
            functions.insert(name, Function { memory_mb, is_logged_by_lambda, ..Function::default() });
        }
        let state_machine = state_machine(emulator, "order-saga").await?;
        let input = json!({"stateMachineArn": state_machine});
        let described = emulator.json("states", "AWSStepFunctions.DescribeStateMachine", &input).await?;
        let subscriptions = subscriptions(emulator).await?;
        let tasks = tasks(described["definition"].as_str().unwrap_or_default());
        let mut topology = Self { names, functions, subscriptions, polled: Vec::new(), state_machine, tasks };
        for (parameter, is_rest) in [("http-api-id", true), ("websocket-api-id", false)] {
            let api = emulator.parameter(LOCAL_STAGE, parameter).await?;
            let path = format!("/v2/apis/{api}/integrations");
            for integration in get(emulator, "apigateway", &path, "items").await? {
                topology.named_in(&integration["integrationUri"], &traced).for_each(|function| {
                    function.answers_rest = is_rest;
                });
            }
        }
        let path = "/2015-03-31/event-source-mappings/";
        for mapping in get(emulator, "lambda", path, "EventSourceMappings").await? {
            let source = mapping["EventSourceArn"].as_str().unwrap_or_default();
            if source.contains(":sqs:") {
                let queue = Queue::of(source);
                topology.polled.push(queue);
                let untraced = BTreeSet::new();
                topology
                    .named_in(&mapping["FunctionArn"], &untraced)
                    .for_each(|function| function.polls = Some(queue));
            } else {
                topology.named_in(&mapping["FunctionArn"], &traced).for_each(drop);
            }
        }
        for schedule in get(emulator, "scheduler", "/schedules", "Schedules").await? {
            let target = &schedule["Target"]["Arn"];
            topology.named_in(target, &traced).for_each(|function| function.is_scheduled = true);
        }
        Ok(topology)
    }

    /// Those that run by the clock.
    pub fn scheduled(&self) -> BTreeSet<&str> {
        let scheduled = self.functions.iter().filter(|(_, function)| function.is_scheduled);
        scheduled.map(|(name, _)| name.as_str()).collect()
    }

    /// The function of an ARN, if there is one. Its invocations from there begin traces if it is one of `traced`.
    fn named_in(&mut self, arn: &Value, traced: &BTreeSet<String>) -> impl Iterator<Item = &mut Function> {
        let function = named(arn).and_then(|name| Some((name, self.functions.get_mut(name)?)));
        function.into_iter().map(move |(name, function)| {
            function.begins_traces |= traced.contains(name);
            function
        })
    }
}

impl Queue {
    fn of(arn: &str) -> Self {
        if arn.ends_with(".fifo") { Self::Fifo } else { Self::Standard }
    }
}

impl Subscription {
    /// Whether the subscription's filter accepts a message:
    /// <https://docs.aws.amazon.com/sns/latest/dg/sns-subscription-filter-policies.html>, of which templates
    /// use exact values and prefixes.
    pub fn takes(&self, message: &Published) -> bool {
        self.filter.as_object().into_iter().flatten().all(|(name, wanted)| {
            let Some(value) = message.attributes.get(name) else { return false };
            wanted.as_array().into_iter().flatten().any(|wanted| match wanted["prefix"].as_str() {
                Some(prefix) => value.starts_with(prefix),
                None => wanted.as_str() == Some(value),
            })
        })
    }

    pub fn new(endpoint: &str, filter: Value) -> Result<Self> {
        let rules = filter.as_object().into_iter().flatten().flat_map(|(_, rules)| rules.as_array());
        if let Some(rule) = rules.flatten().find(|rule| !rule.is_string() && !rule["prefix"].is_string()) {
            return Err(Error::Measurement(format!(
                "{endpoint} has a filter that this does not know: {rule}"
            )));
        }
        Ok(Self { queue: Queue::of(endpoint), filter })
    }
}

/// The short name of the function in an ARN.
fn named(arn: &Value) -> Option<&str> {
    let (_, rest) = arn.as_str()?.split_once(":function:")?;
    rest.split(['/', ':']).next().map(short)
}

/// Which state of a definition invokes which function.
fn tasks(definition: &str) -> BTreeMap<String, String> {
    let definition: Value = serde_json::from_str(definition).unwrap_or_default();
    let states = definition["States"].as_object().into_iter().flatten();
    let named = |state: &Value| named(&state["Arguments"]["FunctionName"]).map(str::to_owned);
    states.filter_map(|(name, state)| Some((name.clone(), named(state)?))).collect()
}

async fn subscriptions(emulator: &Emulator) -> Result<Vec<Subscription>> {
    let topic = emulator.parameter(LOCAL_STAGE, "events-topic-arn").await?;
    let ask = async |action: &str, name: &str, value: &str| {
        emulator.query("sns", action, "2010-03-31", &[(name.to_owned(), value.to_owned())]).await
    };
    let answer = ask("ListSubscriptionsByTopic", "TopicArn", &topic).await?;
    let mut subscriptions = Vec::new();
    for (arn, endpoint) in texts(&answer, "SubscriptionArn")?.iter().zip(texts(&answer, "Endpoint")?) {
        let attributes = ask("GetSubscriptionAttributes", "SubscriptionArn", arn).await?;
        let keys = texts(&attributes, "key")?;
        let values = texts(&attributes, "value")?;
        let filter = keys.iter().zip(values).find(|(key, _)| *key == "FilterPolicy").map(|(_, value)| value);
        let filter = filter.map(|text| serde_json::from_str(&text)).transpose();
        let filter =
            filter.map_err(|error| Error::Measurement(format!("the filter of {endpoint}: {error}")))?;
        subscriptions.push(Subscription::new(&endpoint, filter.unwrap_or_default())?);
    }
    Ok(subscriptions)
}

/// The texts of all elements of that name, in their order.
fn texts(document: &str, name: &str) -> Result<Vec<String>> {
    let document = roxmltree::Document::parse(document)
        .map_err(|error| Error::Measurement(format!("the emulator's answer cannot be read: {error}")))?;
    let elements = document.descendants().filter(|node| node.tag_name().name() == name);
    Ok(elements.map(|node| node.text().unwrap_or_default().to_owned()).collect())
}

/// The address of a state machine of this stage.
///
/// # Errors
/// It is not deployed, or the emulator does not answer.
pub async fn state_machine(emulator: &Emulator, name: &str) -> Result<String> {
    let answer = emulator.json("states", "AWSStepFunctions.ListStateMachines", &json!({})).await?;
    let mut machines = answer["stateMachines"].as_array().into_iter().flatten();
    machines
        .find_map(|machine| {
            machine["stateMachineArn"].as_str().filter(|arn| arn.ends_with(&format!("-{name}")))
        })
        .map(str::to_owned)
        .ok_or_else(|| Error::Measurement(format!("the stack has no state machine {name}")))
}

/// A list that the emulator answers whole: a stack has far less than a page of anything.
async fn get(emulator: &Emulator, service: &str, path: &str, member: &str) -> Result<Vec<Value>> {
    let answer = emulator.send(service, path, Method::GET, path, &[], Vec::new()).await?;
    let mut answer: Value = serde_json::from_str(&answer).unwrap_or_default();
    match answer[member].take() {
        Value::Array(items) => Ok(items),
        _ => Err(Error::Measurement(format!("GET {path} answers no {member}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(event_type: &str) -> Published {
        let attributes = BTreeMap::from([("event_type".to_owned(), event_type.to_owned())]);
        Published { attributes, bytes: 0 }
    }

    #[test]
    fn a_filter_lets_through_what_it_names_or_begins() {
        let filter = json!({"event_type": ["order.completed", {"prefix": "payment."}]});
        let subscription = Subscription::new("arn:aws:sqs:r:a:q.fifo", filter).unwrap();
        assert_eq!(subscription.queue, Queue::Fifo);
        assert!(
            subscription.takes(&event("order.completed")) && subscription.takes(&event("payment.failed"))
        );
        assert!(!subscription.takes(&event("order.completed.not")));
        assert!(!subscription.takes(&Published { attributes: BTreeMap::new(), bytes: 0 }));
        assert!(Subscription::new("q", Value::Null).unwrap().takes(&event("any")));
    }

    #[test]
    fn a_filter_of_another_kind_is_refused() {
        let filter = json!({"event_type": [{"anything-but": ["x"]}]});
        assert!(Subscription::new("q", filter).is_err());
    }

    #[test]
    fn a_state_names_the_function_that_it_invokes() {
        let arn = "arn:aws:lambda:us-east-1:000000000000:function:ordersaga-local-orders-api:live";
        let definition = json!({"States": {
            "Place": {"Arguments": {"FunctionName": arn}}, "Wait": {"Arguments": {"QueueUrl": "q"}},
        }});
        let wanted = BTreeMap::from([("Place".to_owned(), "orders-api".to_owned())]);
        assert_eq!(tasks(&definition.to_string()), wanted);
    }
}
