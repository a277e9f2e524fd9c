//! Pure: reservations, stock, and their transitions. No clock, no I/O.

mod adjust;
mod moves;
mod plan;
mod reservation;
mod stock;
mod summary;

pub use adjust::{
    Adjustment, AdjustmentContext, AdjustmentId, InvalidAdjustment, PlannedAdjustment, SettingDecision,
    StockChange, Target, adjust, set,
};
pub use moves::{MoveKind, ShardDelta, StockMoves};
pub use plan::{Plan, merged, optimistic_allocation, plan};
pub use reservation::{
    Allocation, Change, Command, Decision, EventContext, Move, Rejected, Reservation, Status, decide,
};
pub use stock::{Settings, Shard, Stock, shard_items};
pub use summary::{Summary, SummaryChange, availability_change, may_have_changed};

/// The `source` of this context's events.
const SOURCE: &str = "inventory";
