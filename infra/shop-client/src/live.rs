//! Live order status over the WebSocket.

use std::time::Duration;

use contracts::{OrderId, OrderStatus};
use futures::{SinkExt, StreamExt};
use jiff::Timestamp;
use reqwest::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::handshake::client::Request;
use tokio_tungstenite::tungstenite::{Error as SocketError, Message};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

use crate::error::{Error, Result};
use crate::route::{Route, TIMEOUT};

/// A connection that frames come from.
#[derive(Debug)]
pub struct Live(WebSocketStream<MaybeTlsStream<TcpStream>>);

/// A frame of the server.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Frame {
    Subscribed {
        order_id: Option<OrderId>,
    },
    Unsubscribed {
        order_id: Option<OrderId>,
    },
    Order(OrderFrame),
    Payment(PartFrame),
    Shipment(PartFrame),
    Gap {
        order_id: OrderId,
        dropped: u64,
    },
    Pong,
    Error {
        code: String,
        message: String,
    },
    /// Newer than this client.
    #[serde(other)]
    Unknown,
}

/// One event of an order.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct OrderFrame {
    pub order_id: OrderId,
    pub version: u64,
    /// `None` when the event keeps the status and the server knows no earlier one.
    pub status: Option<OrderStatus>,
    pub event_type: String,
    pub occurred_at: Timestamp,
    pub correlation_id: String,
}

/// One event of a payment or a shipment.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct PartFrame {
    pub order_id: OrderId,
    pub sequence: u64,
    pub status: String,
}

impl Live {
    /// # Errors
    /// The ticket is refused, or the server does not answer.
    pub async fn connect(url: &str, ticket: &str) -> Result<Self> {
        let url = if url.contains("ticket=") { url.to_owned() } else { format!("{url}?ticket={ticket}") };
        Self::open(&url).await
    }

    /// # Errors
    /// As [`Live::connect`].
    pub async fn open(url: &str) -> Result<Self> {
        Self::request(url.into_client_request().map_err(|error| broken(&error))?).await
    }

    /// With a ticket, to the end of this route.
    ///
    /// # Errors
    /// As [`Live::connect`].
    pub async fn by(route: &Route, ticket: &str) -> Result<Self> {
        let url = format!("{}?ticket={ticket}", route.base);
        let mut request = url.into_client_request().map_err(|error| broken(&error))?;
        // By its bytes, whichever version of `http` the WebSocket's library has.
        if let Some(host) = route.host.as_ref().and_then(|host| host.to_str().ok()) {
            let host = host.try_into().map_err(|_| Error::Broken { reason: format!("{host} is no name") })?;
            request.headers_mut().insert("host", host);
        }
        Self::request(request).await
    }

    /// As a browser connects that shows a page of this origin.
    ///
    /// # Errors
    /// As [`Live::connect`].
    pub async fn from_page(origin: &str, url: &str, ticket: &str) -> Result<Self> {
        let url = format!("{url}?ticket={ticket}");
        let mut request = url.into_client_request().map_err(|error| broken(&error))?;
        let origin =
            origin.try_into().map_err(|_| Error::Broken { reason: format!("{origin} is no origin") })?;
        request.headers_mut().insert("origin", origin);
        Self::request(request).await
    }

    async fn request(request: Request) -> Result<Self> {
        match timeout(TIMEOUT, connect_async(request)).await {
            Ok(Ok((socket, _))) => Ok(Self(socket)),
            Ok(Err(SocketError::Http(response))) => {
                Err(Error::NotLetIn { status: status(response.status().as_u16()) })
            }
            Ok(Err(error)) => Err(broken(&error)),
            Err(_) => Err(Error::Broken { reason: format!("no answer within {} s", TIMEOUT.as_secs()) }),
        }
    }

    /// Asks for an order's frames: from after a version on, or, without one, those to come.
    ///
    /// # Errors
    /// The connection is gone.
    pub async fn subscribe(&mut self, order: &OrderId, after: Option<u64>) -> Result<()> {
        let mut frame = json!({"action": "subscribe", "order_id": order});
        if let Some(after) = after {
            frame["after"] = after.into();
        }
        self.send(&frame).await
    }

    /// # Errors
    /// The connection is gone.
    pub async fn send(&mut self, frame: &Value) -> Result<()> {
        self.send_text(&frame.to_string()).await
    }

    /// Sends what need not be a frame.
    ///
    /// # Errors
    /// The connection is gone.
    pub async fn send_text(&mut self, text: &str) -> Result<()> {
        self.0.send(Message::text(text)).await.map_err(|error| broken(&error))
    }

    /// The next frame.
    ///
    /// # Errors
    /// `Error::Silent` when none comes within that time; the connection is gone, or what comes is no frame.
    pub async fn next(&mut self, within: Duration) -> Result<Frame> {
        timeout(within, self.receive()).await.map_err(|_| Error::Silent { within })?
    }

    async fn receive(&mut self) -> Result<Frame> {
        loop {
            match self.0.next().await {
                Some(Ok(Message::Text(text))) => {
                    return serde_json::from_str(&text).map_err(|source| Error::Unreadable {
                        call: "the WebSocket".to_owned(),
                        body: text.to_string(),
                        source,
                    });
                }
                Some(Ok(Message::Close(_))) | None => {
                    return Err(Error::Broken { reason: "the server closed it".to_owned() });
                }
                // Pings are answered by the library.
                Some(Ok(_)) => {}
                Some(Err(error)) => return Err(broken(&error)),
            }
        }
    }
}

fn broken(error: &SocketError) -> Error {
    Error::Broken { reason: error.to_string() }
}

/// The status in this crate's `http` type, whichever version the WebSocket's library has.
fn status(code: u16) -> StatusCode {
    StatusCode::from_u16(code).unwrap_or(StatusCode::BAD_REQUEST)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_told_apart_and_new_ones_do_not_hurt() {
        let read = |text: &str| serde_json::from_str::<Frame>(text).unwrap();
        assert_eq!(read(r#"{"type":"pong"}"#), Frame::Pong);
        assert_eq!(read(r#"{"type":"weather","sun":true}"#), Frame::Unknown);
        let order = "ord_0123456789abcdef0123456789abcdef";
        let frame =
            read(&format!(r#"{{"type":"payment","order_id":"{order}","sequence":2,"status":"succeeded"}}"#));
        assert!(matches!(frame, Frame::Payment(PartFrame { sequence: 2, .. })));
    }
}
