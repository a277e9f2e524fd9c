//! Calls that leave this machine: of AWS, and of Stripe. Python makes them, which is there for deploying anyway: a TLS
//! library of our own would be most of what compiling this crate takes.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use contracts::FUNCTION_ALIAS;
use local_stack::{
    Progress, Settings, StageConfig,
    python::{self, Purpose},
};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::sync::Mutex;

use crate::credentials;
use crate::error::{Error, Result};
use crate::stage::Stage;

const SCRIPT: &str = include_str!("remote.py");

/// AWS answers within seconds.
const PATIENCE: Duration = Duration::from_secs(60);
/// Beyond what the process itself waits for one answer: it starts first, and repeats some calls.
const START: Duration = Duration::from_secs(60);
/// For calls that may be repeated, with botocore's pauses between them: CloudFormation and Secrets Manager throttle soon.
const ATTEMPTS: u32 = 6;

/// The shapes that are read are those of this version, as payments reads its own.
const STRIPE_VERSION: &str = "2024-06-20";

/// AWS in one region, and Stripe. Clones share one Python process, which starts with the first call and ends with the last
/// clone; calls follow each other.
#[derive(Debug, Clone)]
pub struct Remote {
    python: PathBuf,
    region: String,
    worker: Arc<Mutex<Option<Worker>>>,
}

/// A response of an HTTP server.
#[derive(Debug, Deserialize)]
pub struct Answer {
    pub status: u16,
    pub body: Value,
}

/// Why a call failed, as far as it is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    pub operation: String,
    /// AWS's name of the error (`AccessDeniedException`), or the Python exception's.
    pub code: String,
    pub message: String,
}

/// A process that makes one call after the other.
#[derive(Debug)]
struct Worker {
    process: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum Line {
    Answer(Value),
    Refusal { code: String, message: String },
}

impl Refusal {
    /// Whether the caller lacks the permission.
    pub fn is_access_denied(&self) -> bool {
        ["AccessDenied", "AuthorizationError", "UnauthorizedOperation", "NotAuthorized"]
            .iter()
            .any(|name| self.code.starts_with(name))
    }

    /// Whether the credentials are missing, wrong or expired.
    pub fn is_about_credentials(&self) -> bool {
        [
            "NoCredentials",
            "PartialCredentials",
            "ProfileNotFound",
            "ExpiredToken",
            "RequestExpired",
            "UnrecognizedClient",
            "InvalidClientTokenId",
            "InvalidSignature",
            "SignatureDoesNotMatch",
            "TokenRetrieval",
            "UnauthorizedSSOToken",
            "SSOTokenLoad",
            "CredentialRetrieval",
            "LoginRefreshRequired",
        ]
        .iter()
        .any(|name| self.code.starts_with(name))
    }

    /// Whether the resource does not exist.
    pub fn is_not_found(&self) -> bool {
        self.code.contains("NotFound")
            || self.code.contains("NoSuch")
            || self.code.contains("NonExistent")
            || self.code.ends_with("DoesNotExist")
            // CloudFormation has no code of its own for it.
            || self.code == "ValidationError" && self.message.contains("does not exist")
    }
}

impl From<Refusal> for Error {
    fn from(refusal: Refusal) -> Self {
        Self::Remote { reason: with_advice(&refusal), operation: refusal.operation }
    }
}

impl Remote {
    /// # Errors
    /// There are no AWS credentials, or the Python environment cannot be made.
    pub async fn aws(settings: &Settings, stage: &Stage, progress: &Progress) -> Result<Self> {
        credentials::exist()?;
        let region = StageConfig::read(&settings.samconfig(), stage.name())?.region;
        let programs = python::environment(settings, Purpose::Deploy, progress).await?;
        Ok(Self::by(programs.join("python"), &region))
    }

    /// By this Python, to this region.
    pub fn by(python: impl Into<PathBuf>, region: &str) -> Self {
        Self { python: python.into(), region: region.to_owned(), worker: Arc::default() }
    }

    /// The same by a process of its own, so that its calls do not wait for these.
    pub fn another(&self) -> Self {
        Self::by(&self.python, &self.region)
    }

    pub fn region(&self) -> &str {
        &self.region
    }

    /// The Python that makes the calls.
    pub fn python(&self) -> &Path {
        &self.python
    }

    /// An operation of an AWS service, with its input and answer as boto3 has them. It is tried once.
    ///
    /// # Errors
    /// AWS refuses, or cannot be reached.
    pub async fn call(&self, service: &str, operation: &str, input: Value) -> Result<Value> {
        Ok(self.call_within(PATIENCE, service, operation, input).await?)
    }

    /// As [`Remote::call`], for what may be done twice: it is tried again when AWS is busy. A list has all its pages.
    ///
    /// # Errors
    /// AWS refuses, or cannot be reached.
    pub async fn repeatable(
        &self,
        service: &str,
        operation: &str,
        input: Value,
    ) -> std::result::Result<Value, Refusal> {
        self.repeated(service, operation, input, true).await
    }

    /// As [`Remote::repeatable`], one page of a list.
    ///
    /// # Errors
    /// AWS refuses, or cannot be reached.
    pub async fn repeatable_page(&self, service: &str, operation: &str, input: Value) -> Result<Value> {
        Ok(self.repeated(service, operation, input, false).await?)
    }

    async fn repeated(
        &self,
        service: &str,
        operation: &str,
        input: Value,
        all_pages: bool,
    ) -> std::result::Result<Value, Refusal> {
        let call = json!({
            "service": service, "region": self.region, "operation": operation, "input": input,
            "patience": PATIENCE.as_secs(), "attempts": ATTEMPTS, "all_pages": all_pages,
        });
        self.run(operation, &call, PATIENCE * ATTEMPTS).await
    }

    /// Invokes a function by its alias and returns its answer, within `patience`.
    ///
    /// # Errors
    /// AWS refuses, or cannot be reached. The error of a function that fails is an answer.
    pub async fn invoke(&self, function: &str, payload: &Value, patience: Duration) -> Result<String> {
        let input = json!({
            "FunctionName": function, "Qualifier": FUNCTION_ALIAS, "Payload": payload.to_string(),
        });
        let answer = self.call_within(patience, "lambda", "Invoke", input).await?;
        Ok(answer["Payload"].as_str().unwrap_or_default().to_owned())
    }

    /// Without retries, because the call may have effects: an invocation that takes minutes would run twice.
    async fn call_within(
        &self,
        patience: Duration,
        service: &str,
        operation: &str,
        input: Value,
    ) -> std::result::Result<Value, Refusal> {
        let call = json!({
            "service": service, "region": self.region, "operation": operation, "input": input,
            "patience": patience.as_secs(), "attempts": 1, "all_pages": false,
        });
        self.run(operation, &call, patience).await
    }

    /// A request of Stripe's API. The key goes nowhere else.
    ///
    /// # Errors
    /// No answer came.
    pub async fn stripe(&self, key: &str, method: &str, url: &str, form: &[(&str, &str)]) -> Result<Answer> {
        let operation = format!("{method} {url}");
        let request =
            json!({"method": method, "url": url, "key": key, "form": form, "version": STRIPE_VERSION});
        let answer = self.run(&operation, &request, PATIENCE).await?;
        let unreadable = |error: serde_json::Error| refused(&operation, "Unreadable", &error.to_string());
        Ok(serde_json::from_value(answer).map_err(unreadable)?)
    }

    /// A worker that was interrupted in a call is not used again: its next line would be an old answer.
    async fn run(
        &self,
        operation: &str,
        call: &Value,
        patience: Duration,
    ) -> std::result::Result<Value, Refusal> {
        let mut place = self.worker.lock().await;
        let failed = |error: std::io::Error| {
            let command = self.python.display();
            refused(operation, "Python", &format!("{command} cannot be run: {error}"))
        };
        let mut worker = match place.take() {
            Some(worker) => worker,
            None => Worker::start(&self.python).map_err(failed)?,
        };
        let line = tokio::time::timeout(patience + START, worker.ask(call))
            .await
            .map_err(|_| {
                refused(operation, "Timeout", &format!("no answer within {} s", patience.as_secs()))
            })?
            .map_err(failed)?;
        if line.is_empty() {
            return Err(refused(operation, "Python", &worker.last_words().await));
        }
        *place = Some(worker);
        match serde_json::from_str(&line) {
            Ok(Line::Answer(answer)) => Ok(answer),
            Ok(Line::Refusal { code, message }) => Err(refused(operation, &code, &message)),
            Err(error) => Err(refused(operation, "Unreadable", &error.to_string())),
        }
    }
}

impl Worker {
    fn start(python: &Path) -> std::io::Result<Self> {
        let mut process = Command::new(python)
            .args(["-c", SCRIPT])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        match (process.stdin.take(), process.stdout.take()) {
            (Some(input), Some(output)) => Ok(Self { process, input, output: BufReader::new(output) }),
            _ => Err(std::io::Error::other("it has no standard input and output")),
        }
    }

    /// The answer's line; empty when the process has ended.
    async fn ask(&mut self, call: &Value) -> std::io::Result<String> {
        self.input.write_all(format!("{call}\n").as_bytes()).await?;
        let mut line = String::new();
        self.output.read_line(&mut line).await?;
        Ok(line)
    }

    /// Python's last line names the error; the lines before show its code.
    async fn last_words(&mut self) -> String {
        let mut said = String::new();
        if let Some(mut stderr) = self.process.stderr.take() {
            // The output until a read error is still useful.
            let _ = stderr.read_to_string(&mut said).await;
        }
        said.trim().lines().last().unwrap_or("it ended and wrote nothing").to_owned()
    }
}

/// The error with advice, where its code allows it.
fn with_advice(refusal: &Refusal) -> String {
    let Refusal { code, message, .. } = refusal;
    if ["EndpointConnectionError", "ConnectTimeoutError"].contains(&code.as_str()) {
        format!("{message}\nAWS cannot be reached: check the network.")
    } else if code == "NoTerminal" {
        "the profile asks for an MFA code, and there is no terminal to ask on. Run the command in a terminal, or set the \
         credentials of a session before it: `eval \"$(aws configure export-credentials --format env)\"`."
            .to_owned()
    } else if refusal.is_about_credentials() {
        format!(
            "{message}\nSign in (`aws sso login`, or set AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY)."
        )
    } else if refusal.is_access_denied() || code == "ResourceNotFoundException" {
        format!(
            "{message}\nIs the stage deployed (`cargo ops deploy`), and may these credentials do that there?"
        )
    } else {
        message.clone()
    }
}

fn refused(operation: &str, code: &str, message: &str) -> Refusal {
    Refusal { operation: operation.to_owned(), code: code.to_owned(), message: message.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_are_told_apart_by_their_codes() {
        assert!(refused("x", "AccessDeniedException", "").is_access_denied());
        assert!(refused("x", "ExpiredTokenException", "").is_about_credentials());
        assert!(refused("x", "ResourceNotFoundException", "").is_not_found());
        let gone = "ClientError: … Stack with id ordersaga-dev-orders does not exist";
        assert!(refused("DescribeStacks", "ValidationError", gone).is_not_found());
        assert!(!refused("DescribeStacks", "ValidationError", "1 validation error").is_not_found());
    }

    #[test]
    fn an_error_says_what_to_do_next() {
        let expired = Error::from(refused("GetCallerIdentity", "ExpiredToken", "ClientError: expired"));
        assert!(expired.to_string().contains("aws sso login"), "{expired}");
        let no_terminal = Error::from(refused("GetCallerIdentity", "NoTerminal", "Enter MFA code for …"));
        assert!(no_terminal.to_string().contains("export-credentials"), "{no_terminal}");
    }

    #[tokio::test]
    async fn a_python_that_cannot_be_run_is_named() {
        let remote = Remote::by("/no/such/python", "us-east-1");
        let error = remote.call("sts", "GetCallerIdentity", json!({})).await.unwrap_err();
        assert!(error.to_string().contains("/no/such/python cannot be run"), "{error}");
    }
}
