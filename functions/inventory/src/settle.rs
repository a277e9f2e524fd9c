//! Moves a reservation to where a command wants it: decide, write, and after a lost race read and decide again.

use std::{collections::BTreeMap, time::Duration};

use contracts::{OrderLine, Sku};
use futures::future::try_join_all;
use lambda_kit::dynamodb::TableError;

use crate::{
    backoff::Backoff,
    domain::{Cause, Command, Decision, Refused, Reservation, Shard, decide, from_first_shards, plan},
    store::{Store, Written},
};

/// No try starts later: the functions have 30 s, and one try takes at most three calls of 3 s.
const BUDGET: Duration = Duration::from_secs(20);

#[derive(Debug, thiserror::Error)]
pub enum SettleError {
    #[error(transparent)]
    Refused(#[from] Refused),
    #[error(transparent)]
    Table(#[from] TableError),
    /// Others kept writing the same items.
    #[error("the stock is too busy")]
    Busy,
}

/// Holds all lines for the order, or none. Tries without reading first, since most orders find no reservation and
/// enough stock.
///
/// # Errors
/// `Refused` when there is too little stock, or the order was undone before.
pub async fn reserve(store: &Store, lines: &[OrderLine], cause: &Cause) -> Result<Reservation, SettleError> {
    let first = Command::Reserve { taken: from_first_shards(lines) };
    drive(store, None, first, lines, cause).await
}

/// Moves the order's reservation by `Release` or `Commit`.
///
/// # Errors
/// `Refused` when its state does not allow that.
pub async fn settle(store: &Store, command: Command, cause: &Cause) -> Result<Reservation, SettleError> {
    let current = store.reservation(&cause.order_id).await?;
    drive(store, current, command, &[], cause).await
}

async fn drive(
    store: &Store,
    mut current: Option<Reservation>,
    mut command: Command,
    lines: &[OrderLine],
    cause: &Cause,
) -> Result<Reservation, SettleError> {
    let mut backoff = Backoff::within(BUDGET);
    loop {
        let change = match decide(current.as_ref(), command.clone(), cause)? {
            Decision::Write(change) => change,
            Decision::Keep(reservation) => return Ok(reservation),
        };
        match store.write(&change).await? {
            // Decided once more, so that what was just written is answered as a repeat will be.
            Written::Done => {
                current = Some(change.reservation);
                continue;
            }
            Written::Moved => current = store.reservation(&cause.order_id).await?,
            Written::Short => {
                command = match plan(lines, &shards(store, lines).await?) {
                    Ok(taken) => Command::Reserve { taken },
                    Err(short) => Command::Reject { short },
                }
            }
            Written::Busy => {}
        }
        if !backoff.pause().await {
            return Err(SettleError::Busy);
        }
    }
}

/// The shards of all lines, read consistently.
async fn shards(store: &Store, lines: &[OrderLine]) -> Result<BTreeMap<Sku, Vec<Shard>>, TableError> {
    let read = lines.iter().map(async |line| {
        let stock = store.stock(&line.sku).await?;
        Ok((line.sku.clone(), stock.map(|stock| stock.shards).unwrap_or_default()))
    });
    Ok(try_join_all(read).await?.into_iter().collect())
}
