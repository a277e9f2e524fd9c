//! What each context publishes and reads, and what its steps answer the saga. Each deployment stores it in the stage, so
//! that the next one can compare: nothing is deployed while what is live could not read it.
//!
//! The comparison is between what would be deployed and what is live, also for contexts that are deployed together.
//! They change one after the other, and for some minutes a new publisher meets an old reader.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use contracts::compatibility;
use local_stack::AboutFile;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::stacks::Found;
use crate::error::{Error, Result};
use crate::remote::Remote;
use crate::stage::Stage;

/// The context that runs the saga.
const SAGA: &str = "orders";
const MACHINE: &str = "statemachine/order_saga.asl.json";
const SCHEMAS: &str = "shared/contracts/schemas";

/// The contexts by the first part of their event types. Others have the name of their context.
const PUBLISHERS: [(&str, &str); 7] = [
    ("user", "users"),
    ("session", "users"),
    ("product", "catalog"),
    ("order", "orders"),
    ("payment", "payments"),
    ("shipment", "fulfillment"),
    ("notification", "notifications"),
];

/// A context's part in the contract of all contexts.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Contract {
    /// Its events, each with the version that it publishes.
    publishes: BTreeMap<String, Published>,
    /// The events of other contexts that it reads, with the schemas of all versions that it knows.
    reads: BTreeMap<String, BTreeMap<u32, Value>>,
    /// The final errors that its command functions answer, by the state of the saga.
    answers: BTreeMap<String, BTreeSet<String>>,
    /// The final errors that the saga knows, by its state. Only of the context that runs it.
    saga: BTreeMap<String, Called>,
}

/// The published version of an event type.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Published {
    version: u32,
    schema: Value,
}

/// A state of the saga that calls a context.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Called {
    context: String,
    errors: BTreeSet<String>,
}

/// The contracts by context.
pub type Contracts = BTreeMap<String, Contract>;

/// The contracts of all contexts in a checkout.
///
/// # Errors
/// A file cannot be read, or has another form.
pub fn of(root: &Path, contexts: &[&str]) -> Result<Contracts> {
    let (schemas, saga) = (schemas(&root.join(SCHEMAS))?, saga(&root.join(MACHINE))?);
    let mut contracts = Contracts::new();
    for &context in contexts {
        let template = root.join(format!("infra/{context}.yaml"));
        if !template.exists() {
            continue;
        }
        let is_read = subscriptions(&template)?;
        let publishes = schemas.iter().filter(|(event_type, _)| publisher(event_type) == context);
        let publishes = publishes.filter_map(|(event_type, versions)| {
            let (version, schema) = versions.last_key_value()?;
            Some((event_type.clone(), Published { version: *version, schema: schema.clone() }))
        });
        let reads =
            schemas.iter().filter(|(event_type, _)| is_read.iter().any(|read| read.matches(event_type)));
        let answers = saga.iter().filter(|(_, called)| called.context == context);
        contracts.insert(
            context.to_owned(),
            Contract {
                publishes: publishes.collect(),
                reads: reads.map(|(event_type, versions)| (event_type.clone(), versions.clone())).collect(),
                answers: answers.map(|(state, called)| (state.clone(), called.errors.clone())).collect(),
                saga: if context == SAGA { saga.clone() } else { BTreeMap::new() },
            },
        );
    }
    Ok(contracts)
}

fn publisher(event_type: &str) -> &str {
    let prefix = event_type.split('.').next().unwrap_or_default();
    PUBLISHERS.iter().find(|(of, _)| *of == prefix).map_or(prefix, |(_, context)| context)
}

/// All schemas by event type and version: `order.created.v1.json`.
fn schemas(folder: &Path) -> Result<BTreeMap<String, BTreeMap<u32, Value>>> {
    let mut schemas = BTreeMap::<_, BTreeMap<_, _>>::new();
    for entry in std::fs::read_dir(folder).about("cannot read", folder)? {
        let file = entry.about("cannot read", folder)?.path();
        let name = file.file_name().unwrap_or_default().to_string_lossy();
        let named = name.strip_suffix(".json").filter(|name| !name.ends_with(".example"));
        let Some((event_type, version)) = named.and_then(|name| name.rsplit_once(".v")) else { continue };
        let Ok(version) = version.parse::<u32>() else { continue };
        schemas.entry(event_type.to_owned()).or_default().insert(version, json_of(&file)?);
    }
    Ok(schemas)
}

fn json_of(file: &Path) -> Result<Value> {
    let text = std::fs::read_to_string(file).about("cannot read", file)?;
    serde_json::from_str(&text)
        .map_err(|error| Error::Deploy(format!("{} is not JSON: {error}", file.display())))
}

/// A part of a subscription's filter (SNS Developer Guide, "Filter policy constraints").
#[derive(Debug, PartialEq, Eq)]
enum Read {
    Type(String),
    Prefix(String),
}

impl Read {
    fn matches(&self, event_type: &str) -> bool {
        match self {
            Self::Type(read) => read == event_type,
            Self::Prefix(prefix) => event_type.starts_with(prefix),
        }
    }
}

/// The event types that a template's queues are subscribed to.
fn subscriptions(template: &Path) -> Result<Vec<Read>> {
    use yaml_serde::Value as Yaml;

    let text = std::fs::read_to_string(template).about("cannot read", template)?;
    let document: Yaml = yaml_serde::from_str(&text)
        .map_err(|error| Error::Deploy(format!("{}: {error}", template.display())))?;
    let Some(Yaml::Mapping(resources)) = document.get("Resources") else { return Ok(Vec::new()) };
    let types = resources.values().filter_map(|resource| {
        let properties = resource.get("Properties")?;
        let is_subscription = resource.get("Type")?.as_str()? == "AWS::SNS::Subscription";
        let types = properties.get("FilterPolicy")?.get("event_type")?.as_sequence()?;
        is_subscription.then_some(types)
    });
    let read = |value: &Yaml| match value.as_str() {
        Some(event_type) => Some(Read::Type(event_type.to_owned())),
        None => Some(Read::Prefix(value.get("prefix")?.as_str()?.to_owned())),
    };
    Ok(types.flatten().filter_map(read).collect())
}

/// The states that call a context, and the errors that are final there: those of `Retry` with no attempts.
fn saga(machine: &Path) -> Result<BTreeMap<String, Called>> {
    let machine = json_of(machine)?;
    let states = machine["States"].as_object().into_iter().flatten();
    Ok(states.filter_map(|(name, state)| Some((name.clone(), called(state)?))).collect())
}

fn called(state: &Value) -> Option<Called> {
    let arguments = &state["Arguments"];
    let target = arguments["FunctionName"].as_str().or_else(|| arguments["QueueUrl"].as_str())?;
    // `${InventoryCommandsArn}` and `${PaymentsQueueUrl}`.
    let target = target.trim_start_matches("${").trim_end_matches('}');
    let context = ["CommandsArn", "QueueUrl"].iter().find_map(|end| target.strip_suffix(end))?.to_lowercase();
    let retriers = state["Retry"].as_array().into_iter().flatten();
    let is_final = |retrier: &&Value| retrier["MaxAttempts"] == 0;
    let errors = retriers.filter(is_final).filter_map(|retrier| retrier["ErrorEquals"].as_array()).flatten();
    Some(Called { context, errors: errors.filter_map(|error| Some(error.as_str()?.to_owned())).collect() })
}

/// What would not be understood while these contexts of `new` are deployed to a stage where `live` runs: a sentence each.
pub fn differences(live: &Contracts, new: &Contracts, deployed: &[&str], stage: &str) -> Vec<String> {
    let first = |context: &str| format!("`cargo ops deploy --stage {stage} --only {context}`");
    let mut found = Vec::new();
    for (name, contract) in new.iter().filter(|(name, _)| deployed.contains(&name.as_str())) {
        for (other_name, other) in live.iter().filter(|(other_name, _)| *other_name != name) {
            found.extend(contract.publishes.iter().filter_map(|(event_type, published)| {
                let versions = other.reads.get(event_type)?;
                let reason = published.why_not_read_by(versions)?;
                Some(format!(
                    "{name} would publish {event_type} version {}, and {other_name}, as it is deployed, could not read \
                     it: {reason}. {}",
                    published.version,
                    match reason {
                        Reason::Version => format!("Deploy the reader first: {}.", first(other_name)),
                        Reason::Field(_) => OTHER_VERSION.to_owned(),
                    }
                ))
            }));
            found.extend(other.publishes.iter().filter_map(|(event_type, published)| {
                let versions = contract.reads.get(event_type)?;
                let reason = published.why_not_read_by(versions)?;
                Some(format!(
                    "{other_name}, as it is deployed, publishes {event_type} version {}, and {name} could not read it any \
                     more: {reason}. Deploy a revision of {name} that reads it, or first an earlier one of {other_name}: \
                     `cargo ops deploy --stage {stage} --only {other_name} --rev …`.",
                    published.version
                ))
            }));
            found.extend(unknown_errors(contract, &other.saga).map(|(state, error)| {
                format!(
                    "{name} would answer the saga's {state} with the error {error}, which {other_name}, as it is deployed, \
                     does not know: it would repeat the step. Deploy the saga first: {}.",
                    first(other_name)
                )
            }));
            found.extend(unknown_errors(other, &contract.saga).map(|(state, error)| {
                format!(
                    "{other_name}, as it is deployed, answers the saga's {state} with the error {error}, which {name} would \
                     not know any more. Deploy {other_name} first: {}.",
                    first(other_name)
                )
            }));
            let steps = contract.saga.iter().filter(|(_, called)| called.context == *other_name);
            found.extend(steps.filter(|(state, _)| !other.answers.contains_key(*state)).map(|(state, _)| {
                format!(
                    "the saga's {state} would call {other_name}, which, as it is deployed, does not know this command. \
                     Deploy {other_name} first: {}.",
                    first(other_name)
                )
            }));
        }
    }
    found
}

/// The errors that a context answers and a saga does not know, each with its state. A state that the saga does not have
/// calls nothing.
fn unknown_errors<'a>(
    contract: &'a Contract,
    saga: &'a BTreeMap<String, Called>,
) -> impl Iterator<Item = (&'a String, &'a String)> {
    let states =
        contract.answers.iter().filter_map(|(state, errors)| Some((state, errors, saga.get(state)?)));
    states
        .flat_map(|(state, errors, known)| errors.difference(&known.errors).map(move |error| (state, error)))
}

/// What to do about a version whose schema has changed.
const OTHER_VERSION: &str = "A version that is published may only get optional fields: keep it as it was, and make a new \
                             version (shared/contracts/README.md).";

/// Why an event cannot be read.
#[derive(Debug)]
enum Reason {
    Version,
    Field(compatibility::Broken),
}

impl std::fmt::Display for Reason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Version => f.write_str("it does not know this version"),
            Self::Field(broken) => write!(f, "{broken}"),
        }
    }
}

impl Published {
    fn why_not_read_by(&self, versions: &BTreeMap<u32, Value>) -> Option<Reason> {
        let Some(known) = versions.get(&self.version) else { return Some(Reason::Version) };
        compatibility::check(known, &self.schema).err().map(Reason::Field)
    }
}

/// Where a stage keeps the contracts of what is deployed: in the bucket of SAM's uploads, below the stage's own prefix.
pub struct Store<'a> {
    remote: &'a Remote,
    stage: &'a Stage,
    /// `None` before the first deployment of this account and region.
    bucket: Option<String>,
}

impl<'a> Store<'a> {
    /// # Errors
    /// AWS refuses.
    pub async fn open(remote: &'a Remote, stage: &'a Stage) -> Result<Self> {
        Ok(Self { remote, stage, bucket: crate::destroy::artifacts_bucket(remote).await? })
    }

    fn key(&self, context: &str) -> String {
        format!("{}contracts/{context}.json", crate::destroy::artifacts_of(self.stage))
    }

    /// The contracts of the contexts that are deployed, and the names of those whose contract is not stored.
    ///
    /// # Errors
    /// AWS refuses, or a stored contract has another form.
    pub async fn live(
        &self,
        contexts: &[&str],
        stacks: &BTreeMap<String, Found>,
    ) -> Result<(Contracts, Vec<String>)> {
        let (mut live, mut unknown) = (Contracts::new(), Vec::new());
        for &context in contexts {
            if !stacks.contains_key(&local_stack::deploy::stack_name(self.stage.name(), context)) {
                continue;
            }
            match self.read(context).await? {
                Some(contract) => drop(live.insert(context.to_owned(), contract)),
                None => unknown.push(context.to_owned()),
            }
        }
        Ok((live, unknown))
    }

    async fn read(&self, context: &str) -> Result<Option<Contract>> {
        let Some(bucket) = &self.bucket else { return Ok(None) };
        let input = json!({"Bucket": bucket, "Key": self.key(context)});
        let answer = match self.remote.repeatable("s3", "GetObject", input).await {
            Ok(answer) => answer,
            Err(refusal) if refusal.is_not_found() => return Ok(None),
            Err(refusal) => return Err(refusal.into()),
        };
        let text = answer["Body"].as_str().unwrap_or_default();
        serde_json::from_str(text).map(Some).map_err(|error| {
            Error::Deploy(format!(
                "the contract of {context} in s3://{bucket}/{} cannot be read: {error}. Delete this object to deploy \
                 without a comparison.",
                self.key(context)
            ))
        })
    }

    /// Stores the contract of a context that was just deployed.
    ///
    /// # Errors
    /// AWS refuses.
    pub async fn write(&self, context: &str, contract: &Contract) -> Result<()> {
        // The first deployment has made the bucket.
        let bucket = match &self.bucket {
            Some(bucket) => Some(bucket.clone()),
            None => crate::destroy::artifacts_bucket(self.remote).await?,
        };
        let Some(bucket) = bucket else { return Ok(()) };
        let input = json!({
            "Bucket": bucket, "Key": self.key(context), "ContentType": "application/json",
            "Body": json!(contract).to_string(),
        });
        self.remote.repeatable("s3", "PutObject", input).await?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONTEXTS: [&str; 9] = [
        "users",
        "catalog",
        "inventory",
        "orders",
        "payments",
        "fulfillment",
        "notifications",
        "realtime",
        "storefront",
    ];

    fn checked_in() -> Contracts {
        of(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../.."), &CONTEXTS).unwrap()
    }

    fn change(contracts: &Contracts, context: &str, edit: impl FnOnce(&mut Contract)) -> Contracts {
        let mut changed = contracts.clone();
        edit(changed.get_mut(context).unwrap());
        changed
    }

    /// The only difference, when `deployed` of `new` goes to where `live` runs.
    fn difference(live: &Contracts, new: &Contracts, deployed: &[&str]) -> String {
        let [found] = &differences(live, new, deployed, "dev")[..] else {
            panic!("one difference: {:?}", differences(live, new, deployed, "dev"))
        };
        found.clone()
    }

    #[test]
    fn what_is_checked_in_is_read_from_the_files() {
        let contracts = checked_in();
        let published: BTreeSet<&String> =
            contracts.values().flat_map(|contract| contract.publishes.keys()).collect();
        let known = schemas(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(SCHEMAS)).unwrap();
        assert_eq!(published, known.keys().collect(), "each event type has a publisher");
        assert_eq!(contracts["payments"].publishes["payment.failed"].version, 2);
        let reads = &contracts["realtime"].reads;
        assert!(reads.contains_key("order.created") && reads.contains_key("session.ended"), "{reads:?}");
        assert_eq!(reads["payment.failed"].keys().collect::<Vec<_>>(), [&1, &2]);
        let errors = &contracts["payments"].answers["TakePayment"];
        assert!(errors.contains("PaymentDeclined"), "{errors:?}");
        assert_eq!(contracts["orders"].saga["ReserveInventory"].context, "inventory");
    }

    #[test]
    fn the_same_contract_and_an_additional_optional_field_are_compatible_both_ways() {
        let live = checked_in();
        assert_eq!(differences(&live, &live, &CONTEXTS, "dev"), Vec::<String>::new());
        let field = |contract: &mut Contract| {
            let schema = &mut contract.publishes.get_mut("order.created").unwrap().schema;
            let data = data_of(schema);
            data["properties"]["note"] = json!({"type": ["string", "null"]});
        };
        let new = change(&live, "orders", field);
        assert_eq!(differences(&live, &new, &["orders"], "dev"), Vec::<String>::new());
        assert_eq!(differences(&new, &live, &CONTEXTS, "dev"), Vec::<String>::new(), "and the way back");
    }

    /// The payload's schema.
    fn data_of(schema: &mut Value) -> &mut Value {
        let reference = schema["properties"]["data"]["$ref"].as_str().map(|text| text[1..].to_owned());
        match reference {
            Some(pointer) => schema.pointer_mut(&pointer).unwrap(),
            None => &mut schema["properties"]["data"],
        }
    }

    #[test]
    fn a_new_version_waits_for_each_reader_that_is_live() {
        let live = checked_in();
        let new_version = |contract: &mut Contract| {
            contract.publishes.get_mut("product.created").unwrap().version = 9;
        };
        let mut new = change(&live, "catalog", new_version);
        let schema = new["catalog"].publishes["product.created"].schema.clone();
        new.get_mut("orders").unwrap().reads.get_mut("product.created").unwrap().insert(9, schema);
        for deployed in [&["catalog"][..], &["catalog", "orders"]] {
            assert_eq!(
                difference(&live, &new, deployed),
                "catalog would publish product.created version 9, and orders, as it is deployed, could not read it: it does \
                 not know this version. Deploy the reader first: `cargo ops deploy --stage dev --only orders`."
            );
        }
        assert_eq!(differences(&live, &new, &["orders"], "dev"), Vec::<String>::new());
        let reader_is_live = change(&live, "orders", |contract| *contract = new["orders"].clone());
        assert_eq!(differences(&reader_is_live, &new, &["catalog"], "dev"), Vec::<String>::new());
    }

    #[test]
    fn a_changed_field_of_a_published_version_is_named() {
        let live = checked_in();
        let new = change(&live, "users", |contract| {
            let schema = &mut contract.publishes.get_mut("user.suspended").unwrap().schema;
            schema["properties"]["sequence"] = json!({"type": "string"});
        });
        let found = differences(&live, &new, &["users"], "dev");
        let readers = live.values().filter(|contract| contract.reads.contains_key("user.suspended")).count();
        assert_eq!(found.len(), readers);
        assert!(found[0].contains("#/properties/sequence"), "{found:?}");
        assert!(found[0].ends_with(OTHER_VERSION), "{found:?}");
    }

    #[test]
    fn a_reader_that_is_too_old_for_what_is_published_is_not_deployed() {
        let live = checked_in();
        let new = change(&live, "realtime", |contract| {
            contract.reads.get_mut("payment.failed").unwrap().remove(&2);
        });
        let found = difference(&live, &new, &["realtime"]);
        assert!(
            found
                .starts_with("payments, as it is deployed, publishes payment.failed version 2, and realtime"),
            "{found}"
        );
    }

    #[test]
    fn a_new_error_of_a_step_waits_for_the_saga_and_a_saga_knows_all_errors_that_are_live() {
        let live = checked_in();
        let raise = |contract: &mut Contract| {
            contract.answers.get_mut("TakePayment").unwrap().insert("CardExpired".to_owned());
        };
        let mut new = change(&live, "payments", raise);
        new.get_mut("orders")
            .unwrap()
            .saga
            .get_mut("TakePayment")
            .unwrap()
            .errors
            .insert("CardExpired".to_owned());
        let found = difference(&live, &new, &["orders", "payments"]);
        assert!(found.contains(
            "TakePayment with the error CardExpired, which orders, as it is deployed, does not know"
        ));
        assert!(
            found.ends_with("Deploy the saga first: `cargo ops deploy --stage dev --only orders`."),
            "{found}"
        );
        assert_eq!(differences(&live, &new, &["orders"], "dev"), Vec::<String>::new());

        let found = difference(&new, &live, &["orders"]);
        assert!(found.contains(
            "answers the saga's TakePayment with the error CardExpired, which orders would not know"
        ));
    }

    #[test]
    fn a_new_step_waits_for_the_context_that_it_calls() {
        let live = checked_in();
        let called = Called { context: "fulfillment".to_owned(), errors: BTreeSet::new() };
        let new =
            change(&live, "orders", |contract| drop(contract.saga.insert("WrapGift".to_owned(), called)));
        let found = difference(&live, &new, &["orders"]);
        assert!(found.starts_with("the saga's WrapGift would call fulfillment, which"), "{found}");
    }
}
