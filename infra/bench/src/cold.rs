//! Cold start times of all functions, and their memory after the first event, compared with a bare echo.
//!
//! Each function is started as Lambda starts it: as a process, with the environment from its template and a
//! Runtime API to poll. The start time ends at the first poll; the resident memory is read at the second
//! poll, when the first event is done. All functions alternate with the echo, so that changes of the
//! machine's speed affect them equally.

use std::{
    collections::BTreeMap,
    path::Path,
    process::Stdio,
    sync::Arc,
    time::{Duration, Instant},
};

use axum::{
    Router,
    extract::State,
    http::StatusCode,
    response::{IntoResponse, Response},
    routing::{get, post},
};
use clap::Args;
use local_stack::{
    AboutFile, Progress, REGION, RELEASE, Settings,
    functions::{self, ECHO},
    process,
};
use tokio::{
    net::TcpListener,
    process::Command,
    sync::{Mutex, mpsc},
    time::timeout,
};
use yaml_serde::Value;

use crate::error::{Error, Result};
use crate::figures::hundredths;

/// A start within this many times the echo's is what the project holds itself to.
const START_RATIO_PERCENT: u128 = 200;
/// Memory after the first event that the project holds itself to, in KiB.
const MEMORY_KIB: u64 = 10 * 1024;
/// Size of a program that the project holds itself to, in KiB.
const SIZE_KIB: u64 = 6 * 1024;
/// Longer than any start: a function that is not ready by then does not start at all.
const PATIENCE: Duration = Duration::from_secs(20);

#[derive(Debug, Args)]
pub struct Cold {
    /// How often each function is started
    #[arg(long, default_value_t = 11)]
    rounds: usize,
}

/// One function to be measured.
struct Subject {
    name: String,
    program: std::path::PathBuf,
    environment: BTreeMap<String, String>,
    samples: Vec<Sample>,
}

struct Sample {
    start: Duration,
    resident_kib: u64,
}

impl Cold {
    /// Builds everything with the release profile, measures, prints a table on stdout.
    ///
    /// # Errors
    /// The build fails, a template cannot be read, or a function does not start.
    pub async fn run(self, settings: &Settings, progress: &Progress) -> Result<()> {
        let names = functions::build_release(settings, progress).await?;
        let release = settings.target.join(RELEASE);
        let mut environments = environments(&settings.infra())?;
        let mut subjects = vec![Subject::new(ECHO, &release.join(ECHO), BTreeMap::new())];
        for name in &names {
            let environment = environments.remove(name).ok_or_else(|| local_stack::Error::Template {
                template: settings.infra(),
                reason: format!("no template has a function {name}"),
            })?;
            subjects.push(Subject::new(name, &release.join(name), environment));
        }
        let step = progress.step("starting each function in turn");
        for round in 0..self.rounds {
            step.part(round, self.rounds);
            for subject in &mut subjects {
                step.at(subject.name.clone());
                let sample = measure(subject).await?;
                subject.samples.push(sample);
            }
        }
        step.done(&format!("started {} functions {} times", subjects.len(), self.rounds));
        print!("{}", table(&subjects, self.rounds));
        Ok(())
    }
}

impl Subject {
    fn new(name: &str, program: &Path, environment: BTreeMap<String, String>) -> Self {
        Self { name: name.to_owned(), program: program.to_path_buf(), environment, samples: Vec::new() }
    }

    /// Smallest, middle and largest.
    fn starts(&self) -> [Duration; 3] {
        let mut starts: Vec<Duration> = self.samples.iter().map(|sample| sample.start).collect();
        starts.sort_unstable();
        [starts.first(), starts.get(starts.len() / 2), starts.last()]
            .map(|start| start.copied().unwrap_or_default())
    }

    fn memory_kib(&self) -> u64 {
        self.samples.iter().map(|sample| sample.resident_kib).max().unwrap_or_default()
    }
}

/// A Runtime API for one process: counts its polls and gives it one event.
struct RuntimeApi {
    event: String,
    polls: mpsc::UnboundedSender<Instant>,
    given: Mutex<bool>,
}

async fn next(State(api): State<Arc<RuntimeApi>>) -> Response {
    // Taken first: what follows is our own work. A receiver that is gone means that the measurement is over.
    let _ = api.polls.send(Instant::now());
    if std::mem::replace(&mut *api.given.lock().await, true) {
        std::future::pending::<()>().await;
    }
    let deadline = jiff::Timestamp::now().as_millisecond() + 30_000;
    let headers = [
        ("Lambda-Runtime-Aws-Request-Id", "11111111-1111-1111-1111-111111111111".to_owned()),
        ("Lambda-Runtime-Deadline-Ms", deadline.to_string()),
        (
            "Lambda-Runtime-Invoked-Function-Arn",
            "arn:aws:lambda:us-east-1:000000000000:function:bench".to_owned(),
        ),
        ("Content-Type", "application/json".to_owned()),
    ];
    (headers, api.event.clone()).into_response()
}

async fn measure(subject: &Subject) -> Result<Sample> {
    let cannot = |source| local_stack::Error::Command { command: subject.name.clone(), source };
    let listener = TcpListener::bind("127.0.0.1:0").await.map_err(cannot)?;
    let address = listener.local_addr().map_err(cannot)?;
    let (polls, mut polled) = mpsc::unbounded_channel();
    let api = Arc::new(RuntimeApi { event: event_for(&subject.name), polls, given: Mutex::new(false) });
    let router = Router::new()
        .route("/2018-06-01/runtime/invocation/next", get(next))
        .route("/2018-06-01/runtime/invocation/{id}/{outcome}", post(async || StatusCode::ACCEPTED))
        .with_state(api);
    let server = tokio::spawn(async move { axum::serve(listener, router).await });

    let mut command = Command::new(&subject.program);
    command
        .env_clear()
        .envs(&subject.environment)
        .envs([
            ("AWS_LAMBDA_RUNTIME_API", address.to_string().as_str()),
            ("AWS_LAMBDA_FUNCTION_NAME", &subject.name),
            ("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "256"),
            ("AWS_LAMBDA_FUNCTION_VERSION", "$LATEST"),
            ("AWS_REGION", REGION),
            ("AWS_ACCESS_KEY_ID", "bench"),
            ("AWS_SECRET_ACCESS_KEY", "bench"),
        ])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        // Logs go to standard output; standard error says why a function did not start.
        .stderr(Stdio::inherit())
        .kill_on_drop(true);
    let made = Instant::now();
    let mut child = command.spawn().map_err(cannot)?;
    let first = timeout(PATIENCE, polled.recv()).await.ok().flatten();
    let second = timeout(PATIENCE, polled.recv()).await.ok().flatten();
    let resident_kib = child.id().and_then(process::resident_kib);
    child.kill().await.map_err(cannot)?;
    server.abort();
    match (first, second, resident_kib) {
        (Some(first), Some(_), Some(resident_kib)) => {
            Ok(Sample { start: first.duration_since(made), resident_kib })
        }
        _ => Err(Error::Measurement(format!(
            "{} did not take an event within {} s. Run it by hand: {}",
            subject.name,
            PATIENCE.as_secs(),
            subject.program.display()
        ))),
    }
}

/// A first event that makes the function use its clients: a relay gets an event to publish, all others a
/// health request. The clients get no answer, but setting up TLS is part of the measurement.
fn event_for(name: &str) -> String {
    if !name.ends_with("-relay") {
        return r#"{"action":"health"}"#.to_owned();
    }
    let envelope = serde_json::json!({
        "event_id": "evt_00000000000000000000000000000001", "event_type": "bench.started", "event_version": 1,
        "occurred_at": "2026-01-01T00:00:00Z", "source": "bench", "subject": "bench", "sequence": 1,
        "correlation_id": "bench", "causation_id": "bench", "data": {},
        "metadata": {"user_id": null, "tenant_id": null}
    });
    serde_json::json!({"Records": [{
        "eventName": "INSERT",
        "dynamodb": {"SequenceNumber": "1", "NewImage": {"outbox": {"L": [{"S": envelope.to_string()}]}}}
    }]})
    .to_string()
}

/// Each function's environment from its template, with placeholders for values of a deployment.
fn environments(infra: &Path) -> Result<BTreeMap<String, BTreeMap<String, String>>> {
    let mut all = BTreeMap::new();
    for entry in std::fs::read_dir(infra).about("cannot read", infra)? {
        let path = entry.about("cannot read", infra)?.path();
        if path.extension().is_none_or(|extension| extension != "yaml") {
            continue;
        }
        let text = std::fs::read_to_string(&path).about("cannot read", &path)?;
        let template: Value = yaml_serde::from_str(&text).map_err(|error| local_stack::Error::Template {
            template: path.clone(),
            reason: error.to_string(),
        })?;
        let globals =
            variables(template.get("Globals").and_then(|globals| globals.get("Function")), &template);
        let Some(Value::Mapping(resources)) = template.get("Resources") else { continue };
        for resource in resources.values() {
            let Some(properties) = resource.get("Properties") else { continue };
            let Some(function) = properties.get("CodeUri").and_then(Value::as_str).and_then(function_of)
            else {
                continue;
            };
            let mut environment = globals.clone();
            environment.extend(variables(Some(properties), &template));
            all.insert(function.to_owned(), environment);
        }
    }
    Ok(all)
}

fn function_of(code_uri: &str) -> Option<&str> {
    code_uri.trim_end_matches('/').strip_prefix("../target/lambda/")
}

fn variables(owner: Option<&Value>, template: &Value) -> BTreeMap<String, String> {
    let Some(Value::Mapping(variables)) =
        owner.and_then(|owner| owner.get("Environment")).and_then(|environment| environment.get("Variables"))
    else {
        return BTreeMap::new();
    };
    variables
        .iter()
        .filter_map(|(name, value)| {
            let name = name.as_str()?;
            Some((name.to_owned(), stand_in(name, value, template)))
        })
        .collect()
}

/// The value of an environment variable: a literal; a parameter's default, if it has a plain one; or else a
/// URL or ARN that leads nowhere (`.invalid` is reserved by RFC 6761).
fn stand_in(name: &str, value: &Value, template: &Value) -> String {
    let nowhere = match name {
        "WEBSOCKET_URL" => "wss://bench.invalid/live",
        _ if name.ends_with("_URL") || name.ends_with("_ENDPOINT") => "https://bench.invalid",
        _ => "arn:aws:service:us-east-1:000000000000:kind/bench",
    };
    match value {
        Value::String(text) => text.clone(),
        Value::Number(number) => number.to_string(),
        Value::Tagged(tagged) if tagged.tag == "Ref" => {
            let parameter = tagged
                .value
                .as_str()
                .and_then(|name| template.get("Parameters")?.get(name))
                .filter(|parameter| {
                    parameter.get("Type").and_then(Value::as_str).is_some_and(|t| !t.contains("SSM"))
                })
                .and_then(|parameter| parameter.get("Default"));
            match parameter {
                Some(Value::String(text)) => text.clone(),
                Some(Value::Number(number)) => number.to_string(),
                _ => nowhere.to_owned(),
            }
        }
        _ => nowhere.to_owned(),
    }
}

fn table(subjects: &[Subject], rounds: usize) -> String {
    let mut text = format!(
        "\nProcess start to first poll of the Runtime API, {rounds} rounds in turn; memory after the first event.\n\n\
         {:<24} {:>9} {:>9} {:>9} {:>7} {:>10} {:>9}\n",
        "function", "min ms", "median ms", "max ms", "x echo", "memory MiB", "file MiB"
    );
    let echo = subjects.first().map_or(Duration::ZERO, |echo| echo.starts()[1]).as_micros().max(1);
    let mut over = 0;
    for subject in subjects {
        let starts = subject.starts();
        let percent = starts[1].as_micros() * 100 / echo;
        let memory = subject.memory_kib();
        let size = std::fs::metadata(&subject.program).map_or(0, |file| file.len() / 1024);
        let is_over = percent > START_RATIO_PERCENT || memory > MEMORY_KIB || size > SIZE_KIB;
        over += usize::from(is_over);
        text.push_str(&format!(
            "{:<24} {:>9} {:>9} {:>9} {:>7} {:>10} {:>9}{}\n",
            subject.name,
            hundredths(starts[0].as_micros() / 10),
            hundredths(starts[1].as_micros() / 10),
            hundredths(starts[2].as_micros() / 10),
            hundredths(percent),
            hundredths(u128::from(memory) * 100 / 1024),
            hundredths(u128::from(size) * 100 / 1024),
            if is_over { "  over" } else { "" },
        ));
    }
    text.push_str(&format!(
        "\nHeld to: {} times the echo's median, {} MiB of memory, {} MiB of file. {}\n",
        START_RATIO_PERCENT / 100,
        MEMORY_KIB / 1024,
        SIZE_KIB / 1024,
        if over == 0 { "All hold.".to_owned() } else { format!("{over} over.") }
    ));
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_functions_environment_is_its_templates() {
        let template: Value = yaml_serde::from_str(
            "Parameters:\n  Level: {Type: String, Default: info}\n  Topic: {Type: 'AWS::SSM::Parameter::Value<String>', Default: /x}\n",
        )
        .unwrap();
        let owner: Value = yaml_serde::from_str(
            "Environment:\n  Variables:\n    A: plain\n    B: !Ref Level\n    C: !Ref Topic\n    D: !GetAtt X.Arn\n",
        )
        .unwrap();
        let variables = variables(Some(&owner), &template);
        assert_eq!((variables["A"].as_str(), variables["B"].as_str()), ("plain", "info"));
        assert!(variables["C"].starts_with("arn:") && variables["D"].starts_with("arn:"));
    }
}
