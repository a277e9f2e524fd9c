//! Keeps the calls below Stripe's limit, which is 25 requests a second to each endpoint, unless more was agreed
//! (<https://docs.stripe.com/rate-limits>).

use std::{num::NonZeroU32, sync::Arc, time::Duration};

use jiff::Timestamp;
use lambda_kit::{bucket::Bucket, dynamodb::Table, limits::RateLimit};

use super::GatewayError;

/// The default rate of requests a second to each endpoint.
// A fifth below Stripe's limit, since people use the dashboard and `cargo ops` with the same account.
pub const REQUESTS_PER_SECOND: NonZeroU32 = NonZeroU32::new(20).expect("twenty");

/// How much slower than the rate the buckets refill.
// Calls that are sent exactly at the rate arrive early as often as late. At a limit that is used up, Stripe
// refused every third one.
const SLOWER_PERCENT: u32 = 5;

/// The endpoints by which Stripe counts requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Endpoint {
    Create,
    Confirm,
    Retrieve,
    Cancel,
    Refund,
    Refunds,
    List,
}

impl Endpoint {
    const ALL: [Self; 7] =
        [Self::Create, Self::Confirm, Self::Retrieve, Self::Cancel, Self::Refund, Self::Refunds, Self::List];

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Confirm => "confirm",
            Self::Retrieve => "retrieve",
            Self::Cancel => "cancel",
            Self::Refund => "refund",
            Self::Refunds => "refunds",
            Self::List => "list",
        }
    }
}

/// A token bucket for each endpoint, shared by all instances.
#[derive(Debug, Clone)]
pub struct GatewayLimits(Arc<[Bucket; Endpoint::ALL.len()]>);

impl GatewayLimits {
    /// `per_second` to each endpoint, in the context's own table.
    pub fn new(table: &Table, per_second: NonZeroU32) -> Self {
        // An eighth of a second's calls may be sent at once. So no second has more than nine eighths of the
        // rate.
        let rate = RateLimit::per_second((per_second.get() / 8).max(1), per_second);
        let bucket = |endpoint: Endpoint| {
            let key = format!("gateway.{}", endpoint.name());
            Bucket::new(table.clone(), key, rate).slower_by(SLOWER_PERCENT)
        };
        Self(Arc::new(Endpoint::ALL.map(bucket)))
    }

    /// Waits for a turn at this endpoint.
    pub(super) async fn wait(
        &self,
        endpoint: Endpoint,
        now: Timestamp,
        max_wait: Duration,
    ) -> Result<(), GatewayError> {
        // `ALL` has the endpoints in the order of the enum.
        let turn = self.0[endpoint as usize].wait(now, max_wait).await;
        turn.map_err(|wait| GatewayError::RateLimited { wait })
    }
}
