//! The time from an order's event to the connections that follow it, and the throughput to all of them.
//!
//! Customers' connections are real: WebSockets with a ticket each, which follow all of their customer's orders. A customer
//! may have 20 of them. Every customer places real orders one after the other, all at the same time, and each frame's
//! arrival is compared with the time that its event carries.

use std::collections::{BTreeMap, HashSet};
use std::time::Duration;

use clap::Args;
use contracts::OrderId;
use demo::{Customer, Story};
use futures::{StreamExt, TryStreamExt, future::try_join_all, stream};
use jiff::Timestamp;
use local_stack::{Outputs, Profile, Progress, Settings, Stack, Step};
use reqwest::StatusCode;
use serde_json::json;
use shop_client::{Frame, Live, OrderFrame, Shop};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::JoinSet;
use uuid::Uuid;

use crate::error::{Error, Result};
use crate::figures::percentile;

/// Connections that are opened at the same time: each starts two functions.
const OPENING: usize = 8;
/// Connections of one customer: as many as a user may have (`CONNECTIONS_MAX` in functions/realtime).
const PER_CUSTOMER: usize = 20;
/// Tries to open a connection. On a busy machine a function may run into its timeout, and those of the round before may
/// not be closed yet; then the client tries again.
const TRIES: usize = 10;
/// The pause before the next try.
const PAUSE: Duration = Duration::from_millis(500);
/// The time for an order to end and its last frame to reach all connections, on a busy machine.
const WITHIN: Duration = Duration::from_secs(180);

#[derive(Debug, Args)]
#[command(
    after_help = "Uses the stack that runs here, or starts one and stops it at the end. A customer has at most 20 \
                  connections, so 100 belong to five customers. Each customer places that many orders for each number \
                  of connections, one after the other. Most of an event's way on this machine is the emulator's, which \
                  looks at streams once a second."
)]
pub struct Push {
    /// Numbers of connections that watch at the same time
    #[arg(long, value_delimiter = ',', default_values_t = [1, 20, 100])]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=1000))]
    connections: Vec<u32>,
    /// How many orders each customer places for each number of connections
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=13))]
    // Three rounds of 13 orders stay within the 40 that the rate limit allows a customer at once.
    orders: u32,
    /// Build the functions as for AWS, and run them on a stack of its own (target/bench-push)
    #[arg(long)]
    release: bool,
}

impl Push {
    /// Measures, prints a table on stdout.
    ///
    /// # Errors
    /// The stack does not start, a connection is lost, or an order does not end.
    pub async fn run(self, settings: &Settings, progress: &Progress) -> Result<()> {
        let settings = self.place(settings)?;
        let stack = Stack::start(&settings, progress).await?;
        let rounds = self.all(stack.outputs(), progress).await;
        if stack.is_ours() {
            stack.stop();
        }
        print!("{}", table(&rounds?, self.orders, settings.profile));
        Ok(())
    }

    fn place(&self, settings: &Settings) -> Result<Settings> {
        if !self.release {
            return Ok(settings.clone());
        }
        Ok(Settings { profile: Profile::Release, ..settings.own("bench-push")? })
    }

    async fn all(&self, outputs: &Outputs, progress: &Progress) -> Result<Vec<Round>> {
        let mut customers: Vec<Customer> = Vec::new();
        let mut rounds = Vec::new();
        for connections in self.connections.iter().map(|count| *count as usize) {
            let step = progress.step(&format!("{connections} connections"));
            let wanted = connections.div_ceil(PER_CUSTOMER);
            while customers.len() < wanted {
                step.at(format!("{} of {wanted} customers have registered", customers.len()));
                customers.push(Customer::register(outputs).await?);
            }
            let customers = customers.get(..wanted).unwrap_or_default();
            let mut audience = Audience::gather(customers, connections, &step).await?;
            let mut round = Round::of(connections);
            for order in 0..self.orders {
                step.at(format!("order {} of {}", order + 1, self.orders));
                audience.watch(customers, &mut round).await?;
            }
            step.done(&format!("{} frames to {connections} connections", round.latencies.len()));
            rounds.push(round);
        }
        Ok(rounds)
    }
}

/// A frame that a connection received.
struct Arrived {
    connection: usize,
    frame: OrderFrame,
    at: Timestamp,
}

/// Connections that read all the time.
struct Audience {
    arrivals: UnboundedReceiver<shop_client::Result<Arrived>>,
    size: usize,
    /// They end with this value.
    _readers: JoinSet<()>,
}

impl Audience {
    /// Opens `size` connections, which belong to the customers in turn.
    async fn gather(customers: &[Customer], size: usize, step: &Step) -> Result<Self> {
        let (arrived, arrivals) = unbounded_channel();
        let mut readers = JoinSet::new();
        let shops = customers.iter().map(|customer| &customer.shop).cycle().take(size);
        let opened = stream::iter(shops.enumerate())
            .map(async |(connection, shop)| open(shop).await.map(|live| (connection, live)));
        let mut opened = opened.buffer_unordered(OPENING);
        while let Some((connection, live)) = opened.try_next().await? {
            readers.spawn(read(connection, live, arrived.clone()));
            step.at(format!("{} are connected", readers.len()));
        }
        Ok(Self { arrivals, size, _readers: readers })
    }

    /// Places an order of each customer, and follows them until all connections have seen the end of theirs.
    async fn watch(&mut self, customers: &[Customer], round: &mut Round) -> Result<()> {
        let orders: HashSet<OrderId> = try_join_all(customers.iter().map(place)).await?.into_iter().collect();
        let seen = tokio::time::timeout(WITHIN, self.follow(&orders)).await.map_err(|_| {
            Error::Measurement(format!(
                "not all connections saw the end of their order within {} s",
                WITHIN.as_secs()
            ))
        })??;
        round.add(&seen);
        Ok(())
    }

    /// The arrivals of each version at each connection, the first where it came twice.
    async fn follow(&mut self, orders: &HashSet<OrderId>) -> Result<Vec<Arrived>> {
        let (mut seen, mut known, mut at_the_end) = (Vec::new(), HashSet::new(), 0);
        while at_the_end < self.size {
            let Some(arrived) = self.arrivals.recv().await else { break };
            let arrived = arrived?;
            let Arrived { connection, frame, .. } = &arrived;
            // A connection gets the frames of one of the orders: that of its customer.
            if orders.contains(&frame.order_id) && known.insert((*connection, frame.version)) {
                at_the_end += usize::from(frame.status.is_some_and(contracts::OrderStatus::is_final));
                seen.push(arrived);
            }
        }
        Ok(seen)
    }
}

async fn place(customer: &Customer) -> Result<OrderId> {
    let basket = customer.basket(Story::Completes).await?;
    let key = Uuid::new_v4().to_string();
    Ok(customer.shop.place(&basket.order, &key).await?.order_id)
}

/// A connection that follows all orders of its customer.
async fn open(shop: &Shop) -> shop_client::Result<Live> {
    let subscribed = async || {
        let ticket = shop.ticket().await?;
        let mut live = Live::connect(&ticket.url, &ticket.ticket).await?;
        live.send(&json!({"action": "subscribe"})).await?;
        match live.next(WITHIN).await? {
            Frame::Subscribed { .. } => Ok(live),
            other => Err(shop_client::Error::Unfit { reason: format!("not subscribed: {other:?}") }),
        }
    };
    for _ in 1..TRIES {
        match subscribed().await {
            // No answer, or the gateway's own, which is no frame.
            Err(shop_client::Error::Broken { .. } | shop_client::Error::Unreadable { .. }) => {}
            Err(shop_client::Error::NotLetIn { status: StatusCode::TOO_MANY_REQUESTS }) => {}
            result => return result,
        }
        tokio::time::sleep(PAUSE).await;
    }
    subscribed().await
}

async fn read(connection: usize, mut live: Live, arrived: UnboundedSender<shop_client::Result<Arrived>>) {
    loop {
        let result = match live.next(WITHIN).await {
            Ok(Frame::Order(frame)) => Ok(Arrived { connection, frame, at: Timestamp::now() }),
            // Payments and shipments have frames of their own, and an order may take its time.
            Ok(_) | Err(shop_client::Error::Silent { .. }) => continue,
            Err(error) => Err(error),
        };
        let is_over = result.is_err();
        if arrived.send(result).is_err() || is_over {
            return;
        }
    }
}

/// The measurements with one number of connections, in microseconds.
struct Round {
    connections: usize,
    /// For each frame: from its event to its arrival.
    latencies: Vec<i64>,
    /// For each event: from its first arrival to its last.
    spreads: Vec<i64>,
}

impl Round {
    const fn of(connections: usize) -> Self {
        Self { connections, latencies: Vec::new(), spreads: Vec::new() }
    }

    fn add(&mut self, seen: &[Arrived]) {
        let mut events: BTreeMap<(&OrderId, u64), (i64, i64)> = BTreeMap::new();
        for Arrived { frame, at, .. } in seen {
            let at = at.as_microsecond();
            self.latencies.push(at - frame.occurred_at.as_microsecond());
            let (first, last) = events.entry((&frame.order_id, frame.version)).or_insert((at, at));
            (*first, *last) = (at.min(*first), at.max(*last));
        }
        self.spreads.extend(events.values().map(|(first, last)| last - first));
    }

    /// Frames that went out in a second, while an event was going out; none where each goes to one connection.
    fn frames_a_second(&self) -> Option<i64> {
        let behind_the_first = self.latencies.len() - self.spreads.len();
        let time: i64 = self.spreads.iter().sum();
        let frames = i64::try_from(behind_the_first).ok().filter(|frames| *frames > 0)?;
        (frames * 1_000_000).checked_div(time)
    }
}

fn table(rounds: &[Round], orders: u32, profile: Profile) -> String {
    let mut text = format!(
        "\nFrom an order's event to its frame, {orders} orders of each customer, functions of the {} build.\n\n\
         {:>11} {:>8} {:>9} {:>9} {:>15} {:>15} {:>9}\n",
        profile.name(),
        "connections",
        "frames",
        "p50 ms",
        "p99 ms",
        "fan-out p50 ms",
        "fan-out p99 ms",
        "frames/s"
    );
    for round in rounds {
        let ms = |values, percent| percentile(values, percent) / 1000;
        text.push_str(&format!(
            "{:>11} {:>8} {:>9} {:>9} {:>15} {:>15} {:>9}\n",
            round.connections,
            round.latencies.len(),
            ms(&round.latencies, 50),
            ms(&round.latencies, 99),
            ms(&round.spreads, 50),
            ms(&round.spreads, 99),
            round.frames_a_second().map_or_else(|| "-".to_owned(), |frames| frames.to_string()),
        ));
    }
    text.push_str(
        "\nfan-out: from an event's first frame to its last; frames/s: in that time. The rest is the way there, most of \
         it the\nemulator's, which looks at streams once a second; emulator, functions and clients share this machine.\n",
    );
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arrived(connection: usize, version: u64, occurred: i64, at: i64) -> Arrived {
        let order = "ord_0123456789abcdef0123456789abcdef";
        let time = |millisecond| Timestamp::from_millisecond(millisecond).unwrap();
        let frame = json!({
            "order_id": order, "version": version, "status": null, "event_type": "order.created",
            "occurred_at": time(occurred), "correlation_id": "c",
        });
        Arrived { connection, frame: serde_json::from_value(frame).unwrap(), at: time(at) }
    }

    #[test]
    fn a_percentile_is_one_of_the_values() {
        let values = Vec::from_iter((1..=200).rev());
        assert_eq!([1, 50, 99, 100].map(|percent| percentile(&values, percent)), [2, 100, 198, 200]);
        assert_eq!((percentile(&[7], 99), percentile(&[], 50)), (7, 0));
    }

    #[test]
    fn a_fan_out_lasts_from_the_first_frame_to_the_last() {
        let mut round = Round::of(3);
        let first = [arrived(0, 1, 0, 100), arrived(1, 1, 0, 110), arrived(2, 1, 0, 120)];
        let second = [arrived(2, 2, 100, 180), arrived(0, 2, 100, 160), arrived(1, 2, 100, 170)];
        round.add(&Vec::from_iter(first.into_iter().chain(second)));
        assert_eq!(round.spreads, [20_000, 20_000]);
        assert_eq!(percentile(&round.latencies, 100), 120_000);
        // Four frames behind the first ones, in 40 ms.
        assert_eq!(round.frames_a_second(), Some(100));
    }

    #[test]
    fn one_connection_has_no_fan_out() {
        let mut round = Round::of(1);
        round.add(&[arrived(0, 1, 0, 100)]);
        assert_eq!(round.frames_a_second(), None);
        assert!(table(&[round], 1, Profile::Local).contains("          1        1       100       100"));
    }
}
