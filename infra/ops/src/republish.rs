//! Events published again, for a consumer that is new, late, or missed something. Each context's relay does it, page by
//! page: nothing that the events hold comes by here.

use std::time::{Duration, Instant};

use clap::{Args, Subcommand, ValueEnum};
use jiff::Timestamp;
use local_stack::{Progress, Settings, Step};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::aws::{Aws, answer};
use crate::error::{Error, Result};
use crate::stage::Stage;

/// The relays' timeout of 30 s (infra/*.yaml), and what getting there takes.
const PATIENCE: Duration = Duration::from_secs(40);
/// Tries of a page: the topic throttles, a relay is being deployed.
const TRIES: u32 = 5;
const FIRST_PAUSE: Duration = Duration::from_millis(500);

#[derive(Debug, Args)]
#[command(
    after_help = "Each user's, product's or stock's last event, which tells it as it is now, goes to the topic once more \
                  with its old id. Consumers know an event again by its id or version, so that only those take it that \
                  have not got it."
)]
pub struct Republish {
    #[arg(value_enum)]
    what: State,
    #[command(flatten)]
    how: How,
}

#[derive(Debug, Subcommand)]
pub enum Outbox {
    /// Publish every event again that a context's items still hold
    #[command(
        after_help = "Of orders these are all events; of other contexts those of each item's last change. For events that \
                      were lost with the stream (after 24 hours), and for a consumer that needs the history of orders. \
                      Consumers know an event again by its id or version."
    )]
    Republish {
        /// One context; all of them without it
        #[arg(value_enum)]
        context: Option<Context>,
        /// Only what happened at that time or later: 2026-11-20T12:00:00Z
        #[arg(long)]
        since: Option<Timestamp>,
        #[command(flatten)]
        how: How,
    },
    /// Process parked records again: those that a relay could not process
    #[command(
        after_help = "A relay parks a record that it cannot process, and its alarm (<context>-relay-parked) calls: an outbox \
                      that cannot be read, an event that the topic refuses for good, an order whose saga cannot be started \
                      with what it holds. Mend the cause first: the item, or the version of the function. Exits with an \
                      error while records are still parked."
    )]
    Retry {
        /// One context; all of them without it
        #[arg(value_enum)]
        context: Option<Context>,
        /// On AWS; without it, on this machine's stack
        #[arg(long)]
        stage: Option<Stage>,
    },
}

#[derive(Debug, Clone, Args)]
pub struct How {
    /// The most events a second, on average: consumers handle them beside their daily work
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=3000))]
    rate: u32,
    /// Go on where a run of this command ended
    #[arg(long)]
    cursor: Option<String>,
    /// On AWS; without it, on this machine's stack
    #[arg(long)]
    stage: Option<Stage>,
}

/// What is published again as it is now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum State {
    Users,
    Catalog,
    Inventory,
}

/// The contexts that publish.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Context {
    Users,
    Catalog,
    Inventory,
    Orders,
    Payments,
    Fulfillment,
    Notifications,
}

/// One run through a context's table.
#[derive(Debug)]
struct Run {
    context: &'static str,
    /// The command that this is, without its options.
    command: String,
    /// Only these; all when there are none.
    event_types: &'static [&'static str],
    since: Option<Timestamp>,
}

/// A relay's answer to a page.
#[derive(Debug, Deserialize)]
struct Page {
    events: u64,
    unreadable: u64,
    cursor: Option<String>,
}

/// A relay's answer to a retry of parked records.
#[derive(Debug, Default, Deserialize)]
struct Retried {
    done: u64,
    failed: u64,
    parked: Vec<Parked>,
    cursor: Option<String>,
}

/// A record that still cannot be processed, by its item.
#[derive(Debug, Deserialize)]
struct Parked {
    pk: String,
    sk: String,
    parked_at: String,
}

#[derive(Debug, Default, PartialEq, Eq)]
struct Total {
    events: u64,
    unreadable: u64,
}

impl State {
    /// Inventory also publishes reservations, which are left out: they are an order's history and no current
    /// state.
    const fn run(self) -> (&'static str, &'static [&'static str]) {
        match self {
            Self::Users => ("users", &[]),
            Self::Catalog => ("catalog", &[]),
            Self::Inventory => ("inventory", &["inventory.stock_changed"]),
        }
    }
}

impl Context {
    /// The one that was named, or all.
    fn names(named: Option<Self>) -> Vec<&'static str> {
        let all = named.map_or_else(|| Self::value_variants().to_vec(), |context| vec![context]);
        all.into_iter().map(Self::name).collect()
    }

    const fn name(self) -> &'static str {
        match self {
            Self::Users => "users",
            Self::Catalog => "catalog",
            Self::Inventory => "inventory",
            Self::Orders => "orders",
            Self::Payments => "payments",
            Self::Fulfillment => "fulfillment",
            Self::Notifications => "notifications",
        }
    }
}

impl Republish {
    /// # Errors
    /// The relay cannot be invoked, or cannot publish.
    pub async fn run(self, settings: &Settings, progress: &Progress) -> Result<()> {
        let (context, event_types) = self.what.run();
        let run = Run { context, command: format!("republish {context}"), event_types, since: None };
        let aws = Aws::of(settings, self.how.stage.clone(), progress).await?;
        run.all(&aws, &self.how, progress).await
    }
}

impl Outbox {
    /// # Errors
    /// A relay cannot be invoked, or cannot publish.
    pub async fn run(self, settings: &Settings, progress: &Progress) -> Result<()> {
        let (context, since, how) = match self {
            Self::Republish { context, since, how } => (context, since, how),
            Self::Retry { context, stage } => {
                let aws = Aws::of(settings, stage, progress).await?;
                return retry_all(&aws, &Context::names(context), progress).await;
            }
        };
        if context.is_none() && how.cursor.is_some() {
            return Err(Error::Republish("a cursor belongs to one context: name it.".to_owned()));
        }
        let aws = Aws::of(settings, how.stage.clone(), progress).await?;
        let names = Context::names(context);
        for (index, context) in names.iter().enumerate() {
            let command = format!("outbox republish {context}");
            let run = Run { context, command, event_types: &[], since };
            run.all(&aws, &how, progress).await.map_err(|error| match &names[index + 1..] {
                [] => error,
                rest => Error::Republish(format!("{error}\nNot begun: {}.", rest.join(", "))),
            })?;
        }
        Ok(())
    }
}

impl Run {
    /// Publishes page after page, at most at the requested rate.
    async fn all(&self, aws: &Aws, how: &How, progress: &Progress) -> Result<()> {
        let function = aws.name(&format!("{}-relay", self.context));
        let run = Uuid::new_v4().to_string();
        let step = progress.step(&format!("publishing events of {} again", self.context));
        let (started, mut total, mut cursor) = (Instant::now(), Total::default(), how.cursor.clone());
        loop {
            let request = json!({
                "action": "republish", "run": run, "cursor": cursor, "event_types": self.event_types,
                "since": self.since,
            });
            let page: Page = ask(aws, &function, &request)
                .await
                .map_err(|error| self.unfinished(aws, how, &total, cursor.as_deref(), &error))?;
            total.events += page.events;
            total.unreadable += page.unreadable;
            report(&step, &total);
            cursor = page.cursor;
            if cursor.is_none() {
                break;
            }
            tokio::time::sleep(due(&total, how.rate).saturating_sub(started.elapsed())).await;
        }
        step.done(&format!("published events of {} again", self.context));
        println!("{}", total.says(self.context));
        Ok(())
    }

    /// The error with the progress so far, and the command to continue.
    fn unfinished(&self, aws: &Aws, how: &How, total: &Total, cursor: Option<&str>, error: &Error) -> Error {
        let mut command = format!("cargo ops {}{}", self.command, aws.option());
        if let Some(since) = self.since {
            command += &format!(" --since {since}");
        }
        command += &format!(" --rate {}", how.rate);
        if let Some(cursor) = cursor {
            command += &format!(" --cursor {cursor}");
        }
        Error::Republish(format!("{error}\n{} Go on with:\n{command}", total.says(self.context)))
    }
}

/// Each context's parked records, page by page.
async fn retry_all(aws: &Aws, contexts: &[&'static str], progress: &Progress) -> Result<()> {
    let mut left = Vec::new();
    for context in contexts {
        let function = aws.name(&format!("{context}-relay"));
        let step = progress.step(&format!("retrying parked records of {context}"));
        let (mut done, mut failed, mut parked, mut cursor) = (0, 0, Vec::new(), None::<String>);
        loop {
            let request = json!({"action": "retry_parked", "cursor": cursor});
            let page: Retried = ask(aws, &function, &request).await?;
            done += page.done;
            failed += page.failed;
            parked.extend(page.parked);
            cursor = page.cursor;
            if cursor.is_none() {
                break;
            }
        }
        step.done(&format!("retried parked records of {context}"));
        println!(
            "{context}: {done} processed, {failed} failed and stay parked, {} cannot be processed.",
            parked.len()
        );
        for Parked { pk, sk, parked_at } in &parked {
            println!("  {pk} {sk}, parked at {parked_at}");
        }
        if failed > 0 || !parked.is_empty() {
            left.push(*context);
        }
    }
    if left.is_empty() {
        return Ok(());
    }
    let relays: Vec<String> = left.iter().map(|context| format!("{context}-relay")).collect();
    Err(Error::Republish(format!(
        "records are still parked in {}: the log of {} says why. Mend the cause, then run this again.",
        left.join(", "),
        relays.join(", ")
    )))
}

impl Total {
    fn says(&self, context: &str) -> String {
        let mut text = format!("{} events of {context} published again.", self.events);
        if self.unreadable > 0 {
            text += &format!(
                " {} could not be read and were left out: the log of {context}-relay names the items.",
                self.unreadable
            );
        }
        text
    }
}

fn report(step: &Step, total: &Total) {
    step.at(format!("{} events", total.events));
}

/// The minimum duration of this many events.
fn due(total: &Total, rate: u32) -> Duration {
    Duration::from_millis(total.events.saturating_mul(1000) / u64::from(rate))
}

/// One page, tried again while that may help.
async fn ask<P: DeserializeOwned>(aws: &Aws, function: &str, request: &Value) -> Result<P> {
    let mut pause = FIRST_PAUSE;
    let mut tries = 1;
    loop {
        let said = aws.invoke(function, request, PATIENCE).await;
        let error = match said.and_then(|text| answer(function, &text)) {
            Ok(Ok(page)) => return Ok(page),
            // Nothing makes it another request.
            Ok(Err(failed)) if failed.error_type == "MalformedRequest" => {
                return Err(Error::Republish(format!("{function} refuses: {}.", failed.error_message)));
            }
            Ok(Err(failed)) => Error::Republish(failed.told(function)),
            Err(error) => error,
        };
        if tries == TRIES {
            return Err(error);
        }
        tries += 1;
        tokio::time::sleep(pause).await;
        pause *= 2;
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_context_with_a_relay_can_publish_again() {
        let infra = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let templates = std::fs::read_dir(infra).unwrap().map(|entry| entry.unwrap().path());
        let templates =
            templates.filter(|path| path.extension().is_some_and(|extension| extension == "yaml"));
        let relays: BTreeSet<String> = templates
            .filter_map(|path| {
                let context = path.file_stem()?.to_str()?.to_owned();
                let name = format!("FunctionName: !Sub ordersaga-${{Stage}}-{context}-relay\n");
                std::fs::read_to_string(path).unwrap().contains(&name).then_some(context)
            })
            .collect();
        let known = Context::value_variants().iter().map(|context| context.name().to_owned());
        assert_eq!(known.collect::<BTreeSet<_>>(), relays);
    }

    #[test]
    fn events_go_out_no_faster_than_asked_for() {
        let total = Total { events: 250, unreadable: 0 };
        assert_eq!(due(&total, 100), Duration::from_millis(2500));
        assert_eq!(due(&Total::default(), 100), Duration::ZERO);
    }

    #[test]
    fn a_total_names_what_was_left_out() {
        assert_eq!(Total { events: 2, unreadable: 0 }.says("users"), "2 events of users published again.");
        assert!(Total { events: 2, unreadable: 1 }.says("users").contains("log of users-relay"));
    }
}
