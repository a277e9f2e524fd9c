//! Runs the definition against the services of these tests.

use std::time::Duration;

use contracts::saga::ORDER_WAIT_MINUTES;
use jiff::Timestamp;
use serde_json::{Value, json};
use statemachine::{
    ORDER_SAGA,
    interpreter::{After, Definition, Step, TaskError},
};

use crate::services::Services;

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ended {
    Succeeded,
    Failed(String),
}

/// The default of `${OrderWaitMinutes}` in infra/orders.yaml.
pub const ORDER_WAIT: Duration = Duration::from_mins(ORDER_WAIT_MINUTES as u64);

pub struct Machine {
    definition: Definition,
    jitter: Jitter,
}

/// The part of each retry pause that is waited: with full jitter, anything from none to all of it.
#[derive(Debug, Clone, Copy)]
pub enum Jitter {
    None,
    Half,
    All,
}

impl Machine {
    pub fn of_the_repository() -> Self {
        Self::with(|_| {})
    }

    /// The repository's definition with a change.
    pub fn with(change: impl FnOnce(&mut Value)) -> Self {
        let definition = ORDER_SAGA.replace("${OrderWaitMinutes}", &ORDER_WAIT_MINUTES.to_string());
        let mut definition: Value = serde_json::from_str(&definition).expect("the definition is JSON");
        change(&mut definition["States"]);
        Self { definition: Definition::read(&definition), jitter: Jitter::Half }
    }

    pub fn with_jitter(self, jitter: Jitter) -> Self {
        Self { jitter, ..self }
    }

    /// Runs one order.
    pub fn run(&self, services: &mut Services) -> Ended {
        let now = |services: &Services| Timestamp::UNIX_EPOCH + services.clock;
        let mut execution = self.definition.start(now(services));
        loop {
            let call = match execution.next(now(services), context()) {
                Step::Call(call) => call,
                Step::Succeeded(_) => return Ended::Succeeded,
                Step::Failed(error) => return Ended::Failed(error),
            };
            let answer = services.call(&call.state, &call.arguments);
            let answer = answer
                .map(|payload| json!({ "Payload": payload }))
                .map_err(|error| TaskError { error: error.to_owned(), cause: "why".to_owned() });
            match execution.answer(now(services), answer) {
                After::Retry(pause) => services.clock += self.jitter.of(pause),
                After::Next => {}
                After::Ended(_) => return Ended::Succeeded,
            }
        }
    }
}

/// The context object. What differs between executions plays no part here.
fn context() -> Value {
    let fields =
        ["order_id", "user_id", "correlation_id", "items", "total", "payment_method", "shipping_address"];
    let input: Value = fields.into_iter().map(|field| (field.to_owned(), json!("context"))).collect();
    json!({
        "Execution": {"Input": input, "StartTime": Timestamp::UNIX_EPOCH},
        "State": {"EnteredTime": Timestamp::UNIX_EPOCH},
        "Task": {"Token": "context"},
    })
}

impl Jitter {
    fn of(self, pause: Duration) -> Duration {
        match self {
            Self::None => Duration::ZERO,
            Self::Half => pause / 2,
            Self::All => pause,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_part_of_a_pause_that_is_waited_is_the_machines_jitter() {
        let waited = [Jitter::None, Jitter::Half, Jitter::All]
            .map(|jitter| jitter.of(Duration::from_secs(10)).as_secs());
        assert_eq!(waited, [0, 5, 10]);
    }
}
