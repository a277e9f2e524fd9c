//! The time from an order's event to the connections that follow it, and the throughput to all of them.
//!
//! Customers' connections are real: WebSockets with a ticket, each following all of the customer's orders. Real orders
//! are placed one after the other, and each frame's arrival is compared with the time that its event carries.

use std::collections::{BTreeMap, HashSet};
use std::time::Duration;

use clap::Args;
use contracts::OrderId;
use demo::{Customer, Story};
use futures::{StreamExt, TryStreamExt, stream};
use jiff::Timestamp;
use local_stack::{AboutFile, Outputs, Port, Profile, Progress, Settings, Stack, Step};
use serde_json::json;
use shop_client::{Frame, Live, OrderFrame, Shop, Ticket};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::JoinSet;
use uuid::Uuid;

use crate::error::{Error, Result};

/// Connections that are opened at the same time: each starts two functions.
const OPENING: usize = 8;
/// Connections that are opened with one ticket: so few are open long before its minute is over.
const PER_TICKET: usize = 25;
/// Tries to open a connection. On a busy machine a function may run into its timeout; then the client tries
/// again.
const TRIES: usize = 5;
/// The time for an order to end and its last frame to reach all connections, on a busy machine.
const WITHIN: Duration = Duration::from_secs(180);

#[derive(Debug, Args)]
#[command(
    after_help = "Uses the stack that runs here, or starts one and stops it at the end. Places that many orders for each \
                  number of connections, one after the other. Most of an event's way on this machine is the emulator's, \
                  which looks at streams once a second."
)]
pub struct Push {
    /// Numbers of connections that watch at the same time
    #[arg(long, value_delimiter = ',', default_values_t = [1, 100, 500])]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=1000))]
    connections: Vec<u32>,
    /// How many orders are watched by each number of connections
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
        let folder = settings.target_dir().join("bench-push");
        let own = Settings::new(Some(folder.clone()), Port::Any, Port::Any).about("cannot make", &folder)?;
        Ok(Settings { profile: Profile::Release, ..own })
    }

    async fn all(&self, outputs: &Outputs, progress: &Progress) -> Result<Vec<Round>> {
        let customer = Customer::register(outputs).await?;
        let mut rounds = Vec::new();
        for connections in self.connections.iter().map(|count| *count as usize) {
            let step = progress.step(&format!("{connections} connections"));
            let mut audience = Audience::gather(&customer.shop, connections, &step).await?;
            let mut round = Round::of(connections);
            for order in 0..self.orders {
                step.at(format!("order {} of {}", order + 1, self.orders));
                audience.watch(&customer, &mut round).await?;
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
    async fn gather(shop: &Shop, size: usize, step: &Step) -> Result<Self> {
        let (arrived, arrivals) = unbounded_channel();
        let mut readers = JoinSet::new();
        for first in (0..size).step_by(PER_TICKET) {
            step.at(format!("{first} are connected"));
            let ticket = shop.ticket().await?;
            let numbers = first..size.min(first + PER_TICKET);
            let opened = stream::iter(numbers).map(|connection| {
                let ticket = &ticket;
                async move { open(ticket).await.map(|live| (connection, live)) }
            });
            let opened: Vec<_> = opened.buffer_unordered(OPENING).try_collect().await?;
            for (connection, live) in opened {
                readers.spawn(read(connection, live, arrived.clone()));
            }
        }
        Ok(Self { arrivals, size, _readers: readers })
    }

    /// Places an order and follows it until all connections have seen its end.
    async fn watch(&mut self, customer: &Customer, round: &mut Round) -> Result<()> {
        let basket = customer.basket(Story::Completes).await?;
        let key = Uuid::new_v4().to_string();
        let order = customer.shop.place(&basket.order, &key).await?.order_id;
        let seen = tokio::time::timeout(WITHIN, self.follow(&order)).await.map_err(|_| {
            Error::Measurement(format!(
                "{order} was not seen to its end by all within {} s",
                WITHIN.as_secs()
            ))
        })??;
        round.add(&seen);
        Ok(())
    }

    /// The arrivals of each version at each connection, the first where it came twice.
    async fn follow(&mut self, order: &OrderId) -> Result<Vec<Arrived>> {
        let (mut seen, mut known, mut at_the_end) = (Vec::new(), HashSet::new(), 0);
        while at_the_end < self.size {
            let Some(arrived) = self.arrivals.recv().await else { break };
            let arrived = arrived?;
            let Arrived { connection, frame, .. } = &arrived;
            if frame.order_id == *order && known.insert((*connection, frame.version)) {
                at_the_end += usize::from(frame.status.is_some_and(contracts::OrderStatus::is_final));
                seen.push(arrived);
            }
        }
        Ok(seen)
    }
}

/// A connection that follows all orders of its customer.
async fn open(ticket: &Ticket) -> shop_client::Result<Live> {
    let subscribed = async || {
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
            result => return result,
        }
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
        let mut events: BTreeMap<u64, (i64, i64)> = BTreeMap::new();
        for Arrived { frame, at, .. } in seen {
            let at = at.as_microsecond();
            self.latencies.push(at - frame.occurred_at.as_microsecond());
            let (first, last) = events.entry(frame.version).or_insert((at, at));
            (*first, *last) = (at.min(*first), at.max(*last));
        }
        self.spreads.extend(events.values().map(|(first, last)| last - first));
    }

    /// Frames that went out in a second, while an event was going out; none where each goes to one connection.
    fn frames_a_second(&self) -> Option<i64> {
        let behind_the_first = (self.connections - 1) * self.spreads.len();
        let time: i64 = self.spreads.iter().sum();
        let frames = i64::try_from(behind_the_first).ok().filter(|frames| *frames > 0)?;
        (frames * 1_000_000).checked_div(time)
    }
}

/// The smallest that `percent` of all do not exceed (nearest rank).
fn percentile(values: &[i64], percent: usize) -> i64 {
    let mut sorted = values.to_vec();
    sorted.sort_unstable();
    let rank = (sorted.len() * percent).div_ceil(100).max(1);
    sorted.get(rank - 1).copied().unwrap_or_default()
}

fn table(rounds: &[Round], orders: u32, profile: Profile) -> String {
    let mut text = format!(
        "\nFrom an order's event to its frame, {orders} orders for each number of connections, functions of the {} build.\n\n\
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
