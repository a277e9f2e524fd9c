//! Keeps the order views (`orders-relay`, beside publishing): each commit says where its order stands.

use std::collections::{BTreeMap, BTreeSet};

use contracts::{InvalidId, OrderId, OrderStatus, UserId};
use futures::{StreamExt, stream};
use lambda_kit::{
    command::chain,
    relay::{Outgoing, StreamEvent, StreamRecord},
};

use crate::store::{PLACED_AT, STATUS, Standing, Store, StoreError, may_have_paid};

/// Views written at the same time: a full batch (infra/orders.yaml) takes five turns, as starting its sagas does.
const CONCURRENCY: usize = 10;

/// Why a view could not be brought up to date. Its record comes again.
#[derive(Debug, thiserror::Error)]
enum ProjectError {
    #[error("the order's id cannot be read")]
    OrderId(#[from] InvalidId),
    #[error("the commit's order is not there")]
    NoOrder,
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Brings the view of every order of the batch up to date, with one write an order, and returns the sequence numbers of
/// the records that could not be projected.
pub async fn project_all(store: &Store, batch: &StreamEvent) -> BTreeSet<String> {
    let mut latest: BTreeMap<String, (&StreamRecord, Outgoing)> = BTreeMap::new();
    for (record, last) in batch.records.iter().filter_map(commit) {
        match latest.get(&last.event.subject) {
            Some((_, known)) if known.event.sequence > last.event.sequence => {}
            _ => drop(latest.insert(last.event.subject.clone(), (record, last))),
        }
    }
    let failures = stream::iter(latest.into_values()).map(|(record, last)| async move {
        match project(store, record, &last).await {
            Ok(()) => None,
            Err(error) => {
                tracing::error!(
                    order_id = last.event.subject,
                    correlation_id = last.event.correlation_id.as_str(),
                    error = chain(&error),
                    "an order's view could not be written and is tried again"
                );
                Some(last.sequence_number)
            }
        }
    });
    failures.buffer_unordered(CONCURRENCY).filter_map(std::future::ready).collect().await
}

/// A record that brings events, with the last of them. What cannot be read is reported by the relay itself.
fn commit(record: &StreamRecord) -> Option<(&StreamRecord, Outgoing)> {
    Some((record, record.new_events().ok()?.pop()?))
}

async fn project(store: &Store, record: &StreamRecord, last: &Outgoing) -> Result<(), ProjectError> {
    let standing = match read(record, last)? {
        Some(standing) => standing,
        // A commit of before there were views.
        None => {
            let order_id = OrderId::try_from(last.event.subject.as_str())?;
            Standing::from(&store.load(&order_id).await?.ok_or(ProjectError::NoOrder)?)
        }
    };
    store.project(&standing).await?;
    Ok(())
}

fn read(record: &StreamRecord, last: &Outgoing) -> Result<Option<Standing>, InvalidId> {
    let event = &last.event;
    let image = record.dynamodb.new_image.as_ref();
    let attribute = |name| image.and_then(|image| image.string(name));
    let status = attribute(STATUS).and_then(|status| status.parse::<OrderStatus>().ok());
    let placed_at = attribute(PLACED_AT).and_then(|at| at.parse().ok());
    let user_id: Option<UserId> = event.metadata.user_id.clone();
    let (Some(status), Some(placed_at), Some(user_id)) = (status, placed_at, user_id) else {
        return Ok(None);
    };
    Ok(Some(Standing {
        order_id: OrderId::try_from(event.subject.as_str())?,
        user_id,
        placed_at,
        status,
        version: event.sequence,
        updated_at: event.occurred_at,
        may_have_paid: may_have_paid(event),
    }))
}

#[cfg(test)]
mod tests;
