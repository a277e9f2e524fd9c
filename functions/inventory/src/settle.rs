//! Brings a reservation into the state that a command wants: decides, writes, and after a lost race reads and
//! decides again.

use std::{collections::BTreeMap, time::Duration};

use contracts::{OrderLine, Sku};
use futures::future::try_join_all;
use lambda_kit::{backoff::Backoff, dynamodb::TableError};

use crate::{
    domain::{Cause, Command, Decision, Plan, Refused, Reservation, Shard, Stock, decide, plan},
    store::{Snapshot, Store, Written},
};

/// No try starts later than this: the functions have 30 s, and one try takes at most three calls of 3 s.
const BUDGET: Duration = Duration::from_secs(20);

#[derive(Debug, thiserror::Error)]
pub enum SettleError {
    #[error(transparent)]
    Refused(#[from] Refused),
    #[error(transparent)]
    Table(#[from] TableError),
    /// Other writers kept writing the same items.
    #[error("the stock is too busy")]
    Busy,
}

/// Holds all lines for the order, or none. Does not read first, since most orders find no reservation and
/// enough stock. A SKU that was sold out a moment ago is refused without a look.
///
/// # Errors
/// `Refused` when there is too little stock, or the order was undone before.
pub async fn reserve(store: &Store, lines: &[OrderLine], cause: &Cause) -> Result<Reservation, SettleError> {
    let mut backoff = Backoff::within(BUDGET);
    let mut attempt = 0;
    let mut current = None;
    let short = store.known_short(lines, cause.at);
    let mut next = if short.is_empty() { Next::First } else { Next::Try(Command::Reject { short }) };
    loop {
        let command = match &next {
            Next::First => {
                let taken = store.first_try(lines, &cause.order_id, attempt, cause.at).await;
                Some(Command::Reserve { taken })
            }
            Next::Look => look(store, lines, cause).await?,
            Next::Try(command) => Some(command.clone()),
        };
        if let Some(command) = command {
            let change = match decide(current.as_ref(), command.clone(), cause)? {
                Decision::Write(change) => change,
                Decision::Keep(reservation) => return Ok(reservation),
            };
            match store.write(&change).await? {
                // Decides again, so that the answer is the same as for a repeat.
                Written::Done => {
                    (current, next) = (Some(change.reservation), Next::Try(command));
                    continue;
                }
                Written::Moved => current = store.reservation(&cause.order_id).await?,
                Written::Short => next = Next::Look,
                // Another shard of the SKU may be less busy.
                Written::Busy if matches!(next, Next::First) => attempt += 1,
                Written::Busy => next = Next::Try(command),
            }
        }
        if !backoff.pause().await {
            return Err(SettleError::Busy);
        }
    }
}

/// The next action of a reservation.
enum Next {
    /// Guesses.
    First,
    /// Reads the stock.
    Look,
    Try(Command),
}

/// The command to run with the current stock; `None` when the stock must be read again. Rejects only when all
/// shards of a SKU together, read in one transaction, have too little.
async fn look(store: &Store, lines: &[OrderLine], cause: &Cause) -> Result<Option<Command>, SettleError> {
    let short = match plan(lines, &cause.order_id, &shards(store, lines).await?) {
        Plan::Take(taken) => return Ok(Some(Command::Reserve { taken })),
        Plan::Gather(moves) => {
            // The outcome does not matter: another process may have moved the stock, or taken some of it.
            store.gather(&moves).await?;
            return Ok(None);
        }
        Plan::Short(short) => short,
    };
    let mut seen = BTreeMap::new();
    for sku in &short {
        match store.snapshot(sku).await? {
            Snapshot::Taken(stock) => seen.insert(sku.clone(), shards_of(stock)),
            Snapshot::Busy => return Ok(None),
        };
    }
    let doubtful: Vec<OrderLine> = lines.iter().filter(|line| short.contains(&line.sku)).cloned().collect();
    Ok(match plan(&doubtful, &cause.order_id, &seen) {
        Plan::Short(short) => {
            store.learn_short(&short, lines, cause.at);
            Some(Command::Reject { short })
        }
        Plan::Take(_) | Plan::Gather(_) => None,
    })
}

/// Moves the order's reservation by `Release` or `Commit`.
///
/// # Errors
/// `Refused` when its state does not allow that.
pub async fn settle(store: &Store, command: Command, cause: &Cause) -> Result<Reservation, SettleError> {
    let mut backoff = Backoff::within(BUDGET);
    let mut current = store.reservation(&cause.order_id).await?;
    loop {
        let change = match decide(current.as_ref(), command.clone(), cause)? {
            Decision::Write(change) => change,
            Decision::Keep(reservation) => return Ok(reservation),
        };
        match store.write(&change).await? {
            Written::Done => {
                current = Some(change.reservation);
                continue;
            }
            Written::Moved => current = store.reservation(&cause.order_id).await?,
            // Returning stock takes nothing, so no shard can have too little.
            Written::Short | Written::Busy => {}
        }
        if !backoff.pause().await {
            return Err(SettleError::Busy);
        }
    }
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
