//! JSON logs and one metric record per operation.
//!
//! A log line has `timestamp, level, service, function, message`, and from its span `trace_id,
//! correlation_id, request_id, order_id, user_id, event_id` where they are known. Never logged: tokens,
//! passwords, addresses, e-mail addresses, card data, whole events.

mod emf;

use std::time::Duration;

use contracts::metrics;
use serde_json::Value;
use tracing::{Span, level_filters::LevelFilter};
use tracing_subscriber::{Registry, filter::Targets, layer::SubscriberExt, util::SubscriberInitExt};

use crate::{config, trace};

pub use emf::{emit, emit_by};

/// The outcome of an operation, for its metric.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It was done, now or by an earlier try.
    Ok,
    /// Refused by a business rule or because of the caller. Not counted as a failure.
    Refused,
    /// It failed, and the failure is ours.
    Error,
}

impl Outcome {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Refused => "refused",
            Self::Error => "error",
        }
    }
}

/// Starts logging and metrics. To be called once, first thing in `main`; later calls change nothing.
pub fn init() {
    let service = config::optional("SERVICE").unwrap_or_else(|| "unknown".to_owned());
    let function = config::optional("AWS_LAMBDA_FUNCTION_NAME").unwrap_or_else(|| "unknown".to_owned());
    let level = config::optional("LOG_LEVEL").and_then(|level| level.parse().ok());
    let filter = targets(level.unwrap_or(LevelFilter::INFO), &service);

    let mut layer = json_subscriber::JsonLayer::stdout();
    layer.with_timer("timestamp", tracing_subscriber::fmt::time::SystemTime);
    layer.with_level("level");
    layer.add_static_field("service", Value::String(service.clone()));
    layer.add_static_field("function", Value::String(function.clone()));
    layer.with_flattened_event();
    layer.with_top_level_flattened_span_list();
    if Registry::default().with(filter).with(layer).try_init().is_err() {
        return;
    }

    trace::start(&function);
    emf::start(service, function);
}

/// The level applies to our own code only.
// At `debug` the SDK would log requests with their content. The runtime's own line for a handler's error is
// left out, because the kit has already logged it at its own level, and the panic hook logs panics.
fn targets(level: LevelFilter, service: &str) -> Targets {
    Targets::new()
        .with_default(LevelFilter::WARN)
        .with_target("lambda_kit", level)
        .with_target(service, level)
        .with_target("lambda_runtime::layers::panic", LevelFilter::OFF)
}

/// Records that `operation` ended with `outcome` after `duration`. The name of an operation must not contain what
/// differs from call to call, because each name is a paid metric.
pub fn record(operation: &str, outcome: Outcome, duration: Duration) {
    emf::record(operation, None, outcome, duration);
}

/// Records that an event of this type was consumed with `outcome` after `duration`. Its operation is
/// [`metrics::EVENTS`]; the type is a field of the log line.
pub fn record_event(event_type: &str, outcome: Outcome, duration: Duration) {
    emf::record(metrics::EVENTS, Some(event_type), outcome, duration);
}

/// What someone does with an account that its owner, or the shop's staff, may want to know of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are those of the metric, and say it")]
pub enum SecurityEvent {
    LoginFailed,
    LoginLockedOut,
    TokenRefused,
    RefreshTokenReused,
    PasswordChanged,
    PasswordResetRequested,
    PasswordReset,
    EmailChanged,
    SessionsEnded,
    RoleGranted,
    RoleRevoked,
    AccountSuspended,
    AccountRestored,
}

impl SecurityEvent {
    /// Its `Event` in the metric, and `security_event` in the log line.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::LoginFailed => "login_failed",
            Self::LoginLockedOut => "login_locked_out",
            Self::TokenRefused => "token_refused",
            Self::RefreshTokenReused => "refresh_token_reused",
            Self::PasswordChanged => "password_changed",
            Self::PasswordResetRequested => "password_reset_requested",
            Self::PasswordReset => "password_reset",
            Self::EmailChanged => "email_changed",
            Self::SessionsEnded => "sessions_ended",
            Self::RoleGranted => "role_granted",
            Self::RoleRevoked => "role_revoked",
            Self::AccountSuspended => "account_suspended",
            Self::AccountRestored => "account_restored",
        }
    }
}

/// Logs a security event, and counts it (metric `SecurityEvents`). `source` is a digest of who did it or tried to, such
/// as of a network. The span has the user, where there is one.
pub fn security(event: SecurityEvent, source: Option<&str>) {
    tracing::warn!(security_event = event.as_str(), source, "security event");
    emf::emit_by(&metrics::SECURITY_EVENTS, event.as_str(), 1);
}

/// The span of one invocation. Handlers fill in the empty fields with `Span::record` when they are known.
pub fn invocation_span(request_id: &str) -> Span {
    let trace_id = std::env::var("_X_AMZN_TRACE_ID").ok();
    tracing::info_span!(
        "invocation",
        request_id,
        trace_id,
        correlation_id = tracing::field::Empty,
        order_id = tracing::field::Empty,
        user_id = tracing::field::Empty,
        event_id = tracing::field::Empty,
    )
}

#[cfg(test)]
mod tests {
    use tracing::Level;

    use super::*;

    #[test]
    fn the_level_is_for_our_own_code_and_not_for_the_sdk() {
        let targets = targets(LevelFilter::DEBUG, "orders");
        assert!(targets.would_enable("orders::api", &Level::DEBUG));
        assert!(targets.would_enable("lambda_kit::relay", &Level::DEBUG));
        assert!(targets.would_enable("aws_smithy_runtime", &Level::WARN));
        assert!(!targets.would_enable("aws_smithy_runtime", &Level::INFO));
        assert!(!targets.would_enable("lambda_runtime::layers::panic", &Level::ERROR));
    }

    #[test]
    fn every_security_event_is_a_series_of_its_metric() {
        use SecurityEvent::*;
        for event in [
            LoginFailed,
            LoginLockedOut,
            TokenRefused,
            RefreshTokenReused,
            PasswordChanged,
            PasswordResetRequested,
            PasswordReset,
            EmailChanged,
            SessionsEnded,
            RoleGranted,
            RoleRevoked,
            AccountSuspended,
            AccountRestored,
        ] {
            assert_eq!(metrics::SECURITY_EVENTS.listed(event.as_str()), event.as_str());
        }
    }
}
