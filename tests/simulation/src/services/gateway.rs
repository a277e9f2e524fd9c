//! Stripe: payment intents, refunds, idempotency keys and webhooks.
//!
//! Sources: <https://docs.stripe.com/payments/paymentintents/lifecycle> (the states), <https://docs.stripe.com/testing>
//! (the payment methods), <https://docs.stripe.com/api/idempotent_requests> (the answer to a key is kept for a day, the
//! same for other parameters is an error), <https://docs.stripe.com/webhooks> (an endpoint gets an event at least once,
//! in any order, again for three days while it does not answer with success; the signature).

use std::{
    cell::{Cell, RefCell},
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use aws_lc_rs::hmac;
use jiff::Timestamp;
use serde_json::{Value, json};
use tokio::time::{sleep, timeout};

use super::{Protocol, form};
use crate::{
    network::{Call, Caller, Effect, Reply, between},
    process::next_random,
    world::world,
};

pub const HOST: &str = "api.stripe.com";

/// When a webhook comes, in milliseconds.
const WEBHOOK: std::ops::Range<u64> = 20..3_000;
/// How long an endpoint may take for its answer. Stripe does not say.
const WEBHOOK_TIMEOUT: Duration = Duration::from_secs(20);
/// When a bank returns a refund. It takes days, in which nothing else happens: the saga has ended by then.
const RETURNED: Duration = Duration::from_mins(5);
/// A card whose refunds fail later.
const REFUND_FAILS: &str = "pm_card_refundFail";
const WEBHOOK_SECRET: &str = "whsec_simulated";

/// The secret of infra/platform.yaml, filled in.
pub fn secret() -> Value {
    json!({"api_key": "sk_test_simulated", "webhook_secrets": [WEBHOOK_SECRET]})
}

#[derive(Debug, Clone)]
pub struct Intent {
    pub id: String,
    pub order_id: String,
    pub status: &'static str,
    pub amount: i64,
    pub refunded: i64,
    currency: String,
    method: String,
    created: i64,
}

#[derive(Debug, Clone)]
struct Refund {
    intent: usize,
    amount: i64,
    /// Whether the customer's bank has returned it.
    has_failed: bool,
}

#[derive(Default)]
pub struct Gateway {
    /// `pi_1` is the first.
    intents: RefCell<Vec<Intent>>,
    /// `re_1` is the first.
    refunds: RefCell<Vec<Refund>>,
    /// By idempotency key: what was asked, and the answer.
    answers: RefCell<BTreeMap<String, (String, Reply)>>,
    events: Cell<u64>,
}

impl Gateway {
    pub fn handle(&self, method: &str, path: &str, query: &str, body: &str, key: Option<&str>) -> Reply {
        let asked = format!("{method} {path} {body}");
        if let Some((before, answer)) = key.and_then(|key| self.answers.borrow().get(key).cloned()) {
            let is_same = before == asked;
            return if is_same { answer } else { refused(400, "idempotency_error", "") };
        }
        let parts: Vec<&str> = path.trim_start_matches("v1/").split('/').collect();
        let answer = match (method, parts.as_slice()) {
            ("POST", ["payment_intents"]) => self.create(body),
            ("POST", ["payment_intents", id, "confirm"]) => self.confirm(id),
            ("POST", ["payment_intents", id, "cancel"]) => self.cancel(id),
            ("GET", ["payment_intents", id]) => self.with(id, |intent| Reply::ok(intent.object())),
            ("GET", ["payment_intents"]) => self.list(query),
            ("POST", ["refunds"]) => self.refund(body),
            ("GET", ["refunds"]) => self.list_refunds(query),
            other => panic!("the simulation's gateway has no {other:?}"),
        };
        if let Some(key) = key {
            self.answers.borrow_mut().insert(key.to_owned(), (asked, answer.clone()));
        }
        answer
    }

    /// All intents.
    pub fn intents(&self) -> Vec<Intent> {
        self.intents.borrow().clone()
    }

    /// Whether the bank asks the customer about a charge of this order.
    pub fn asks_customer(&self, order_id: &str) -> bool {
        let intents = self.intents.borrow();
        intents.iter().any(|intent| intent.order_id == order_id && intent.status == "requires_action")
    }

    /// Whether an order's charges have ended, at least one of them.
    pub fn has_ended(&self, order_id: &str) -> bool {
        let intents = self.intents.borrow();
        let mut of_it = intents.iter().filter(|intent| intent.order_id == order_id).peekable();
        let is_over = |status| matches!(status, "succeeded" | "canceled" | "requires_payment_method");
        of_it.peek().is_some() && of_it.all(|intent| is_over(intent.status))
    }

    /// The customer answers the bank.
    pub fn authenticate(&self, order_id: &str) {
        let mut intents = self.intents.borrow_mut();
        let asked = intents
            .iter_mut()
            .filter(|intent| intent.order_id == order_id && intent.status == "requires_action");
        for intent in asked {
            intent.status = "succeeded";
            self.send_webhook("payment_intent.succeeded", intent.object());
        }
    }

    fn create(&self, body: &str) -> Reply {
        let fields: BTreeMap<String, String> = form(body).into_iter().collect();
        let field = |name: &str| fields.get(name).cloned().unwrap_or_default();
        let method = field("payment_method");
        if outcome(&method).is_none() {
            return refused(400, "resource_missing", "payment_method");
        }
        let mut intents = self.intents.borrow_mut();
        let intent = Intent {
            id: format!("pi_{}", intents.len() + 1),
            order_id: field("metadata[order_id]"),
            status: "requires_confirmation",
            amount: field("amount").parse().expect("an amount"),
            refunded: 0,
            currency: field("currency"),
            method,
            created: Timestamp::now().as_second(),
        };
        intents.push(intent.clone());
        Reply::ok(intent.object())
    }

    fn confirm(&self, id: &str) -> Reply {
        self.with(id, |intent| {
            if intent.status != "requires_confirmation" {
                return refused(400, "payment_intent_unexpected_state", "");
            }
            intent.status = outcome(&intent.method).expect("it was created with it");
            match intent.status {
                "requires_payment_method" => {
                    self.send_webhook("payment_intent.payment_failed", intent.object());
                    let error = json!({"type": "card_error", "code": "card_declined", "decline_code": "generic_decline"});
                    Reply::new(402, json!({ "error": error }))
                }
                status => {
                    self.send_webhook(&format!("payment_intent.{status}"), intent.object());
                    Reply::ok(intent.object())
                }
            }
        })
    }

    fn cancel(&self, id: &str) -> Reply {
        self.with(id, |intent| {
            if matches!(intent.status, "succeeded" | "canceled" | "processing") {
                return refused(400, "payment_intent_unexpected_state", "");
            }
            intent.status = "canceled";
            self.send_webhook("payment_intent.canceled", intent.object());
            Reply::ok(intent.object())
        })
    }

    fn refund(&self, body: &str) -> Reply {
        let fields: BTreeMap<String, String> = form(body).into_iter().collect();
        let id = fields.get("payment_intent").cloned().unwrap_or_default();
        self.with(&id, |intent| {
            if intent.status != "succeeded" || intent.refunded == intent.amount {
                return refused(400, "charge_already_refunded", "");
            }
            let amount = intent.amount - intent.refunded;
            intent.refunded = intent.amount;
            let number = number(&intent.id).expect("it was found");
            let mut refunds = self.refunds.borrow_mut();
            refunds.push(Refund { intent: number, amount, has_failed: false });
            self.send_webhook("charge.refunded", intent.charge());
            if intent.method == REFUND_FAILS {
                let refund = refunds.len();
                tokio::task::spawn_local(async move {
                    let _pending = world().pending();
                    sleep(RETURNED).await;
                    world().gateway.return_refund(refund);
                });
            }
            Reply::ok(refund_object(refunds.len(), &refunds[refunds.len() - 1]))
        })
    }

    /// The customer's bank returns a refund (<https://docs.stripe.com/refunds#failed-refunds>).
    fn return_refund(&self, number: usize) {
        let mut refunds = self.refunds.borrow_mut();
        let refund = &mut refunds[number - 1];
        refund.has_failed = true;
        self.intents.borrow_mut()[refund.intent].refunded -= refund.amount;
        self.send_webhook("refund.failed", refund_object(number, refund));
    }

    /// How many orders had a refund that the customer's bank returned.
    pub fn orders_with_returns(&self) -> usize {
        let (intents, refunds) = (self.intents.borrow(), self.refunds.borrow());
        let returned = refunds.iter().filter(|refund| refund.has_failed);
        returned.map(|refund| &intents[refund.intent].order_id).collect::<BTreeSet<_>>().len()
    }

    fn list(&self, query: &str) -> Reply {
        let fields: BTreeMap<String, String> = form(query).into_iter().collect();
        let number_of =
            |name: &str, default| fields.get(name).map_or(default, |text| text.parse().expect("a number"));
        let made = number_of("created[gte]", 0)..number_of("created[lt]", i64::MAX);
        let after = fields.get("starting_after").and_then(|id| number(id)).map_or(0, |index| index + 1);
        let intents = self.intents.borrow();
        let found: Vec<Value> = intents[after..]
            .iter()
            .filter(|intent| made.contains(&intent.created))
            .map(Intent::object)
            .collect();
        let page: Vec<&Value> = found.iter().take(100).collect();
        Reply::ok(json!({"object": "list", "data": page, "has_more": found.len() > page.len()}))
    }

    fn list_refunds(&self, query: &str) -> Reply {
        let fields: BTreeMap<String, String> = form(query).into_iter().collect();
        let id = fields.get("payment_intent").cloned().unwrap_or_default();
        let refunds = self.refunds.borrow();
        let of_it = refunds.iter().enumerate().filter(|(_, refund)| Some(refund.intent) == number(&id));
        let data: Vec<Value> = of_it.map(|(index, refund)| refund_object(index + 1, refund)).collect();
        Reply::ok(json!({"object": "list", "data": data, "has_more": false}))
    }

    fn with(&self, id: &str, handle: impl FnOnce(&mut Intent) -> Reply) -> Reply {
        let mut intents = self.intents.borrow_mut();
        match number(id).and_then(|number| intents.get_mut(number)) {
            Some(intent) => handle(intent),
            None => refused(404, "resource_missing", "intent"),
        }
    }

    /// Sends an event to the platform's endpoint until it answers with success, one in ten twice.
    fn send_webhook(&self, kind: &str, object: Value) {
        let number = self.events.get() + 1;
        self.events.set(number);
        let event =
            json!({"id": format!("evt_{number}"), "type": kind, "data": {"object": object}}).to_string();
        let times = 1 + u64::from(next_random().is_multiple_of(10));
        for _ in 0..times {
            let (kind, event) = (kind.to_owned(), event.clone());
            tokio::task::spawn_local(async move {
                let _pending = world().pending();
                let mut pause = between(WEBHOOK);
                loop {
                    sleep(pause).await;
                    if deliver(&kind, &event).await {
                        return;
                    }
                    // In live mode with an exponential back-off, which Stripe does not specify.
                    pause = (pause * 4).clamp(Duration::from_secs(10), Duration::from_hours(6));
                }
            });
        }
    }
}

/// Whether the endpoint answers with success.
async fn deliver(kind: &str, event: &str) -> bool {
    let now = Timestamp::now().as_second();
    let key = hmac::Key::new(hmac::HMAC_SHA256, WEBHOOK_SECRET.as_bytes());
    let signature = hmac::sign(&key, format!("{now}.{event}").as_bytes());
    let hex: String = signature.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    let headers =
        json!({"stripe-signature": format!("t={now},v1={hex}"), "content-type": "application/json"});
    let call = Call {
        protocol: Protocol::Http,
        operation: format!("webhook {kind}"),
        request: event.to_owned(),
        is_secret: false,
    };
    let request = world().customer_request("POST", "/v1/payments/webhook", headers, event);
    let caller = Caller { name: "stripe".to_owned(), instance: None };
    let effect = |_| -> Effect { Box::pin(world().http("payments-api", request.clone())) };
    let answer = timeout(WEBHOOK_TIMEOUT, world().network.call(&caller, call, effect)).await;
    matches!(answer, Ok(Ok(reply)) if reply.status < 300)
}

/// What becomes of an intent that is confirmed with this payment method (<https://docs.stripe.com/testing>).
fn outcome(method: &str) -> Option<&'static str> {
    Some(match method {
        "pm_card_visa" | REFUND_FAILS => "succeeded",
        "pm_card_chargeDeclined" | "pm_card_chargeCustomerFail" => "requires_payment_method",
        "pm_card_authenticationRequired" => "requires_action",
        _ => return None,
    })
}

/// The index of `pi_<index + 1>`.
fn number(id: &str) -> Option<usize> {
    id.strip_prefix("pi_")?.parse::<usize>().ok()?.checked_sub(1)
}

fn refund_object(number: usize, refund: &Refund) -> Value {
    let (status, reason) =
        if refund.has_failed { ("failed", json!("lost_or_stolen_card")) } else { ("succeeded", Value::Null) };
    json!({
        "id": format!("re_{number}"), "object": "refund", "amount": refund.amount, "status": status,
        "payment_intent": format!("pi_{}", refund.intent + 1), "failure_reason": reason,
    })
}

fn refused(status: u16, code: &str, param: &str) -> Reply {
    let error = json!({"type": "invalid_request_error", "code": code, "param": param});
    Reply::new(status, json!({ "error": error }))
}

impl Intent {
    fn object(&self) -> Value {
        let mut object = json!({
            "id": self.id, "object": "payment_intent", "status": self.status, "amount": self.amount,
            "currency": self.currency, "created": self.created, "client_secret": format!("{}_secret", self.id),
            "metadata": {"order_id": self.order_id},
            "latest_charge": {"amount": self.amount, "amount_refunded": self.refunded, "currency": self.currency},
        });
        match self.status {
            "requires_action" => object["next_action"] = json!({"type": "use_stripe_sdk"}),
            "requires_payment_method" => object["last_payment_error"] = json!({"code": "card_declined"}),
            _ => {}
        }
        object
    }

    fn charge(&self) -> Value {
        json!({
            "id": format!("ch_{}", self.id), "object": "charge", "payment_intent": self.id, "amount": self.amount,
            "amount_refunded": self.refunded, "currency": self.currency, "metadata": {"order_id": self.order_id},
        })
    }
}
