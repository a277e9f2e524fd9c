//! Everything that a run consists of, wired as the templates say.

use std::{
    cell::{Cell, RefCell},
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    rc::Rc,
    time::Duration,
};

use serde_json::{Value, json};
use tokio::task::LocalSet;

use crate::{
    fault::Faults,
    functions::FUNCTIONS,
    instances::{Function, Functions},
    mappings::{QueueMapping, Schedule, StreamMapping},
    network::{Network, Reply},
    services::{
        gateway::Gateway,
        keys::Keys,
        machines::Machines,
        mailbox::Mailbox,
        queues::{Queues, has_dead_letters},
        sockets::Sockets,
        tables::Tables,
        topics::Topics,
    },
    templates::{Resource, Templates, fields},
    trace::Trace,
    watch::Watcher,
};

pub struct World {
    /// Where all tasks run.
    pub tasks: Rc<LocalSet>,
    pub network: Network,
    pub functions: Functions,
    pub tables: Tables,
    pub topics: Topics,
    pub queues: Queues,
    pub machines: Machines,
    pub gateway: Gateway,
    pub keys: Keys,
    pub mailbox: Mailbox,
    pub sockets: Sockets,
    pub watchers: RefCell<Vec<Rc<Watcher>>>,
    /// The user ids of the customers who have registered.
    pub accounts: RefCell<BTreeMap<u64, String>>,
    /// Those who have deleted their accounts, or are about to.
    pub left: RefCell<BTreeSet<u64>>,
    pending: Cell<u64>,
    failure: RefCell<Option<String>>,
}

thread_local! {
    static WORLD: Cell<Option<&'static World>> = const { Cell::new(None) };
}

/// The world of this thread.
///
/// # Panics
/// When there is none yet.
pub fn world() -> &'static World {
    WORLD.get().expect("the world is made before anything runs in it")
}

/// Something that is under way until it is dropped.
pub struct Pending(());

impl Drop for Pending {
    fn drop(&mut self) {
        let pending = &world().pending;
        pending.set(pending.get() - 1);
    }
}

/// What invokes functions by itself.
pub struct Sources {
    pub queues: Vec<QueueMapping>,
    pub streams: Vec<StreamMapping>,
    pub schedules: Vec<Schedule>,
}

/// Makes the world of this thread. It lives as long as the process.
pub fn make(tasks: Rc<LocalSet>, faults: Faults, trace: Trace) -> Sources {
    let contexts = env!("SIMULATED_CONTEXTS").split(',');
    let names: Vec<&str> = contexts.chain(["platform"]).collect();
    let templates = Templates::read(&repository().join("infra"), &names);
    let mut functions = templates.of_type("AWS::Serverless::Function");
    // CodeDeploy invokes it, which is not simulated.
    functions.retain(|function| function.id != "PlatformCanary");
    let (made, sources) = (functions.iter().map(function).collect(), sources(&functions));
    let keys = templates.of_type("AWS::KMS::Key");
    let signs = |key: &&Resource<'_>| key.text("KeyUsage") == "SIGN_VERIFY";
    let world = World {
        tasks,
        network: Network::new(faults, trace),
        functions: Functions::new(made),
        tables: Tables::new(&templates),
        topics: Topics::new(&templates),
        queues: Queues::new(&templates),
        machines: Machines::new(&templates),
        gateway: Gateway::default(),
        keys: Keys::new(keys.iter().find(signs).expect("a key that signs tokens").id),
        mailbox: Mailbox::new(&templates),
        sockets: Sockets::default(),
        watchers: RefCell::default(),
        accounts: RefCell::default(),
        left: RefCell::default(),
        pending: Cell::new(0),
        failure: RefCell::default(),
    };
    WORLD.set(Some(Box::leak(Box::new(world))));
    sources
}

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// The name of a function's binary.
fn binary(function: &Resource<'_>) -> String {
    let code = function.text("CodeUri");
    code.trim_end_matches('/').rsplit('/').next().unwrap_or_default().to_owned()
}

fn function(resource: &Resource<'_>) -> Function {
    let name = binary(resource);
    let start = FUNCTIONS.iter().find(|(binary, _)| *binary == name);
    let (_, start) =
        start.unwrap_or_else(|| panic!("a template has the function {name}, which has no binary"));
    let mut environment = resource.environment();
    let runtime =
        ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"].map(|name| (name.to_owned(), "simulated".to_owned()));
    environment.extend(runtime);
    environment.insert("AWS_REGION".to_owned(), crate::templates::REGION.to_owned());
    environment.insert("AWS_LAMBDA_FUNCTION_NAME".to_owned(), resource.text("FunctionName"));
    let timeout = Duration::from_secs(resource.number("Timeout").unwrap_or(3));
    Function::new(name, resource.text("FunctionName"), environment, timeout, *start)
}

fn sources(functions: &[Resource<'_>]) -> Sources {
    let mut sources = Sources { queues: Vec::new(), streams: Vec::new(), schedules: Vec::new() };
    for resource in functions {
        for event in fields(&resource.property("Events")).into_values() {
            let (function, properties) = (binary(resource), &event["Properties"]);
            let text = |name: &str| properties[name].as_str().unwrap_or_default().to_owned();
            let batch = properties["BatchSize"].as_u64();
            match event["Type"].as_str().unwrap_or_default() {
                "SQS" => {
                    let concurrency = properties["ScalingConfig"]["MaximumConcurrency"].as_u64();
                    sources.queues.push(QueueMapping {
                        function,
                        queue: text("Queue"),
                        batch: batch.and_then(|size| usize::try_from(size).ok()).unwrap_or(10),
                        concurrency: concurrency.and_then(|most| usize::try_from(most).ok()),
                    });
                }
                "DynamoDB" => {
                    let filters =
                        properties["FilterCriteria"]["Filters"].as_array().cloned().unwrap_or_default();
                    let pattern = |filter: &Value| {
                        filter["Pattern"].as_str().and_then(|text| serde_json::from_str(text).ok())
                    };
                    sources.streams.push(StreamMapping {
                        function,
                        table: text("Stream").split('/').nth(1).unwrap_or_default().to_owned(),
                        batch: batch.unwrap_or(100),
                        filters: filters
                            .iter()
                            .map(|filter| pattern(filter).expect("a pattern is JSON"))
                            .collect(),
                    });
                }
                // Those by the calendar run once a day, longer than a run takes.
                "ScheduleV2" => {
                    if let Some(minutes) = text("ScheduleExpression").strip_prefix("rate(") {
                        let minutes = minutes.split(' ').next().and_then(|minutes| minutes.parse().ok());
                        let every = Duration::from_mins(minutes.expect("a number of minutes"));
                        let input = Some(text("Input")).filter(|input| !input.is_empty());
                        let input = input.unwrap_or_else(|| "{}".to_owned());
                        sources.schedules.push(Schedule { function, every, input });
                    }
                }
                _ => {}
            }
        }
    }
    sources
}

impl Sources {
    /// Starts all of them.
    pub fn start(self) {
        self.queues.into_iter().for_each(|mapping| drop(tokio::task::spawn_local(mapping.run())));
        self.streams.into_iter().for_each(|mapping| drop(tokio::task::spawn_local(mapping.run())));
        self.schedules.into_iter().for_each(|schedule| drop(tokio::task::spawn_local(schedule.run())));
    }
}

impl World {
    /// Says that something is under way.
    pub fn pending(&self) -> Pending {
        self.pending.set(self.pending.get() + 1);
        Pending(())
    }

    /// Whether nothing is under way, waits in a queue, or will come by itself but for schedules.
    pub fn is_quiet(&self) -> bool {
        let waiting = self.queues.messages().into_keys().any(|queue| !has_dead_letters(queue));
        self.pending.get() == 0 && self.functions.busy() == 0 && self.machines.running() == 0 && !waiting
    }

    /// Ends the run with an error of the simulation itself.
    pub fn fail(&self, failure: String) {
        self.failure.borrow_mut().get_or_insert(failure);
    }

    /// The error of the simulation itself.
    pub fn failure(&self) -> Option<String> {
        self.failure.borrow().clone()
    }

    /// A request as API Gateway passes it to a function (API Gateway Developer Guide, "Create AWS Lambda proxy
    /// integrations for HTTP APIs", payload format version 2.0).
    pub fn customer_request(&self, method: &str, path: &str, headers: Value, body: &str) -> Value {
        json!({
            "version": "2.0", "routeKey": "$default", "rawPath": path, "rawQueryString": "", "headers": headers,
            "body": body, "isBase64Encoded": false,
            "requestContext": {
                "accountId": crate::templates::ACCOUNT, "apiId": "api", "domainName": "api", "domainPrefix": "api",
                "http": {
                    "method": method, "path": path, "protocol": "HTTP/1.1", "sourceIp": "203.0.113.7",
                    "userAgent": "simulation",
                },
                "requestId": "simulated", "routeKey": "$default", "stage": "$default",
                "time": "01/Jun/2026:00:00:00 +0000", "timeEpoch": 1_780_272_000_000_u64,
            },
        })
    }

    /// The answer of a function to a request, as API Gateway passes it on: 500 when the function failed.
    pub async fn http(&self, function: &str, request: Value) -> Reply {
        let reply = self.functions.invoke(function, request.to_string()).await;
        let answer: Value = serde_json::from_str(&reply.body).expect("an answer is JSON");
        match answer["statusCode"].as_u64().and_then(|status| u16::try_from(status).ok()) {
            Some(status) if reply.headers.is_empty() => {
                Reply::new(status, answer["body"].as_str().unwrap_or_default())
            }
            _ => Reply::new(500, json!({"message": "Internal Server Error"})),
        }
    }
}
