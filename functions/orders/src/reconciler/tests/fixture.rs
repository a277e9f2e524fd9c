//! One order, its table, and a fake Step Functions and Lambda that record their calls.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use aws_sdk_dynamodb::types::AttributeValue;
use contracts::{
    OrderId,
    saga::{steps::REFUND_PAYMENT, undos},
};
use jiff::SignedDuration;
use lambda_kit::{
    dynamodb::{Table, key},
    testing::{Faults, sdk_config, table},
};
use lambda_runtime::Diagnostic;
use serde_json::{Value, json};
use wiremock::{Mock, MockServer, Request, Respond, ResponseTemplate, matchers::any};

use crate::{
    domain::{Command, History},
    reconciler::{
        ContextClient, Executions, ReconcileError, Reconciler, invocation::Invocation,
        report::ReconciliationReport,
    },
    relay::Starter,
    testing::{at, correlation_id, order_id, place_order_of, user_id},
};

/// The version of an order that was only placed.
pub const PLACED: u64 = 1;
const SAGA: &str = "arn:aws:states:us-east-1:1:stateMachine:saga";
const CHECKOUT_DETAILS: &str = r#"{"payment_method":"pm_card_visa","shipping_address":{"name":"Anna","line1":"Hauptstr. 1","city":"Berlin","postal_code":"10115","country":"DE"}}"#;

#[derive(Default)]
struct State {
    /// Operations of Step Functions, and actions of functions.
    calls: Vec<String>,
    /// Statuses by name.
    executions: BTreeMap<String, String>,
    hidden: bool,
    started: Option<Value>,
    /// Actions whose function fails.
    failing: BTreeSet<String>,
    /// Orders whose payment still holds or may take money.
    money: BTreeSet<String>,
}

#[derive(Clone, Default)]
struct Aws(Arc<Mutex<State>>);

pub struct Fixture {
    pub reconciler: Reconciler,
    pub faults: Faults,
    table: Table,
    aws: Aws,
    _server: MockServer,
}

impl Respond for Aws {
    fn respond(&self, request: &Request) -> ResponseTemplate {
        let body: Value = request.body_json().unwrap();
        let mut state = self.0.lock().unwrap();
        match request.headers.get("x-amz-target").and_then(|target| target.to_str().ok()) {
            Some(target) => state.step_functions(target.rsplit('.').next().unwrap(), &body),
            None => state.lambda(request.url.path(), &body),
        }
    }
}

impl State {
    fn step_functions(&mut self, operation: &str, body: &Value) -> ResponseTemplate {
        self.calls.push(operation.to_owned());
        let refused =
            |name: &str| ResponseTemplate::new(400).set_body_json(json!({"__type": name, "message": "no"}));
        if operation == "StartExecution" {
            let name = body["name"].as_str().unwrap().to_owned();
            if self.executions.contains_key(&name) {
                return refused("ExecutionAlreadyExists");
            }
            self.executions.insert(name, "RUNNING".to_owned());
            self.started = Some(serde_json::from_str(body["input"].as_str().unwrap()).unwrap());
            return ResponseTemplate::new(200).set_body_json(json!({"executionArn": "arn", "startDate": 1}));
        }
        let arn = body["executionArn"].as_str().unwrap();
        let name = arn.strip_prefix("arn:aws:states:us-east-1:1:execution:saga:").unwrap();
        match self.executions.get(name).filter(|_| !self.hidden) {
            None => refused("ExecutionDoesNotExist"),
            Some(status) => ResponseTemplate::new(200).set_body_json(json!({
                "executionArn": arn, "stateMachineArn": SAGA, "status": status, "startDate": 1,
            })),
        }
    }

    fn lambda(&mut self, path: &str, body: &Value) -> ResponseTemplate {
        let action = body["action"].as_str().unwrap().to_owned();
        self.calls.push(action.clone());
        let (function, answer) = match undos().find(|undo| undo.name == action) {
            Some(undo) => (undo.context.function(), json!({"outcome": undo.done[0]})),
            None if action == "PaymentStatuses" => {
                let queried = body["order_ids"].as_array().unwrap().iter();
                let standing = |id: &Value| json!({"order_id": id, "at_rest": !self.money.contains(id.as_str().unwrap())});
                ("payments-commands", json!({"payments": queried.map(standing).collect::<Vec<_>>()}))
            }
            None => panic!("{action}"),
        };
        assert_eq!(path, format!("/2015-03-31/functions/ordersaga-test-{function}%3Alive/invocations"));
        if self.failing.contains(&action) {
            return ResponseTemplate::new(200)
                .insert_header("X-Amz-Function-Error", "Unhandled")
                .set_body_json(json!({"errorType": "Transient", "errorMessage": "the test says so"}));
        }
        if action == REFUND_PAYMENT.name {
            self.money.remove(body["order_id"].as_str().unwrap());
        }
        ResponseTemplate::new(200).set_body_json(answer)
    }
}

impl Fixture {
    pub async fn new() -> Self {
        let (table, faults) = table(&[("watch", "watch", "watched_since")]).await;
        let (server, aws) = (MockServer::start().await, Aws::default());
        Mock::given(any()).respond_with(aws.clone()).mount(&server).await;
        let (sdk, _) = sdk_config(&server.uri());
        let sfn = aws_sdk_sfn::Client::new(&sdk);
        let reconciler = Reconciler {
            store: crate::testing::store(table.clone()),
            starter: Starter::new(sfn.clone(), SAGA.to_owned(), table.clone(), Starter::PER_SECOND),
            executions: Executions::new(sfn, SAGA),
            contexts: ContextClient::new(&(&sdk).into(), "test".to_owned()),
        };
        Self { reconciler, faults, table, aws, _server: server }
    }

    /// An order that was placed and then took these commands, one a second; the index is up to date.
    pub async fn with_order(self, commands: Vec<Command>) -> Self {
        let (store, order_id, correlation_id) = (&self.reconciler.store, order_id(), correlation_id());
        place_order_of(store, &order_id, &user_id(), CHECKOUT_DETAILS, 0).await;
        for (second, command) in (1..).zip(commands) {
            crate::handler::execute(store, &order_id, &command, &correlation_id, at(second)).await.unwrap();
        }
        self.update_index().await;
        self.faults.reset();
        self
    }

    /// Places `count` orders of other customers, each with an execution.
    pub async fn with_running_orders(&self, count: usize) {
        for n in 0..count {
            let order_id = OrderId::try_from(format!("ord_{n:032x}")).unwrap();
            self.with_state(|state| state.executions.insert(order_id.to_string(), "RUNNING".to_owned()));
            place_order_of(&self.reconciler.store, &order_id, &user_id(), CHECKOUT_DETAILS, 0).await;
        }
    }

    /// Adds `count` orders of other customers that were cancelled when ours was placed, some of them in the single
    /// partition that older versions used.
    pub async fn with_cancelled_orders(&self, count: usize) {
        for n in 0..count {
            let mut item = key(format!("ORDER#ord_{n:031x}7"), "COMMIT#00000001");
            let partition = if n % 4 == 0 { "cancelled" } else { "cancelled#7" };
            item.insert("watch".to_owned(), AttributeValue::S(partition.to_owned()));
            item.insert("watched_since".to_owned(), AttributeValue::S(format!("{:.3}", at(0))));
            let put = self.table.client.put_item().table_name(&self.table.name).set_item(Some(item));
            put.send().await.unwrap();
        }
        self.faults.reset();
    }

    fn with_state<R>(&self, f: impl FnOnce(&mut State) -> R) -> R {
        f(&mut self.aws.0.lock().unwrap())
    }

    pub fn execution(&self, status: &str) {
        self.with_state(|state| state.executions.insert(order_id().to_string(), status.to_owned()));
    }

    /// Step Functions does not show yet what was started.
    pub fn hide_execution(&self) {
        self.with_state(|state| state.hidden = true);
    }

    pub fn fail(&self, action: &str) {
        self.with_state(|state| state.failing.insert(action.to_owned()));
    }

    pub fn repair(&self, action: &str) {
        self.with_state(|state| state.failing.remove(action));
    }

    pub fn hold_money(&self) {
        self.with_state(|state| state.money.insert(order_id().to_string()));
    }

    pub fn calls(&self) -> Vec<String> {
        self.with_state(|state| state.calls.clone())
    }

    /// The undos that were called.
    pub fn undone(&self) -> Vec<String> {
        self.calls().into_iter().filter(|call| undos().any(|undo| undo.name == call)).collect()
    }

    /// The input of the execution that was started.
    pub fn started(&self) -> Value {
        self.with_state(|state| state.started.clone().unwrap())
    }

    pub async fn history(&self) -> History {
        self.reconciler.store.load(&order_id()).await.unwrap().unwrap()
    }

    /// Updates the reconciliation index, as the relay does.
    pub async fn update_index(&self) {
        let history = self.history().await;
        self.reconciler
            .store
            .update_index_entry(&order_id(), &history.events.last().unwrap().envelope)
            .await
            .unwrap();
    }

    /// Executes a command without updating the index.
    pub async fn run_unseen(&self, command: Command) {
        crate::handler::execute(&self.reconciler.store, &order_id(), &command, &correlation_id(), at(2))
            .await
            .unwrap();
    }

    pub async fn erase_address(&self) {
        let update = self.table.client.update_item().table_name(&self.table.name);
        let key = key(format!("ORDER#{}", order_id()), "COMMIT#00000001");
        let update =
            update.update_expression("REMOVE #private").expression_attribute_names("#private", "private");
        update.set_key(Some(key)).send().await.unwrap();
    }

    /// Checks all older orders, this many seconds after the order was placed, with enough time.
    pub async fn try_check(&self, now: i64) -> Result<ReconciliationReport, ReconcileError> {
        let older_than = SignedDuration::from_secs(i64::from(contracts::saga::LONGEST_WAY_FORWARD_SECONDS));
        self.reconciler.check(older_than, invocation(now)).await
    }

    pub async fn check(&self, now: i64) -> ReconciliationReport {
        self.try_check(now).await.unwrap()
    }

    /// Asks the function an hour after the order was placed.
    pub async fn ask(&self, request: Value) -> Result<Value, Diagnostic> {
        let request = serde_json::from_value(request).unwrap();
        let answer = self.reconciler.answer(request, invocation(3600)).await?;
        Ok(serde_json::to_value(answer).unwrap())
    }
}

fn invocation(now: i64) -> Invocation {
    Invocation { now: at(now), ends: Instant::now() + Duration::from_secs(300) }
}
