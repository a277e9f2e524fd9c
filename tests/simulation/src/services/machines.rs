//! Step Functions: the order saga's executions and their task tokens.
//!
//! Sources: AWS Step Functions API reference, "StartExecution" (a second start of the same name with the same input
//! succeeds while the first runs, and is refused otherwise), "SendTaskSuccess"; Developer Guide, "Handling errors in
//! Step Functions workflows" (retries with full jitter), "Invoke an AWS Lambda function with Step Functions" (the names
//! of the errors of a call that fails), "Wait for a Callback with Task Token".

use std::{
    cell::{Cell, RefCell},
    collections::BTreeMap,
    time::Duration,
};

use jiff::Timestamp;
use serde_json::{Value, json};
use statemachine::{
    ORDER_SAGA,
    interpreter::{self, After, Definition, Step, TIMEOUT, TaskError},
};
use tokio::{
    sync::oneshot,
    time::{sleep, timeout},
};

use super::{Protocol, error};
use crate::{
    network::{Call, Caller, ConnectionLost, Effect, Extent, Reply},
    process::next_random,
    templates::{ACCOUNT, REGION, Templates, fields},
    world::world,
};

type Answer = Result<Value, TaskError>;

struct Execution {
    input: Value,
    started_at: Timestamp,
    status: &'static str,
}

pub struct Machines {
    /// `ordersaga-local-order-saga`.
    name: String,
    definition: Definition,
    /// By name.
    executions: RefCell<BTreeMap<String, Execution>>,
    tokens: RefCell<BTreeMap<String, oneshot::Sender<Answer>>>,
    issued: Cell<u64>,
}

impl Machines {
    /// The state machine of infra/orders.yaml.
    pub fn new(templates: &Templates) -> Self {
        let machines = templates.of_type("AWS::Serverless::StateMachine");
        let machine = machines.first().expect("a state machine");
        let mut definition = ORDER_SAGA.to_owned();
        for (name, value) in fields(&machine.property("DefinitionSubstitutions")) {
            let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            definition = definition.replace(&format!("${{{name}}}"), &value);
        }
        let definition = serde_json::from_str(&definition).expect("the definition is JSON");
        Self {
            name: machine.text("Name"),
            definition: Definition::read(&definition),
            executions: RefCell::default(),
            tokens: RefCell::default(),
            issued: Cell::new(0),
        }
    }

    pub fn handle(&'static self, operation: &str, request: &Value) -> Reply {
        match operation {
            "StartExecution" => self.start(request),
            "DescribeExecution" => self.describe(request),
            "SendTaskSuccess" => {
                let output = request["output"].as_str().unwrap_or_default();
                self.answer(request, Ok(serde_json::from_str(output).expect("an output is JSON")))
            }
            "SendTaskFailure" => {
                let text = |field: &str| request[field].as_str().unwrap_or_default().to_owned();
                self.answer(request, Err(TaskError { error: text("error"), cause: text("cause") }))
            }
            other => panic!("the simulation's Step Functions has no {other}"),
        }
    }

    /// How many executions run.
    pub fn running(&self) -> usize {
        self.executions.borrow().values().filter(|execution| execution.status == "RUNNING").count()
    }

    /// The executions that failed.
    pub fn failed(&self) -> Vec<String> {
        let executions = self.executions.borrow();
        executions
            .iter()
            .filter(|(_, execution)| execution.status == "FAILED")
            .map(|(name, _)| name.clone())
            .collect()
    }

    fn start(&'static self, request: &Value) -> Reply {
        let name = request["name"].as_str().expect("every execution is named").to_owned();
        let input: Value =
            serde_json::from_str(request["input"].as_str().unwrap_or("{}")).expect("an input is JSON");
        let arn = format!("arn:aws:states:{REGION}:{ACCOUNT}:execution:{}:{name}", self.name);
        let started_at = Timestamp::now();
        let mut executions = self.executions.borrow_mut();
        if let Some(execution) = executions.get(&name) {
            return if execution.status == "RUNNING" && execution.input == input {
                Reply::ok(json!({"executionArn": arn, "startDate": execution.started_at.as_second()}))
            } else {
                error("ExecutionAlreadyExists", format!("Execution Already Exists: '{arn}'"))
            };
        }
        executions.insert(name.clone(), Execution { input: input.clone(), started_at, status: "RUNNING" });
        drop(executions);
        tokio::task::spawn_local(async move {
            let status = self.run(&name, input).await;
            world().network.trace().line(format_args!("execution {name} {status}"));
            if let Some(execution) = self.executions.borrow_mut().get_mut(&name) {
                execution.status = status;
            }
        });
        Reply::ok(json!({"executionArn": arn, "startDate": started_at.as_second()}))
    }

    fn describe(&self, request: &Value) -> Reply {
        let arn = request["executionArn"].as_str().unwrap_or_default();
        let executions = self.executions.borrow();
        let Some(execution) = arn.rsplit(':').next().and_then(|name| executions.get(name)) else {
            return error("ExecutionDoesNotExist", format!("Execution Does Not Exist: '{arn}'"));
        };
        Reply::ok(json!({
            "executionArn": arn, "stateMachineArn": self.name, "status": execution.status,
            "startDate": execution.started_at.as_second(), "input": execution.input.to_string(),
        }))
    }

    fn answer(&self, request: &Value, answer: Answer) -> Reply {
        let token = request["taskToken"].as_str().unwrap_or_default();
        let waiting = self.tokens.borrow_mut().remove(token);
        match waiting.map(|waiting| waiting.send(answer)) {
            Some(Ok(())) => Reply::ok("{}"),
            // The task has ended.
            _ => error("TaskTimedOut", "Task Timed Out: 'Provided task does not exist anymore'"),
        }
    }

    /// Runs an execution to its end, and returns its status.
    async fn run(&self, name: &str, input: Value) -> &'static str {
        let started_at = Timestamp::now();
        let mut execution = self.definition.start(started_at);
        loop {
            let issued = self.issued.get() + 1;
            self.issued.set(issued);
            let token = format!("token-{issued}");
            let context = json!({
                "Execution": {"Id": name, "Name": name, "Input": input, "StartTime": started_at},
                "State": {"EnteredTime": execution.entered_at()},
                "Task": {"Token": token},
            });
            let call = match execution.next(Timestamp::now(), context) {
                Step::Call(call) => call,
                Step::Succeeded(_) => return "SUCCEEDED",
                Step::Failed(_) => return "FAILED",
            };
            let task = self.call(&call, &token);
            let answer = match call.timeout {
                Some(limit) => timeout(limit, task)
                    .await
                    .unwrap_or_else(|_| Err(TaskError { error: TIMEOUT.to_owned(), cause: String::new() })),
                None => task.await,
            };
            self.tokens.borrow_mut().remove(&token);
            match execution.answer(Timestamp::now(), answer) {
                After::Retry(longest) => sleep(jittered(longest)).await,
                After::Next => {}
                After::Ended(_) => return "SUCCEEDED",
            }
        }
    }

    async fn call(&self, call: &interpreter::Call, token: &str) -> Answer {
        match call.resource.as_str() {
            "arn:aws:states:::lambda:invoke" => invoke(call).await,
            "arn:aws:states:::sqs:sendMessage.waitForTaskToken" => {
                let (send, receive) = oneshot::channel();
                self.tokens.borrow_mut().insert(token.to_owned(), send);
                send_message(call).await?;
                receive
                    .await
                    .unwrap_or_else(|_| std::unreachable!("a token is removed when its task has ended"))
            }
            other => panic!("the simulation's Step Functions does not call {other}"),
        }
    }
}

/// Calls the function that a task names.
async fn invoke(call: &interpreter::Call) -> Answer {
    let full_name = call.arguments["FunctionName"].as_str().expect("a function");
    let function =
        world().functions.named(full_name).unwrap_or_else(|| panic!("there is no function {full_name}"));
    let payload = call.arguments["Payload"].to_string();
    let effect = |_| -> Effect { Box::pin(world().functions.invoke(function, payload.clone())) };
    let operation = format!("lambda.Invoke {function}");
    let reply = request(&call.state, Protocol::Rest, operation, payload.clone(), effect).await;
    let failed =
        |error: &str, cause: &str| Err(TaskError { error: error.to_owned(), cause: cause.to_owned() });
    let reply = match reply {
        Ok(reply) if reply.status == 429 => return failed("Lambda.TooManyRequestsException", &reply.body),
        Ok(reply) if reply.status >= 400 => return failed("Lambda.ServiceException", &reply.body),
        Ok(reply) => reply,
        Err(ConnectionLost) => return failed("Lambda.SdkClientException", "the connection was reset"),
    };
    let payload: Value = serde_json::from_str(&reply.body).expect("an answer is JSON");
    if reply.headers.is_empty() {
        return Ok(json!({"StatusCode": 200, "Payload": payload}));
    }
    failed(payload["errorType"].as_str().unwrap_or_default(), &reply.body)
}

/// Sends the message of a task that waits for its token.
async fn send_message(call: &interpreter::Call) -> Result<(), TaskError> {
    let body = call.arguments["MessageBody"].to_string();
    let message = json!({"QueueUrl": call.arguments["QueueUrl"], "MessageBody": body});
    let effect = |_| -> Effect {
        let message = message.clone();
        Box::pin(async move { world().queues.handle("SendMessage", &message) })
    };
    let reply = request(&call.state, Protocol::Json, "sqs.SendMessage".to_owned(), body, effect).await;
    match reply {
        Ok(reply) if reply.status < 400 => Ok(()),
        Ok(reply) => Err(TaskError { error: "SQS.SqsException".to_owned(), cause: reply.body }),
        Err(ConnectionLost) => Err(TaskError {
            error: "SQS.SdkClientException".to_owned(),
            cause: "the connection was reset".to_owned(),
        }),
    }
}

async fn request(
    state: &str,
    protocol: Protocol,
    operation: String,
    request: String,
    effect: impl Fn(Extent) -> Effect,
) -> Result<Reply, ConnectionLost> {
    let caller = Caller { name: format!("saga {state}"), instance: None };
    world().network.call(&caller, Call { protocol, operation, request, is_secret: false }, effect).await
}

/// Any part of the longest pause.
fn jittered(longest: Duration) -> Duration {
    let milliseconds = u64::try_from(longest.as_millis()).unwrap_or(u64::MAX);
    Duration::from_millis(next_random() % (milliseconds + 1))
}
