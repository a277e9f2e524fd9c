//! The contexts as the saga sees them: their state for one order, and their promises (README.md, steps and
//! undos): a repeat succeeds, and a step that comes after its undo is refused.

use std::{collections::BTreeMap, ops::Range, time::Duration};

use contracts::{
    OrderStatus,
    saga::{
        COMPENSATION_FAILED, Call, Compensations, Context, Failure, ORDER_CANCEL_REQUESTED, PAYMENT_TIMEOUT,
        STEPS, Step, TRANSIENT, Undo, UndoOutcome,
        steps::{SCHEDULE_SHIPMENT, TAKE_PAYMENT},
        undos,
    },
};
use serde_json::{Value, json};
use statemachine::interpreter::TIMEOUT;

/// The duration of a call that does not time out.
const CALL: Duration = Duration::from_millis(100);

/// How the calls of a task fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The first one fails before it has an effect.
    FailsOnce,
    /// The first one has its effect, and its answer is lost.
    LosesOneAnswer,
    /// All calls fail without an effect.
    Down,
    /// All have their effect, and no answer comes back.
    Mute,
    /// All calls time out; the effect of the first one happens this many calls later, 255 for after the end.
    Late(u8),
}

impl Fault {
    pub const ALL: [Self; 8] = [
        Self::FailsOnce,
        Self::LosesOneAnswer,
        Self::Down,
        Self::Mute,
        Self::Late(0),
        Self::Late(1),
        Self::Late(3),
        Self::Late(255),
    ];
}

/// What a step holds for the order: its stock, its money, its shipment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Thing {
    #[default]
    None,
    Held,
    Refused(&'static str),
    /// Undone, or undone before it was done.
    Undone {
        was_held: bool,
    },
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Order {
    pub status: OrderStatus,
    /// Why it was cancelled.
    pub reason: String,
    pub failed: Vec<String>,
    reserved: bool,
    cancel_requested: bool,
}

#[derive(Debug, Clone)]
pub struct Services {
    pub order: Order,
    pub charges: u32,
    pub cancel_accepted: bool,
    /// Since the execution's start.
    pub clock: Duration,
    /// By the step's name.
    things: BTreeMap<&'static str, Thing>,
    /// The final error by which a step is refused.
    refusal: Option<&'static str>,
    faults: Vec<(&'static str, Fault)>,
    /// Tasks whose calls fail without an effect during these minutes.
    away: Vec<(&'static str, Range<u64>)>,
    /// The time that the customer takes to pay.
    payment_takes: Duration,
    /// The call before which the customer requests a cancel, and whether payments receives it while it waits.
    cancel: Option<(usize, bool)>,
    late: Vec<(usize, String, Value)>,
    log: Vec<(String, &'static str)>,
}

impl Default for Services {
    fn default() -> Self {
        let order = Order {
            status: OrderStatus::OrderCreated,
            reason: String::new(),
            failed: vec![],
            reserved: false,
            cancel_requested: false,
        };
        Self {
            order,
            charges: 0,
            cancel_accepted: false,
            clock: Duration::ZERO,
            things: BTreeMap::new(),
            refusal: None,
            faults: vec![],
            away: vec![],
            payment_takes: CALL,
            cancel: None,
            late: vec![],
            log: vec![],
        }
    }
}

type Answer = Result<Value, &'static str>;

impl Services {
    pub fn refusing(self, refusal: Option<&'static str>) -> Self {
        Self { refusal, ..self }
    }

    pub fn with(mut self, task: &'static str, fault: Fault) -> Self {
        self.faults.push((task, fault));
        self
    }

    pub fn away(mut self, tasks: &[&'static str], minutes: Range<u64>) -> Self {
        self.away.extend(tasks.iter().map(|task| (*task, minutes.clone())));
        self
    }

    pub fn paid_after(self, minutes: u64) -> Self {
        Self { payment_takes: Duration::from_mins(minutes), ..self }
    }

    pub fn cancelled_before(self, call: usize, heard: bool) -> Self {
        Self { cancel: Some((call, heard)), ..self }
    }

    /// The parts that are held for the order.
    pub fn held(&self) -> Vec<&'static str> {
        let held = |undo: &&Undo| self.things.get(step_of(undo).name) == Some(&Thing::Held);
        undos().filter(held).map(|undo| undo.part).collect()
    }

    /// Whether a fault made orders unavailable to the tasks that ask for the order's status.
    pub fn orders_was_down(&self) -> bool {
        let asked = ["AbortOrder", "CancelOrder"];
        self.faults.iter().any(|(task, fault)| {
            asked.contains(task) && !matches!(fault, Fault::FailsOnce | Fault::LosesOneAnswer)
        })
    }

    pub fn calls(&self) -> Vec<&str> {
        self.log.iter().map(|(task, _)| task.as_str()).collect()
    }

    pub fn describe(&self) -> String {
        let lines: Vec<String> = self.log.iter().map(|(task, answer)| format!("{task}: {answer}")).collect();
        format!("{:?}, {:?}, cancel {:?}\n{}", self.refusal, self.faults, self.cancel, lines.join("\n"))
    }

    /// One call of a task, as the state machine sees it.
    pub fn call(&mut self, task: &str, arguments: &Value) -> Answer {
        let now = self.log.len();
        let answer = self.answer(task, arguments, now);
        let call = STEPS.iter().find(|step| step.name == task).map_or(Call::Invoke, |step| step.call);
        self.clock += match (call, &answer) {
            (Call::Queue { timeout_seconds, .. }, Err(TIMEOUT)) => {
                Duration::from_secs(timeout_seconds.into())
            }
            (Call::Queue { .. }, _) => self.payment_takes,
            (Call::Invoke, Err(TIMEOUT)) => Duration::from_secs(35),
            (Call::Invoke, _) => CALL,
        };
        self.log.push((task.to_owned(), answer.as_ref().map_or_else(|error| *error, |_| "done")));
        answer
    }

    fn answer(&mut self, task: &str, arguments: &Value, now: usize) -> Answer {
        if self.cancel.is_some_and(|(call, _)| call == now) {
            self.ask_for_cancel();
        }
        let (due, later) = std::mem::take(&mut self.late).into_iter().partition(|(when, _, _)| *when <= now);
        self.late = later;
        self.happen(due);
        let minutes = self.clock.as_secs() / 60;
        if self.away.iter().any(|(name, away)| *name == task && away.contains(&minutes)) {
            return Err(TRANSIENT);
        }
        let fault = self.faults.iter().find(|(name, _)| *name == task).map(|(_, fault)| *fault);
        let first = !self.log.iter().any(|(name, _)| name == task);
        match fault {
            Some(Fault::FailsOnce) if first => Err(TRANSIENT),
            Some(Fault::LosesOneAnswer) if first => self.effect(task, arguments).and(Err(TRANSIENT)),
            Some(Fault::Down) => Err(TRANSIENT),
            Some(Fault::Mute) => self.effect(task, arguments).and(Err(TIMEOUT)),
            Some(Fault::Late(calls)) => {
                if first {
                    let when = if calls == u8::MAX { usize::MAX } else { now + 1 + usize::from(calls) };
                    self.late.push((when, task.to_owned(), arguments.clone()));
                }
                Err(TIMEOUT)
            }
            Some(Fault::FailsOnce | Fault::LosesOneAnswer) | None => self.effect(task, arguments),
        }
    }

    pub fn everything_late_happens(&mut self) {
        let late = std::mem::take(&mut self.late);
        self.happen(late);
    }

    fn happen(&mut self, late: Vec<(usize, String, Value)>) {
        for (_, task, arguments) in late {
            // Nothing waits for the answer any more.
            let _ = self.effect(&task, &arguments);
        }
    }

    fn ask_for_cancel(&mut self) {
        if !self.order.status.is_final() {
            self.order.cancel_requested = true;
            self.cancel_accepted = true;
        }
    }

    fn effect(&mut self, task: &str, arguments: &Value) -> Answer {
        if let Some(undo) = undos().find(|undo| undo.name == task) {
            let thing = self.things.entry(step_of(undo).name).or_default();
            return Ok(thing.undo(undo.done[0], undo.nothing_done));
        }
        match STEPS.iter().find(|step| step.name == task && step.context != Context::Orders) {
            Some(step) => self.perform(step),
            None => self.order.take(task, arguments),
        }
    }

    fn perform(&mut self, step: &Step) -> Answer {
        let refused =
            self.refusal.filter(|error| step.refusals.iter().any(|refusal| refusal.reason.name == *error));
        let is_received = self.order.cancel_requested && self.cancel.is_some_and(|(_, heard)| heard);
        let cancelled = (is_received && step.call != Call::Invoke).then_some(ORDER_CANCEL_REQUESTED);
        let done = self.things.entry(step.name).or_default().hold(refused.or(cancelled))?;
        self.charges += u32::from(done && step.name == TAKE_PAYMENT.name);
        Ok(if step.name == SCHEDULE_SHIPMENT.name { json!({"shipment_id": "shp_1"}) } else { json!({}) })
    }
}

fn step_of(undo: &Undo) -> &'static Step {
    let is_its = |step: &&&Step| step.undo.is_some_and(|own| own.name == undo.name);
    STEPS.iter().find(is_its).expect("an undo of the ledger")
}

impl Thing {
    /// Returns whether this call made the change.
    fn hold(&mut self, refused: Option<&'static str>) -> Result<bool, &'static str> {
        match (*self, refused) {
            (Self::None, None) => {
                *self = Self::Held;
                Ok(true)
            }
            (Self::None, Some(name)) => {
                *self = Self::Refused(name);
                Err(name)
            }
            (Self::Held, _) => Ok(false),
            (Self::Refused(name), _) => Err(name),
            (Self::Undone { .. }, _) => Err(ORDER_CANCEL_REQUESTED),
        }
    }

    fn undo(&mut self, done: UndoOutcome, nothing: UndoOutcome) -> Value {
        match *self {
            Self::Held => *self = Self::Undone { was_held: true },
            Self::None => *self = Self::Undone { was_held: false },
            Self::Refused(_) | Self::Undone { .. } => {}
        }
        json!({"outcome": if *self == (Self::Undone { was_held: true }) { done } else { nothing }})
    }
}

impl Order {
    /// As functions/orders/src/domain/decide.rs has it.
    fn take(&mut self, task: &str, arguments: &Value) -> Answer {
        let completed = self.status == OrderStatus::OrderCompleted;
        let cancelling = matches!(self.status, OrderStatus::OrderCancelled | OrderStatus::NeedsAttention);
        match task {
            "RecordReservation" if self.reserved => {}
            "RecordReservation" if self.cancel_requested || cancelling => return Err(ORDER_CANCEL_REQUESTED),
            "RecordReservation" => {
                self.reserved = true;
                self.status = OrderStatus::PaymentPending;
            }
            "CompleteOrder" if arguments["Payload"]["shipment"]["shipment_id"].is_null() => {
                panic!("an order cannot complete without its shipment: {arguments}")
            }
            "CompleteOrder" if completed => {}
            "CompleteOrder" if self.cancel_requested || cancelling => return Err(ORDER_CANCEL_REQUESTED),
            "CompleteOrder" if !self.reserved => return Err(TRANSIENT),
            "CompleteOrder" => self.status = OrderStatus::OrderCompleted,
            "AbortOrder" => {
                self.cancel_requested |= !completed;
                return Ok(json!({"completed": completed}));
            }
            "CancelOrder" if completed => return Err(TRANSIENT),
            "CancelOrder" if self.status == OrderStatus::OrderCancelled => {}
            "CancelOrder" => {
                self.cancel(arguments);
                if self.status == OrderStatus::NeedsAttention {
                    return Err(COMPENSATION_FAILED);
                }
            }
            other => panic!("no service does {other}"),
        }
        Ok(json!({"status": self.status}))
    }

    fn cancel(&mut self, arguments: &Value) {
        let read = |field: &str| arguments["Payload"][field].clone();
        let failure: Failure = serde_json::from_value(read("failure")).expect("a failure of the contract");
        assert!(
            failure.step != "TakePayment" || failure.error != TIMEOUT,
            "a late payment is {PAYMENT_TIMEOUT}"
        );
        self.reason = failure.error;
        let undone: Compensations =
            serde_json::from_value(read("compensations")).expect("compensations of the contract");
        let failed = undone.iter().filter(|(_, outcome)| *outcome == UndoOutcome::Failed);
        self.failed = failed.map(|(undo, _)| undo.part.to_owned()).collect();
        let all_undone = self.failed.is_empty();
        self.status = if all_undone { OrderStatus::OrderCancelled } else { OrderStatus::NeedsAttention };
    }
}
