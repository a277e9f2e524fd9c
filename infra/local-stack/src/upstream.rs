//! Forwards the calls of functions unchanged, so that a proxy can observe them and make them fail.
//!
//! Signatures cover the host, so that header stays as the function wrote it.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::time::Duration;

use axum::body::{Body, Bytes};
use http::request::Parts;
use http::{HeaderMap, Request, Response, StatusCode, header};
use http_body_util::BodyExt;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};

use crate::emulator;

/// More than any call of a function: SQS and SNS take 256 KB.
const BODY_LIMIT: usize = 8 << 20;

/// The server to which calls are passed on.
pub struct Upstream {
    url: String,
    http: reqwest::Client,
}

/// Its response, fully read.
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Upstream {
    pub fn new(url: &str) -> Self {
        Self { url: url.to_owned(), http: emulator::client() }
    }

    /// Passes a call on. The answer is 502 when the server gives none.
    pub async fn ask(&self, parts: &Parts, body: Bytes) -> Answer {
        self.try_ask(parts, body).await.unwrap_or_else(|_| Answer::empty(StatusCode::BAD_GATEWAY))
    }

    /// Passes a call on.
    ///
    /// # Errors
    /// The server gives no answer.
    pub async fn try_ask(&self, parts: &Parts, body: Bytes) -> Result<Answer, Closed> {
        let path = parts.uri.path_and_query().map_or("/", |path| path.as_str());
        let request = self
            .http
            .request(parts.method.clone(), format!("{}{path}", self.url))
            .headers(passed_on(&parts.headers))
            .body(body);
        let answer = async {
            let answer = request.send().await?;
            let (status, headers) = (answer.status(), passed_on(answer.headers()));
            Ok::<_, reqwest::Error>(Answer { status, headers, body: answer.bytes().await? })
        };
        answer.await.map_err(|_| Closed)
    }
}

impl Answer {
    fn empty(status: StatusCode) -> Self {
        Self { status, headers: HeaderMap::new(), body: Bytes::new() }
    }

    fn into_response(self) -> Response<Body> {
        let mut response = Response::new(Body::from(self.body));
        *response.status_mut() = self.status;
        *response.headers_mut() = self.headers;
        response
    }
}

/// The connection ends without an answer.
#[derive(Debug, thiserror::Error)]
#[error("closed on purpose")]
pub struct Closed;

/// Answers every connection; ends only when its task is dropped. The caller's [`SocketAddr`] is among the request's
/// extensions.
pub async fn serve<F, Fut>(listener: TcpListener, handle: F) -> Infallible
where
    F: Fn(Parts, Bytes) -> Fut + Clone + Send + 'static,
    Fut: Future<Output = Result<Answer, Closed>> + Send + 'static,
{
    loop {
        match listener.accept().await {
            Ok((stream, caller)) => {
                tokio::spawn(connection(stream, caller, handle.clone()));
            }
            // Out of file descriptors, or the peer has gone: the next one may do better.
            Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    }
}

async fn connection<F, Fut>(stream: TcpStream, caller: SocketAddr, handle: F)
where
    F: Fn(Parts, Bytes) -> Fut + Clone + Send + 'static,
    Fut: Future<Output = Result<Answer, Closed>> + Send + 'static,
{
    let service = service_fn(move |request: Request<hyper::body::Incoming>| {
        let handle = handle.clone();
        async move {
            // In a task of its own: what a function no longer waits for has happened all the same.
            let handled = tokio::spawn(async move {
                let (mut parts, body) = request.into_parts();
                parts.extensions.insert(caller);
                match http_body_util::Limited::new(body, BODY_LIMIT).collect().await {
                    Ok(body) => handle(parts, body.to_bytes()).await,
                    Err(_) => Ok(Answer::empty(StatusCode::BAD_REQUEST)),
                }
            });
            handled.await.unwrap_or(Err(Closed)).map(Answer::into_response)
        }
    });
    // An error here is a closed connection, ours or the function's.
    let _ = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
}

/// Headers without those that belong to one connection.
fn passed_on(headers: &HeaderMap) -> HeaderMap {
    let mut headers = headers.clone();
    for name in [header::CONNECTION, header::CONTENT_LENGTH, header::TRANSFER_ENCODING, header::EXPECT] {
        headers.remove(name);
    }
    headers
}
