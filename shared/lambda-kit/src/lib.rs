//! Code that every function needs and no context owns: typed configuration, AWS clients, REST over Lambda,
//! saga commands, the outbox relay, the SQS batch runner, the circuit breaker, the token bucket, access
//! tokens, the audit trail, feature switches, health checks, telemetry, traces, and the table of timeouts and limits.
//!
//! A function's `main` has three acts: read the configuration, build the clients, run. Features select what a
//! function links; Cargo.toml says what each is for.

#![warn(missing_docs)]

#[cfg(feature = "dynamodb")]
pub mod account;
#[cfg(feature = "audit")]
pub mod audit;
pub mod aws;
#[cfg(feature = "dynamodb")]
pub mod backoff;
#[cfg(feature = "breaker")]
pub mod breaker;
#[cfg(feature = "bucket")]
pub mod bucket;
pub mod command;
pub mod config;
pub mod connector;
pub mod cursor;
#[cfg(feature = "dynamodb")]
pub mod dynamodb;
pub mod error;
#[cfg(feature = "function-client")]
pub mod function_client;
pub mod health;
#[cfg(feature = "http")]
pub mod http;
pub mod invoke;
#[cfg(feature = "jwt")]
pub mod jwt;
#[cfg(feature = "dynamodb")]
pub mod last_known;
pub mod limits;
#[cfg(feature = "openapi")]
#[expect(missing_docs, reason = "only the generator of openapi.json reads it")]
pub mod openapi;
#[cfg(feature = "switch")]
mod parameter_store;
#[cfg(feature = "dynamodb")]
pub mod provider;
#[cfg(feature = "jwt")]
pub mod random;
#[cfg(feature = "relay")]
pub mod relay;
#[cfg(feature = "simulation")]
pub mod simulation;
#[cfg(feature = "smtp-server")]
pub mod smtp_server;
#[cfg(feature = "sqs")]
pub mod sqs;
#[cfg(feature = "relay")]
pub mod stream;
#[cfg(feature = "switch")]
pub mod switch;
pub mod telemetry;
#[cfg(feature = "testing")]
pub mod testing;
#[cfg(feature = "text")]
pub mod text;
pub mod trace;

/// The result of `main`.
pub type MainResult = Result<(), lambda_runtime::Error>;
