//! An in-process Stripe: intents, refunds, idempotency keys, and injected faults.
//!
//! Payment methods: `pm_card_visa` succeeds, `pm_declined` is declined, `pm_3ds` requires the customer's
//! action, `pm_slow` stays with the bank; others do not exist.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use serde_json::{Value, json};
use wiremock::{Mock, MockServer, Request, Respond, ResponseTemplate, matchers::any};

/// Longer than any test's gateway call may take.
const NEVER: Duration = Duration::from_secs(60);

/// The fault of the next request of an operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// No effect and no answer.
    Unreachable,
    /// The request takes effect, and the answer is lost.
    LostAnswer,
    /// Nothing happens; 500, which the idempotency key keeps.
    FailedBefore,
    /// It happens; 500, which the idempotency key keeps.
    FailedAfter,
    /// Nothing happens; 429, which the key does not keep.
    Busy,
    /// The bank does not take a refund.
    RefundFails,
    /// Nothing happens; 400, because the charge is disputed, which the key keeps.
    Disputed,
    /// Nothing happens; 400, because all was refunded, though some of it came back.
    AlreadyRefunded,
    /// Nothing happens; 400, because of our account, which the key keeps.
    Misused,
}

#[derive(Debug, Clone)]
struct Intent {
    status: &'static str,
    method: String,
    amount: i64,
    /// With the customer.
    refunded: i64,
    /// All refunds that were ever made, those that failed later among them.
    ever_refunded: i64,
    order_id: String,
}

#[derive(Debug, Clone)]
struct Refund {
    intent: String,
    amount: i64,
    status: &'static str,
}

#[derive(Default)]
struct State {
    intents: HashMap<String, Intent>,
    /// `re_1` is the first.
    refunds: Vec<Refund>,
    answers: HashMap<String, (u16, Value)>,
    faults: HashMap<String, Vec<Fault>>,
    /// Operation and idempotency key of each request.
    calls: Vec<(String, Option<String>)>,
    forms: Vec<String>,
    api_key: String,
}

#[derive(Clone)]
pub struct FakeStripe {
    server: Arc<MockServer>,
    state: Arc<Mutex<State>>,
}

struct Responder(Arc<Mutex<State>>);

impl FakeStripe {
    pub async fn start() -> Self {
        let state = State { api_key: "sk_test_right".to_owned(), ..State::default() };
        let state = Arc::new(Mutex::new(state));
        let server = MockServer::start().await;
        Mock::given(any()).respond_with(Responder(Arc::clone(&state))).mount(&server).await;
        Self { server: Arc::new(server), state }
    }

    pub fn url(&self) -> String {
        self.server.uri()
    }

    /// The next requests of `operation` (`create`, `confirm`, `retrieve`, `cancel`, `refund`) go wrong like this.
    pub fn fail(&self, operation: &str, faults: &[Fault]) {
        self.state.lock().unwrap().faults.insert(operation.to_owned(), faults.to_vec());
    }

    pub fn accept_only(&self, api_key: &str) {
        self.state.lock().unwrap().api_key = api_key.to_owned();
    }

    /// The operations so far, with their idempotency keys without the order.
    pub fn calls(&self) -> Vec<String> {
        let state = self.state.lock().unwrap();
        let shown = |(operation, key): &(String, Option<String>)| match key {
            Some(key) => format!("{operation} {}", key.split_once('.').unwrap().1),
            None => operation.clone(),
        };
        state.calls.iter().map(shown).collect()
    }

    pub fn keys(&self) -> Vec<String> {
        self.state.lock().unwrap().calls.iter().filter_map(|(_, key)| key.clone()).collect()
    }

    pub fn forms(&self) -> Vec<String> {
        self.state.lock().unwrap().forms.clone()
    }

    /// Money that was taken and has not gone back, over all intents.
    pub fn money_held(&self) -> i64 {
        let state = self.state.lock().unwrap();
        let taken = state.intents.values().filter(|intent| intent.status == "succeeded");
        taken.map(|intent| intent.amount - intent.refunded).sum()
    }

    /// Intents that could still take money.
    pub fn open(&self) -> usize {
        let state = self.state.lock().unwrap();
        state.intents.values().filter(|intent| !matches!(intent.status, "succeeded" | "canceled")).count()
    }

    /// Changes an intent's status, as the customer, the bank or a user of the dashboard does.
    pub fn set_status(&self, intent_id: &str, status: &'static str) {
        self.state.lock().unwrap().intents.get_mut(intent_id).unwrap().status = status;
    }

    /// Refunds a part in the dashboard, and returns the charge as a webhook shows it.
    pub fn refund_in_dashboard(&self, intent_id: &str, amount: i64) -> Value {
        let mut state = self.state.lock().unwrap();
        if amount > 0 {
            state.refund(intent_id, amount);
        }
        let intent = &state.intents[intent_id];
        json!({
            "id": "ch_1",
            "payment_intent": intent_id,
            "amount": intent.amount,
            "amount_refunded": intent.ever_refunded,
            "refunded": intent.refunded == intent.amount,
            "metadata": {"order_id": intent.order_id},
        })
    }

    /// The customer's bank returns a refund. Answers it as a webhook shows it.
    pub fn refund_fails(&self, refund_id: &str) -> Value {
        let mut state = self.state.lock().unwrap();
        let number: usize = refund_id.trim_start_matches("re_").parse().unwrap();
        let refund = &mut state.refunds[number - 1];
        refund.status = "failed";
        let (intent, amount) = (refund.intent.clone(), refund.amount);
        state.intents.get_mut(&intent).unwrap().refunded -= amount;
        let mut object = state.refund_object(number);
        object["failure_reason"] = json!("expired_or_canceled_card");
        object
    }

    /// Deletes an intent, as if it belonged to another account.
    pub fn forget(&self, intent_id: &str) {
        self.state.lock().unwrap().intents.remove(intent_id).unwrap();
    }

    /// Charges another amount than was requested.
    pub fn charge_instead(&self, intent_id: &str, amount: i64) {
        self.state.lock().unwrap().intents.get_mut(intent_id).unwrap().amount = amount;
    }

    /// The number of intents that have ever taken money.
    pub fn charges(&self) -> usize {
        self.state.lock().unwrap().intents.values().filter(|intent| intent.status == "succeeded").count()
    }

    /// The intent as a webhook shows it.
    pub fn object(&self, intent_id: &str) -> Value {
        object(intent_id, &self.state.lock().unwrap().intents[intent_id])
    }
}

impl Respond for Responder {
    fn respond(&self, request: &Request) -> ResponseTemplate {
        let mut state = self.0.lock().unwrap();
        let key = request.headers.get("idempotency-key").map(|key| key.to_str().unwrap().to_owned());
        let path: Vec<&str> = request.url.path().trim_start_matches("/v1/").split('/').collect();
        let query = request.url.query().unwrap_or_default();
        let operation = match (request.method.as_str(), path.as_slice()) {
            ("POST", ["payment_intents"]) => "create",
            ("POST", ["payment_intents", _, "confirm"]) => "confirm",
            ("POST", ["payment_intents", _, "cancel"]) => "cancel",
            ("GET", ["payment_intents", _]) => "retrieve",
            ("GET", ["payment_intents"]) => "list",
            ("POST", ["refunds"]) => "refund",
            ("GET", ["refunds"]) => "refunds",
            other => panic!("payments do not call {other:?}"),
        };
        state.calls.push((operation.to_owned(), key.clone()));
        if request.headers["authorization"].to_str().unwrap() != format!("Bearer {}", state.api_key) {
            return answer((401, json!({"error": {"type": "invalid_request_error"}})));
        }
        let form = String::from_utf8(request.body.clone()).unwrap();
        if operation == "create" {
            state.forms.push(form.clone());
        }
        if let Some(kept) = key.as_ref().and_then(|key| state.answers.get(key)) {
            return answer(kept.clone());
        }
        let fault = state.faults.get_mut(operation).filter(|t| !t.is_empty()).map(|t| t.remove(0));
        let failed = (500, json!({"error": {"type": "api_error"}}));
        let mut late = Duration::ZERO;
        let result = match fault {
            Some(Fault::Unreachable) => {
                return answer((500, json!({}))).set_delay(NEVER);
            }
            Some(Fault::Busy) => return answer((429, json!({"error": {"code": "rate_limit"}}))),
            Some(Fault::FailedBefore) => failed,
            Some(Fault::FailedAfter) => {
                state.execute(operation, &path, query, &form);
                failed
            }
            Some(Fault::AlreadyRefunded) => (400, json!({"error": {"code": "charge_already_refunded"}})),
            Some(Fault::Disputed) => (400, json!({"error": {"code": "charge_disputed"}})),
            Some(Fault::Misused) => {
                let error = json!({"type": "invalid_request_error", "code": "testmode_charges_only"});
                (400, json!({"error": error}))
            }
            Some(Fault::RefundFails) => (200, json!({"id": "re_0", "status": "failed"})),
            Some(Fault::LostAnswer) => {
                late = NEVER;
                state.execute(operation, &path, query, &form)
            }
            None => state.execute(operation, &path, query, &form),
        };
        if let Some(key) = key {
            state.answers.insert(key, result.clone());
        }
        answer(result).set_delay(late)
    }
}

fn answer((status, body): (u16, Value)) -> ResponseTemplate {
    ResponseTemplate::new(status).set_body_json(body)
}

impl State {
    fn execute(&mut self, operation: &str, path: &[&str], query: &str, form: &str) -> (u16, Value) {
        let field = |name: &str| {
            let value = form.split('&').filter_map(|f| f.split_once('=')).find(|(n, _)| *n == name);
            value.map(|(_, value)| value.to_owned()).unwrap_or_default()
        };
        let refused = |code: &str| (400, json!({"error": {"type": "invalid_request_error", "code": code}}));
        match operation {
            "create" => {
                let method = field("payment_method");
                if !["pm_card_visa", "pm_declined", "pm_3ds", "pm_slow"].contains(&method.as_str()) {
                    let mut answer = refused("resource_missing");
                    answer.1["error"]["param"] = json!("payment_method");
                    return answer;
                }
                let id = format!("pi_{}", self.intents.len() + 1);
                let intent = Intent {
                    status: "requires_confirmation",
                    method,
                    amount: field("amount").parse().unwrap(),
                    refunded: 0,
                    ever_refunded: 0,
                    order_id: field("metadata%5Border_id%5D"),
                };
                self.intents.insert(id.clone(), intent.clone());
                (200, object(&id, &intent))
            }
            "refund" => {
                let id = field("payment_intent");
                let Some(intent) = self.intents.get(&id) else { return refused("resource_missing") };
                if intent.status != "succeeded" || intent.refunded == intent.amount {
                    return refused("charge_already_refunded");
                }
                // Without an amount: all that is left.
                let number = self.refund(&id, intent.amount - intent.refunded);
                (200, self.refund_object(number))
            }
            // A page of one, so that there are several.
            "list" => {
                let mut ids: Vec<&String> = self.intents.keys().collect();
                ids.sort();
                let rest: Vec<&String> = match query.split_once("starting_after=") {
                    Some((_, after)) => ids.into_iter().filter(|id| id.as_str() > after).collect(),
                    None => ids,
                };
                let page: Vec<Value> = rest.iter().take(1).map(|id| object(id, &self.intents[*id])).collect();
                (200, json!({"object": "list", "data": page, "has_more": rest.len() > 1}))
            }
            "refunds" => {
                let all = (1..=self.refunds.len()).map(|number| self.refund_object(number));
                (200, json!({"object": "list", "data": all.collect::<Vec<_>>(), "has_more": false}))
            }
            _ => {
                let id = path[1];
                let Some(intent) = self.intents.get_mut(id) else { return refused("resource_missing") };
                match (operation, intent.status) {
                    ("confirm", "requires_confirmation") => {
                        intent.status = match intent.method.as_str() {
                            "pm_card_visa" => "succeeded",
                            "pm_3ds" => "requires_action",
                            "pm_slow" => "processing",
                            _ => "requires_payment_method",
                        };
                        if intent.status == "requires_payment_method" {
                            return (402, json!({"error": {"type": "card_error", "code": "card_declined"}}));
                        }
                    }
                    ("cancel", "succeeded" | "canceled" | "processing") | ("confirm", _) => {
                        return refused("payment_intent_unexpected_state");
                    }
                    ("cancel", _) => intent.status = "canceled",
                    _ => {}
                }
                (200, object(id, &self.intents[id]))
            }
        }
    }
}

impl State {
    fn refund(&mut self, intent: &str, amount: i64) -> usize {
        self.refunds.push(Refund { intent: intent.to_owned(), amount, status: "succeeded" });
        let intent = self.intents.get_mut(intent).unwrap();
        intent.refunded += amount;
        intent.ever_refunded += amount;
        self.refunds.len()
    }

    fn refund_object(&self, number: usize) -> Value {
        let Refund { intent, amount, status } = &self.refunds[number - 1];
        json!({
            "id": format!("re_{number}"), "object": "refund", "amount": amount, "currency": "usd",
            "payment_intent": intent, "status": status, "failure_reason": null, "metadata": {},
        })
    }
}

fn object(id: &str, intent: &Intent) -> Value {
    let mut object = json!({
        "id": id,
        "object": "payment_intent",
        "status": intent.status,
        "amount": intent.amount,
        "client_secret": format!("{id}_secret_of_the_customer"),
        "metadata": {"order_id": intent.order_id},
        "latest_charge": {"amount": intent.amount, "amount_refunded": intent.ever_refunded},
    });
    if intent.status == "requires_action" {
        object["next_action"] = json!({"type": "use_stripe_sdk"});
    }
    if intent.status == "requires_payment_method" {
        object["last_payment_error"] = json!({"code": "card_declined"});
    }
    object
}
