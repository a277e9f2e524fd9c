//! One customer's visit: looks at products, orders, watches the order, and perhaps cancels it.

use std::time::Duration;

use contracts::{OrderId, OrderStatus};
use reqwest::{Method, StatusCode};
use serde::de::DeserializeOwned;
use serde_json::Value;
use shop_client::{Call, Frame, Live, NewOrder, Order, Placed, Ticket};
use tokio::time::{Instant, sleep, timeout_at};
use uuid::Uuid;

use super::member::Member;
use super::records::Records;

const PRODUCTS: &str = "GET /v1/products";
const STOCK: &str = "GET /v1/inventory/{sku}";
const PLACE: &str = "POST /v1/orders";
const ORDER: &str = "GET /v1/orders/{id}";
const CANCEL: &str = "POST /v1/orders/{id}/cancel";
const TICKET: &str = "POST /v1/realtime/tickets";
const CONNECT: &str = "WebSocket connect";

/// Between two looks at an order without a WebSocket, and before the second try of a request. Each later try comes after a
/// pause twice as long, up to [`LONGEST_PAUSE`], and half of it is random, as the shop's page does it.
const PAUSE: Duration = Duration::from_secs(2);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// The status is asked for after this silence: a frame may have been lost with the connection.
const SILENCE: Duration = Duration::from_secs(30);

/// The pauses of one customer. Without them, customers who ask again keep a shop busy that has too much to do.
struct Pauses(Duration);

impl Pauses {
    const fn new() -> Self {
        Self(PAUSE)
    }

    /// Waits, and the next time twice as long.
    async fn wait(&mut self) {
        sleep(self.0 / 2 + self.0.mul_f64(fastrand::f64()) / 2).await;
        self.0 = (self.0 * 2).min(LONGEST_PAUSE);
    }
}

/// What a customer does.
#[derive(Debug, Clone, Copy)]
pub struct Way {
    pub watches: bool,
    pub cancels: bool,
    /// How long the customer tries to order, and waits for the end of the order.
    pub patience: Duration,
}

/// Lets the customer do it all, and records how long each part took.
pub async fn visit(member: &Member, order: &NewOrder, way: Way, records: &Records) {
    records.arrived();
    let shop = member.shop().await;
    let get = |path: &str| once::<Value>(shop.call(Method::GET, path));
    let _ = timed(records, PRODUCTS, get("/v1/products?limit=20")).await;
    if let Some(line) = order.items.first() {
        let _ = timed(records, STOCK, get(&format!("/v1/inventory/{}", line.sku))).await;
    }
    let began = Instant::now();
    let until = began + way.patience;
    let Some(placed) = place(member, order, until, records).await else { return };
    records.placed();
    if way.cancels {
        cancel(member, &placed.order_id, records).await;
    }
    match end(member, &placed.order_id, way, until, records).await {
        Some(status) => records.ended(status, began.elapsed()),
        None => records.unseen(),
    }
}

/// Sends the order, and sends it again with the same key while it is not certain that it was taken.
async fn place(member: &Member, order: &NewOrder, until: Instant, records: &Records) -> Option<Placed> {
    let key = Uuid::new_v4().to_string();
    let mut pauses = Pauses::new();
    while Instant::now() < until {
        let request =
            member.shop().await.call(Method::POST, "/v1/orders").header("idempotency-key", &key).json(order);
        match timed(records, PLACE, once(request)).await {
            Ok(placed) => return Some(placed),
            Err(Some(status)) if status.is_client_error() && status != StatusCode::TOO_MANY_REQUESTS => {
                return None;
            }
            Err(_) => pauses.wait().await,
        }
    }
    None
}

async fn cancel(member: &Member, id: &OrderId, records: &Records) {
    let request = member.shop().await.call(Method::POST, &format!("/v1/orders/{id}/cancel"));
    let sent = async {
        let answer = request.send_once().await?;
        // The order may have ended before.
        if answer.status == StatusCode::CONFLICT { Ok(()) } else { answer.succeeded() }
    };
    let _ = timed(records, CANCEL, sent).await;
}

/// Waits for the end of the order. A customer whose WebSocket is silent or ends looks at the order, and opens another one if
/// it ended.
async fn end(
    member: &Member,
    id: &OrderId,
    way: Way,
    until: Instant,
    records: &Records,
) -> Option<OrderStatus> {
    let ended = async {
        let mut pauses = Pauses::new();
        let mut live = None;
        loop {
            if way.watches && live.is_none() {
                live = connect(member, id, records).await;
            }
            if let Some(open) = &mut live {
                match watch(open, id).await {
                    Seen::Ended(status) => return status,
                    Seen::Nothing => {}
                    Seen::Lost => live = None,
                }
            }
            let look = member.shop().await.call(Method::GET, &format!("/v1/orders/{id}"));
            match timed(records, ORDER, once::<Order>(look)).await {
                Ok(order) if order.status.is_final() => return order.status,
                Ok(_) => {
                    pauses = Pauses::new();
                    if live.is_none() {
                        sleep(PAUSE).await;
                    }
                }
                Err(_) => pauses.wait().await,
            }
        }
    };
    timeout_at(until, ended).await.ok()
}

async fn connect(member: &Member, id: &OrderId, records: &Records) -> Option<Live> {
    let ticket = member.shop().await.call(Method::POST, "/v1/realtime/tickets");
    let ticket = timed(records, TICKET, once::<Ticket>(ticket)).await.ok()?;
    let mut live = timed(records, CONNECT, Live::connect(&ticket.url, &ticket.ticket)).await.ok()?;
    live.subscribe(id, Some(0)).await.ok()?;
    Some(live)
}

/// What came on a WebSocket.
enum Seen {
    Ended(OrderStatus),
    /// Nothing for long.
    Nothing,
    /// The connection ended.
    Lost,
}

async fn watch(live: &mut Live, id: &OrderId) -> Seen {
    loop {
        match live.next(SILENCE).await {
            Ok(Frame::Order(frame)) if frame.order_id == *id => {
                if let Some(status) = frame.status.filter(|status| status.is_final()) {
                    return Seen::Ended(status);
                }
            }
            Ok(_) => {}
            Err(shop_client::Error::Silent { .. }) => return Seen::Nothing,
            Err(_) => return Seen::Lost,
        }
    }
}

/// One try. A client that tries again by itself would hide how often it was refused, and ask more in a rush.
async fn once<T: DeserializeOwned>(call: Call) -> shop_client::Result<T> {
    call.send_once().await?.read()
}

/// Records how long an answer took, or what kind of error it was. An error has its status, if there is one.
async fn timed<T>(
    records: &Records,
    route: &'static str,
    work: impl Future<Output = shop_client::Result<T>>,
) -> Result<T, Option<StatusCode>> {
    let began = Instant::now();
    match work.await {
        Ok(answer) => {
            records.answered(route, began.elapsed());
            Ok(answer)
        }
        Err(error) => {
            records.failed(route, &error);
            Err(match error {
                shop_client::Error::Refused { status, .. } => Some(status),
                _ => None,
            })
        }
    }
}
