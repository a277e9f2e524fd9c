//! Checks what the stores of a stage hold against the rules of infra/verify.

mod advice;

use std::collections::BTreeSet;
use std::fmt::Write;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use contracts::Money;
use jiff::{SignedDuration, Timestamp};
use local_stack::{Progress, Settings, StateDir, invocation::SAMPLE_ORDER};
use serde_json::json;
use shop_client::Gateway;
use verify::{
    CONTEXTS, Counts, End, Intent, IntentStatus, PARKED, Policy, RELAYS_ONLY, Report, SETTLE, Snapshot,
};

use crate::aws::Aws;
use crate::error::{Error, Result};
use crate::stage::Stage;
use crate::tables::{self, LANES, Part};

/// What was under way at the first reading has settled at the second.
const PAUSE: Duration = Duration::from_secs(5);
/// The time after which an order has reached every context of an idle stack.
const QUIET: Duration = Duration::from_secs(3);
/// Violations that are printed; `--json` has all of them.
const SHOWN: usize = 50;

#[derive(Debug, clap::Args)]
pub struct Verify {
    /// On AWS; without it, on this machine's stack
    #[arg(long)]
    stage: Option<Stage>,
    /// Check only orders that were placed since then, for example 2026-11-20T12:00:00Z. Stock is checked as a whole
    #[arg(long)]
    since: Option<Timestamp>,
    /// Compare what an order changed elsewhere only when its last event is older than this, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = SETTLE.as_secs())]
    settle: i64,
    /// Compare with the gateway's books, too. On AWS, `cargo ops payments check` does
    #[arg(long, conflicts_with = "stage")]
    gateway: bool,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
}

impl Verify {
    /// Verifies this machine's stack when its last orders have ended and nothing else is to be done.
    ///
    /// # Errors
    /// As [`Verify::run`].
    pub async fn after_orders(settings: &Settings, progress: &Progress) -> Result<()> {
        tokio::time::sleep(QUIET).await;
        let settle = i64::try_from(QUIET.as_secs()).unwrap_or(i64::MAX);
        let verify = Self { stage: None, since: None, settle, gateway: true, json: false };
        verify.run(settings, progress).await
    }

    /// # Errors
    /// A store cannot be read, or holds what breaks a rule.
    pub async fn run(self, settings: &Settings, progress: &Progress) -> Result<()> {
        let aws = Aws::of(settings, self.stage.clone(), progress).await?;
        let books = match self.gateway {
            true => Some(Gateway::new(&StateDir::new(settings.state_dir.clone()).outputs()?.stripe_url)),
            false => None,
        };
        let stage = self.stage.as_ref().map_or(local_stack::LOCAL_STAGE, Stage::name);
        let step = progress.step(&format!("reading the stores of {stage}"));
        let lanes = aws.lanes(LANES);
        let mut report =
            self.once(&aws, &lanes, books.as_ref(), &|items| step.at(format!("{items} items"))).await?;
        while !report.violations.is_empty() {
            let before = report.violations.len();
            step.at(format!("{before} violations: reading again what may be under way"));
            tokio::time::sleep(PAUSE).await;
            let seen = |items| step.at(format!("{items} items again"));
            report = in_both(&report, self.once(&aws, &lanes, books.as_ref(), &seen).await?);
            // While fewer are left each time, something is under way. On AWS each reading costs, and one more is enough.
            if self.stage.is_some() || report.violations.len() == before {
                break;
            }
        }
        step.done(&format!("read the {} items of {stage}", report.counts.items));
        if self.json {
            let result = json!({"stage": stage, "counts": report.counts, "violations": report.violations});
            println!("{result:#}");
        } else {
            print!("{}", text(&report));
        }
        match report.violations.len() {
            0 => Ok(()),
            number => Err(Error::Verify(format!(
                "{number} violations in {stage}.\n{}",
                advice::of(&report, &aws.option())
            ))),
        }
    }

    /// Reads the stores once, and checks the rules.
    async fn once(
        &self,
        aws: &Aws,
        lanes: &[Aws],
        books: Option<&Gateway>,
        seen: &(dyn Fn(u64) + Sync),
    ) -> Result<Report> {
        let policy = Policy {
            settle: SignedDuration::from_secs(self.settle.max(0)),
            since: self.since,
            never_placed: if self.stage.is_none() { &[SAMPLE_ORDER] } else { &[] },
            ..Policy::live(Timestamp::now())
        };
        let books = match books {
            Some(gateway) => Some(read_books(gateway).await?),
            None => None,
        };
        let snapshot = Mutex::new((Snapshot::default(), 0));
        let add = |context: &str, items: Vec<serde_json::Value>| {
            let mut place = snapshot.lock().unwrap_or_else(PoisonError::into_inner);
            items.iter().for_each(|item| place.0.add(context, item));
            place.1 += items.len() as u64;
            seen(place.1);
            Ok(())
        };
        for context in RELAYS_ONLY {
            let table = aws.name(context);
            let part = Part { table: &table, attributes: verify::attributes(context) };
            tables::query(aws, part, PARKED, &|items| add(context, items)).await?;
        }
        for context in CONTEXTS {
            let table = aws.name(context);
            let part = Part { table: &table, attributes: verify::attributes(context) };
            tables::scan(lanes, part, &|items| add(context, items)).await?;
        }
        let (mut snapshot, _) = snapshot.into_inner().unwrap_or_else(PoisonError::into_inner);
        books.into_iter().for_each(|books| snapshot.add_books(books));
        Ok(snapshot.verify(&policy))
    }
}

/// The gateway's charges of orders.
async fn read_books(gateway: &Gateway) -> Result<Vec<Intent>> {
    let failed = |error: shop_client::Error| {
        Error::Verify(format!(
            "the gateway's books cannot be read: {error}\n`cargo ops status` says whether it runs."
        ))
    };
    let refunded = gateway.refunded_by_intent().await.map_err(failed)?;
    let intents = gateway.intents().await.map_err(failed)?.into_iter();
    let of_order = |intent: shop_client::Intent| {
        Some(Intent {
            order_id: intent.metadata["order_id"].as_str()?.to_owned(),
            status: IntentStatus::of(&intent.status),
            amount: intent.amount,
            refunded: refunded.get(&intent.id).copied().unwrap_or_default(),
        })
    };
    Ok(intents.filter_map(of_order).collect())
}

/// The second report, with the violations that the first one has, too.
fn in_both(first: &Report, mut second: Report) -> Report {
    let known: BTreeSet<_> = first.violations.iter().map(|one| (one.rule, one.subject.as_str())).collect();
    second.violations.retain(|one| known.contains(&(one.rule, one.subject.as_str())));
    second
}

/// The report, for a person.
fn text(Report { counts, violations }: &Report) -> String {
    let mut text = String::new();
    let mut line = |name: &str, what: String| {
        // Writing into a string cannot fail.
        let _ = writeln!(text, "{name:<11} {what}");
    };
    line("orders", orders(counts));
    line("events", counts.events.to_string());
    line("money", money(counts));
    let stock = &counts.stock;
    let of_skus = format!("{} on hand, {} held, {} sold", stock.on_hand, stock.held, stock.sold);
    line("stock", format!("{} SKUs: {of_skus}", stock.skus));
    if counts.not_settled + counts.moving > 0 {
        let moving = format!("{} SKUs and codes that move", counts.moving);
        line("not yet", format!("{} orders that ended just now, {moving}: not compared", counts.not_settled));
    }
    if violations.is_empty() {
        line("violations", "none".to_owned());
    }
    for violation in violations.iter().take(SHOWN) {
        line("violation", violation.to_string());
    }
    if let Some(more) = violations.len().checked_sub(SHOWN).filter(|more| *more > 0) {
        line("", format!("and {more} more, which `--json` prints"));
    }
    text
}

fn orders(counts: &Counts) -> String {
    let number = |end| counts.orders.get(&end).copied().unwrap_or_default();
    let attention = match number(End::NeedsAttention) {
        0 => String::new(),
        orders => format!(", {orders} need attention (`cargo ops saga list --attention`)"),
    };
    let (completed, cancelled) = (number(End::Completed), number(End::Cancelled));
    format!("{completed} completed, {cancelled} cancelled, {} under way{attention}", number(End::Open))
}

fn money(counts: &Counts) -> String {
    let shown = |currency: &String, amount: i64| {
        let money = serde_json::from_value::<Money>(json!({"amount": amount, "currency": currency}));
        money.map_or_else(|_| format!("{amount} {currency}"), |money| money.to_string())
    };
    let sums = counts.money.iter().map(|(currency, sums)| {
        format!("{} taken, {} refunded", shown(currency, sums.taken), shown(currency, sums.refunded))
    });
    let sums: Vec<String> = sums.collect();
    if sums.is_empty() { "none was taken".to_owned() } else { sums.join("; ") }
}

#[cfg(test)]
mod tests {
    use verify::{Rule, Violation};

    use super::*;

    fn violation(rule: Rule, subject: &str) -> Violation {
        Violation { rule, subject: subject.to_owned(), expected: "a".to_owned(), found: "b".to_owned() }
    }

    #[test]
    fn only_what_both_readings_found_is_a_violation() {
        let report = |violations| Report { violations, ..Report::default() };
        let first = report(vec![violation(Rule::Stock, "MUG"), violation(Rule::View, "ord_1")]);
        let second = report(vec![violation(Rule::Stock, "MUG"), violation(Rule::View, "ord_2")]);
        assert_eq!(in_both(&first, second).violations, [violation(Rule::Stock, "MUG")]);
    }

    #[test]
    fn the_report_says_what_was_counted_and_what_is_wrong() {
        let mut report = Report::default();
        assert_eq!(
            text(&report),
            "orders      0 completed, 0 cancelled, 0 under way\nevents      0\nmoney       none was taken\n\
             stock       0 SKUs: 0 on hand, 0 held, 0 sold\nviolations  none\n"
        );
        report.counts.orders = [(End::Completed, 2), (End::NeedsAttention, 1)].into();
        report.violations = vec![violation(Rule::Stock, "MUG"); SHOWN + 1];
        let text = text(&report);
        assert!(text.contains("2 completed, 0 cancelled, 0 under way, 1 need attention"), "{text}");
        assert!(text.contains("violation   stock: MUG: expected a, found b"), "{text}");
        assert!(text.contains("and 1 more, which `--json` prints"), "{text}");
    }
}
