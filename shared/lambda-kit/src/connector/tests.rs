use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

use super::*;

const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
const PATIENCE: Duration = Duration::from_secs(5);

/// A server that does `serve` with each connection, and counts them.
async fn server<F>(serve: impl Fn(TcpStream) -> F + Send + 'static) -> (String, Arc<AtomicUsize>)
where
    F: Future<Output = ()> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let connections = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&connections);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            counted.fetch_add(1, Ordering::SeqCst);
            tokio::spawn(serve(stream));
        }
    });
    (address, connections)
}

/// Reads a request and answers it, as often as one comes.
async fn answer_all(mut stream: TcpStream) {
    let mut request = [0; 4096];
    while matches!(stream.read(&mut request).await, Ok(1..)) {
        stream.write_all(ANSWER).await.unwrap();
    }
}

fn request(url: &str) -> HttpRequest {
    let mut request = HttpRequest::new(SdkBody::empty());
    request.set_uri(url).unwrap();
    request
}

async fn body(response: HttpResponse) -> Vec<u8> {
    use http_body_util::BodyExt;
    response.into_body().collect().await.unwrap().to_bytes().to_vec()
}

#[tokio::test]
async fn calls_in_a_row_share_a_connection_until_it_is_poisoned() {
    let (address, connections) = server(answer_all).await;
    let (connector, url) = (connector(PATIENCE), format!("http://{address}/"));
    for _ in 0..2 {
        assert_eq!(body(connector.call(request(&url)).await.unwrap()).await, b"ok");
    }
    assert_eq!(connections.load(Ordering::SeqCst), 1);

    let capture = CaptureSmithyConnection::new();
    let mut captured = request(&url);
    captured.add_extension(capture.clone());
    let response = connector.call(captured).await.unwrap();
    capture.get().expect("a connection").poison();
    body(response).await;
    connector.call(request(&url)).await.unwrap();
    assert_eq!(connections.load(Ordering::SeqCst), 2, "the poisoned one is not used again");
}

#[tokio::test]
async fn a_connection_that_breaks_before_the_answer_is_known_as_one_that_was_made() {
    let (address, _) = server(async |mut stream| {
        let _ = stream.read(&mut [0; 4096]).await;
    })
    .await;
    let error = connector(PATIENCE).call(request(&format!("http://{address}/"))).await.unwrap_err();
    assert_eq!(error.as_other(), Some(ErrorKind::TransientError), "{error:?}");
    assert!(error.connection_metadata().is_some());
}

#[tokio::test]
async fn a_connection_that_cannot_be_made_is_an_io_error() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let error = connector(PATIENCE).call(request(&format!("http://{address}/"))).await.unwrap_err();
    assert!(error.is_io(), "{error:?}");
    assert!(error.connection_metadata().is_none());
}

#[tokio::test]
async fn https_begins_with_a_handshake() {
    let (address, _) = server(async |mut stream| {
        let mut first = [0; 3];
        stream.read_exact(&mut first).await.unwrap();
        assert_eq!(first[..2], [0x16, 0x03], "a TLS record of a handshake (RFC 8446, section 5.1)");
        // No TLS server answers so.
        stream.write_all(ANSWER).await.unwrap();
    })
    .await;
    let error = connector(PATIENCE).call(request(&format!("https://{address}/"))).await.unwrap_err();
    assert!(error.is_io(), "{error:?}");
}
