//! Reconciles orders whose saga does not end them (`orders-reconciler`): a saga that never started, was
//! aborted, or ended without ending its order; money that a cancelled order may still hold; and undos that
//! used up their retries, when a person requests it.
//!
//! An order with a running execution is never changed, and no decision is based on a copy: the execution's
//! state is read first, and then the order. A repeated or concurrent run finds the order ended.

mod contexts;
mod executions;
mod function;
mod invocation;
mod report;
mod roll_back;

use contracts::{
    OrderId, OrderStatus,
    saga::{LONGEST_WAY_FORWARD_SECONDS, steps::REFUND_PAYMENT},
};
use futures::{StreamExt, stream};
use jiff::{SignedDuration, Timestamp};
use lambda_kit::{error::error_chain, function_client::CallError};

pub use self::{contexts::ContextClient, executions::Executions, function::run};
use self::{
    executions::{Execution, ExecutionError},
    invocation::Invocation,
    report::{ReconcileOutcome, ReconciliationReport},
};
use crate::{
    domain::History,
    handler::ExecuteError,
    relay::{SagaStart, StartError, Starter},
    store::{IndexPage, IndexReason, IndexedOrder, Store, StoreError},
};

/// Orders reconciled concurrently.
// Most take two reads; one that is undone may wait for three functions.
const CONCURRENCY: usize = 10;
/// Orders on one page of the index.
const PAGE: i32 = 100;
/// How long after its cancellation an order's payment is checked.
// Payments retries what it owes every 15 minutes at the latest. What it settles by itself should not be
// reported.
const MONEY_CHECK_DELAY: SignedDuration = SignedDuration::from_mins(20);
/// How long undos are retried, counted from the cancel request, before a person is called.
// At least as long as the saga's own undos (statemachine/README.md).
const UNDO_RETRY_PERIOD: SignedDuration = SignedDuration::from_hours(4);

/// The reconciler's dependencies.
#[derive(Debug, Clone)]
pub struct Reconciler {
    pub store: Store,
    pub starter: Starter,
    pub executions: Executions,
    pub contexts: ContextClient,
}

/// Why an order could not be reconciled. The next run tries again.
#[derive(Debug, thiserror::Error)]
pub enum ReconcileError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Execute(#[from] ExecuteError),
    #[error(transparent)]
    Execution(#[from] ExecutionError),
    #[error(transparent)]
    Start(#[from] StartError),
    #[error(transparent)]
    Call(#[from] CallError),
    #[error("there is no such order")]
    NoOrder,
}

impl Reconciler {
    /// Checks every open order that was placed more than `older_than` ago, and the money of cancelled orders.
    ///
    /// # Errors
    /// When the orders cannot be listed. A failure about one order is in the report.
    pub async fn check(
        &self,
        older_than: SignedDuration,
        invocation: Invocation,
    ) -> Result<ReconciliationReport, ReconcileError> {
        let mut report = ReconciliationReport::default();
        let overdue = invocation.now - older_than;
        for partition in self.store.index_partitions(IndexReason::Open) {
            self.each_page(&partition, overdue, PAGE, async |page| {
                let outcomes = stream::iter(page).map(|order| self.inspect(order, invocation));
                let outcomes: Vec<(IndexedOrder, ReconcileOutcome)> =
                    outcomes.buffer_unordered(CONCURRENCY).collect().await;
                outcomes.into_iter().for_each(|(order, outcome)| report.open(&order.order_id, outcome));
            })
            .await?;
        }
        self.check_money(invocation, &mut report).await?;
        // These are only counted. A person removes the cause, and then runs `cargo ops saga retry`.
        for partition in self.store.index_partitions(IndexReason::Attention) {
            self.each_page(&partition, invocation.now, PAGE, async |page| {
                report.in_attention += page.len();
            })
            .await?;
        }
        Ok(report)
    }

    /// Calls `take` with each page of the orders in a partition.
    async fn each_page(
        &self,
        partition: &str,
        until: Timestamp,
        limit: i32,
        mut take: impl AsyncFnMut(Vec<IndexedOrder>),
    ) -> Result<(), StoreError> {
        let mut from = None;
        loop {
            let IndexPage { orders, next } =
                self.store.indexed_orders(partition, until, limit, from.take()).await?;
            if !orders.is_empty() {
                take(orders).await;
            }
            match next {
                Some(_) => from = next,
                None => return Ok(()),
            }
        }
    }

    async fn inspect(&self, order: IndexedOrder, invocation: Invocation) -> (IndexedOrder, ReconcileOutcome) {
        // A run that the function's timeout cuts off reports nothing. Orders that are left are reported as
        // skipped, and the next run inspects them.
        if !invocation.has_time_to_undo() {
            return (order, ReconcileOutcome::Skipped);
        }
        let order_id = order.order_id.as_str();
        let outcome = match self.reconcile(&order.order_id, invocation.now).await {
            Ok(ReconcileOutcome::Running) => ReconcileOutcome::Running,
            Ok(outcome) => {
                tracing::warn!(
                    order_id,
                    outcome = outcome.as_str(),
                    "an order without a running saga was reconciled"
                );
                outcome
            }
            Err(error) => {
                tracing::error!(order_id, error = error_chain(&error), "an order could not be reconciled");
                ReconcileOutcome::Failed
            }
        };
        (order, outcome)
    }

    /// Starts or rolls back an open order without a running execution.
    async fn reconcile(
        &self,
        order_id: &OrderId,
        now: Timestamp,
    ) -> Result<ReconcileOutcome, ReconcileError> {
        let execution = self.executions.of(order_id).await?;
        if execution == Execution::Running {
            // However old the order is. The execution will end or undo it, and two must not undo one order at
            // the same time.
            return Ok(ReconcileOutcome::Running);
        }
        // Read after the execution had ended, so this includes everything that it did.
        let history = self.store.load(order_id).await?.ok_or(ReconcileError::NoOrder)?;
        if !is_open(history.order.status) {
            // The relay has not updated the index yet, or its record was lost.
            if let Some(last) = history.events.last() {
                self.store.update_index_entry(order_id, &last.envelope).await?;
            }
            return Ok(ReconcileOutcome::Ended);
        }
        if execution == Execution::NeverStarted {
            let checkout_details = self.store.checkout_details(order_id).await?;
            let [created, ..] = &history.events[..] else { return Err(ReconcileError::NoOrder) };
            match self.starter.start(&created.envelope, checkout_details.as_deref()).await? {
                SagaStart::Started | SagaStart::AlreadyStarted => return Ok(ReconcileOutcome::Started),
                // Without an address the order cannot be shipped, so it is rolled back.
                SagaStart::DetailsErased => {}
            }
        }
        self.roll_back(history, now).await
    }

    /// Queries the payment of every order that was cancelled a while ago, and refunds what is still held.
    async fn check_money(
        &self,
        invocation: Invocation,
        report: &mut ReconciliationReport,
    ) -> Result<(), ReconcileError> {
        let until = invocation.now - MONEY_CHECK_DELAY;
        // The most that one query may name.
        let limit = i32::try_from(contracts::query::PAYMENT_STATUSES_MAX).unwrap_or(PAGE);
        for partition in self.store.index_partitions(IndexReason::Cancelled) {
            self.each_page(&partition, until, limit, async |page| {
                if !invocation.has_time_to_undo() {
                    report.skipped += page.len();
                    return;
                }
                // One page that fails leaves the others to be checked. Its orders stay in the index for the
                // next run.
                if let Err(error) = self.money_of(&page, invocation, report).await {
                    tracing::error!(
                        error = error_chain(&error),
                        "the payments of cancelled orders could not be queried"
                    );
                    report.failed += page.len();
                }
            })
            .await?;
        }
        Ok(())
    }

    async fn money_of(
        &self,
        orders: &[IndexedOrder],
        invocation: Invocation,
        report: &mut ReconciliationReport,
    ) -> Result<(), ReconcileError> {
        let ids = orders.iter().map(|order| order.order_id.clone()).collect();
        let holding = self.contexts.payments_not_at_rest(ids).await?;
        let mut at_rest = Vec::new();
        for order in orders {
            report.money_checked += 1;
            if holding.contains(&order.order_id) {
                if !invocation.has_time_to_undo() {
                    report.skipped += 1;
                    continue;
                }
                // An order is cancelled after its refund, so money that is held here is an exception. One
                // refund after the other is fast enough.
                let refunded = self.refund(order).await;
                report.refund(&order.order_id, refunded);
                if !refunded {
                    continue;
                }
            }
            at_rest.push(&order.order_id);
        }
        // Last, so that an order whose check was interrupted is found by the next run.
        let removals = stream::iter(at_rest).map(|order_id| self.store.remove_cancelled(order_id));
        let mut removals = removals.buffer_unordered(CONCURRENCY);
        while let Some(removals) = removals.next().await {
            if let Err(error) = removals {
                tracing::error!(
                    error = error_chain(&error),
                    "a cancelled order could not be removed from the reconciliation index"
                );
                report.failed += 1;
            }
        }
        Ok(())
    }

    async fn refund(&self, order: &IndexedOrder) -> bool {
        let order_id = order.order_id.as_str();
        let history = match self.store.load(&order.order_id).await {
            Ok(Some(history)) => history,
            // The index has an order that does not exist. It is reported as a refund that failed, so that a
            // person looks at it.
            Ok(None) => return false,
            Err(error) => {
                tracing::error!(order_id, error = error_chain(&error), "a cancelled order cannot be read");
                return false;
            }
        };
        match self.contexts.undo(&REFUND_PAYMENT, &history, contracts::saga::SAGA_ABORTED).await {
            Ok(outcome) => {
                tracing::warn!(order_id, ?outcome, "a cancelled order's payment was not at rest, and now is");
                true
            }
            Err(error) => {
                tracing::error!(
                    order_id,
                    error = error_chain(&error),
                    "a cancelled order's payment cannot be undone"
                );
                false
            }
        }
    }
}

/// The age from which an open order is inspected.
pub fn overdue() -> SignedDuration {
    SignedDuration::from_secs(i64::from(LONGEST_WAY_FORWARD_SECONDS))
}

/// Whether the order's saga has not ended it yet.
fn is_open(status: OrderStatus) -> bool {
    !status.is_final() && status != OrderStatus::NeedsAttention
}

/// The correlation id that the order was placed under.
fn correlation_id(history: &History) -> &contracts::CorrelationId {
    // A history has its creation, or it could not have been read.
    &history.events[0].envelope.correlation_id
}

#[cfg(test)]
mod tests;
