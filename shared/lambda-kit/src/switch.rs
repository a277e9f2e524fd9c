//! Feature switches: an operator turns a part of the platform off and on without a deployment.
//!
//! The position is an SSM parameter of the stage ([`Switch::parameter`]), which `cargo ops switch` sets. A switch that
//! was never set has no parameter, and is on.

use std::sync::Arc;

use contracts::{Position, Switch};
use jiff::{SignedDuration, Timestamp};
use tokio::{sync::Mutex, time::timeout};

use crate::{
    aws::SdkConfig,
    config::{self, ConfigError},
    error::error_chain,
    limits::{SWITCH_CACHE, SWITCH_READ},
    parameter_store::{ParameterError, ParameterStore},
};

/// One switch, as this process sees it. Clones share what was read.
#[derive(Debug, Clone)]
pub struct FeatureSwitch(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    switch: Switch,
    source: Source,
    known: Mutex<Option<Known>>,
}

#[derive(Debug)]
enum Source {
    Parameter {
        store: ParameterStore,
        name: String,
    },
    #[cfg(feature = "testing")]
    Fixed(std::sync::Mutex<Position>),
}

/// The last known position, and when reading it was tried last.
#[derive(Debug, Clone, Copy)]
struct Known {
    position: Position,
    tried_at: Timestamp,
}

/// Why the position was not read.
#[derive(Debug, thiserror::Error)]
enum ReadError {
    #[error(transparent)]
    Parameter(#[from] ParameterError),
    #[error("Parameter Store did not answer in time")]
    Timeout(#[from] tokio::time::error::Elapsed),
    #[error("the parameter has an unknown value")]
    Position(#[from] contracts::UnknownPosition),
}

impl FeatureSwitch {
    /// The switch of the stage that `STAGE` names. Reads nothing yet.
    ///
    /// # Errors
    /// When `STAGE` or a variable of [`crate::aws::sdk_config`] is missing.
    pub fn from_env(sdk: &SdkConfig, switch: Switch) -> Result<Self, ConfigError> {
        let name = switch.parameter(&config::required("STAGE")?);
        Ok(Self::new(switch, Source::Parameter { store: ParameterStore::from_env(sdk)?, name }))
    }

    /// A switch without a parameter, which [`FeatureSwitch::set`] moves.
    #[cfg(feature = "testing")]
    pub fn fixed(switch: Switch, position: Position) -> Self {
        Self::new(switch, Source::Fixed(std::sync::Mutex::new(position)))
    }

    fn new(switch: Switch, source: Source) -> Self {
        Self(Arc::new(Inner { switch, source, known: Mutex::default() }))
    }

    /// Moves a switch that is [`FeatureSwitch::fixed`].
    ///
    /// # Panics
    /// For a switch that has a parameter.
    #[cfg(feature = "testing")]
    pub fn set(&self, position: Position) {
        let Source::Fixed(fixed) = &self.0.source else { panic!("{} has a parameter", self.0.switch) };
        *fixed.lock().expect("no test panics while it holds the lock") = position;
    }

    /// Whether the part is on. Reads the parameter when that was last tried `SWITCH_CACHE` ago.
    ///
    /// While it cannot be read, the last known position holds, however old it is: an outage of Parameter Store must
    /// not undo what an operator decided. A process that has never read it takes the part for on.
    pub async fn is_on(&self, now: Timestamp) -> bool {
        self.position(now).await == Position::On
    }

    async fn position(&self, now: Timestamp) -> Position {
        #[cfg(feature = "testing")]
        if let Source::Fixed(fixed) = &self.0.source {
            return *fixed.lock().expect("no test panics while it holds the lock");
        }
        // The lock is held during the read. Concurrent calls wait for one read, and do not each make one.
        let mut known = self.0.known.lock().await;
        if let Some(known) = known.filter(|known| known.is_fresh(now)) {
            return known.position;
        }
        let last = known.map_or(Position::On, |known| known.position);
        let position = self.read().await.unwrap_or_else(|error| {
            let (switch, error) = (self.0.switch.name(), error_chain(&error));
            tracing::warn!(switch, position = %last, error, "a feature switch cannot be read, its last known position is used");
            last
        });
        if position != last {
            tracing::info!(switch = self.0.switch.name(), %position, "a feature switch was moved");
        }
        // Also after a failure. The next call does not wait for Parameter Store again.
        *known = Some(Known { position, tried_at: now });
        position
    }

    async fn read(&self) -> Result<Position, ReadError> {
        match &self.0.source {
            Source::Parameter { store, name } => match timeout(SWITCH_READ, store.get(name)).await?? {
                Some(value) => Ok(value.parse()?),
                None => Ok(Position::On),
            },
            #[cfg(feature = "testing")]
            Source::Fixed(_) => Ok(Position::On),
        }
    }
}

impl Known {
    fn is_fresh(&self, now: Timestamp) -> bool {
        // A clock that was set back makes it old, too.
        let age = now.duration_since(self.tried_at);
        age >= SignedDuration::ZERO && age.unsigned_abs() < SWITCH_CACHE
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use serde_json::json;
    use wiremock::{Mock, MockServer, ResponseTemplate, matchers::method};

    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_795_000_000 + second).unwrap()
    }

    async fn switch(server: &MockServer) -> FeatureSwitch {
        let store = ParameterStore::at(&server.uri());
        let name = Switch::Payments.parameter("dev");
        FeatureSwitch::new(Switch::Payments, Source::Parameter { store, name })
    }

    async fn answers(server: &MockServer, answer: ResponseTemplate) {
        server.reset().await;
        Mock::given(method("POST")).respond_with(answer).mount(server).await;
    }

    fn value(value: &str) -> ResponseTemplate {
        ResponseTemplate::new(200).set_body_json(json!({"Parameter": {"Value": value}}))
    }

    fn missing() -> ResponseTemplate {
        ResponseTemplate::new(400).set_body_json(json!({"__type": "ParameterNotFound"}))
    }

    async fn reads(server: &MockServer) -> usize {
        server.received_requests().await.unwrap().len()
    }

    #[tokio::test]
    async fn a_switch_that_was_never_set_is_on() {
        let server = MockServer::start().await;
        answers(&server, missing()).await;
        assert!(switch(&server).await.is_on(at(0)).await);
    }

    #[tokio::test]
    async fn a_change_is_seen_after_the_time_of_the_cache_and_not_before() {
        let server = MockServer::start().await;
        let switch = switch(&server).await;
        answers(&server, value("off")).await;
        let concurrent = futures::future::join_all((0..5).map(|_| switch.is_on(at(0)))).await;
        assert_eq!((concurrent, reads(&server).await), (vec![false; 5], 1), "one read serves all");
        answers(&server, value("on")).await;
        let ttl = i64::try_from(SWITCH_CACHE.as_secs()).unwrap();
        assert!(!switch.is_on(at(ttl - 1)).await);
        assert_eq!(reads(&server).await, 0);
        assert!(switch.is_on(at(ttl)).await);
        assert_eq!(reads(&server).await, 1);
    }

    #[tokio::test]
    async fn the_last_known_position_holds_while_it_cannot_be_read_however_long() {
        let server = MockServer::start().await;
        let switch = switch(&server).await;
        answers(&server, value("off")).await;
        assert!(!switch.is_on(at(0)).await);
        let failures = [ResponseTemplate::new(500), value("maybe"), ResponseTemplate::new(400)];
        for (day, failure) in (1..).zip(failures) {
            answers(&server, failure).await;
            assert!(!switch.is_on(at(day * 86_400)).await, "on day {day}");
            assert!(!switch.is_on(at(day * 86_400 + 1)).await);
            assert_eq!(reads(&server).await, 1, "a failure is not repeated at once");
        }
    }

    #[tokio::test]
    async fn a_process_that_never_read_it_does_not_wait_long_and_takes_it_for_on() {
        let server = MockServer::start().await;
        answers(&server, value("off").set_delay(Duration::from_secs(30))).await;
        let started = Instant::now();
        assert!(switch(&server).await.is_on(at(0)).await);
        assert!(started.elapsed() < 2 * SWITCH_READ, "{:?}", started.elapsed());
    }
}
