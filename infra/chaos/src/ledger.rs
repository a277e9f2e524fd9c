//! Which order a call belongs to, and which of the order's calls goes wrong.
//!
//! Each lane has one order at a time, with a customer, a product and a discount code of its own. A call belongs to the
//! orders whose names it contains. One that contains none belongs to the orders of its invocation, which the trace header
//! names. So a batch of several orders belongs to each of them.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use local_stack::call;

use crate::fault::{CallName, Fault, Kind};

/// More invocations than are under way at a time. Older ones are forgotten.
const INVOCATIONS: usize = 4000;

/// A call before it is known whose it is.
#[derive(Debug, Clone)]
pub struct Call<'a> {
    pub caller: &'a str,
    pub service: &'a str,
    pub operation: &'a str,
    /// The address, the idempotency key and the body.
    pub text: &'a str,
    /// The trace header, which each invocation has to itself.
    pub trace: Option<&'a str>,
}

#[derive(Debug, Default)]
pub struct Ledger(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    lanes: Vec<Lane>,
    /// Customers, products, codes, orders and payment intents, with their lanes.
    names: HashMap<String, usize>,
    /// Invocations, with the lanes that their calls belong to.
    invocations: HashMap<String, BTreeSet<usize>>,
}

#[derive(Debug, Default)]
struct Lane {
    order: Option<String>,
    fault: Option<Fault>,
    /// Whether the fault struck.
    struck: bool,
    counts: BTreeMap<(String, String, String), u32>,
    /// In their order.
    calls: Vec<CallName>,
    intents: Vec<String>,
    last: Option<Instant>,
}

/// What the calls of an order were.
#[derive(Debug)]
pub struct Record {
    pub calls: Vec<CallName>,
    pub struck: bool,
}

impl Ledger {
    /// Adds a lane whose calls contain one of these names.
    pub fn add_lane(&self, names: &[String]) -> usize {
        let mut state = self.state();
        let lane = state.lanes.len();
        state.lanes.push(Lane::default());
        state.names.extend(names.iter().map(|name| (name.clone(), lane)));
        lane
    }

    /// From here on, calls of the lane belong to this order.
    pub fn begin(&self, lane: usize, order: &str, fault: Option<Fault>) {
        let mut state = self.state();
        state.names.insert(order.to_owned(), lane);
        state.lanes[lane] = Lane { order: Some(order.to_owned()), fault, ..Lane::default() };
    }

    /// The order is over.
    pub fn end(&self, lane: usize) -> Record {
        let mut state = self.state();
        let over = std::mem::take(&mut state.lanes[lane]);
        for name in over.order.iter().chain(&over.intents) {
            state.names.remove(name);
        }
        Record { calls: over.calls, struck: over.struck }
    }

    /// How long the order had no call; since its beginning, when it had none.
    pub fn quiet_for(&self, lane: usize) -> Option<Duration> {
        self.state().lanes[lane].last.map(|last| last.elapsed())
    }

    /// The gateway's payment intents of the order.
    pub fn intents(&self, lane: usize) -> Vec<String> {
        self.state().lanes[lane].intents.clone()
    }

    /// Notes a call, and answers how it goes wrong.
    pub fn note(&self, called: &Call<'_>) -> Option<Kind> {
        let mut state = self.state();
        let lanes = state.lanes_of(called);
        let mut strikes = None;
        for lane in lanes {
            let lane = &mut state.lanes[lane];
            if lane.order.is_none() {
                continue;
            }
            lane.last = Some(Instant::now());
            let key = (called.caller.to_owned(), called.service.to_owned(), called.operation.to_owned());
            let number = lane.counts.entry(key.clone()).or_default();
            *number += 1;
            let (caller, service, operation) = key;
            let name = CallName { caller, service, operation, number: *number };
            if !lane.struck && lane.fault.as_ref().is_some_and(|fault| fault.call == name) {
                lane.struck = true;
                strikes = lane.fault.as_ref().map(|fault| fault.kind);
            }
            lane.calls.push(name);
        }
        strikes
    }

    /// Notes the answer to a call: a payment intent that the gateway made for an order.
    pub fn note_intent(&self, called: &Call<'_>, intent: &str) {
        let mut state = self.state();
        for lane in state.lanes_of(called) {
            if !state.lanes[lane].intents.iter().any(|known| known == intent) {
                state.lanes[lane].intents.push(intent.to_owned());
            }
            state.names.insert(intent.to_owned(), lane);
        }
    }

    /// A panic elsewhere leaves the counts intact: they are never half changed.
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn lanes_of(&mut self, called: &Call<'_>) -> BTreeSet<usize> {
        let mut named = BTreeSet::new();
        let (mut by_order, mut is_of_others) = (BTreeSet::new(), false);
        for word in words(called.text) {
            let lane = self.names.get(word).copied();
            if is_order(word) {
                by_order.extend(lane);
                is_of_others |= lane.is_none();
            }
            named.extend(lane);
        }
        // A late call of an order that is over names the lane's customer, too.
        let lanes = if by_order.is_empty() && !is_of_others { named } else { by_order };
        let Some(trace) = called.trace else { return lanes };
        if lanes.is_empty() {
            return if is_of_others {
                lanes
            } else {
                self.invocations.get(trace).cloned().unwrap_or_default()
            };
        }
        if self.invocations.len() > INVOCATIONS {
            self.invocations.clear();
        }
        self.invocations.entry(trace.to_owned()).or_default().extend(&lanes);
        lanes
    }
}

/// The words of a text that may be names.
fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_' && c != '-').filter(|word| word.len() > 4)
}

fn is_order(word: &str) -> bool {
    word.strip_prefix("ord_").is_some_and(|rest| rest.len() == 32)
}

/// The text of a request, with forms decoded: an encoded quotation mark would be a part of the name behind it.
pub fn text(path: &str, key: &str, is_form: bool, body: &[u8]) -> String {
    let body = if is_form {
        call::form(body).map(|(name, value)| format!("{name} {value}\n")).collect()
    } else {
        String::from_utf8_lossy(body).into_owned()
    };
    format!("{path}\n{key}\n{body}")
}

#[cfg(test)]
mod tests {
    use super::*;

    const ORDER: &str = "ord_00000000000000000000000000000001";
    const OTHER: &str = "ord_00000000000000000000000000000002";
    const OVER: &str = "ord_00000000000000000000000000000003";

    fn ledger() -> Ledger {
        let ledger = Ledger::default();
        for (lane, order) in [ORDER, OTHER].into_iter().enumerate() {
            ledger.add_lane(&[format!("usr_{lane}"), format!("CHAOS-{lane}")]);
            let fault = (lane == 0).then(|| "orders-relay.sns.PublishBatch.2:lost".parse().unwrap());
            ledger.begin(lane, order, fault);
        }
        ledger
    }

    fn note(ledger: &Ledger, operation: &str, text: &str, trace: Option<&str>) -> Option<Kind> {
        let (caller, service) = ("orders-relay", "sns");
        ledger.note(&Call { caller, service, operation, text, trace })
    }

    fn names(record: &Record) -> Vec<String> {
        record.calls.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn the_call_that_the_fault_names_goes_wrong_once() {
        let ledger = ledger();
        let text = format!(r#"{{"Message": "{{\"subject\":\"{ORDER}\"}}"}}"#);
        let struck: Vec<_> = (0..4).map(|_| note(&ledger, "PublishBatch", &text, None)).collect();
        assert_eq!(struck, [None, Some(Kind::Lost), None, None]);
        let record = ledger.end(0);
        assert!(record.struck && record.calls.len() == 4);
        assert!(!ledger.end(1).struck);
    }

    #[test]
    fn a_batch_belongs_to_each_of_its_orders() {
        let ledger = ledger();
        note(&ledger, "PublishBatch", &format!("{ORDER} {OTHER}"), None);
        for lane in 0..2 {
            assert_eq!(names(&ledger.end(lane)), ["orders-relay.sns.PublishBatch.1"]);
        }
    }

    #[test]
    fn a_call_without_a_name_belongs_to_its_invocation() {
        let ledger = ledger();
        note(&ledger, "First", "nothing", Some("trace-1"));
        note(&ledger, "Second", "CONTACT#usr_0", Some("trace-1"));
        note(&ledger, "Third", "nothing", Some("trace-1"));
        note(&ledger, "Fourth", "nothing", Some("trace-2"));
        assert_eq!(names(&ledger.end(0)), ["orders-relay.sns.Second.1", "orders-relay.sns.Third.1"]);
    }

    #[test]
    fn a_late_call_of_an_order_that_is_over_belongs_to_no_order() {
        let ledger = ledger();
        note(&ledger, "PublishBatch", &format!("{OVER} usr_0"), Some("trace-1"));
        note(&ledger, "Next", "nothing", Some("trace-1"));
        assert!(ledger.end(0).calls.is_empty());
    }

    #[test]
    fn a_payment_intent_is_a_name_of_its_order() {
        let ledger = ledger();
        let create = text("/v1/payment_intents", &format!("{OTHER}.create.1"), true, b"amount=1");
        let create =
            Call { caller: "payments", service: "stripe", operation: "POST", text: &create, trace: None };
        ledger.note_intent(&create, "pi_0123");
        assert_eq!(ledger.intents(1), ["pi_0123"]);
        note(&ledger, "Confirm", "/v1/payment_intents/pi_0123/confirm", None);
        assert_eq!(names(&ledger.end(1)), ["orders-relay.sns.Confirm.1"]);
    }

    #[test]
    fn names_are_found_in_a_form() {
        let form = format!("Message=%7B%22subject%22%3A%22{ORDER}%22%7D");
        assert!(words(&text("/", "", true, form.as_bytes())).any(|word| word == ORDER));
    }
}
