//! The AWS calls that one order of each kind causes, and the price of a million such orders.
//!
//! A separate stack runs with a [`proxy`] between the functions and the emulator, which counts their
//! calls and sizes. Everything that does not pass the proxy (states entered, functions invoked, messages
//! delivered) is read from the emulator's own [`records`]. Orders are placed one at a time, and the
//! next one waits until the system is idle, so that all counts belong to one order.

mod bill;
mod call;
mod prices;
mod proxy;
pub(super) mod records;
mod report;
mod scale;
mod topology;
mod units;

use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use contracts::OrderId;
use demo::{Customer, Story};
use local_stack::{AboutFile, Emulator, Outputs, Port, Progress, Settings, Stack, StateDir, ports};
use shop_client::eventually;
use tokio::net::TcpListener;
use uuid::Uuid;

use self::bill::Counted;
use self::proxy::Proxy;
use self::records::Saga;
use self::report::{Kind, Report};
use self::topology::Topology;
use crate::error::{Error, Result};

/// The system is idle when there was no call for this long: the emulator polls streams every second, the
/// gateway's webhook comes after one second, and no call takes longer than this.
const QUIET: Duration = Duration::from_secs(5);
/// The customer acts when the order only waits for that. Shorter than the 5 s after which payments look by themselves.
const LULL: Duration = Duration::from_millis(1500);
/// For one order on a busy machine: some 10 s are usual.
const WITHIN: Duration = Duration::from_secs(180);

#[derive(Debug, Args)]
#[command(
    after_help = "Starts a stack of its own (target/bench-cost, free ports), places every kind of order twice, counts \
                        the second, and stops what it started. Some three minutes when the functions are built. \
                        Nothing is timed but the functions, whose milliseconds are this machine's and not AWS's."
)]
pub struct Cost {
    /// Print JSON, with the calls of each function
    #[arg(long)]
    json: bool,
    /// Show which function makes which call, and how large the items are that it writes
    #[arg(long, conflicts_with = "json")]
    by_function: bool,
}

impl Cost {
    /// Starts a stack, places orders, and prints their calls on stdout.
    ///
    /// # Errors
    /// The stack does not start, or an order does not end as its kind should.
    pub async fn run(self, settings: &Settings, progress: &Progress) -> Result<()> {
        let (settings, proxy) = prepared(settings).await?;
        let stack = Stack::start(&settings, progress).await?;
        let bench = Bench::begin(stack.outputs(), proxy).await?;
        let kinds = bench.all(progress).await?;
        stack.stop();
        let report = Report::new(kinds, &bench.topology);
        print!("{}", if self.json { report.json()? } else { report.text(self.by_function) });
        Ok(())
    }
}

/// The settings of the bench's own stack, and the proxy that its functions will call.
async fn prepared(settings: &Settings) -> Result<(Settings, Arc<Proxy>)> {
    let folder = settings.target_dir().join("bench-cost");
    let mut own = Settings::new(Some(folder.clone()), Port::Any, Port::Any).about("cannot make", &folder)?;
    // A running stack has functions that call another proxy, and orders of another run.
    if StateDir::new(&own.state_dir).running().is_some() {
        return Err(Error::Measurement(format!(
            "another `cargo ops bench cost` runs. Wait for it, or end it with `cargo ops --state-dir {} down`.",
            own.state_dir.display()
        )));
    }
    let gateway = ports::choose(Port::Any, &own.bind, "the AWS emulator's", "--port")?.port;
    own.gateway_port = Port::Exactly(gateway);
    let listener = TcpListener::bind((own.bind.as_str(), 0)).await.about("cannot listen beside", &folder)?;
    let address = listener.local_addr().about("cannot listen beside", &folder)?;
    own.functions_endpoint = Some(format!("http://{address}"));
    let proxy = Arc::new(Proxy::new(&format!("http://127.0.0.1:{gateway}")));
    tokio::spawn(proxy.clone().serve(listener));
    Ok((own, proxy))
}

/// A stack that is counted.
struct Bench {
    endpoint: String,
    emulator: Emulator,
    proxy: Arc<Proxy>,
    topology: Topology,
    customer: Customer,
}

impl Bench {
    async fn begin(outputs: &Outputs, proxy: Arc<Proxy>) -> Result<Self> {
        let emulator = Emulator::new(&outputs.aws_endpoint_url);
        Ok(Self {
            endpoint: outputs.aws_endpoint_url.clone(),
            topology: Topology::read(&emulator).await?,
            emulator,
            proxy,
            customer: Customer::register(outputs).await?,
        })
    }

    async fn all(&self, progress: &Progress) -> Result<Vec<Kind>> {
        let total = Story::ALL.len();
        let warm_up = progress.step("warming up: one order of each kind");
        for (index, story) in Story::ALL.into_iter().enumerate() {
            warm_up.part(index, total);
            warm_up.at(story.title());
            self.order(story).await?;
        }
        warm_up.done("every function has run");
        let step = progress.step("counting: one order of each kind");
        let mut kinds = Vec::new();
        for (index, story) in Story::ALL.into_iter().enumerate() {
            step.part(index, total);
            step.at(story.title());
            kinds.push(Kind { story, counted: self.order(story).await? });
        }
        step.done("counted one order of each kind");
        Ok(kinds)
    }

    /// Places an order of this kind and waits until nothing moves any more.
    async fn order(&self, story: Story) -> Result<Counted> {
        let shop = &self.customer.shop;
        let basket = self.customer.basket(story).await?;
        self.quiet(QUIET).await?;
        // The calls until now belong to no order.
        self.proxy.take();
        let since = jiff::Timestamp::now().as_millisecond();

        let placed = shop.place(&basket.order, &Uuid::new_v4().to_string()).await?;
        if story == Story::PaysLate {
            self.confirm(&placed.order_id).await?;
        }
        let saga = self.settled(&placed.order_id).await?;
        let tally = self.proxy.take();
        let runs = records::runs(&self.emulator, since).await?;

        if let Some(reason) = tally.unweighed.first() {
            return Err(Error::Measurement(format!("what {} used is not known: {reason}", story.title())));
        }
        let ended = shop.order(&placed.order_id).await?.status;
        let wanted = story.ending().status;
        if ended != wanted {
            return Err(Error::Measurement(format!(
                "{} ended as {ended} and not as {wanted}, so its count would be another order's",
                story.title()
            )));
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

    /// Waits until the order's execution has ended, the queues are empty, and there are no calls.
    async fn settled(&self, order: &OrderId) -> Result<Saga> {
        let all_done = async || {
            let quiet = self.proxy.quiet_for();
            if quiet < QUIET {
                Err(format!("a call {} ms ago", quiet.as_millis()))?;
            }
            if !records::queues_are_empty(&self.endpoint).await? {
                Err("messages in queues")?;
            }
            let saga = records::saga(&self.emulator, &self.topology, order).await?;
            if saga.has_ended {
                Ok(saga)
            } else {
                Err(format!("its execution is at {:?}", saga.entered.last()))?
            }
        };
        Ok(eventually(&format!("order {order} is over and nothing moves"), WITHIN, all_done).await?)
    }
}
