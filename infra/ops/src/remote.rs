//! Calls that leave this machine: of AWS, and of Stripe. Python makes them, which is there for deploying anyway: a TLS
//! library of our own would be most of what compiling this crate takes.

use std::path::PathBuf;
use std::process::Stdio;

use serde::Deserialize;
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

use crate::deploy;
use crate::error::{Error, Result};
use crate::progress::Progress;
use crate::python::{self, Purpose};
use crate::release::{self, Stage};
use crate::settings::Settings;

const SCRIPT: &str = include_str!("remote.py");

/// The shapes that are read are those of this version, as payments reads its own.
const STRIPE_VERSION: &str = "2024-06-20";

#[derive(Debug, Clone)]
pub struct Remote {
    python: PathBuf,
    region: String,
}

/// What an HTTP server answered.
#[derive(Debug, Deserialize)]
pub struct Answer {
    pub status: u16,
    pub body: Value,
}

impl Remote {
    /// # Errors
    /// There are no AWS credentials, or the Python environment cannot be made.
    pub async fn aws(settings: &Settings, stage: Stage, progress: &Progress) -> Result<Self> {
        release::credentials_exist()?;
        let region = deploy::region(&settings.infra().join("samconfig.toml"), stage.name())?;
        let programs = python::environment(settings, Purpose::Deploy, progress).await?;
        Ok(Self { python: programs.join("python"), region })
    }

    #[cfg(test)]
    pub fn by(python: impl Into<PathBuf>) -> Self {
        Self { python: python.into(), region: String::new() }
    }

    /// An operation of an AWS service that speaks JSON, with its input as the API reference gives it.
    ///
    /// # Errors
    /// AWS refuses, or cannot be reached.
    pub async fn call(&self, service: &str, operation: &str, input: Value) -> Result<Value> {
        let call = json!({"service": service, "region": self.region, "operation": operation, "input": input});
        self.run(operation, &call).await
    }

    /// A request of Stripe's API. The key goes nowhere else.
    ///
    /// # Errors
    /// No answer came.
    pub async fn stripe(&self, key: &str, method: &str, url: &str, form: &[(&str, &str)]) -> Result<Answer> {
        let operation = format!("{method} {url}");
        let request =
            json!({"method": method, "url": url, "key": key, "form": form, "version": STRIPE_VERSION});
        let answer = self.run(&operation, &request).await?;
        serde_json::from_value(answer).map_err(|error| refused(&operation, &error.to_string()))
    }

    async fn run(&self, operation: &str, input: &Value) -> Result<Value> {
        let failed = |source| Error::Command { command: self.python.display().to_string(), source };
        let mut process = Command::new(&self.python)
            .args(["-c", SCRIPT])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .map_err(failed)?;
        if let Some(mut stdin) = process.stdin.take() {
            stdin.write_all(input.to_string().as_bytes()).await.map_err(failed)?;
        }
        let output = process.wait_with_output().await.map_err(failed)?;
        if output.status.success() {
            return serde_json::from_slice(&output.stdout)
                .map_err(|error| refused(operation, &error.to_string()));
        }
        // Python's last line names the error; the lines before show its code.
        let said = String::from_utf8_lossy(&output.stderr);
        Err(refused(operation, said.trim().lines().last().unwrap_or("it said nothing")))
    }
}

fn refused(operation: &str, reason: &str) -> Error {
    Error::Remote { operation: operation.to_owned(), reason: reason.to_owned() }
}
