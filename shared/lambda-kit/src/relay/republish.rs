//! Publishes the events in the outboxes of a table's items again, page by page: for a consumer that is new or
//! late, and for events that were not published while they were in the stream.
//!
//! An outbox stays in its item until the item's next change. An order's items never change, so theirs are its
//! whole history. Other items have only the event of their last change, which holds the current state.
//!
//! The events keep their ids, so that consumers recognise them. Only the topic must not: it drops duplicates
//! of the last 5 minutes, and a queue that was subscribed a minute ago would never get those. So the
//! deduplication id contains the run's name, and a page that is requested twice in a run is published once.

use std::time::Instant;

use jiff::Timestamp;
use lambda_runtime::Diagnostic;
use serde::{Deserialize, Serialize};

use super::{
    outbox::{Handled, Outgoing},
    publisher::Publisher,
};
use crate::{
    cursor::{self, InvalidCursor},
    dynamodb::{Item, OUTBOX, PK, SK, Table, TableError, key, string_of},
    error::error_chain,
    telemetry::{self, Outcome},
};

/// Items on one page.
// With five events each, which is many, they take 50 calls to the topic: some seconds of a relay's 30.
const PAGE_ITEMS: i32 = 100;

/// Characters of a run's name, at most.
// With an event's id (36) and a dot it stays below the 128 characters of a deduplication id (PublishBatch, API
// reference).
const RUN_MAX: usize = 64;

/// Which page to publish.
#[derive(Debug, Clone, Deserialize)]
pub struct Request {
    /// The run's own name: letters, digits and hyphens, at most 64.
    pub run: String,
    /// The previous page's cursor; `None` for the first page.
    #[serde(default)]
    pub cursor: Option<String>,
    /// Only events of these types; all when it is empty.
    #[serde(default)]
    pub event_types: Vec<String>,
    /// Only what happened then or later.
    #[serde(default)]
    pub since: Option<Timestamp>,
}

/// The result of one page.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct RepublishedPage {
    /// Events that the topic took.
    pub events: usize,
    /// Outboxes that cannot be read or published, and were left out.
    pub unreadable: usize,
    /// The cursor of the next page; `None` after the last one.
    pub cursor: Option<String>,
}

/// Why a page was not published again.
#[derive(Debug, thiserror::Error)]
pub enum RepublishError {
    /// Final: the caller must choose another name.
    #[error("the run's name is not made of 1 to {RUN_MAX} letters, digits and hyphens")]
    Run,
    /// Final: it is not the cursor of a page.
    #[error("the cursor is invalid")]
    Cursor,
    /// The table does not answer.
    #[error(transparent)]
    Table(#[from] TableError),
    /// The page must be requested again. The topic drops what it took before.
    #[error("the topic did not take the events of {0} items")]
    NotTaken(usize),
}

impl From<RepublishError> for Diagnostic {
    fn from(error: RepublishError) -> Self {
        let name = match error {
            RepublishError::Run | RepublishError::Cursor => "MalformedRequest",
            RepublishError::Table(_) | RepublishError::NotTaken(_) => "NotRepublished",
        };
        Self { error_type: name.to_owned(), error_message: error_chain(&error) }
    }
}

/// The item that the previous page ended with.
#[derive(Serialize, Deserialize)]
struct Position {
    pk: String,
    sk: String,
}

/// Publishes a table's outboxes again.
#[derive(Debug, Clone)]
pub struct Republisher {
    table: Table,
    publisher: Publisher,
}

impl Republisher {
    /// Publishes the outboxes of this table.
    pub const fn new(table: Table, publisher: Publisher) -> Self {
        Self { table, publisher }
    }

    /// Publishes the next page. May be repeated: within a run and 5 minutes, the topic drops the duplicates.
    ///
    /// # Errors
    /// When the request is invalid, or the page must be requested again.
    pub async fn page(&self, request: &Request) -> Result<RepublishedPage, RepublishError> {
        let started = Instant::now();
        let page = self.publish(request).await;
        let outcome = if page.is_ok() { Outcome::Ok } else { Outcome::Error };
        telemetry::record("republish", outcome, started.elapsed());
        match &page {
            Ok(page) => {
                tracing::info!(events = page.events, unreadable = page.unreadable, "published again");
            }
            Err(error) => tracing::error!(error = error_chain(error), "a page was not published again"),
        }
        page
    }

    async fn publish(&self, request: &Request) -> Result<RepublishedPage, RepublishError> {
        let Request { run, cursor, event_types, since } = request;
        if !(1..=RUN_MAX).contains(&run.len())
            || !run.chars().all(|each| each.is_ascii_alphanumeric() || each == '-')
        {
            return Err(RepublishError::Run);
        }
        let start = cursor.as_deref().map(parse).transpose()?;
        let (items, is_last) = self.read(start).await?;

        let (mut events, mut unreadable) = (Vec::new(), 0);
        for item in &items {
            let Ok(origin) = text(item, PK) else { continue };
            for body in bodies(item) {
                match Outgoing::read(origin, body) {
                    Ok(event) => events.push(event),
                    Err(error) => {
                        tracing::error!(pk = origin, error = error_chain(&error), "an outbox cannot be read");
                        unreadable += 1;
                    }
                }
            }
        }
        events.retain(|Outgoing { event, .. }| {
            (event_types.is_empty() || event_types.contains(&event.event_type))
                && since.is_none_or(|since| event.occurred_at >= since)
        });

        let Handled { failed, unprocessable } = self.publisher.again(run).publish(&events).await;
        if !failed.is_empty() {
            return Err(RepublishError::NotTaken(failed.len()));
        }
        unreadable += unprocessable.len();
        let cursor = match items.last() {
            Some(last) if !is_last => Some(cursor_of(last)?),
            _ => None,
        };
        Ok(RepublishedPage { events: events.len(), unreadable, cursor })
    }

    /// The next items with an outbox, and whether nothing comes after them. The next page begins behind the last of
    /// these: a cursor goes out to the operator, and the keys of other items may hold an e-mail address.
    async fn read(&self, mut start: Option<Item>) -> Result<(Vec<Item>, bool), TableError> {
        loop {
            // Not consistently, at half the price: what was written a moment ago is published by the stream.
            let scan = self
                .table
                .scan()
                .filter_expression("attribute_exists(#outbox)")
                .projection_expression("pk, sk, #outbox")
                .expression_attribute_names("#outbox", OUTBOX)
                .limit(PAGE_ITEMS)
                .set_exclusive_start_key(start);
            let page = self.table.scan_page("reading outboxes", scan).await?;
            match page.next {
                Some(last) if page.items.is_empty() => start = Some(last),
                last => return Ok((page.items, last.is_none())),
            }
        }
    }
}

fn bodies(item: &Item) -> impl Iterator<Item = &str> {
    let outbox = item.get(OUTBOX).and_then(|outbox| outbox.as_l().ok()).into_iter().flatten();
    outbox.filter_map(|body| body.as_s().ok()).map(String::as_str)
}

fn text<'a>(item: &'a Item, name: &str) -> Result<&'a str, RepublishError> {
    string_of(item, name).ok_or(RepublishError::Cursor)
}

fn cursor_of(item: &Item) -> Result<String, RepublishError> {
    let position = Position { pk: text(item, PK)?.to_owned(), sk: text(item, SK)?.to_owned() };
    cursor::encode(&position).map_err(|_| RepublishError::Cursor)
}

fn parse(cursor: &str) -> Result<Item, RepublishError> {
    let Position { pk, sk } = cursor::decode(cursor).map_err(|InvalidCursor| RepublishError::Cursor)?;
    Ok(key(pk, sk))
}
