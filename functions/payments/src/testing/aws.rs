//! A fake of Step Functions, SQS and Secrets Manager, with the operations that payments call.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
};

use serde_json::{Value, json};
use wiremock::{Mock, MockServer, Request, Respond, ResponseTemplate, matchers::any};

/// An answer to a task token: the token, and the error's name unless it succeeded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SentResult {
    pub token: String,
    pub error: Option<String>,
    pub body: Value,
}

#[derive(Default)]
struct State {
    results: Vec<SentResult>,
    /// Step Functions' refusal for a token, used once.
    refusals: HashMap<String, (u16, String)>,
    sent: Vec<(Value, i64)>,
    queue_is_down: bool,
    secret: Value,
    secret_reads: usize,
}

#[derive(Clone)]
pub struct FakeAws {
    server: Arc<MockServer>,
    state: Arc<Mutex<State>>,
}

struct Responder(Arc<Mutex<State>>);

impl FakeAws {
    pub async fn start() -> Self {
        let secret = json!({"api_key": "sk_test_right", "webhook_secrets": ["whsec_one", "whsec_two"]});
        let state = Arc::new(Mutex::new(State { secret, ..State::default() }));
        let server = MockServer::start().await;
        Mock::given(any()).respond_with(Responder(Arc::clone(&state))).mount(&server).await;
        Self { server: Arc::new(server), state }
    }

    pub fn url(&self) -> String {
        self.server.uri()
    }

    /// All answers so far, by token.
    pub fn sent_results(&self) -> Vec<SentResult> {
        self.state.lock().unwrap().results.clone()
    }

    /// Each token with the error that it was answered with, in the order of the answers.
    pub fn results(&self) -> Vec<(String, Option<String>)> {
        self.sent_results().into_iter().map(|result| (result.token, result.error)).collect()
    }

    /// The next answer to `token` is refused with this error.
    pub fn refuse(&self, token: &str, status: u16, error: &str) {
        self.state.lock().unwrap().refusals.insert(token.to_owned(), (status, error.to_owned()));
    }

    /// Messages in the queue with their delay in seconds.
    pub fn sent(&self) -> Vec<(Value, i64)> {
        self.state.lock().unwrap().sent.clone()
    }

    pub fn break_queue(&self) {
        self.state.lock().unwrap().queue_is_down = true;
    }

    pub fn set_secret(&self, secret: Value) {
        self.state.lock().unwrap().secret = secret;
    }

    pub fn secret_reads(&self) -> usize {
        self.state.lock().unwrap().secret_reads
    }
}

impl Respond for Responder {
    fn respond(&self, request: &Request) -> ResponseTemplate {
        let mut state = self.0.lock().unwrap();
        let target = request.headers.get("x-amz-target").unwrap().to_str().unwrap();
        let body: Value = serde_json::from_slice(&request.body).unwrap();
        let operation = target.rsplit('.').next().unwrap();
        match operation {
            "SendTaskSuccess" | "SendTaskFailure" => {
                let token = body["taskToken"].as_str().unwrap().to_owned();
                if let Some((status, error)) = state.refusals.remove(&token) {
                    return ResponseTemplate::new(status).set_body_json(json!({"__type": error}));
                }
                let error =
                    (operation == "SendTaskFailure").then(|| body["error"].as_str().unwrap().to_owned());
                state.results.push(SentResult { token, error, body });
                ResponseTemplate::new(200).set_body_json(json!({}))
            }
            "SendMessage" if state.queue_is_down => {
                ResponseTemplate::new(400).set_body_json(json!({"__type": "AccessDenied"}))
            }
            "SendMessage" => {
                let message = serde_json::from_str(body["MessageBody"].as_str().unwrap()).unwrap();
                state.sent.push((message, body["DelaySeconds"].as_i64().unwrap()));
                ResponseTemplate::new(200).set_body_json(json!({"MessageId": "m"}))
            }
            "GetSecretValue" => {
                state.secret_reads += 1;
                let secret = state.secret.to_string();
                ResponseTemplate::new(200).set_body_json(json!({"SecretString": secret}))
            }
            other => panic!("payments do not call {other}"),
        }
    }
}
