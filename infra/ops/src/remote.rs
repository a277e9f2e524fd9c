//! Calls that leave this machine: of AWS, and of Stripe. Python makes them, which is there for deploying anyway: a TLS
//! library of our own would be most of what compiling this crate takes.

use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use serde::Deserialize;
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

use crate::deploy::StageConfig;
use crate::error::{Error, Result};
use crate::progress::Progress;
use crate::python::{self, Purpose};
use crate::release;
use crate::settings::Settings;
use crate::stage::Stage;

const SCRIPT: &str = include_str!("remote.py");

/// AWS answers within seconds.
const PATIENCE: Duration = Duration::from_secs(60);

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
    pub async fn aws(settings: &Settings, stage: &Stage, progress: &Progress) -> Result<Self> {
        release::credentials_exist()?;
        let region = StageConfig::read(&settings.samconfig(), stage.name())?.region;
        let programs = python::environment(settings, Purpose::Deploy, progress).await?;
        Ok(Self { python: programs.join("python"), region })
    }

    /// By this Python, to this region.
    pub fn by(python: impl Into<PathBuf>, region: &str) -> Self {
        Self { python: python.into(), region: region.to_owned() }
    }

    /// An operation of an AWS service that speaks JSON, with its input as the API reference gives it.
    ///
    /// # Errors
    /// AWS refuses, or cannot be reached.
    pub async fn call(&self, service: &str, operation: &str, input: Value) -> Result<Value> {
        self.call_within(PATIENCE, service, operation, input).await
    }

    /// What a function answers, which may take so long.
    ///
    /// # Errors
    /// AWS refuses, or cannot be reached. A function that fails answers so.
    pub async fn invoke(&self, function: &str, payload: &Value, patience: Duration) -> Result<String> {
        let input = json!({"FunctionName": function, "Payload": payload.to_string()});
        let answer = self.call_within(patience, "lambda", "Invoke", input).await?;
        Ok(answer["Payload"].as_str().unwrap_or_default().to_owned())
    }

    async fn call_within(
        &self,
        patience: Duration,
        service: &str,
        operation: &str,
        input: Value,
    ) -> Result<Value> {
        let call = json!({
            "service": service, "region": self.region, "operation": operation, "input": input,
            "patience": patience.as_secs(),
        });
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
        Err(refused(operation, &with_advice(said.trim().lines().last().unwrap_or("it said nothing"))))
    }
}

/// The error with what is behind it, where botocore's name tells.
fn with_advice(error: &str) -> String {
    let has = |names: &[&str]| names.iter().any(|name| error.contains(name));
    if has(&["EndpointConnectionError", "ConnectTimeoutError"]) {
        format!("{error}\nAWS cannot be reached: check the network.")
    } else if has(&["ResourceNotFoundException", "AccessDenied"]) {
        format!(
            "{error}\nIs the stage deployed (`cargo ops deploy`), and may these credentials do that there?"
        )
    } else if has(&[
        "NoCredentials",
        "ExpiredToken",
        "UnrecognizedClient",
        "InvalidClientTokenId",
        "TokenRetrieval",
    ]) {
        format!(
            "{error}\nSign in (`aws sso login`, or set AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY)."
        )
    } else {
        error.to_owned()
    }
}

fn refused(operation: &str, reason: &str) -> Error {
    Error::Remote { operation: operation.to_owned(), reason: reason.to_owned() }
}
