//! What taking and undoing payments share: the dependencies, the errors and an invocation's time.

use contracts::saga::TRANSIENT;
use jiff::Timestamp;
use lambda_kit::{
    command::CommandError,
    dynamodb::TableError,
    limits::{ATTEMPT_TIMEOUT, BREAKER, GATEWAY_CALL},
    switch::FeatureSwitch,
};
use tokio::time::{Duration, Instant};

use crate::{
    gateway::{Gateway, GatewayError},
    recorder::{InputRecorder, RecorderError},
};

/// One call of the gateway with three writes: the rate limit's, the breaker's report of a failure, and the record
/// of the answer.
pub const ONE_CALL: Duration =
    Duration::from_secs(GATEWAY_CALL.as_secs() + BREAKER.write.as_secs() + 2 * ATTEMPT_TIMEOUT.as_secs());
/// How long a call waits for its turn at the gateway. Ten workers with five messages each wait for a few
/// seconds at a rate of 20 a second. A message that would wait for longer returns to the queue, where
/// waiting costs less.
const MAX_TURN_WAIT: Duration = Duration::from_secs(10);

/// The dependencies for taking payments.
#[derive(Debug, Clone)]
pub struct Payments {
    pub recorder: InputRecorder,
    pub gateway: Gateway,
    pub deadline_seconds: i64,
    /// While it is off, no payment is started.
    pub switch: FeatureSwitch,
}

/// One invocation: when it began, and when it has to have ended.
#[derive(Debug, Clone, Copy)]
pub struct Invocation {
    pub now: Timestamp,
    pub ends: Instant,
}

impl Invocation {
    /// An invocation that begins now and may take this long.
    pub fn lasting(time: Duration) -> Self {
        Self { now: Timestamp::now(), ends: Instant::now() + time }
    }

    /// Whether this much time is left.
    pub fn has(self, time: Duration) -> bool {
        self.left() >= time
    }

    fn left(self) -> Duration {
        self.ends.saturating_duration_since(Instant::now())
    }

    /// How long a gateway call may wait for its turn and still have time to run.
    pub fn max_wait(self) -> Duration {
        self.left().saturating_sub(ONE_CALL).min(MAX_TURN_WAIT)
    }
}

/// Why a payment could not be processed. A declined payment is not an error: the saga gets it through its
/// task token.
#[derive(Debug, thiserror::Error)]
pub enum PaymentsError {
    #[error(transparent)]
    Table(#[from] TableError),
    #[error(transparent)]
    Recorder(#[from] RecorderError),
    #[error("the gateway did not run the pending action")]
    Gateway(#[from] GatewayError),
    #[error("the gateway has not finished with the payment")]
    StillPending,
}

impl CommandError for PaymentsError {
    fn name(&self) -> &'static str {
        match self {
            Self::Table(_) | Self::Recorder(_) | Self::Gateway(_) | Self::StillPending => TRANSIENT,
        }
    }
}
