//! Compares payments with the gateway, and records payments outside it. The function payments-reconciler does
//! the work; this invokes it.

use clap::{Args, Subcommand};
use contracts::{Money, OrderId};
use jiff::Timestamp;
use jiff::civil::Date;
use local_stack::{Progress, Settings};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::json;

use crate::aws::{self, Aws, Failed};
use crate::error::{Error, Result};
use crate::saga;
use crate::stage::Stage;

const FUNCTION: &str = "payments-reconciler";
/// The error name with which the function refuses.
const NOTHING_TO_SETTLE: &str = "NothingToSettle";
/// The function's timeout of 300 s (infra/payments.yaml), and what getting there takes.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(315);

#[derive(Debug, Subcommand)]
pub enum Payments {
    /// Compare every payment of a day with the gateway, and list what differs
    #[command(
        after_help = "It changes nothing. A schedule does the same every day for the day before, and raises an alarm on \
                      differences; infra/RUNBOOK.md says what to do about each kind."
    )]
    Check(Check),
    /// Record that a customer whose refund failed was paid in another way, and end what their order needs attention for
    #[command(
        after_help = "Refuses when no refund of the order has failed. A repeat records nothing, and says what was recorded. \
                      It pays no money: pay first, for example by bank transfer."
    )]
    Settled(Settled),
}

#[derive(Debug, Args)]
pub struct Settled {
    /// `ord_…`
    order_id: OrderId,
    /// How it was paid, for the books: the way, the amount, the day, a reference
    #[arg(long)]
    note: String,
    /// On AWS; without it, on this machine's stack
    #[arg(long)]
    stage: Option<Stage>,
}

#[derive(Debug, Args)]
pub struct Check {
    /// The day, in UTC, as YYYY-MM-DD [default: yesterday]
    #[arg(long)]
    date: Option<Date>,
    /// On AWS; without it, on this machine's stack
    #[arg(long)]
    stage: Option<Stage>,
}

/// The function's answer to a comparison.
#[derive(Debug, Deserialize)]
struct Comparison {
    date: Date,
    compared: u64,
    different: u64,
    differences: Vec<Difference>,
    complete: bool,
}

/// The function's answer to a settlement.
#[derive(Debug, Deserialize)]
struct Recorded {
    order_id: OrderId,
    amount: Money,
    at: Timestamp,
    by: String,
    note: String,
    new: bool,
}

#[derive(Debug, Deserialize)]
struct Difference {
    order_id: String,
    intent_id: String,
    kind: String,
    books: i64,
    gateway: i64,
}

impl Payments {
    /// # Errors
    /// The function cannot be invoked, refuses, or fails.
    pub async fn run(self, settings: &Settings) -> Result<()> {
        match self {
            Self::Check(check) => check.run(settings).await,
            Self::Settled(settled) => settled.run(settings).await,
        }
    }
}

impl Check {
    async fn run(self, settings: &Settings) -> Result<()> {
        let progress = Progress::new();
        let aws = Aws::of(settings, self.stage, &progress).await?;
        let function = aws.name(FUNCTION);
        let step = progress.step("comparing payments with the gateway");
        let request = json!({"action": "CheckPayments", "date": self.date});
        let answer = aws.invoke(&function, &request, PATIENCE).await?;
        let report: Comparison = read(&function, &answer)?;
        step.done(&format!("compared {} payments with the gateway", report.compared));
        print!("{}", text(&report));
        Ok(())
    }
}

impl Settled {
    async fn run(self, settings: &Settings) -> Result<()> {
        let aws = Aws::of(settings, self.stage, &Progress::new()).await?;
        let function = aws.name(FUNCTION);
        let by = aws.caller().await?;
        let request =
            json!({"action": "SettleRefund", "order_id": self.order_id, "by": by, "note": self.note});
        let recorded: Recorded = read(&function, &aws.invoke(&function, &request, PATIENCE).await?)?;
        println!("{}", receipt(&recorded));
        // Also when it was recorded before, since the order may not have been updated.
        println!("{}", saga::retry(&aws, &self.order_id).await?);
        Ok(())
    }
}

fn read<T: DeserializeOwned>(function: &str, answer: &str) -> Result<T> {
    aws::answer(function, answer)?
        .map_err(|failed: Failed| Error::Payments(failed.told_unless(NOTHING_TO_SETTLE, function)))
}

fn receipt(Recorded { order_id, amount, at, by, note, new }: &Recorded) -> String {
    let when = if *new { "recorded" } else { "was recorded before" };
    format!("{order_id}  {amount} paid past the gateway: {when}, {at}, by {by}: {note}")
}

fn text(Comparison { date, compared, different, differences, complete }: &Comparison) -> String {
    let mut text = match different {
        0 => format!("{date}: {compared} payments compared, no differences\n"),
        _ => format!("{date}: {compared} payments compared, {different} differ (amounts in minor units)\n"),
    };
    for Difference { order_id, intent_id, kind, books, gateway } in differences {
        let kind = kind.replace('_', " ");
        text.push_str(&format!(
            "{order_id}  {intent_id}  {kind}: {books} in our books, {gateway} at the gateway\n"
        ));
    }
    let listed = u64::try_from(differences.len()).unwrap_or(u64::MAX);
    if *different > listed {
        text.push_str(&format!("and {} more, in {FUNCTION}'s log\n", different - listed));
    }
    if !complete {
        text.push_str(
            "The time was up before all were compared: raise the function's timeout, or its rate.\n",
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    fn report(different: u64, differences: Value, complete: bool) -> String {
        let answer = json!({
            "date": "2026-11-27", "compared": 7, "different": different, "differences": differences, "complete": complete,
        });
        text(&read::<Comparison>("f", &answer.to_string()).unwrap())
    }

    #[test]
    fn a_report_lists_what_differs_and_says_when_it_is_not_all() {
        assert_eq!(report(0, json!([]), true), "2026-11-27: 7 payments compared, no differences\n");
        let differences = json!([{
            "order_id": "ord_1", "intent_id": "pi_1", "kind": "not_recorded", "books": 0, "gateway": 4200,
        }]);
        let text = report(3, differences, false);
        assert!(text.contains("ord_1  pi_1  not recorded: 0 in our books, 4200 at the gateway\n"), "{text}");
        assert!(text.contains("and 2 more") && text.contains("time was up"), "{text}");
    }

    #[test]
    fn a_failure_says_why() {
        let failed = json!({"errorType": "Transient", "errorMessage": "the gateway does not answer"});
        let error = read::<Comparison>("f", &failed.to_string()).unwrap_err().to_string();
        assert!(error.contains("(Transient): the gateway does not answer"), "{error}");
        let refused = json!({"errorType": "NothingToSettle", "errorMessage": "no refund has failed"});
        let error = read::<Recorded>("f", &refused.to_string()).unwrap_err().to_string();
        assert_eq!(error, "no refund has failed");
    }

    #[test]
    fn what_is_recorded_is_said_with_who_and_when() {
        let receipt = |new: bool| {
            let answer = json!({
                "order_id": "ord_0123456789abcdef0123456789abcdef", "amount": {"amount": 4200, "currency": "USD"},
                "at": "2026-11-28T12:00:00Z", "by": "arn:aws:iam::1:user/alice", "note": "transfer", "new": new,
            });
            receipt(&read("f", &answer.to_string()).unwrap())
        };
        let said = receipt(true);
        assert!(
            said.ends_with(": recorded, 2026-11-28T12:00:00Z, by arn:aws:iam::1:user/alice: transfer"),
            "{said}"
        );
        assert!(receipt(false).contains("was recorded before"));
    }
}
