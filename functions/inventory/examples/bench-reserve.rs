//! How many reservations of one hot SKU a second go through, by the number of its shards, and how many refusals once it is
//! sold out.
//!
//! `cargo ops bench reserve` builds and runs this. The real command code and the real SDK work against a table in this
//! process, behind the limits that DynamoDB documents and the table does not have (`limits`). Both are slowed down by a
//! factor, so that those limits are met long before this machine's processor is.

#[path = "bench-reserve/limits.rs"]
mod limits;

use std::{
    cell::{Cell, RefCell},
    collections::BTreeMap,
    time::{Duration, Instant},
};

use aws_smithy_runtime_api::client::http::SharedHttpClient;
use axum::{body::Body, http::Request};
use contracts::{
    CorrelationId, IdempotencyKey, OrderId, OrderLine, Position, Sku, Switch, UserId,
    saga::{CommandContext, INVENTORY_NOT_AVAILABLE, InventoryCommand},
};
use futures::future::join_all;
use inventory::{HeldPartitions, Store, handle_command, routes};
use jiff::Timestamp;
use lambda_kit::{
    aws,
    command::CommandError,
    dynamodb::Table,
    http::app,
    switch::FeatureSwitch,
    testing::{self, Tokens},
};
use tower::ServiceExt;

use limits::{Limited, Limits};

/// What the orders of a run meet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stock {
    Plenty,
    SoldOut,
}

/// Orders under way for each shard: enough to keep it busy while others wait out a refusal.
const WORKERS_PER_SHARD: u32 = 8;
/// Linear within a fifth: what the project holds itself to.
const LINEAR_PERCENT: u64 = 80;

struct Arguments {
    shards: Vec<u32>,
    seconds: u64,
    slower: u32,
}

/// What one number of shards came to.
struct Run {
    shards: u32,
    done: u64,
    failed: u64,
    conflicts: u64,
    throttled: u64,
    milliseconds: Vec<u64>,
    seconds: u64,
}

type Failure = Box<dyn std::error::Error>;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Failure> {
    let arguments = arguments()?;
    println!(
        "\nOrders of one SKU, {} s for each number of shards after a warm-up. Limits and times are those of DynamoDB\n\
         (1,000 write units and 3,000 read units a second for each partition key, twice for transactions; a\n\
         transaction keeps its items from others for 1 ms) slowed down {} times; the last columns are of full speed.\n\
         The command's waits are not slowed down, so that it is refused more often than it would be.",
        arguments.seconds, arguments.slower,
    );
    let (mut linear, mut cheap) = (true, true);
    let mut reserved = BTreeMap::new();
    for stock in [Stock::Plenty, Stock::SoldOut] {
        println!(
            "\n{:>6} {:>10} {:>10} {:>10} {:>10} {:>12} {:>11} {:>8}",
            "shards",
            stock.done(),
            "conflicts",
            "throttled",
            "failed",
            format!("{}/s", stock.done()),
            "times one",
            "p99 ms"
        );
        let mut one: Option<(u32, u64)> = None;
        for shards in &arguments.shards {
            let run = run(*shards, stock, &arguments).await?;
            let per_second = run.per_second(arguments.slower);
            let first = *one.get_or_insert((run.shards, per_second));
            match stock {
                Stock::Plenty => {
                    linear &= run.percent_of_linear(first, arguments.slower) >= LINEAR_PERCENT;
                    reserved.insert(*shards, per_second);
                }
                Stock::SoldOut => {
                    cheap &= reserved.get(shards).is_none_or(|reserved| per_second >= *reserved)
                }
            }
            run.print(first, &arguments);
        }
    }
    let verdict = |holds| if holds { "holds" } else { "does not hold" };
    println!(
        "\nHeld to: {LINEAR_PERCENT} % of linear growth, which {}; refusals as many as reservations, which {}.",
        verdict(linear),
        verdict(cheap)
    );
    Ok(())
}

fn arguments() -> Result<Arguments, Failure> {
    let mut arguments = Arguments { shards: vec![1, 4, 16], seconds: 15, slower: 100 };
    let mut given = std::env::args().skip(1);
    while let Some(name) = given.next() {
        let value = given.next().ok_or(format!("{name} needs a value"))?;
        match name.as_str() {
            "--shards" => arguments.shards = value.split(',').map(str::parse).collect::<Result<_, _>>()?,
            "--seconds" => arguments.seconds = value.parse()?,
            "--slower" => arguments.slower = value.parse()?,
            other => Err(format!("{other} is not known: --shards, --seconds, --slower are"))?,
        }
    }
    Ok(arguments)
}

async fn run(shards: u32, stock: Stock, arguments: &Arguments) -> Result<Run, Failure> {
    let (plain, _) = testing::table(&[("held", "held", "created_at")]).await;
    set_stock(Store::new(plain.clone(), HeldPartitions::default()), stock, shards).await?;
    let limits = Limits::slowed(arguments.slower);
    let client = Limited::new(aws::http_client(), limits.clone());
    let config = plain.client.config().to_builder().http_client(SharedHttpClient::new(client)).build();
    let store = Store::new(
        Table::new(aws_sdk_dynamodb::Client::from_conf(config), plain.name),
        HeldPartitions::default(),
    );

    let (number, failed, times) = (Cell::new(0_u64), Cell::new(0_u64), RefCell::new(Vec::new()));
    let warm_up = Duration::from_secs(2);
    let (started, began) = (Instant::now(), Timestamp::now());
    // The command's own time is slowed down as well: what it remembers for a moment.
    let slowed = || began + started.elapsed() / arguments.slower;
    let ends = started + warm_up + Duration::from_secs(arguments.seconds);
    let measured = async {
        tokio::time::sleep(warm_up).await;
        limits.reset_counts();
    };
    let workers = (0..shards * WORKERS_PER_SHARD).map(|_| async {
        while Instant::now() < ends {
            number.set(number.get() + 1);
            let begun = Instant::now();
            let result = handle_command(&store, command(number.get()), slowed()).await;
            let now = Instant::now();
            if now < started + warm_up || now > ends {
                continue;
            }
            if stock.is_done(&result) {
                times.borrow_mut().push(u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX));
            } else {
                failed.set(failed.get() + 1);
            }
        }
    });
    futures::future::join(measured, join_all(workers)).await;
    let (conflicts, throttled) = limits.counts();
    let mut milliseconds = times.into_inner();
    milliseconds.sort_unstable();
    Ok(Run {
        shards,
        done: milliseconds.len() as u64,
        failed: failed.get(),
        conflicts,
        throttled,
        milliseconds,
        seconds: arguments.seconds,
    })
}

/// Through the API, as an administrator does it.
async fn set_stock(store: Store, stock: Stock, shards: u32) -> Result<(), Failure> {
    let tokens = Tokens::new();
    let request = Request::put("/v1/inventory/HOT")
        .header("authorization", tokens.admin())
        .header("content-type", "application/json")
        .body(Body::from(format!(r#"{{"available":{},"shards":{shards}}}"#, stock.available())))?;
    let limited_stock = FeatureSwitch::fixed(Switch::LimitedStock, Position::On);
    let answer = app(routes(store, limited_stock), tokens.verifier()).oneshot(request).await?;
    if answer.status().is_success() { Ok(()) } else { Err(format!("the stock is not set: {answer:?}"))? }
}

fn command(number: u64) -> InventoryCommand {
    // Literals of the right form.
    let user_id = UserId::try_from("usr_00000000000000000000000000000001").expect("a user's id");
    let key = IdempotencyKey::try_from(format!("order-{number}")).expect("a key");
    let context = CommandContext::new(
        OrderId::derive(&user_id, &key),
        CorrelationId::try_from("bench").expect("a correlation id"),
    );
    let sku = Sku::try_from("HOT").expect("a SKU");
    InventoryCommand::ReserveInventory { context, user_id, items: vec![OrderLine { sku, quantity: 1 }] }
}

impl Stock {
    /// Plenty is more than any run sells.
    const fn available(self) -> u32 {
        match self {
            Self::Plenty => 1_000_000,
            Self::SoldOut => 0,
        }
    }

    const fn done(self) -> &'static str {
        match self {
            Self::Plenty => "reserved",
            Self::SoldOut => "refused",
        }
    }

    /// Whether the order was answered as the stock is.
    fn is_done<T, E: CommandError>(self, result: &Result<T, E>) -> bool {
        match (self, result) {
            (Self::Plenty, result) => result.is_ok(),
            (Self::SoldOut, Err(error)) => error.name() == INVENTORY_NOT_AVAILABLE,
            (Self::SoldOut, Ok(_)) => false,
        }
    }
}

impl Run {
    /// At full speed.
    fn per_second(&self, slower: u32) -> u64 {
        self.done * u64::from(slower) / self.seconds.max(1)
    }

    fn percent_of_linear(&self, (shards, per_second): (u32, u64), slower: u32) -> u64 {
        let linear = (per_second * u64::from(self.shards) / u64::from(shards)).max(1);
        self.per_second(slower) * 100 / linear
    }

    fn print(&self, first: (u32, u64), arguments: &Arguments) {
        let per_second = self.per_second(arguments.slower);
        let tenths = per_second * 10 / first.1.max(1);
        let last = self.milliseconds.len().saturating_sub(1);
        let p99 = self.milliseconds.get(last * 99 / 100).copied().unwrap_or_default();
        println!(
            "{:>6} {:>10} {:>10} {:>10} {:>10} {:>12} {:>11} {:>8}",
            self.shards,
            self.done,
            self.conflicts,
            self.throttled,
            self.failed,
            per_second,
            format!("{}.{}", tenths / 10, tenths % 10),
            p99 / u64::from(arguments.slower),
        );
    }
}
