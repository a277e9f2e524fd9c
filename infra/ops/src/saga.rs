//! Orders whose saga needs a person. The function orders-reconciler does the work; this invokes it.

use clap::{Args, Subcommand};
use contracts::{OrderId, OrderStatus, saga::Failure};
use local_stack::{Progress, Settings};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::aws::{self, Aws, Failed};
use crate::error::{Error, Result};
use crate::stage::Stage;

const FUNCTION: &str = "orders-reconciler";
/// The error name with which the function refuses.
const NOTHING_TO_RETRY: &str = "NothingToRetry";
/// The function's timeout of 300 s (infra/orders.yaml), and what getting there takes.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(315);

#[derive(Debug, Subcommand)]
pub enum Saga {
    /// List the orders that are open or need attention, the longest first
    List(List),
    /// Try the undos again that an order needs attention for, and cancel it when all is undone
    #[command(
        after_help = "Also takes back an open order whose execution was aborted. Refuses when the order has ended, or when \
                      its execution still runs."
    )]
    Retry(Retry),
    /// Look now after all orders whose saga was lost, as is done every 10 minutes, and print what was found
    Check(Check),
}

#[derive(Debug, Args)]
pub struct List {
    /// Only those that need a person: an undo of theirs was exhausted
    #[arg(long)]
    attention: bool,
    /// The most orders to list
    #[arg(long, default_value_t = 50)]
    limit: usize,
    #[command(flatten)]
    place: Where,
}

#[derive(Debug, Args)]
pub struct Retry {
    /// `ord_…`
    order_id: OrderId,
    #[command(flatten)]
    place: Where,
}

#[derive(Debug, Args)]
pub struct Check {
    /// Check orders that were placed more than this many seconds ago [default: the longest that a saga can take]
    #[arg(long, value_name = "SECONDS")]
    older_than: Option<u32>,
    #[command(flatten)]
    place: Where,
}

#[derive(Debug, Clone, Args)]
struct Where {
    /// On AWS; without it, on this machine's stack
    #[arg(long)]
    stage: Option<Stage>,
}

/// The function's answer to a list.
#[derive(Debug, Deserialize)]
struct Orders {
    orders: Vec<Listed>,
    more: bool,
}

#[derive(Debug, Deserialize)]
struct Listed {
    order_id: OrderId,
    status: OrderStatus,
    since: String,
    failed: Vec<String>,
    failure: Option<Failure>,
}

/// The function's answer to a retry.
#[derive(Debug, Deserialize)]
struct Retried {
    order_id: OrderId,
    status: OrderStatus,
    failed: Vec<String>,
}

/// The function's answer to a check: counts by name, and the orders that were changed.
#[derive(Debug, Deserialize)]
struct SagaCheck {
    orders: Vec<Found>,
    #[serde(flatten)]
    counts: serde_json::Map<String, Value>,
}

#[derive(Debug, Deserialize)]
struct Found {
    order_id: OrderId,
    found: String,
}

impl Saga {
    /// # Errors
    /// The function cannot be invoked, or refuses.
    pub async fn run(self, settings: &Settings) -> Result<()> {
        match self {
            Self::List(List { attention, limit, place }) => {
                let asked = json!({"action": "ListSagas", "attention": attention, "limit": limit});
                print!("{}", list(&ask(settings, place.stage, asked).await?));
            }
            Self::Retry(Retry { order_id, place }) => {
                let asked = json!({"action": "RetrySaga", "order_id": order_id});
                println!("{}", retried(&ask(settings, place.stage, asked).await?)?);
            }
            Self::Check(Check { older_than, place }) => {
                let asked = json!({"action": "CheckSagas", "older_than_seconds": older_than});
                print!("{}", report(&ask(settings, place.stage, asked).await?));
            }
        }
        Ok(())
    }
}

async fn ask<T: DeserializeOwned>(settings: &Settings, stage: Option<Stage>, request: Value) -> Result<T> {
    let aws = Aws::of(settings, stage, &Progress::new()).await?;
    let function = aws.name(FUNCTION);
    read(&function, &aws.invoke(&function, &request, PATIENCE).await?)
}

/// Retries the failed undos of an order and returns the result, also when there was nothing to retry.
///
/// # Errors
/// The function cannot be invoked, or the order still needs attention.
pub async fn retry(aws: &Aws, order_id: &OrderId) -> Result<String> {
    let function = aws.name(FUNCTION);
    let request = json!({"action": "RetrySaga", "order_id": order_id});
    match aws::answer::<Retried>(&function, &aws.invoke(&function, &request, PATIENCE).await?)? {
        Ok(answer) => retried(&answer),
        Err(failed) if failed.error_type == NOTHING_TO_RETRY => Ok(failed.error_message),
        Err(failed) => Err(wrong(&function, failed)),
    }
}

/// The function's answer, or its error.
fn read<T: DeserializeOwned>(function: &str, answer: &str) -> Result<T> {
    aws::answer(function, answer)?.map_err(|failed: Failed| wrong(function, failed))
}

fn wrong(function: &str, failed: Failed) -> Error {
    Error::Saga(failed.told_unless(NOTHING_TO_RETRY, function))
}

fn list(Orders { orders, more }: &Orders) -> String {
    if orders.is_empty() {
        return "no orders\n".to_owned();
    }
    let mut text = String::new();
    for Listed { order_id, status, since, failed, failure } in orders {
        text.push_str(&format!("{order_id}  {since}  {status}\n"));
        if !failed.is_empty() {
            text.push_str(&format!("    not undone: {}\n", failed.join(", ")));
        }
        if let Some(Failure { step, error, cause }) = failure {
            text.push_str(&format!("    because {step} failed: {error} {cause}\n"));
        }
    }
    if *more {
        text.push_str("and more: --limit shows them\n");
    }
    if orders.iter().any(|order| order.status == OrderStatus::NeedsAttention) {
        text.push_str("\nWhat keeps an undo from being done is in its function's log. Then: cargo ops saga retry <order>\n");
    }
    text
}

fn retried(Retried { order_id, status, failed }: &Retried) -> Result<String> {
    match status {
        OrderStatus::OrderCancelled => Ok(format!("{order_id} is cancelled: everything is undone")),
        OrderStatus::OrderCompleted => Ok(format!("{order_id} had completed: nothing is undone")),
        _ => Err(Error::Saga(format!(
            "{order_id} still needs attention: {} could not be undone. The functions' logs say why; the command can be \
             repeated.",
            failed.join(", ")
        ))),
    }
}

fn report(SagaCheck { orders, counts }: &SagaCheck) -> String {
    let mut text = String::new();
    for (name, count) in counts.iter().filter(|(_, count)| **count != json!(0)) {
        text.push_str(&format!("{:<18}{count}\n", name.replace('_', " ")));
    }
    for Found { order_id, found } in orders {
        text.push_str(&format!("{order_id}  {}\n", found.replace('_', " ")));
    }
    if text.is_empty() { "nothing to look after\n".to_owned() } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ORDER: &str = "ord_0123456789abcdef0123456789abcdef";

    #[test]
    fn a_list_says_what_is_not_undone_and_why() {
        let answer = json!({"more": true, "orders": [
            {"order_id": ORDER, "status": "NeedsAttention", "since": "2026-11-20T12:00:00.000Z", "failed": ["payment"],
             "failure": {"step": "ScheduleShipment", "error": "ShipmentRejected", "cause": "no carrier"}},
            {"order_id": ORDER, "status": "PaymentPending", "since": "2026-11-20T13:00:00.000Z", "failed": []},
        ]});
        let text = list(&read("f", &answer.to_string()).unwrap());
        assert!(
            text.contains("not undone: payment\n    because ScheduleShipment failed: ShipmentRejected"),
            "{text}"
        );
        assert!(
            text.contains("PaymentPending") && text.contains("--limit") && text.contains("saga retry"),
            "{text}"
        );
        let none = json!({"more": false, "orders": []});
        assert_eq!(list(&read("f", &none.to_string()).unwrap()), "no orders\n");
    }

    #[test]
    fn a_retry_that_fails_again_is_an_error() {
        let answer = |status: &str, failed: Value| {
            let answer = json!({"order_id": ORDER, "status": status, "failed": failed});
            retried(&read("f", &answer.to_string()).unwrap())
        };
        assert!(answer("OrderCancelled", json!([])).unwrap().contains("is cancelled"));
        assert!(answer("OrderCompleted", json!([])).unwrap().contains("had completed"));
        let again = answer("NeedsAttention", json!(["payment", "inventory"])).unwrap_err();
        assert!(again.to_string().contains("payment, inventory could not be undone"), "{again}");
    }

    #[test]
    fn a_report_shows_what_is_not_nothing() {
        let answer = json!({"overdue": 2, "running": 1, "cancelled": 1, "undo_failed": 0,
            "orders": [{"order_id": ORDER, "found": "cancelled"}]});
        let text = report(&read("f", &answer.to_string()).unwrap());
        assert!(text.contains("overdue           2\n") && !text.contains("undo failed"), "{text}");
        assert!(text.ends_with(&format!("{ORDER}  cancelled\n")), "{text}");
        let nothing = json!({"overdue": 0, "orders": []});
        assert_eq!(report(&read("f", &nothing.to_string()).unwrap()), "nothing to look after\n");
    }

    #[test]
    fn a_refusal_says_why() {
        let refused =
            json!({"errorType": "NothingToRetry", "errorMessage": "the order has ended as OrderCompleted"});
        let error = read::<Retried>("f", &refused.to_string()).unwrap_err();
        assert_eq!(error.to_string(), "the order has ended as OrderCompleted");
        let failed = json!({"errorType": "Transient", "errorMessage": "no table"});
        assert!(
            read::<Retried>("f", &failed.to_string())
                .unwrap_err()
                .to_string()
                .contains("(Transient): no table")
        );
        assert!(read::<Retried>("f", "null").is_err());
    }
}
