//! `cargo ops order`: one order whole. This reads the sources; the crate order-view makes the view of them.

mod logs;
mod read;
mod step;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};

use clap::Args;
use console::Term;
use contracts::{CorrelationId, OrderId};
use jiff::{SignedDuration, Timestamp};
use local_stack::{Progress, Settings};
use order_view::{OrderView, Sources, Terminal};

use crate::aws::Aws;
use crate::error::{Error, Result};
use crate::stage::Stage;

/// The width of text that goes to no terminal: as wide as most are.
const WIDTH_OF_FILES: usize = 120;

#[derive(Debug, Args)]
pub struct Order {
    /// An order (`ord_…`), or the correlation id of the request that placed it
    subject: String,
    /// Show it as it was at this time (2026-11-29T20:44:01Z), or this long after it was placed (1.5s, 3m)
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    at: Option<At>,
    /// Go back and forth through its states: arrow keys, Home, End; q ends
    #[arg(long, conflicts_with_all = ["at", "json", "html"])]
    step: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// Write a page with the saga's picture and the way of this order to this file
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    /// How far back logs are searched for a correlation id
    #[arg(long, value_name = "DURATION", default_value = "24h")]
    since: SignedDuration,
    /// On AWS; without it, on this machine's stack
    #[arg(long)]
    stage: Option<Stage>,
}

/// A time, or a time after the order was placed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum At {
    Time(Timestamp),
    After(SignedDuration),
}

impl std::str::FromStr for At {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        if let Ok(time) = text.parse() {
            return Ok(Self::Time(time));
        }
        text.trim_start_matches('+').parse().map(Self::After).map_err(|_| {
            "write a time like 2026-11-29T20:44:01Z, or a time after the order was placed like 1.5s or 3m"
                .to_owned()
        })
    }
}

/// What the argument names.
#[derive(Debug, PartialEq, Eq)]
enum Subject {
    Order(OrderId),
    Correlation(CorrelationId),
}

impl Subject {
    fn read(text: &str) -> Result<Self> {
        if let Ok(order) = OrderId::try_from(text) {
            return Ok(Self::Order(order));
        }
        let correlation = CorrelationId::try_from(text);
        correlation.ok().filter(|_| !text.starts_with("ord_")).map(Self::Correlation).ok_or_else(|| {
            Error::Order(format!(
                "`{text}` is no order (ord_ and 32 hexadecimal digits) and no correlation id."
            ))
        })
    }
}

impl Order {
    /// # Errors
    /// The argument names no order, no such stack runs, or the page cannot be written.
    pub async fn run(self, settings: &Settings, progress: &Progress) -> Result<()> {
        // Before anything is asked.
        let subject = Subject::read(&self.subject)?;
        let terminal = Term::stdout();
        if self.step && !terminal.is_term() {
            return Err(Error::Order("--step needs a terminal. --at <time> prints one state.".to_owned()));
        }
        let aws = Aws::of(settings, self.stage.clone(), progress).await?;
        let order_id = match subject {
            Subject::Order(order_id) => order_id,
            Subject::Correlation(id) => logs::order_of(&aws, &id, self.since).await?,
        };
        let sources = {
            let _step = progress.step("reading everything about the order");
            read::sources(&aws, &order_id).await?
        };
        if sources.events.as_ref().is_some_and(Vec::is_empty) {
            let stage = sources.stage;
            return Err(Error::Order(format!(
                "there is no order {order_id} in the stage {stage}. Check the id, and --stage."
            )));
        }
        if self.step {
            return step::through(&sources, &terminal);
        }
        let view = OrderView::new(&sources, self.time(&sources)?);
        if let Some(file) = &self.html {
            write(file, &order_view::page(&view))?;
            eprintln!("written to {}", file.display());
        }
        if self.json {
            println!(
                "{}",
                serde_json::to_string_pretty(&view).map_err(|error| Error::Order(error.to_string()))?
            );
        } else if self.html.is_none() {
            print!("{}", order_view::text(&view, shown_on(&terminal)));
        }
        Ok(())
    }

    fn time(&self, sources: &Sources) -> Result<Option<Timestamp>> {
        let after = match self.at {
            None => return Ok(None),
            Some(At::Time(time)) => return Ok(Some(time)),
            Some(At::After(after)) => after,
        };
        let placed = sources.events().first().map(|event| event.occurred_at);
        let time = placed.and_then(|placed| placed.checked_add(after).ok());
        time.map(Some).ok_or_else(|| {
            Error::Order("it is not known when the order was placed: give --at a time instead.".to_owned())
        })
    }
}

fn shown_on(terminal: &Term) -> Terminal {
    let width = terminal.size_checked().map_or(WIDTH_OF_FILES, |(_, columns)| usize::from(columns));
    Terminal { width, colour: console::colors_enabled() }
}

fn write(file: &Path, page: &str) -> Result<()> {
    std::fs::write(file, page)
        .map_err(|error| Error::Order(format!("{} cannot be written: {error}", file.display())))
}
