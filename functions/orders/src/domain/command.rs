//! The commands of an order.

use contracts::{
    OrderId, PricedLine,
    saga::{Booking, Compensations, Failure},
};

use super::{Offer, order::CancelledFor};

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// The customer orders these lines at these prices, perhaps with a discount code.
    Place { items: Vec<PricedLine>, offer: Option<Offer> },
    /// The customer wants the order cancelled.
    RequestCancel,
    /// The saga holds the stock, and is about to take the payment.
    RecordReservation,
    /// The saga has the payment and the shipment: the point of no return.
    Complete { shipment: Booking },
    /// The saga does not know whether its `Complete` took effect. From now on it must not, unless it did.
    Abort,
    /// The saga has undone its steps, as far as it could.
    Cancel { failure: Failure, compensations: Compensations },
    /// The customer's bank has returned the money that the order's undo had refunded.
    RefundFailed { refund_id: String, reason: String },
}

/// The id of a command. A repeat has the same id, so it finds the first one in the order's history.
pub fn command_id(order: &OrderId, command: &Command) -> String {
    match command {
        Command::Place { .. } => format!("{order}.PlaceOrder"),
        Command::RequestCancel => format!("{order}.RequestCancel"),
        Command::RecordReservation => format!("{order}.RecordReservation"),
        Command::Complete { .. } => format!("{order}.CompleteOrder"),
        Command::Abort => format!("{order}.AbortOrder"),
        Command::Cancel { failure, compensations } => {
            // After a failed undo was repeated by hand, the outcomes differ and the cancel is a new command. Under the
            // id of the first cancel it would be taken for a repeat, and the order would need attention for ever.
            let outcomes: Vec<&str> = compensations.iter().map(|(_, outcome)| outcome.as_str()).collect();
            let outcomes = outcomes.join("-");
            // After another refund has failed, the same undos may end alike. It is a new cancel nevertheless.
            let again = refund_of(failure).map_or_else(String::new, |refund| format!(".{refund}"));
            format!("{order}.CancelOrder.{outcomes}{again}")
        }
        Command::RefundFailed { refund_id, .. } => format!("{order}.RefundFailed.{refund_id}"),
    }
}

/// The text before a refund's id in `failed_refund`.
const REFUND: &str = "refund ";

/// The failure of an order whose refund failed: the reason of its cancellation, with the refund as the cause.
pub(super) fn failed_refund(cancelled_for: &CancelledFor, refund_id: &str, reason: &str) -> Failure {
    let CancelledFor { step, error } = cancelled_for.clone();
    Failure { step, error, cause: format!("{REFUND}{refund_id} failed at the customer's bank: {reason}") }
}

/// The id of the refund that this is the failure of.
fn refund_of(failure: &Failure) -> Option<&str> {
    failure.cause.strip_prefix(REFUND)?.split_once(" failed at").map(|(refund, _)| refund)
}
