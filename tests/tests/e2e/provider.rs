//! A provider that fails: stands before the emulator's SES and SNS, refuses three calls in ten, and passes the others on.
//! It refuses each message a few times at most: one that fails in all its tries is another test's.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, Response, StatusCode, header};
use tokio::net::TcpListener;
use tokio::task::AbortHandle;

use crate::harness::Outcome;

/// More than any e-mail of ours.
const BODY_LIMIT: usize = 1 << 20;
/// Fewer than the tries of one message.
const REFUSALS: usize = 4;

#[derive(Debug, Clone)]
pub struct Provider {
    pub url: String,
    seen: Arc<Seen>,
    task: AbortHandle,
}

#[derive(Debug)]
struct Seen {
    upstream: String,
    http: reqwest::Client,
    calls: Mutex<Vec<(Channel, Instant)>>,
    refused: AtomicUsize,
    /// The number of refusals of each message, by its body.
    refusals: Mutex<HashMap<Bytes, usize>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Channel {
    Email,
    Sms,
}

impl Provider {
    pub async fn start(upstream: &str) -> Outcome<Self> {
        let seen = Arc::new(Seen {
            upstream: upstream.to_owned(),
            http: reqwest::Client::builder().no_proxy().build()?,
            calls: Mutex::default(),
            refused: AtomicUsize::new(0),
            refusals: Mutex::default(),
        });
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let url = format!("http://{}", listener.local_addr()?);
        let app = Router::new().fallback(handle).with_state(Arc::clone(&seen));
        let task = tokio::spawn(async move { axum::serve(listener, app).await }).abort_handle();
        Ok(Self { url, seen, task })
    }

    pub fn stop(&self) {
        self.task.abort();
    }

    /// When a channel's provider was called, in order.
    pub fn calls(&self, channel: Channel) -> Vec<Instant> {
        let calls = self.seen.calls.lock().unwrap_or_else(PoisonError::into_inner);
        calls.iter().filter(|(of, _)| *of == channel).map(|(_, at)| *at).collect()
    }

    pub fn refused(&self) -> usize {
        self.seen.refused.load(Ordering::SeqCst)
    }
}

impl Seen {
    fn may_refuse(&self, body: &Bytes) -> bool {
        let mut refusals = self.refusals.lock().unwrap_or_else(PoisonError::into_inner);
        let refused = refusals.entry(body.clone()).or_default();
        *refused += 1;
        *refused <= REFUSALS
    }
}

async fn handle(State(seen): State<Arc<Seen>>, request: Request) -> Response<Body> {
    let channel = if request.uri().path().starts_with("/v2/email") { Channel::Email } else { Channel::Sms };
    let number = {
        let mut calls = seen.calls.lock().unwrap_or_else(PoisonError::into_inner);
        calls.push((channel, Instant::now()));
        calls.len()
    };
    let (parts, body) = request.into_parts();
    let Ok(body) = axum::body::to_bytes(body, BODY_LIMIT).await else {
        return answer(StatusCode::BAD_GATEWAY, "");
    };
    let refusal = match (number % 10, channel) {
        (2, _) => answer(StatusCode::INTERNAL_SERVER_ERROR, ""),
        (5, _) => answer(StatusCode::SERVICE_UNAVAILABLE, ""),
        (8, Channel::Email) => answer(StatusCode::TOO_MANY_REQUESTS, "TooManyRequestsException"),
        (8, Channel::Sms) => answer(StatusCode::BAD_REQUEST, "Throttling"),
        _ => return pass_on(&seen, &parts, body).await,
    };
    if !seen.may_refuse(&body) {
        return pass_on(&seen, &parts, body).await;
    }
    seen.refused.fetch_add(1, Ordering::SeqCst);
    refusal
}

/// A refusal of SES, with the error's code in a header, or of SNS, in XML.
fn answer(status: StatusCode, code: &str) -> Response<Body> {
    let body = format!(
        "<ErrorResponse xmlns=\"http://sns.amazonaws.com/doc/2010-03-31/\"><Error><Code>{code}</Code>\
         </Error></ErrorResponse>"
    );
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = status;
    if let Ok(code) = code.parse() {
        response.headers_mut().insert("x-amzn-errortype", code);
    }
    response
}

async fn pass_on(seen: &Seen, parts: &Parts, body: Bytes) -> Response<Body> {
    let path = parts.uri.path_and_query().map_or("/", |path| path.as_str());
    let passed = async {
        let call = seen.http.request(parts.method.clone(), format!("{}{path}", seen.upstream));
        let answer = call.headers(passed_on(&parts.headers)).body(body).send().await.ok()?;
        let (status, headers) = (answer.status(), passed_on(answer.headers()));
        let body: Bytes = answer.bytes().await.ok()?;
        let mut response = Response::new(Body::from(body));
        *response.status_mut() = status;
        *response.headers_mut() = headers;
        Some(response)
    };
    passed.await.unwrap_or_else(|| answer(StatusCode::BAD_GATEWAY, ""))
}

/// Without what belongs to one connection. Signatures cover the host, so it stays as the function wrote it.
fn passed_on(headers: &HeaderMap) -> HeaderMap {
    let mut headers = headers.clone();
    for name in [header::CONNECTION, header::CONTENT_LENGTH, header::TRANSFER_ENCODING, header::EXPECT] {
        headers.remove(name);
    }
    headers
}
