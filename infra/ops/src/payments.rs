//! Payments against the gateway. The function payments-reconciler compares them; this asks it.

use clap::{Args, Subcommand};
use jiff::civil::Date;
use serde::Deserialize;
use serde_json::json;

use crate::aws::{self, Aws, Failed};
use crate::error::{Error, Result};
use crate::progress::Progress;
use crate::settings::Settings;
use crate::stage::Stage;

const FUNCTION: &str = "payments-reconciler";
/// The function's timeout of 300 s (infra/payments.yaml), and what getting there takes.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(315);

#[derive(Debug, Subcommand)]
pub enum Payments {
    /// Compare every payment of a day with the gateway, and list what differs
    #[command(
        after_help = "It changes nothing. A schedule does the same every day for the day before, and raises an alarm on \
                      differences; infra/README.md says what to do about each kind."
    )]
    Check(Check),
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

/// What the function answers.
#[derive(Debug, Deserialize)]
struct Report {
    date: Date,
    compared: u64,
    different: u64,
    differences: Vec<Difference>,
    complete: bool,
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
    /// The function cannot be asked, or fails.
    pub async fn run(self, settings: &Settings) -> Result<()> {
        let Self::Check(Check { date, stage }) = self;
        let progress = Progress::new();
        let aws = Aws::of(settings, stage, &progress).await?;
        let function = aws.name(FUNCTION);
        let step = progress.step("comparing payments with the gateway");
        let request = json!({"action": "CheckPayments", "date": date});
        let answer = aws.invoke(&function, &request, PATIENCE).await?;
        let report = read(&function, &answer)?;
        step.done(&format!("compared {} payments with the gateway", report.compared));
        print!("{}", text(&report));
        Ok(())
    }
}

fn read(function: &str, answer: &str) -> Result<Report> {
    aws::answer(function, answer)?.map_err(|Failed { error_type, error_message }| {
        Error::Payments(format!("{function} failed ({error_type}): {error_message}\nIts log says more."))
    })
}

fn text(Report { date, compared, different, differences, complete }: &Report) -> String {
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
        text(&read("f", &answer.to_string()).unwrap())
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
        let error = read("f", &failed.to_string()).unwrap_err().to_string();
        assert!(error.contains("(Transient): the gateway does not answer"), "{error}");
    }
}
