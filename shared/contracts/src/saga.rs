//! The saga's contract: its steps, its input, the commands that its states send, the answers to them, and the
//! error names that it distinguishes.

mod commands;
mod compensations;
mod errors;
mod ledger;
pub mod steps;

pub use self::{
    commands::{
        Aborted, Booking, CommandContext, FulfillmentCommand, InventoryCommand, OrderCommand, PaymentCommand,
        SagaCommand, SagaInput, TakePayment, UndoCommand, Undone,
    },
    compensations::{Compensations, UnknownUndo},
    errors::{
        COMPENSATION_FAILED, ORDER_CANCEL_REQUESTED, SAGA_ABORTED, SAGA_UNRESOLVED, SERVICE_UNAVAILABLE,
        TRANSIENT,
    },
    ledger::{Call, Explanation, Field, FieldSource, FinalRefusal, ProgressLine, Reason},
    steps::{
        Context, INVENTORY_NOT_AVAILABLE, LONGEST_WAY_FORWARD_SECONDS, ORDER_WAIT_MINUTES, PAYMENT_DECLINED,
        PAYMENT_TIMEOUT, RESERVATION_COMMITTED, SHIPMENT_REJECTED, STEPS, Step, Undo, UndoOutcome,
        error_names, is_before_payment, reasons, undos,
    },
};
pub use crate::failure::Failure;

#[cfg(test)]
mod tests;
