//! Decides about commands, and appends what was decided. When another instance appended first, it reads and
//! decides again.

use std::time::Duration;

use contracts::{
    CorrelationId, EventPayload, OrderId, PricedLine, UserId, events::OrderCancelRequested, metrics,
};
use jiff::Timestamp;
use lambda_kit::{
    audit::{Actor, Entry},
    dynamodb::{Budget, Conflict, TransactOutcome, retry_on_conflict, retry_on_conflict_with},
    telemetry,
};
use serde_json::json;

use crate::{
    domain::{Command, Commit, Event, EventContext, History, Offer, Order, Rejected, command_id, decide},
    store::{COMMIT, FirstCommit, NewOrder, Store, StoreError},
};

/// The decisions about one command when concurrent ones are faster.
// An order has about ten commits in its whole life. Even in the worst case a command meets two or three
// others.
const DECISIONS: Budget = Budget::Tries(5);
/// How long a new order retries when other orders use the same code at the same moment.
// The 3 s of the API function, less the worst case of reading and answering.
const PLACING: Budget = Budget::Time(Duration::from_millis(1_500));

/// Why a command was not executed.
#[derive(Debug, thiserror::Error)]
pub enum ExecuteError {
    #[error(transparent)]
    Rejected(#[from] Rejected),
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// The outcome of placing an order.
#[derive(Debug)]
pub enum PlaceOutcome {
    Created(FirstCommit),
    /// By an equal request, or by a different one with the same key.
    AlreadyPlaced(FirstCommit),
}

/// Executes `command`, which is not [`Command::Place`], and returns the order after it. A command that was
/// executed before is a success without effect.
///
/// # Errors
/// When the order's state does not allow the command, or the table cannot be read or written.
pub async fn execute(
    store: &Store,
    order_id: &OrderId,
    command: &Command,
    correlation_id: &CorrelationId,
    now: Timestamp,
) -> Result<History, ExecuteError> {
    execute_audited(store, order_id, command, correlation_id, now, None).await
}

/// Requests the cancellation of this order for its customer, or for one of the staff, which the audit trail keeps.
///
/// # Errors
/// As [`execute`].
pub async fn request_cancel(
    store: &Store,
    known: &History,
    by: &UserId,
    correlation_id: &CorrelationId,
    now: Timestamp,
) -> Result<History, ExecuteError> {
    let (order_id, command) = (&known.order_id, Command::RequestCancel);
    let is_requested = |requested: bool| json!({"cancel_requested": requested});
    let entry = (*by != known.user_id).then(|| {
        let actor = Actor::User(by.clone());
        Entry::new(now, actor, OrderCancelRequested::TYPE, order_id.as_str(), correlation_id)
            .with_change((is_requested(false), is_requested(true)))
    });
    execute_audited(store, order_id, &command, correlation_id, now, entry.as_ref()).await
}

/// Executes a command, and stores the audit entry with what it changes.
async fn execute_audited(
    store: &Store,
    order_id: &OrderId,
    command: &Command,
    correlation_id: &CorrelationId,
    now: Timestamp,
    entry: Option<&Entry>,
) -> Result<History, ExecuteError> {
    let command_id = command_id(order_id, command);
    let executed = retry_on_conflict(DECISIONS, || async {
        let history = store.load(order_id).await?.ok_or(Rejected::NotPlaced)?;
        // Before the decision. The order may have changed since the first time, so that the same command
        // would be rejected now. A caller that died or lost the answer after the write ends here.
        if history.has_executed(&command_id) {
            return Ok(Ok(history));
        }
        let order = Order::Placed(history.order.clone());
        let events = decide(&order, command.clone())?;
        // A commit without events is not written. A repeat decides again, and finds nothing to do either.
        if events.is_empty() {
            return Ok(Ok(history));
        }
        let context = EventContext {
            order_id,
            user_id: &history.user_id,
            correlation_id,
            // The clocks of two instances differ. A history whose times run backwards could not be cut at a
            // time.
            occurred_at: now.max(history.updated_at),
        };
        let commit = commit(order.version(), command_id.clone(), &events, context)?;
        let appended = match entry {
            Some(entry) => store.append_audited(&commit, context, entry).await?,
            None => append(store, &history, &events, &commit, context).await?,
        };
        if let Err(Conflict) = appended {
            return Ok(Err(Conflict));
        }
        report(&events, &history, context.occurred_at);
        let history = history.then(commit).map_err(|source| StoreError::broken(order_id, source))?;
        Ok::<_, ExecuteError>(Ok(history))
    });
    Ok(executed.await?.map_err(|Conflict| StoreError::Contended(order_id.clone()))?)
}

/// Appends the commit, and releases the discount code of an order that it cancels.
// Only the end of an order with a code needs a transaction, which costs twice as much. Every other command is one
// plain write.
async fn append(
    store: &Store,
    history: &History,
    events: &[Event],
    commit: &Commit,
    context: EventContext<'_>,
) -> Result<Result<(), Conflict>, StoreError> {
    if releases_discount(history, events) {
        store.append_and_release(commit, context).await
    } else {
        store.append(commit, context).await
    }
}

/// Counts the end of an order.
// After the write and by its writer only, so that a repeat is not counted.
fn report(events: &[Event], history: &History, now: Timestamp) {
    for event in events {
        match event {
            Event::Completed(_) => {
                let duration = now.duration_since(history.created_at).as_millis();
                telemetry::emit(&metrics::ORDER_DURATION, u64::try_from(duration).unwrap_or_default());
                let total = history.order.total;
                let amount = u64::try_from(total.amount).unwrap_or_default();
                telemetry::emit_by(&metrics::REVENUE, total.currency.code(), amount);
            }
            Event::Cancelled(cancelled) => {
                telemetry::emit_by(&metrics::ORDERS_CANCELLED, &cancelled.reason, 1);
            }
            _ => {}
        }
    }
}

/// Whether these events cancel an order that used a code.
fn releases_discount(history: &History, events: &[Event]) -> bool {
    history.order.discount.is_some() && events.iter().any(|event| matches!(event, Event::Cancelled(_)))
}

/// Places an order, unless it was placed before. With a discount code, this is one more use of the code.
///
/// # Errors
/// When the command is rejected, or the table cannot be read or written.
pub async fn place(
    store: &Store,
    order: &NewOrder<'_>,
    command: Command,
    now: Timestamp,
) -> Result<PlaceOutcome, ExecuteError> {
    if let Command::Place { items, offer: Some(offer) } = command {
        return place_with_code(store, order, items, offer, now).await;
    }
    let first = first_commit(order, command, now)?;
    match store.append_first(order, &first.commit, now).await? {
        Ok(()) => Ok(created(first)),
        // The condition also fails after our own write whose answer was lost. What is stored is the answer in
        // both cases.
        Err(Conflict) => Ok(PlaceOutcome::AlreadyPlaced(store.first_commit(order.order_id).await?)),
    }
}

async fn place_with_code(
    store: &Store,
    order: &NewOrder<'_>,
    items: Vec<PricedLine>,
    offer: Offer,
    now: Timestamp,
) -> Result<PlaceOutcome, ExecuteError> {
    let terms = &offer.discount.terms.clone();
    let first = |offer: &Offer| {
        first_commit(order, Command::Place { items: items.clone(), offer: Some(offer.clone()) }, now)
    };
    let placed = retry_on_conflict_with(PLACING, offer, |offer| async move {
        let first_commit = first(&offer)?;
        let outcome = match store.append_first_with_use(order, &first_commit.commit, now, terms).await? {
            TransactOutcome::Done => created(first_commit),
            TransactOutcome::ConditionFailed { index: COMMIT } => {
                PlaceOutcome::AlreadyPlaced(store.first_commit(order.order_id).await?)
            }
            // Other orders have used the code since it was read, or it was ended. Or it was our own earlier
            // try.
            TransactOutcome::ConditionFailed { .. } => {
                let found = store.lookup(Some(order.order_id), order.user_id, &[], Some(&terms.code)).await?;
                let Some(placed) = found.placed else {
                    let offer = found.discount.offer(now)?;
                    // Refuses at once, and not after a pause, a customer who cannot use the code any more.
                    first(&offer)?;
                    return Ok(Err(offer));
                };
                PlaceOutcome::AlreadyPlaced(placed)
            }
            // Another transaction was under way on the same items. What was read may still hold, so nothing
            // is read again.
            TransactOutcome::Conflict => return Ok(Err(offer)),
        };
        Ok::<_, ExecuteError>(Ok(outcome))
    });
    Ok(placed.await?.map_err(|Conflict| StoreError::Contended(order.order_id.clone()))?)
}

/// The outcome of an order that was written now.
fn created(first: FirstCommit) -> PlaceOutcome {
    telemetry::emit(&metrics::ORDERS_PLACED, 1);
    PlaceOutcome::Created(first)
}

/// Decides about a new order.
fn first_commit(order: &NewOrder<'_>, command: Command, now: Timestamp) -> Result<FirstCommit, ExecuteError> {
    let command_id = command_id(order.order_id, &command);
    let events = decide(&Order::NotPlaced, command)?;
    let commit = commit(0, command_id, &events, order.event_context(now))?;
    Ok(FirstCommit { request_hash: order.request_hash.to_owned(), commit })
}

fn commit(
    version: u64,
    command_id: String,
    events: &[Event],
    context: EventContext<'_>,
) -> Result<Commit, StoreError> {
    Commit::new(version, command_id, events, context).map_err(|e| StoreError::item("writing events", e))
}
