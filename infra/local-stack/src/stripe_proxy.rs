//! Features of Stripe that localstripe lacks: idempotency keys, error codes, and, for tests, faults and
//! limits.

mod answer;
mod calls;
mod created;
mod faults;
mod idempotency;

use std::convert::Infallible;
use std::sync::Arc;

use axum::body::{Body, Bytes};
use http::{HeaderMap, Method, Request, Response, StatusCode, header};
use http_body_util::BodyExt;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};

use answer::Answer;
use calls::Calls;
use faults::{Fault, Faults, Mode, endpoint};
use idempotency::{Answers, Claim, Key};

/// Requests to Stripe hold a few kilobytes.
const BODY_LIMIT: usize = 1 << 20;

/// Serves one listener until it is dropped.
pub struct Proxy {
    upstream: String,
    http: reqwest::Client,
    answers: Answers,
    faults: Faults,
    calls: Calls,
}

/// The connection ends without an answer.
#[derive(Debug, thiserror::Error)]
#[error("closed on purpose")]
struct Closed;

impl Proxy {
    pub fn new(upstream: &str) -> Self {
        Self {
            upstream: upstream.to_owned(),
            http: crate::emulator::client(),
            answers: Answers::default(),
            faults: Faults::default(),
            calls: Calls::default(),
        }
    }

    /// Answers every connection; ends only when its task is dropped.
    pub async fn serve(self, listener: TcpListener) -> Infallible {
        let proxy = Arc::new(self);
        loop {
            match listener.accept().await {
                Ok((stream, _)) => {
                    tokio::spawn(connection(proxy.clone(), stream));
                }
                // Out of file descriptors, or the peer has gone: the next one may do better.
                Err(_) => tokio::time::sleep(std::time::Duration::from_millis(50)).await,
            }
        }
    }

    async fn handle(&self, request: Request<hyper::body::Incoming>) -> Result<Response<Body>, Closed> {
        let (parts, body) = request.into_parts();
        let Ok(body) = http_body_util::Limited::new(body, BODY_LIMIT).collect().await else {
            return Ok(failure(StatusCode::BAD_REQUEST, "invalid_request_error", "The body cannot be read."));
        };
        let body = body.to_bytes();
        match parts.uri.path() {
            "/_faults" => return Ok(self.faults.configure(&parts.method, &body)),
            "/_calls" => return Ok(self.calls.show(&parts.method)),
            _ => {}
        }
        let endpoint = endpoint(&parts.method, parts.uri.path());
        let answer = self.answer(&parts, body).await?;
        self.calls.note(endpoint, answer.status().as_u16());
        Ok(answer)
    }

    async fn answer(&self, parts: &http::request::Parts, body: Bytes) -> Result<Response<Body>, Closed> {
        let key = Key::of(&parts.method, &parts.headers);
        let name = key.as_ref().map_or("", Key::name);
        let fault = self.faults.take(&parts.method, parts.uri.path(), name);
        match fault.map(|fault| fault.mode) {
            Some(Mode::Refuse | Mode::Down) => return Err(Closed),
            Some(Mode::AtMost) => return Ok(Answer::too_many().into_response()),
            Some(Mode::Hang) => {
                tokio::time::sleep(faults::HANG).await;
                return Err(Closed);
            }
            _ => {}
        }
        let Some(key) = key else {
            return self.pass(parts, body, fault).await.map(Answer::into_response);
        };
        match self.answers.claim(key, parts.uri.path(), &body) {
            Claim::Replay(answer) => {
                if matches!(fault.map(|fault| fault.mode), Some(Mode::DropAnswer)) {
                    return Err(Closed);
                }
                Ok(answer.replayed())
            }
            Claim::OtherRequest(message) => {
                Ok(failure(StatusCode::BAD_REQUEST, "idempotency_error", &message))
            }
            Claim::InProgress => Ok(failure(
                StatusCode::CONFLICT,
                "idempotency_error",
                "There is currently another in-progress request using this Idempotency Key.",
            )),
            Claim::First(slot) => {
                let answer = self.forward(parts, body, fault).await;
                slot.keep(&answer);
                match fault.map(|fault| fault.mode) {
                    Some(Mode::DropAnswer) => Err(Closed),
                    _ => Ok(answer.into_response()),
                }
            }
        }
    }

    async fn pass(
        &self,
        parts: &http::request::Parts,
        body: Bytes,
        fault: Option<Fault>,
    ) -> Result<Answer, Closed> {
        let answer = self.forward(parts, body, fault).await;
        match fault.map(|fault| fault.mode) {
            Some(Mode::DropAnswer) => Err(Closed),
            _ => Ok(answer),
        }
    }

    /// The upstream's response, or the injected fault before or after it.
    async fn forward(&self, parts: &http::request::Parts, body: Bytes, fault: Option<Fault>) -> Answer {
        let mode = fault.map(|fault| fault.mode);
        if matches!(mode, Some(Mode::Error500Before)) {
            return Answer::server_error();
        }
        let answer = self.ask(&parts.method, &parts.uri, &parts.headers, body).await;
        if matches!(mode, Some(Mode::Error500After)) { Answer::server_error() } else { answer }
    }

    async fn ask(&self, method: &Method, uri: &http::Uri, headers: &HeaderMap, body: Bytes) -> Answer {
        let path = uri.path_and_query().map_or("/", |path| path.as_str());
        if let Some(query) = (method == Method::GET).then(|| created::Query::of(path)).flatten() {
            return self.made_within(&query, uri.path(), headers).await;
        }
        self.ask_for(method, path, headers, body).await
    }

    /// The page of a list that localstripe gives only whole.
    async fn made_within(&self, query: &created::Query, path: &str, headers: &HeaderMap) -> Answer {
        let (mut all, mut after) = (Vec::new(), String::new());
        loop {
            let page = format!("{path}?limit=100{after}");
            let answer = self.ask_for(&Method::GET, &page, headers, Bytes::new()).await;
            let Ok(mut list) = serde_json::from_slice::<serde_json::Value>(&answer.body) else {
                return answer;
            };
            let Some(data) = list["data"].as_array_mut().map(std::mem::take) else { return answer };
            let last = data.last().and_then(|object| object["id"].as_str()).map(str::to_owned);
            all.extend(data);
            match last.filter(|_| list["has_more"] == true) {
                Some(last) => after = format!("&starting_after={last}"),
                None => {
                    let body = query.page(all).to_string().into();
                    return Answer { body, ..answer };
                }
            }
        }
    }

    async fn ask_for(&self, method: &Method, path: &str, headers: &HeaderMap, body: Bytes) -> Answer {
        let request = self
            .http
            .request(method.clone(), format!("{}{path}", self.upstream))
            .headers(passed_on(headers))
            .body(body);
        let answer = async {
            let answer = request.send().await?;
            let (status, headers) = (answer.status(), passed_on(answer.headers()));
            Ok::<_, reqwest::Error>(Answer { status, headers, body: answer.bytes().await? })
        };
        let answer = answer.await.unwrap_or_else(|_| {
            Answer::error(StatusCode::BAD_GATEWAY, "api_error", "localstripe does not answer.")
        });
        // localstripe does not say what was not found. For a new intent it can only be the payment method.
        if method == Method::POST && path == "/v1/payment_intents" && answer.status == StatusCode::NOT_FOUND {
            return Answer::no_such_method();
        }
        answer
    }
}

async fn connection(proxy: Arc<Proxy>, stream: TcpStream) {
    let service = service_fn(move |request| {
        let proxy = proxy.clone();
        async move {
            // In a task of its own: a client that hangs up must not leave its key without an answer.
            let handled = tokio::spawn(async move { proxy.handle(request).await });
            handled.await.unwrap_or(Err(Closed))
        }
    });
    // An error here is a closed connection, ours or the client's.
    let _ = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
}

/// Headers without those that belong to one connection.
fn passed_on(headers: &HeaderMap) -> HeaderMap {
    let mut headers = headers.clone();
    for name in
        [header::HOST, header::CONNECTION, header::CONTENT_LENGTH, header::TRANSFER_ENCODING, header::EXPECT]
    {
        headers.remove(name);
    }
    headers
}

fn failure(status: StatusCode, kind: &str, message: &str) -> Response<Body> {
    Answer::error(status, kind, message).into_response()
}

#[cfg(test)]
mod tests;
