//! The AWS calls that one order of each kind causes, and the price of a million such orders.
//!
//! A separate stack runs with a [`proxy`] between the functions and the emulator, which counts their
//! calls and sizes. Everything that does not pass the proxy (states entered, functions invoked, messages
//! delivered) is read from the emulator's own [`records`]. Orders are placed one at a time, and the
//! next one waits until the system is idle, so that all counts belong to one order. A customer's visit without an order is
//! counted in the same way, and what a stage costs in a month follows from its templates ([`month`]).

mod bill;
mod golden;
mod month;
mod prices;
mod proxy;
pub(super) mod records;
mod report;
mod scale;
pub(super) mod topology;
mod units;
mod visit;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use contracts::{FUNCTION_ALIAS, OrderId};
use demo::{Basket, Customer, Story};
use local_stack::{
    AboutFile, Emulator, LOCAL_STAGE, Outputs, Port, Progress, Settings, Stack, StateDir, ports,
};
use reqwest::Method;
use shop_client::eventually;
use tokio::net::TcpListener;
use uuid::Uuid;

use self::bill::Counted;
use self::golden::Golden;
use self::month::Declared;
use self::proxy::Proxy;
use self::records::Saga;
use self::report::{Kind, Month, Report};
use self::topology::Topology;
use self::visit::Visitor;
use crate::error::{Error, Result};

/// The system is idle when there was no call for this long: the emulator polls streams every second, the
/// gateway's webhook comes after one second, and no call takes longer than this.
const QUIET: Duration = Duration::from_secs(5);
/// The customer acts when the order only waits for that. Shorter than the 5 s after which payments look by themselves.
const LULL: Duration = Duration::from_millis(1500);
/// When notifications look whether an order has ended. A minute on AWS; longer here than an order takes.
const CONFIRMATION_DELAY_SECONDS: &str = "12";
/// For one order on a busy machine: some 10 s are usual.
const WITHIN: Duration = Duration::from_secs(180);

/// How often `--check` measures a kind again whose figures have grown: which messages arrive together is chance, and the
/// least that a kind needs is not.
const AGAIN: usize = 3;

/// The checked-in figures.
const GOLDEN: &str = "infra/bench/cost.json";

#[derive(Debug, Args)]
#[command(
    after_help = "Starts a stack of its own (target/bench-cost, free ports), places every kind of order twice, counts \
                  the second, counts a customer's visit, and stops what it started. Some four minutes when the \
                  functions are built. Nothing is timed but the functions, whose milliseconds are this machine's and \
                  not AWS's."
)]
pub struct Cost {
    /// Print JSON, with the calls of each function
    #[arg(long)]
    json: bool,
    /// Show which function makes which call, and how large the items are that it writes
    #[arg(long, conflicts_with = "json")]
    by_function: bool,
    /// Fail when an order needs more than infra/bench/cost.json says
    #[arg(long, conflicts_with = "write")]
    check: bool,
    /// Write infra/bench/cost.json anew
    #[arg(long)]
    write: bool,
}

impl Cost {
    /// Starts a stack, places orders, and prints their calls on stdout.
    ///
    /// # Errors
    /// The stack does not start, or an order does not end as its kind should.
    pub async fn run(self, settings: &Settings, progress: &Progress) -> Result<()> {
        let file = settings.root.join(GOLDEN);
        let before = if self.check { Some(Golden::read(&file)?) } else { None };
        let (settings, proxy) = prepared(settings).await?;
        let stack = Stack::start(&settings, progress).await?;
        let bench = Bench::begin(stack.outputs(), proxy).await?;
        let kinds = bench.all(progress).await?;
        let month = bench.month(&settings).await?;
        let mut golden = Golden::of(&kinds, &bench.topology, bill::total(&month.idle));
        if let Some(before) = &before {
            bench.measure_again(&mut golden, before, progress).await?;
        }
        stack.stop();
        let report = Report::new(kinds, month, &bench.topology);
        print!("{}", if self.json { report.json()? } else { report.text(self.by_function) });
        if let Some(before) = &before {
            golden.check(before)?;
        } else if self.write {
            golden.write(&file)?;
        }
        Ok(())
    }
}

/// The settings of the bench's own stack, and the proxy that its functions will call.
async fn prepared(settings: &Settings) -> Result<(Settings, Arc<Proxy>)> {
    let mut own = settings.own("bench-cost")?;
    // A running stack has functions that call another proxy, and orders of another run.
    if StateDir::new(&own.state_dir).running().is_some() {
        return Err(Error::Measurement(format!(
            "another `cargo ops bench cost` runs. Wait for it, or end it with `cargo ops --state-dir {} down`.",
            own.state_dir.display()
        )));
    }
    let gateway = ports::choose(Port::Any, &own.bind, "the AWS emulator's", "--port")?.port;
    own.gateway_port = Port::Exactly(gateway);
    own.parameters.insert("ConfirmationDelaySeconds".to_owned(), CONFIRMATION_DELAY_SECONDS.to_owned());
    let listener = TcpListener::bind((own.bind.as_str(), 0)).await;
    let listener = listener.about("cannot listen beside", &own.state_dir)?;
    let address = listener.local_addr().about("cannot listen beside", &own.state_dir)?;
    own.functions_endpoint = Some(format!("http://{address}"));
    let proxy = Arc::new(Proxy::new(&format!("http://127.0.0.1:{gateway}")));
    tokio::spawn(proxy.clone().serve(listener));
    Ok((own, proxy))
}

/// A stack that is counted.
struct Bench {
    emulator: Emulator,
    proxy: Arc<Proxy>,
    topology: Topology,
    customer: Customer,
    visitor: Visitor,
}

impl Bench {
    async fn begin(outputs: &Outputs, proxy: Arc<Proxy>) -> Result<Self> {
        let emulator = Emulator::new(&outputs.aws_endpoint_url);
        Ok(Self {
            topology: Topology::read(&emulator).await?,
            emulator,
            proxy,
            customer: Customer::register(outputs).await?,
            visitor: Visitor::register(outputs).await?,
        })
    }

    async fn all(&self, progress: &Progress) -> Result<Vec<Kind>> {
        let total = Story::ALL.len();
        let warm_up = progress.step("warming up: one order of each kind");
        for (index, story) in Story::ALL.into_iter().enumerate() {
            warm_up.part(index, total);
            warm_up.at(story.title());
            let order = self.place(story).await?;
            self.ended(&order).await?;
        }
        self.visitor.visit(&self.customer.basket(Story::Completes).await?).await?;
        self.drained().await?;
        warm_up.done("every function has run");
        let step = progress.step("counting: one order of each kind");
        let mut kinds = Vec::new();
        for (index, story) in Story::ALL.into_iter().enumerate() {
            step.part(index, total);
            step.at(story.title());
            kinds.push(self.kind(story).await?);
        }
        let mut visit = self.visit().await?;
        visit.frames += kinds.first().map_or(0, |kind| kind.counted.pushed_frames(&self.topology));
        kinds.push(Kind { title: report::VISIT, ending: "no order".to_owned(), counted: visit });
        step.done("counted one order of each kind");
        Ok(kinds)
    }

    /// Measures the kinds whose figures have grown again, and keeps the least of each.
    async fn measure_again(&self, golden: &mut Golden, before: &Golden, progress: &Progress) -> Result<()> {
        for _ in 0..AGAIN {
            let grown = golden.grown_kinds(before);
            let grown = Story::ALL.into_iter().filter(|story| grown.contains(story.title()));
            for story in grown {
                let step = progress.step(&format!("counting again: {}", story.title()));
                golden.keep_least(&self.kind(story).await?, &self.topology);
                step.done(&format!("counted again: {}", story.title()));
            }
        }
        Ok(())
    }

    /// What the stage costs in a month.
    async fn month(&self, settings: &Settings) -> Result<Month> {
        let scheduled = self.topology.scheduled();
        for function in &scheduled {
            let event = settings.infra().join(format!("events/{function}.json"));
            let event = std::fs::read(&event).about("cannot read", &event)?;
            let path = format!(
                "/2015-03-31/functions/ordersaga-{LOCAL_STAGE}-{function}:{FUNCTION_ALIAS}/invocations"
            );
            self.emulator.send("lambda", "Invoke", Method::POST, &path, &[], event).await?;
        }
        let metrics = records::metrics(&self.emulator).await?;
        let by_the_clock = metrics.iter().filter(|(function, _)| scheduled.contains(function.as_str()));
        let by_the_clock: BTreeSet<String> = by_the_clock.flat_map(|(_, metrics)| metrics).cloned().collect();
        let all: BTreeSet<String> = metrics.into_values().flatten().collect();
        let declared = Declared::read(&settings.infra())?;
        let more = all.len().saturating_sub(by_the_clock.len()) as u64;
        Ok(Month {
            idle: month::idle(&declared, &self.topology, &by_the_clock),
            in_use: vec![month::line(&prices::METRIC, more)],
        })
    }

    async fn visit(&self) -> Result<Counted> {
        let basket = self.customer.basket(Story::Completes).await?;
        self.quiet(QUIET).await?;
        self.proxy.take();
        let since = jiff::Timestamp::now().as_millisecond();
        self.visitor.visit(&basket).await?;
        self.drained().await?;
        let counted = self.counted(report::VISIT, since, Saga::default()).await?;
        Ok(Counted { frames: visit::FRAMES, connection_minutes: visit::MINUTES, ..counted })
    }

    async fn place(&self, story: Story) -> Result<OrderId> {
        let basket = self.customer.basket(story).await?;
        self.place_basket(story, &basket).await
    }

    async fn place_basket(&self, story: Story, basket: &Basket) -> Result<OrderId> {
        let order = self.customer.shop.place(&basket.order, &Uuid::new_v4().to_string()).await?.order_id;
        if story == Story::PaysLate {
            self.confirm(&order).await?;
        }
        Ok(order)
    }

    async fn kind(&self, story: Story) -> Result<Kind> {
        let counted = self.order(story).await?;
        Ok(Kind { title: story.title(), ending: story.ending().to_string(), counted })
    }

    /// Places an order of this kind and waits until nothing moves any more.
    async fn order(&self, story: Story) -> Result<Counted> {
        let shop = &self.customer.shop;
        let basket = self.customer.basket(story).await?;
        self.quiet(QUIET).await?;
        let kept = records::kept_bytes(&self.emulator).await?;
        // The calls until now belong to no order.
        self.proxy.take();
        let since = jiff::Timestamp::now().as_millisecond();

        let placed = self.place_basket(story, &basket).await?;
        let saga = self.ended(&placed).await?;
        self.drained().await?;
        let counted = self.counted(story.title(), since, saga).await?;
        let kept_bytes = records::kept_bytes(&self.emulator).await?.saturating_sub(kept);

        let ended = shop.order(&placed).await?.status;
        let wanted = story.ending().status;
        if ended != wanted {
            return Err(Error::Measurement(format!(
                "{} ended as {ended} and not as {wanted}, so its count would be another order's",
                story.title()
            )));
        }
        Ok(Counted { kept_bytes, ..counted })
    }

    /// What has been counted since a time, in milliseconds since 1970.
    async fn counted(&self, title: &str, since: i64, saga: Saga) -> Result<Counted> {
        let tally = self.proxy.take();
        let runs = records::runs(&self.emulator, since).await?;
        if let Some(reason) = tally.unweighed.first() {
            return Err(Error::Measurement(format!("what {title} used is not known: {reason}")));
        }
        Ok(Counted::new(tally, runs, saga, &self.topology))
    }

    /// Confirms a payment as the customer does on the page: one call to read the bank's request, then the
    /// answer.
    async fn confirm(&self, order: &OrderId) -> Result<()> {
        let Customer { shop, gateway, .. } = &self.customer;
        let asks = async || {
            let intents = gateway.intents_of(order).await?;
            let asked = intents.iter().any(|intent| intent.status == "requires_action");
            if asked { Ok(()) } else { Err(format!("{} intents, none that asks", intents.len()))? }
        };
        eventually("the bank asks the customer", WITHIN, asks).await?;
        self.quiet(LULL).await?;
        let payment = shop.payment(order).await?;
        let asked = payment.next_action.ok_or_else(|| {
            Error::Measurement(format!("the payment of {order} is {} and asks for nothing", payment.status))
        })?;
        Ok(gateway.authenticate(&asked).await?)
    }

    async fn quiet(&self, time: Duration) -> Result<()> {
        let lull = async || match self.proxy.quiet_for() {
            quiet if quiet >= time => Ok(()),
            quiet => Err(format!("a call {} ms ago", quiet.as_millis()))?,
        };
        Ok(eventually("nobody calls AWS", WITHIN, lull).await?)
    }

    /// Waits until the queues are empty, those of delayed messages, too, and there are no calls.
    async fn drained(&self) -> Result<()> {
        let all_done = async || {
            let quiet = self.proxy.quiet_for();
            if quiet < QUIET {
                Err(format!("a call {} ms ago", quiet.as_millis()))?;
            }
            let waiting = self.emulator.queued().await?.waiting;
            if waiting.is_empty() { Ok(()) } else { Err(format!("messages in queues: {waiting:?}"))? }
        };
        Ok(eventually("nothing moves", WITHIN, all_done).await?)
    }

    /// Waits until the order's execution has ended.
    async fn ended(&self, order: &OrderId) -> Result<Saga> {
        let has_ended = async || {
            let saga = records::saga(&self.emulator, &self.topology, order).await?;
            if saga.has_ended {
                Ok(saga)
            } else {
                Err(format!("its execution is at {:?}", saga.entered.last()))?
            }
        };
        Ok(eventually(&format!("the saga of order {order} ends"), WITHIN, has_ended).await?)
    }
}
