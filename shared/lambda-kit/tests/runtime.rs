//! Runners as Lambda runs them: this test starts itself again as the function, and gives it invocations by the Runtime API.

use std::{
    collections::VecDeque,
    process::{Child, Command, Stdio},
    sync::Mutex,
    time::Duration,
};

use contracts::Envelope;
use jiff::Timestamp;
use lambda_kit::{
    dynamodb::{OUTBOX, Table, key, outbox},
    health::Check,
    relay::{Publisher, run_publisher},
    sqs::{MessageError, run_events},
    testing,
};
use serde_json::{Value, json};
use wiremock::{
    Mock, MockServer, Request, ResponseTemplate,
    matchers::{method, path_regex},
};

#[expect(dead_code, reason = "the relay's own tests use the rest of it")]
#[path = "support/topic.rs"]
mod topic;

use topic::Topic;

/// Names the runner to a process that is to be a function, and the URLs of its table and topic.
const RUNNER: &str = "RUNTIME_TEST_RUNNER";
const TABLE: &str = "RUNTIME_TEST_TABLE";
const TOPIC: &str = "RUNTIME_TEST_TOPIC";

const DEADLINE: Duration = Duration::from_secs(30);

/// The other process. As a test among the others it has nothing to do.
#[tokio::test]
async fn a_function() {
    let variable = |name: &str| std::env::var(name).ok();
    let Some(runner) = variable(RUNNER) else { return };
    let checks = vec![Check::new("table", || Box::pin(async { true }))];
    let result = match runner.as_str() {
        "relay" => {
            let (table, _) = testing::table_at(&variable(TABLE).unwrap());
            let (sdk, _) = testing::sdk_config(&variable(TOPIC).unwrap());
            let publisher =
                Publisher::new(aws_sdk_sns::Client::new(&sdk), "arn:aws:sns:::events.fifo".to_owned());
            run_publisher(table, checks, publisher).await
        }
        "consumer" => run_events(&["user.deleted"], checks, consume).await,
        other => panic!("{other} is not a runner"),
    };
    result.unwrap();
}

async fn consume(event: Envelope) -> Result<(), MessageError> {
    if event.subject == "bad" { Err(MessageError::handler("no")) } else { Ok(()) }
}

/// The process of a function. Ends with this value.
struct Function(Child);

impl Drop for Function {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Runs `runner` on these invocations, and returns the kind (`response` or `error`) and the body of each answer.
async fn run(runner: &str, environment: &[(&str, &str)], invocations: &[Value]) -> Vec<(String, Value)> {
    let runtime_api = MockServer::start().await;
    let waiting: Mutex<VecDeque<Value>> = Mutex::new(invocations.iter().cloned().collect());
    let next = move |_: &Request| match waiting.lock().unwrap().pop_front() {
        Some(invocation) => ResponseTemplate::new(200)
            .insert_header("Lambda-Runtime-Aws-Request-Id", "11111111-1111-1111-1111-111111111111")
            .insert_header(
                "Lambda-Runtime-Deadline-Ms",
                (Timestamp::now().as_millisecond() + 30_000).to_string().as_str(),
            )
            .insert_header(
                "Lambda-Runtime-Invoked-Function-Arn",
                "arn:aws:lambda:us-east-1:000000000000:function:test",
            )
            .set_body_json(invocation),
        // There is no more to do: the function waits until it is ended.
        None => ResponseTemplate::new(200).set_delay(DEADLINE * 2),
    };
    Mock::given(method("GET")).respond_with(next).mount(&runtime_api).await;
    let accepted = ResponseTemplate::new(202);
    Mock::given(method("POST"))
        .and(path_regex("/invocation/"))
        .respond_with(accepted)
        .mount(&runtime_api)
        .await;
    let mut function = Command::new(std::env::current_exe().unwrap());
    let mut function = Function(
        function
            .args(["--exact", "a_function", "--nocapture"])
            .env(RUNNER, runner)
            .envs(environment.iter().copied())
            .env("AWS_LAMBDA_RUNTIME_API", runtime_api.address().to_string())
            .env("AWS_LAMBDA_FUNCTION_NAME", "test")
            .env("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "256")
            .env("AWS_LAMBDA_FUNCTION_VERSION", "$LATEST")
            .stdout(Stdio::null())
            .spawn()
            .unwrap(),
    );
    let started = std::time::Instant::now();
    loop {
        let received = runtime_api.received_requests().await.unwrap();
        let answers: Vec<&Request> =
            received.iter().filter(|request| request.method.as_str() == "POST").collect();
        if answers.len() == invocations.len() {
            let kind = |request: &Request| request.url.path().rsplit('/').next().unwrap().to_owned();
            return answers.iter().map(|answer| (kind(answer), answer.body_json().unwrap())).collect();
        }
        let ended = function.0.try_wait().unwrap();
        assert!(ended.is_none(), "the function ended after {} answers: {ended:?}", answers.len());
        assert!(started.elapsed() < DEADLINE, "{} answers within {DEADLINE:?}", answers.len());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

fn response(body: Value) -> (String, Value) {
    ("response".to_owned(), body)
}

async fn put(table: &Table, pk: &str, events: &[Envelope]) {
    let mut item = key(pk, "ITEM");
    item.insert(OUTBOX.to_owned(), outbox(events).unwrap());
    table.client.put_item().table_name(&table.name).set_item(Some(item)).send().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_relay_publishes_its_stream_and_does_what_an_operator_requests() {
    let (url, topic) = (testing::shared_table().await, Topic::open().await);
    let (table, _) = testing::table_at(&url);
    put(&table, "ITEM#1", &[testing::event("b", "order.created", 1)]).await;
    let body = serde_json::to_string(&testing::event("a", "order.created", 1)).unwrap();
    let change = json!({
        "SequenceNumber": "1",
        "Keys": {"pk": {"S": "ITEM#0"}, "sk": {"S": "ITEM"}},
        "NewImage": {"outbox": {"L": [{"S": body}]}},
    });
    let invocations = [
        json!({"action": "health"}),
        json!({"Records": [{"eventName": "INSERT", "dynamodb": change}]}),
        json!({"action": "republish", "run": "r1"}),
        json!({"action": "retry_parked"}),
        json!({"Records": "none"}),
    ];
    let answers = run("relay", &[(TABLE, &url), (TOPIC, &topic.url())], &invocations).await;
    assert_eq!(
        answers[..4],
        [
            response(json!({"status": "ok", "checks": {"table": "ok"}})),
            response(json!({"batchItemFailures": []})),
            response(json!({"events": 1, "unreadable": 0, "cursor": null})),
            response(json!({"done": 0, "failed": 0, "parked": [], "cursor": null})),
        ]
    );
    let (kind, error) = &answers[4];
    assert_eq!((&**kind, &error["errorType"]), ("error", &json!("MalformedStream")));
    assert_eq!(topic.taken(), ["a 1", "b 1"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_consumer_reports_the_messages_that_failed() {
    let message =
        |id: &str, event: &Envelope| json!({"messageId": id, "body": serde_json::to_string(event).unwrap()});
    let batch = json!({"Records": [
        message("handled", &testing::event("good", "user.deleted", 1)),
        message("failed", &testing::event("bad", "user.deleted", 1)),
        message("of another type", &testing::event("bad", "user.updated", 2)),
        {"messageId": "no event", "body": "{}"},
    ]});
    let invocations = [json!({"action": "health"}), batch, json!({"Records": "none"})];
    let mut answers = run("consumer", &[], &invocations).await;
    let failures = answers[1].1["batchItemFailures"].as_array_mut().unwrap();
    failures.sort_by_key(|failure| failure["itemIdentifier"].as_str().unwrap().to_owned());
    assert_eq!(
        answers[..2],
        [
            response(json!({"status": "ok", "checks": {"table": "ok"}})),
            response(
                json!({"batchItemFailures": [{"itemIdentifier": "failed"}, {"itemIdentifier": "no event"}]})
            ),
        ]
    );
    let (kind, error) = &answers[2];
    assert_eq!((&**kind, &error["errorType"]), ("error", &json!("MalformedBatch")));
}
