//! The names of errors and endings that belong to no single step. Those of a step are in the ledger
//! (`steps.rs`).

/// Any step may answer with it: a cancel was requested before the step, or the step was undone before it ran.
pub const ORDER_CANCEL_REQUESTED: &str = "OrderCancelRequested";
/// CancelOrder's answer when an undo has used up its retries. It is recorded, and ends the execution as
/// failed.
pub const COMPENSATION_FAILED: &str = "CompensationFailed";
/// Ends an execution that could not even record how the order ended. No command answers with it.
pub const SAGA_UNRESOLVED: &str = "SagaUnresolved";
/// The reason of a cancelled order whose execution ended without ending the order. No command answers with
/// it.
pub const SAGA_ABORTED: &str = "SagaAborted";
/// The reason of a cancelled order whose step failed until the order's time was up. No command answers with
/// it.
pub const SERVICE_UNAVAILABLE: &str = "ServiceUnavailable";
/// Any error that may pass by itself. The state machine retries it.
pub const TRANSIENT: &str = "Transient";
