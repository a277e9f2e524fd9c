//! Decides how a command changes a reservation, and writes it. When another writer was faster, it reads and
//! decides again.

use std::{collections::BTreeMap, time::Duration};

use contracts::{OrderLine, Sku, metrics};
use futures::future::try_join_all;
use jiff::Timestamp;
use lambda_kit::{
    dynamodb::{Budget, Conflict, TableError, TransactOutcome, retry_on_conflict_with},
    telemetry,
};

use crate::{
    domain::{Command, Decision, EventContext, Plan, Rejected, Reservation, Shard, Stock, decide, plan},
    store::Store,
};

/// No try starts later than this.
// The functions have 30 s, and one try takes at most three calls of 3 s.
const BUDGET: Budget = Budget::Time(Duration::from_secs(20));
/// The index of the reservation among the writes of a change.
const RESERVATION: usize = 0;

#[derive(Debug, thiserror::Error)]
pub enum ReservationError {
    #[error(transparent)]
    Rejected(#[from] Rejected),
    #[error(transparent)]
    Table(#[from] TableError),
    #[error("other writers of the stock were faster every time")]
    Conflict(#[from] Conflict),
}

/// Holds all lines for the order, or none.
///
/// # Errors
/// `Rejected` when there is too little stock, or the order was undone before.
pub async fn reserve(
    store: &Store,
    lines: &[OrderLine],
    context: &EventContext,
) -> Result<Reservation, ReservationError> {
    // During a rush, most orders for a SKU that is sold out end here, with one write each.
    let short = store.known_sold_out(lines, context.at);
    let next = if short.is_empty() { Next::Optimistic } else { Next::Run(Command::Reject { short }) };
    let first = Attempt { shards_tried: 0, current: None, next };
    let reserved = retry_on_conflict_with(BUDGET, first, |mut attempt| async move {
        let command = match &attempt.next {
            // Most orders find no reservation and enough stock. So nothing is read first, and the conditions
            // of the write find out.
            Next::Optimistic => {
                let taken = store
                    .optimistic_allocation(lines, &context.order_id, attempt.shards_tried, context.at)
                    .await;
                Some(Command::Reserve { taken })
            }
            Next::ReadStock => plan_from_stock(store, lines, context).await?,
            Next::Run(command) => Some(command.clone()),
        };
        let Some(command) = command else { return Ok(Err(attempt)) };
        match apply(store, &mut attempt.current, &command, context).await? {
            Ok(reservation) => Ok::<_, ReservationError>(Ok(reservation)),
            Err(failed) => {
                attempt.choose_next(failed, command);
                Ok(Err(attempt))
            }
        }
    });
    Ok(reserved.await??)
}

/// Decides and writes. When the write failed, returns how; a reservation that has changed is read again into
/// `current`.
async fn apply(
    store: &Store,
    current: &mut Option<Reservation>,
    command: &Command,
    context: &EventContext,
) -> Result<Result<Reservation, TransactOutcome>, ReservationError> {
    loop {
        let change = match decide(current.as_ref(), command.clone(), context)? {
            Decision::Write(change) => change,
            Decision::Keep(reservation) => return Ok(Ok(reservation)),
        };
        let outcome = store.write(&change).await?;
        match outcome {
            // Decides once more on what was written, so that the answer is the same as for a repeat.
            TransactOutcome::Done => {
                // By the writer only, so that a repeat is not counted.
                match command {
                    Command::Reserve { .. } => telemetry::emit(&metrics::RESERVATIONS_HELD, 1),
                    Command::Reject { .. } => telemetry::emit(&metrics::RESERVATIONS_REFUSED, 1),
                    _ => {}
                }
                *current = Some(change.reservation);
            }
            TransactOutcome::ConditionFailed { index: RESERVATION } => {
                *current = store.reservation(&context.order_id).await?;
                return Ok(Err(outcome));
            }
            TransactOutcome::ConditionFailed { .. } | TransactOutcome::Conflict => return Ok(Err(outcome)),
        }
    }
}

/// The state of a reservation between its tries.
struct Attempt {
    shards_tried: u32,
    current: Option<Reservation>,
    next: Next,
}

impl Attempt {
    /// Chooses the next action after the write of `command` failed.
    fn choose_next(&mut self, failed: TransactOutcome, command: Command) {
        match failed {
            // The reservation has changed, and was read again. It may be our own write, whose answer was lost:
            // then the next decision keeps it.
            TransactOutcome::Done | TransactOutcome::ConditionFailed { index: RESERVATION } => {}
            // A shard has less than was to be taken. The SKU may have more elsewhere.
            TransactOutcome::ConditionFailed { .. } => self.next = Next::ReadStock,
            // Another shard of the SKU may be less busy.
            TransactOutcome::Conflict if matches!(self.next, Next::Optimistic) => self.shards_tried += 1,
            // A transaction conflicts while another one is only under way. What was planned may still hold.
            TransactOutcome::Conflict => self.next = Next::Run(command),
        }
    }
}

/// The next action of a reservation.
enum Next {
    /// Allocate without a read.
    Optimistic,
    /// Read the current stock and plan from it.
    ReadStock,
    Run(Command),
}

/// The command to run with the current stock; `None` when the stock must be read again.
async fn plan_from_stock(
    store: &Store,
    lines: &[OrderLine],
    context: &EventContext,
) -> Result<Option<Command>, ReservationError> {
    let short = match plan(lines, &context.order_id, &shards(store, lines).await?) {
        Plan::Take(taken) => return Ok(Some(Command::Reserve { taken })),
        Plan::Rebalance(moves) => {
            // The outcome does not matter, because the stock is read again: another process may have moved
            // it, or taken some of it.
            let (Ok(()) | Err(Conflict)) = store.rebalance(&moves, context, Timestamp::now()).await?;
            return Ok(None);
        }
        Plan::Short(short) => short,
    };
    // The shards were read one by one. Stock that another process moves between two of them is missing from
    // both reads, and no order may be rejected for that. So it is read once more, at one moment.
    let mut seen = BTreeMap::new();
    for sku in &short {
        match store.snapshot(sku).await? {
            Ok(stock) => seen.insert(sku.clone(), shards_of(stock)),
            Err(Conflict) => return Ok(None),
        };
    }
    let uncertain: Vec<OrderLine> = lines.iter().filter(|line| short.contains(&line.sku)).cloned().collect();
    Ok(match plan(&uncertain, &context.order_id, &seen) {
        Plan::Short(short) => {
            store.record_sold_out(&short, lines, context.at);
            Some(Command::Reject { short })
        }
        Plan::Take(_) | Plan::Rebalance(_) => None,
    })
}

/// Ends the order's reservation by `Release` or `Commit`.
///
/// # Errors
/// `Rejected` when its state does not allow that.
pub async fn end_reservation(
    store: &Store,
    command: Command,
    context: &EventContext,
) -> Result<Reservation, ReservationError> {
    let current = store.reservation(&context.order_id).await?;
    let command = &command;
    let settled = retry_on_conflict_with(BUDGET, current, |mut current| async move {
        let applied = apply(store, &mut current, command, context).await?;
        Ok::<_, ReservationError>(applied.map_err(|_| current))
    });
    Ok(settled.await??)
}

/// The shards of all lines (consistent reads).
async fn shards(store: &Store, lines: &[OrderLine]) -> Result<BTreeMap<Sku, Vec<Shard>>, TableError> {
    let read = lines.iter().map(async |line| {
        let stock = store.stock(&line.sku).await?;
        Ok((line.sku.clone(), shards_of(stock)))
    });
    Ok(try_join_all(read).await?.into_iter().collect())
}

fn shards_of(stock: Option<Stock>) -> Vec<Shard> {
    stock.map(|stock| stock.shards).unwrap_or_default()
}
