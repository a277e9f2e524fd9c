//! Customers who watch their orders over the WebSocket: they connect with a ticket, follow what they know of, and connect
//! again when their connection ends, from the last version on that they have seen.

use std::{
    cell::{Cell, RefCell},
    collections::{BTreeMap, BTreeSet},
    rc::Rc,
    time::Duration,
};

use serde_json::{Value, json};
use tokio::{
    sync::Notify,
    time::{Instant, sleep, sleep_until},
};

use crate::{
    network::between,
    scenario::{send, user},
    services::sockets::Socket,
    world::world,
};

/// How long a client waits until it repeats a frame that has no answer; twice as long after each time, up to a quarter of
/// an hour.
const ANSWER: Duration = Duration::from_secs(30);
/// How long it waits until it repeats a frame that failed; twice as long after each time, too.
const FAILED: Duration = Duration::from_secs(1);
/// How often it says that it is still there while an order of its has not ended. API Gateway closes a connection after ten
/// minutes without a frame.
const PING: Duration = Duration::from_mins(8);
/// What it waits before it connects again, in milliseconds.
const PAUSE: std::ops::Range<u64> = 500..5_000;
/// The longest time for which a client without a network connects to nothing, in milliseconds.
const OFFLINE: std::ops::Range<u64> = 1_000..20_000;
/// What a status is called with which an order has ended.
const ENDED: [&str; 2] = ["Completed", "Cancelled"];

/// What a client has seen of an order.
#[derive(Debug, Clone, Default)]
pub struct Seen {
    /// The last version.
    pub version: u64,
    /// How many versions behind it were announced as missing.
    announced: u64,
    /// Whether it has asked for this order from its first version on. A client that follows all orders sees what happens
    /// from then on.
    is_asked_for: bool,
    pub has_ended: bool,
    /// Versions behind one that was missing and not announced, each with the one before it.
    pub holes: Vec<(u64, u64)>,
    /// Refusals.
    pub wrong: Vec<String>,
}

/// A customer's client.
#[derive(Debug)]
pub struct Watcher {
    customer: u64,
    /// Whether it follows all orders of the customer, those to come among them.
    follows_all: bool,
    orders: RefCell<BTreeMap<String, Seen>>,
    /// What it has asked to follow on this connection, without an answer: an order, or all.
    asked: RefCell<BTreeSet<Option<String>>>,
    /// When it sends its next frame on this connection, unless everything has its answer.
    next: Cell<Option<Instant>>,
    /// How often it has asked on this connection.
    times: Cell<u32>,
    /// Whether the shop admits it no longer: the account was deleted.
    is_refused: Cell<bool>,
    /// Whether its customer has seen how all orders ended, and has left.
    has_left: Cell<bool>,
    changed: Notify,
    lost: Notify,
}

impl Watcher {
    /// Starts a client.
    pub fn start(customer: u64, follows_all: bool) -> Rc<Self> {
        let watcher = Rc::new(Self {
            customer,
            follows_all,
            orders: RefCell::default(),
            asked: RefCell::default(),
            next: Cell::new(None),
            times: Cell::new(0),
            is_refused: Cell::new(false),
            has_left: Cell::new(false),
            changed: Notify::new(),
            lost: Notify::new(),
        });
        world().watchers.borrow_mut().push(Rc::clone(&watcher));
        tokio::task::spawn_local(Rc::clone(&watcher).run());
        watcher
    }

    /// Follows an order from now on.
    pub fn follow(&self, order_id: &str) {
        self.orders.borrow_mut().entry(order_id.to_owned()).or_default().is_asked_for = true;
        self.asked.borrow_mut().insert(Some(order_id.to_owned()));
        self.changed.notify_one();
    }

    /// Loses its network for a while, after this time.
    pub fn lose(self: &Rc<Self>, after: Duration) {
        let watcher = Rc::clone(self);
        tokio::task::spawn_local(async move {
            sleep(after).await;
            watcher.lost.notify_waiters();
        });
    }

    pub fn has_left(&self) -> bool {
        self.has_left.get()
    }

    /// What it has seen by orders; nothing when the shop admits it no longer.
    pub fn seen(&self) -> BTreeMap<String, Seen> {
        if self.is_refused.get() { BTreeMap::new() } else { self.orders.borrow().clone() }
    }

    async fn run(self: Rc<Self>) {
        while !self.is_refused.get() {
            if let Some(mut socket) = self.connect().await {
                tokio::select! {
                    biased;
                    () = self.lost.notified() => {
                        drop(socket);
                        sleep(between(OFFLINE)).await;
                        continue;
                    }
                    () = self.stay(&mut socket) => {}
                }
                if self.has_seen_all() {
                    self.has_left.set(true);
                    return;
                }
            }
            sleep(between(PAUSE)).await;
        }
    }

    fn has_seen_all(&self) -> bool {
        let orders = self.orders.borrow();
        !orders.is_empty() && orders.values().all(|seen| seen.has_ended)
    }

    async fn connect(&self) -> Option<Socket> {
        let headers = || user(self.customer);
        let path = "/v1/realtime/tickets";
        let reply = send("customer", "realtime-api", "POST", path, &headers, "").await.ok()?;
        if matches!(reply.status, 401 | 403) {
            self.is_refused.set(true);
            return None;
        }
        let answer: Value = serde_json::from_str(&reply.body).ok()?;
        let socket = world().sockets.connect(answer["ticket"].as_str()?).await.ok()?;
        let mut asked: BTreeSet<_> = self.orders.borrow().keys().cloned().map(Some).collect();
        if self.follows_all {
            asked.insert(None);
        }
        self.asked.replace(asked);
        self.next.set(None);
        self.times.set(0);
        Some(socket)
    }

    /// Follows and reads until the connection ends.
    async fn stay(&self, socket: &mut Socket) {
        loop {
            let next = self.next_frame();
            tokio::select! {
                biased;
                frame = socket.next() => match frame {
                    Some(frame) if self.read(&frame) => {}
                    _ => return,
                },
                () = self.changed.notified() => self.ask(socket).await,
                () = sleep_until(next) => self.ask(socket).await,
            }
        }
    }

    /// When it sends its next frame.
    fn next_frame(&self) -> Instant {
        match self.next.get() {
            None => Instant::now(),
            Some(next) if !self.asked.borrow().is_empty() => next,
            Some(_) if self.has_seen_all() => Instant::now() + Duration::from_hours(24),
            Some(_) => Instant::now() + PING,
        }
    }

    /// Lets the next frame wait for this time, or for longer when it has asked before.
    fn wait(&self, first: Duration) {
        self.next.set(Some(Instant::now() + first * 2_u32.pow(self.times.get().min(5))));
    }

    /// Asks to follow what it has asked for without an answer, or says that it is there.
    async fn ask(&self, socket: &Socket) {
        self.wait(ANSWER);
        self.times.set(self.times.get() + 1);
        let asked = self.asked.borrow().clone();
        if asked.is_empty() {
            socket.send(&json!({"action": "ping"})).await;
        }
        for order_id in asked {
            let frame = match order_id {
                None => json!({"action": "subscribe"}),
                Some(order_id) => {
                    let after = self.orders.borrow().get(&order_id).map_or(0, |seen| seen.version);
                    json!({"action": "subscribe", "order_id": order_id, "after": after})
                }
            };
            socket.send(&frame).await;
        }
    }

    /// Reads a frame, and returns whether the connection is of use.
    fn read(&self, frame: &Value) -> bool {
        world().network.trace().line(format_args!("client of customer {} reads {frame}", self.customer));
        let order_id = frame["order_id"].as_str().map(str::to_owned);
        let number = |field: &str| frame[field].as_u64().unwrap_or_default();
        match (frame["type"].as_str(), order_id) {
            (Some("subscribed"), order_id) => {
                self.asked.borrow_mut().remove(&order_id);
            }
            // It has asked for the versions behind its last one, and gets them, this one among them.
            (Some("order"), order_id) if self.asked.borrow().contains(&order_id) => {}
            (Some("order"), Some(order_id)) => {
                let mut orders = self.orders.borrow_mut();
                let seen = orders.entry(order_id).or_default();
                seen.see(number("version"), frame["status"].as_str().unwrap_or_default());
            }
            (Some("gap"), Some(order_id)) => {
                self.orders.borrow_mut().entry(order_id).or_default().announced += number("dropped");
            }
            // The connection has expired.
            (Some("error"), _) if frame["code"] == "bad_request" => return false,
            (Some("error"), _) => {
                let mut orders = self.orders.borrow_mut();
                orders.values_mut().for_each(|seen| seen.wrong.push(frame.to_string()));
            }
            // API Gateway's own frame: the function failed, and what it was asked for is asked for again.
            (None, _) => self.wait(FAILED),
            _ => {}
        }
        true
    }
}

impl Seen {
    fn see(&mut self, version: u64, status: &str) {
        let is_first = self.version == 0 && !self.is_asked_for;
        if version > self.version + self.announced + 1 && !is_first {
            self.holes.push((version, self.version));
        }
        if version > self.version {
            (self.version, self.announced) = (version, 0);
            self.has_ended = ENDED.contains(&status);
        }
    }
}
