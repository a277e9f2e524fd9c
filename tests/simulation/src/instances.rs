//! Lambda: the functions, and the instances that run them.
//!
//! An instance handles one invocation at a time and is used again; another one starts when all are busy (Lambda
//! Developer Guide, "Understanding Lambda function scaling", "Understanding the Lambda execution environment
//! lifecycle"). An invocation that takes longer than the function's timeout ends its instance. No limit of concurrent
//! instances is modelled but that of a queue's mapping.

use std::{
    cell::{Cell, RefCell},
    collections::BTreeMap,
    rc::Rc,
    time::Duration,
};

use aws_smithy_runtime_api::client::http::SharedHttpConnector;
use futures::future::{LocalBoxFuture, poll_fn};
use jiff::{SignedDuration, Timestamp};
use lambda_kit::simulation::{self, Instance, Invocation};
use lambda_runtime::{Context, Diagnostic};
use serde_json::{json, value::RawValue};
use tokio::{
    sync::{Mutex, mpsc, oneshot},
    task::AbortHandle,
    time::{sleep, timeout},
};

use crate::{
    functions::Start,
    network::{Connector, Reply, between},
    process,
    world::world,
};

/// What an instance takes to start, in milliseconds.
const START: std::ops::Range<u64> = 20..80;

type Answer = Result<Box<RawValue>, Diagnostic>;

/// A function as its template describes it.
#[derive(Debug)]
pub struct Function {
    /// Its binary: `orders-api`.
    pub name: String,
    /// On AWS: `ordersaga-local-orders-api`.
    pub full_name: String,
    pub environment: BTreeMap<String, String>,
    pub timeout: Duration,
    pub start: Start,
    idle: RefCell<Vec<Running>>,
}

impl Function {
    pub fn new(
        name: String,
        full_name: String,
        environment: BTreeMap<String, String>,
        timeout: Duration,
        start: Start,
    ) -> Self {
        Self { name, full_name, environment, timeout, start, idle: RefCell::default() }
    }
}

#[derive(Debug)]
struct Running {
    instance: Rc<Process>,
    inbox: mpsc::UnboundedSender<Invocation>,
    task: AbortHandle,
}

/// An instance, as the function sees it.
#[derive(Debug)]
struct Process {
    number: u64,
    name: String,
    environment: BTreeMap<String, String>,
    invocations: Mutex<mpsc::UnboundedReceiver<Invocation>>,
    answer: RefCell<Option<oneshot::Sender<Answer>>>,
}

impl Instance for Process {
    fn variable(&self, name: &str) -> Option<String> {
        self.environment.get(name).cloned()
    }

    fn connector(&self) -> SharedHttpConnector {
        Connector::shared(self.name.clone(), self.number)
    }

    fn fill(&self, bytes: &mut [u8]) {
        process::fill(bytes);
    }

    fn next(&self) -> LocalBoxFuture<'_, Option<Invocation>> {
        Box::pin(async { self.invocations.lock().await.recv().await })
    }

    fn answer(&self, answer: Answer) {
        if let Some(send) = self.answer.take() {
            // The caller has given up.
            let _ = send.send(answer);
        }
    }
}

/// Tells the caller that the instance has ended, when it ends.
struct Ending(Rc<Process>);

impl Drop for Ending {
    fn drop(&mut self) {
        self.0.answer.take();
    }
}

/// Counts an invocation until it has ended, or its caller has given up.
struct Busy<'a>(&'a Cell<u64>);

impl<'a> Busy<'a> {
    fn of(count: &'a Cell<u64>) -> Self {
        count.set(count.get() + 1);
        Self(count)
    }
}

impl Drop for Busy<'_> {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}

#[derive(Default)]
pub struct Functions {
    by_name: BTreeMap<String, Function>,
    /// By the number of the instance.
    tasks: RefCell<BTreeMap<u64, AbortHandle>>,
    started: Cell<u64>,
    requests: Cell<u64>,
    busy: Cell<u64>,
}

impl Functions {
    pub fn new(functions: Vec<Function>) -> Self {
        let by_name = functions.into_iter().map(|function| (function.name.clone(), function)).collect();
        Self { by_name, ..Self::default() }
    }

    /// The name of the function that AWS knows by this name or ARN, with or without an alias.
    pub fn named(&self, full_name: &str) -> Option<&str> {
        let is_named = |function: &&Function| full_name.split(':').any(|part| part == function.full_name);
        self.by_name.values().find(is_named).map(|function| &*function.name)
    }

    /// The time that a function has.
    pub fn timeout(&self, name: &str) -> Duration {
        self.by_name.get(name).map_or(Duration::ZERO, |function| function.timeout)
    }

    /// How many invocations are under way.
    pub fn busy(&self) -> u64 {
        self.busy.get()
    }

    /// Ends an instance in the middle of what it does.
    pub fn end(&self, instance: u64) {
        if let Some(task) = self.tasks.borrow_mut().remove(&instance) {
            task.abort();
        }
    }

    /// Invokes a function and returns its answer, or how it failed, as Lambda's Invoke does (Lambda API reference,
    /// "Invoke"; the names of the errors: Lambda Developer Guide, "Troubleshoot invocation issues").
    pub async fn invoke(&self, name: &str, payload: String) -> Reply {
        let function = self.by_name.get(name).unwrap_or_else(|| panic!("there is no function {name}"));
        let _busy = Busy::of(&self.busy);
        match self.run(function, payload).await {
            Ok(answer) => Reply::ok(answer),
            Err((error_type, error_message)) => Reply {
                headers: vec![("x-amz-function-error", "Unhandled".to_owned())],
                ..Reply::ok(json!({"errorType": error_type, "errorMessage": error_message}))
            },
        }
    }

    async fn run(&self, function: &Function, payload: String) -> Result<String, (String, String)> {
        let idle = function.idle.borrow_mut().pop();
        let running = match idle {
            Some(running) => running,
            None => {
                sleep(between(START)).await;
                self.start(function)
            }
        };
        let request = self.requests.get() + 1;
        self.requests.set(request);
        let mut context = Context::default();
        context.request_id = format!("request-{request}");
        // By the clock of the instance, which may be wrong.
        let skew = world().network.faults().skew(&function.name);
        let deadline = Timestamp::now() + function.timeout + SignedDuration::from_secs(skew);
        context.deadline = u64::try_from(deadline.as_millisecond()).unwrap_or_default();
        let (send, receive) = oneshot::channel();
        running.instance.answer.replace(Some(send));
        let payload = RawValue::from_string(payload).expect("an event is JSON");
        // Sending fails only when the instance has ended, and then there is no answer either.
        let _ = running.inbox.send(Invocation { payload, context });
        match timeout(function.timeout, receive).await {
            Ok(Ok(answer)) => {
                function.idle.borrow_mut().push(running);
                answer
                    .map(|answer| answer.get().to_owned())
                    .map_err(|diagnostic| (diagnostic.error_type, diagnostic.error_message))
            }
            Ok(Err(_)) => Err((
                "Runtime.ExitError".to_owned(),
                "Error: Runtime exited without providing a reason".to_owned(),
            )),
            Err(_) => {
                running.task.abort();
                let seconds = function.timeout.as_secs();
                Err((
                    "Sandbox.Timedout".to_owned(),
                    format!("Error: Task timed out after {seconds}.00 seconds"),
                ))
            }
        }
    }

    fn start(&self, function: &Function) -> Running {
        let number = self.started.get() + 1;
        self.started.set(number);
        let (inbox, invocations) = mpsc::unbounded_channel();
        let instance = Rc::new(Process {
            number,
            name: function.name.clone(),
            environment: function.environment.clone(),
            invocations: Mutex::new(invocations),
            answer: RefCell::default(),
        });
        let (ending, start, name) = (Ending(Rc::clone(&instance)), function.start, function.name.clone());
        let runs = Rc::clone(&instance) as Rc<dyn Instance>;
        let task = tokio::task::spawn_local(async move {
            let _ending = ending;
            let mut run = Box::pin(simulation::run(runs, async move { start().await }));
            let clocked = poll_fn(|context| {
                let _clock = process::skewed(world().network.faults().skew(&name));
                run.as_mut().poll(context)
            });
            if let Err(error) = clocked.await {
                world().network.trace().line(format_args!("{name} cannot start: {error}"));
                world().fail(format!("{name} cannot start: {error}"));
            }
        });
        let task = task.abort_handle();
        self.tasks.borrow_mut().insert(number, task.clone());
        Running { instance, inbox, task }
    }
}
