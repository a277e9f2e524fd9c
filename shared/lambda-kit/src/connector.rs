//! The HTTP client under every AWS client and the payment gateway: hyper and rustls, HTTP/1.1 only.
//!
//! The SDK's own client (aws-smithy-http-client) always links HTTP/2, which no endpoint here needs, and at
//! each start it parses the system's certificates, some 140, of which two are used. This one has Mozilla's
//! roots compiled in (webpki-roots): they cost nothing at start, and a withdrawn root is gone with the next
//! release.

use std::{error::Error, time::Duration};

use aws_smithy_runtime_api::{
    box_error::BoxError,
    client::{
        connection::{CaptureSmithyConnection, ConnectionMetadata},
        http::{HttpConnector, HttpConnectorFuture, SharedHttpConnector},
        orchestrator::{HttpRequest, HttpResponse},
        result::ConnectorError,
    },
};
use aws_smithy_types::{body::SdkBody, retry::ErrorKind};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{
    client::legacy::{
        Client,
        connect::{CaptureConnection, HttpConnector as TcpConnector, capture_connection},
    },
    rt::{TokioExecutor, TokioTimer},
};

use crate::trace;

/// A connector with its own pool. A call fails when its TCP connection is not established within
/// `connect_timeout`; further timeouts are up to the caller.
pub fn connector(connect_timeout: Duration) -> SharedHttpConnector {
    #[cfg(feature = "simulation")]
    if let Some(instance) = crate::simulation::instance() {
        return instance.connector();
    }
    let mut tcp = TcpConnector::new();
    // The TLS connector around it handles `https`. With the check, the inner one would refuse those addresses.
    tcp.enforce_http(false);
    // A request is written at once. The system would otherwise hold its last packet back until the one before
    // is acknowledged.
    tcp.set_nodelay(true);
    tcp.set_connect_timeout(Some(connect_timeout));
    let https =
        HttpsConnectorBuilder::new().with_webpki_roots().https_or_http().enable_http1().wrap_connector(tcp);
    let client = Client::builder(TokioExecutor::new()).pool_timer(TokioTimer::new()).build(https);
    SharedHttpConnector::new(Http1(client))
}

#[derive(Debug)]
struct Http1(Client<HttpsConnector<TcpConnector>, SdkBody>);

impl HttpConnector for Http1 {
    fn call(&self, mut request: HttpRequest) -> HttpConnectorFuture {
        let span = trace::call(&mut request);
        let mut request = match request.try_into_http1x() {
            Ok(request) => request,
            Err(error) => return HttpConnectorFuture::ready(Err(ConnectorError::user(error.into()))),
        };
        let connection = capture_connection(&mut request);
        if let Some(capture) = request.extensions().get::<CaptureSmithyConnection>() {
            let connection = connection.clone();
            capture.set_connection_retriever(move || metadata(&connection));
        }
        let answer = self.0.request(request);
        HttpConnectorFuture::new(async move {
            match answer.await {
                Ok(response) => {
                    if let Some(span) = span {
                        span.answered(response.status().as_u16());
                    }
                    HttpResponse::try_from(response.map(SdkBody::from_body_1_x))
                        .map_err(|error| ConnectorError::other(error.into(), None))
                }
                Err(error) => Err(failure(error, &connection)),
            }
        })
    }
}

/// The SDK's handle for the connection. With `poison` it removes a connection from the pool after a server
/// error.
fn metadata(connection: &CaptureConnection) -> Option<ConnectionMetadata> {
    let connection = connection.clone();
    connection.connection_metadata().as_ref()?;
    let poison = move || {
        if let Some(connected) = connection.connection_metadata().as_ref() {
            connected.poison();
        }
    };
    Some(ConnectionMetadata::builder().proxied(false).poison_fn(poison).build())
}

/// Classifies an error for the SDK's retries.
fn failure(error: hyper_util::client::legacy::Error, connection: &CaptureConnection) -> ConnectorError {
    if error.is_connect() {
        return ConnectorError::io(error.into()).never_connected();
    }
    let kind = kind(&error);
    let failure = kind(error.into());
    match metadata(connection) {
        Some(metadata) => failure.with_connection(metadata),
        None => failure,
    }
}

fn kind(error: &hyper_util::client::legacy::Error) -> fn(BoxError) -> ConnectorError {
    match source::<hyper::Error>(error) {
        Some(http) if http.is_user() => ConnectorError::user,
        // The server closed a pooled connection just as it was reused.
        Some(http) if http.is_incomplete_message() => {
            |error| ConnectorError::other(error, Some(ErrorKind::TransientError))
        }
        Some(http) if http.is_closed() || http.is_canceled() => ConnectorError::io,
        _ if source::<std::io::Error>(error).is_some() => ConnectorError::io,
        _ => |error| ConnectorError::other(error, None),
    }
}

/// The first error of this type in the chain.
fn source<'a, E: Error + 'static>(error: &'a (dyn Error + 'static)) -> Option<&'a E> {
    std::iter::successors(Some(error), |&error| error.source()).find_map(|error| error.downcast_ref())
}

#[cfg(test)]
mod tests;
