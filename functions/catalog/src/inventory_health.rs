//! Checks whether inventory answers. The catalogue's own copy of the stock cannot show it: while inventory is
//! down, no changes arrive, and an order for a product that is shown as in stock has to wait.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use jiff::{SignedDuration, Timestamp};
use lambda_kit::{
    error::error_chain,
    function_client::FunctionClient,
    health::{Health, HealthStatus},
    limits::ATTEMPT_TIMEOUT,
};
use serde_json::json;

/// The function that reserves for orders: while it or its table is down, orders wait.
const ASKED: &str = "inventory-commands";
/// How long an answer is used before inventory is asked again, the same as for the stock itself.
const FRESH: SignedDuration = SignedDuration::from_secs(5);
/// How long a request waits for the answer. A warm function answers within some 20 ms, a cold one within some
/// 200 ms. A later answer is used by later requests.
const MAX_WAIT: Duration = Duration::from_millis(200);
/// A failed call that took longer than this is ignored.
// A call that took longer than its timeout was not slow: Lambda froze this instance between two invocations.
const FROZEN: Duration = ATTEMPT_TIMEOUT.saturating_mul(2);

/// Checks from time to time whether inventory answers.
#[derive(Debug, Clone)]
pub struct InventoryProbe {
    functions: FunctionClient,
    seen: Arc<Mutex<Seen>>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Seen {
    asked_at: Option<Timestamp>,
    answered_at: Option<Timestamp>,
    is_away: bool,
}

/// Whether inventory answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InventoryHealth {
    /// Also while it is unknown.
    Answers,
    /// It does not answer. `answered_at` is the last time it did, as far as this instance knows.
    Away { answered_at: Option<Timestamp> },
}

impl InventoryProbe {
    pub fn new(sdk: &aws_sdk_lambda::config::Config, stage: String) -> Self {
        Self { functions: FunctionClient::new(sdk, stage, ATTEMPT_TIMEOUT), seen: Arc::default() }
    }

    pub async fn health(&self, now: Timestamp) -> InventoryHealth {
        let is_due = self.with(|seen| {
            let is_due = seen.asked_at.is_none_or(|at| now.duration_since(at) > FRESH);
            if is_due {
                // This is set before the answer arrives, so that concurrent requests do not call inventory as
                // well.
                seen.asked_at = Some(now);
            }
            is_due
        });
        if is_due {
            // The call is a task of its own, so that an answer after the wait is stored for later requests.
            let asking = tokio::spawn(self.clone().ask(now));
            let _ = tokio::time::timeout(MAX_WAIT, asking).await;
        }
        self.with(|Seen { answered_at, is_away, .. }| {
            if *is_away {
                InventoryHealth::Away { answered_at: *answered_at }
            } else {
                InventoryHealth::Answers
            }
        })
    }

    async fn ask(self, now: Timestamp) {
        let started = Instant::now();
        let health: Result<Health, _> = self.functions.call(ASKED, &json!({"action": "health"})).await;
        // The failure says nothing about inventory.
        if health.is_err() && started.elapsed() > FROZEN {
            return;
        }
        let answers = health.as_ref().is_ok_and(|health| health.status == HealthStatus::Ok);
        if let Err(error) = &health {
            tracing::warn!(error = error_chain(error), "inventory does not answer");
        }
        self.with(|seen| {
            seen.is_away = !answers;
            if answers {
                seen.answered_at = Some(now);
            }
        });
    }

    fn with<R>(&self, f: impl FnOnce(&mut Seen) -> R) -> R {
        f(&mut self.seen.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use wiremock::ResponseTemplate;

    use super::*;
    use crate::testing::{answering, at, inventory, well};

    #[tokio::test]
    async fn inventory_is_asked_once_in_a_while_and_its_return_is_noticed() {
        let (inventory, server) = inventory(well()).await;
        assert_eq!(inventory.health(at(0)).await, InventoryHealth::Answers);
        answering(&server, ResponseTemplate::new(429)).await;
        assert_eq!(inventory.health(at(5)).await, InventoryHealth::Answers, "it is not asked");
        assert_eq!(inventory.health(at(6)).await, InventoryHealth::Away { answered_at: Some(at(0)) });
        answering(&server, well()).await;
        assert_eq!(inventory.health(at(12)).await, InventoryHealth::Answers);
        assert_eq!(server.received_requests().await.unwrap().len(), 1, "since it was last changed");
    }

    fn health(status: &str) -> ResponseTemplate {
        ResponseTemplate::new(200).set_body_json(json!({"status": status, "checks": {"table": status}}))
    }

    #[rstest]
    #[case::its_table_is_down(health("down"))]
    #[case::it_fails(health("ok").insert_header("X-Amz-Function-Error", "Unhandled"))]
    #[case::too_many_of_it_run(ResponseTemplate::new(429))]
    #[case::lambda_fails(ResponseTemplate::new(500))]
    #[tokio::test]
    async fn inventory_is_away_when(#[case] answer: ResponseTemplate) {
        let (inventory, _server) = inventory(answer).await;
        assert_eq!(inventory.health(at(0)).await, InventoryHealth::Away { answered_at: None });
    }

    #[tokio::test]
    async fn a_slow_answer_is_not_waited_for_and_a_missing_one_is_noticed() {
        let (inventory, _server) = inventory(well().set_delay(10 * ATTEMPT_TIMEOUT)).await;
        let started = Instant::now();
        assert_eq!(inventory.health(at(0)).await, InventoryHealth::Answers);
        assert!(started.elapsed() < ATTEMPT_TIMEOUT, "{:?}", started.elapsed());
        let noticed = async {
            while inventory.health(at(1)).await == InventoryHealth::Answers {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::time::timeout(5 * ATTEMPT_TIMEOUT, noticed).await.expect("it was given up");
    }
}
