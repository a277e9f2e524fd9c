//! Configuration from the environment. Read only in `main`; a missing variable fails at start with its name.

use std::{env, str::FromStr};

/// Why a function cannot start with its environment.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The variable is not set, or empty.
    #[error("the environment variable {0} is missing: set it in the function's template")]
    Missing(&'static str),
    /// The variable has a value of another form.
    #[error("the environment variable {name} has the value {value:?}, which cannot be read: {reason}")]
    Invalid {
        /// The variable.
        name: &'static str,
        /// Its value. Variables hold no secrets, so that it may be logged.
        value: String,
        /// The parser's message.
        reason: String,
    },
}

/// The value of a variable that the function cannot run without.
///
/// # Errors
/// When it is not set or empty.
pub fn required(name: &'static str) -> Result<String, ConfigError> {
    optional(name).ok_or(ConfigError::Missing(name))
}

/// The value of a variable, if it is set and not empty.
pub fn optional(name: &str) -> Option<String> {
    #[cfg(feature = "simulation")]
    if let Some(instance) = crate::simulation::instance() {
        return instance.variable(name).filter(|value| !value.is_empty());
    }
    env::var(name).ok().filter(|value| !value.is_empty())
}

/// The value of a variable as `T`, or `default` when it is not set.
///
/// # Errors
/// When it is set and is not a `T`.
pub fn parsed_or<T>(name: &'static str, default: T) -> Result<T, ConfigError>
where
    T: FromStr,
    T::Err: std::fmt::Display,
{
    let Some(value) = optional(name) else { return Ok(default) };
    value.parse().map_err(|error: T::Err| ConfigError::Invalid { name, reason: error.to_string(), value })
}
