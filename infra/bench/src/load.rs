//! Customers at a chosen rate: an open model, in which arrivals do not wait for answers. So a system that is too slow
//! does not slow down what is asked of it, and its queues show.

mod arrivals;
mod member;
mod processes;
mod records;
mod report;
mod reservations;
mod rest;
mod visit;

use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use demo::Customer;
use fastrand::Rng;
use futures::{StreamExt, TryStreamExt, stream};
use local_stack::{Outputs, Progress, Settings, Stack, Step};
use shop_client::NewOrder;
use tokio::task::JoinSet;
use tokio::time::{Instant, interval, sleep_until};

use arrivals::{crowd, poisson};
use member::Member;
use processes::{Processes, Samples};
use records::Records;
use report::{Measured, table};
use reservations::reserve;
use rest::at_rest;
use visit::{Way, visit};

use crate::error::{Error, Result};
use crate::product::product;

/// Orders of one customer: as many as the rate limit allows at once.
const ORDERS_PER_CUSTOMER: usize = 40;
/// Customers that register at the same time: hashing a password takes a processor.
const REGISTERING: usize = 4;
/// Between two samples of the processes.
const SAMPLE: Duration = Duration::from_secs(1);
/// Each step offers half as much again as the step before.
const STEPS: usize = 8;
/// A step is more than the system can do when half of its orders end this many times later than in the first step.
const SLOWER: u64 = 3;
/// The time of a soak.
const SOAK: u32 = 20 * 60;
/// Pieces of a flash sale.
const PIECES: usize = 100;

#[derive(Debug, Args)]
#[command(
    after_help = "Uses the stack that runs here, or starts one and stops it at the end. The figures are those of this machine \
                  and of the emulator: compare two builds with them, not this machine with AWS."
)]
pub struct Load {
    /// Customers an hour who arrive, at random moments that the seed decides
    #[arg(long, default_value_t = 3_600, value_parser = clap::value_parser!(u32).range(1..=360_000))]
    rate: u32,
    /// How long they arrive, in seconds [default: 60; with --soak 1200]
    #[arg(long = "for", value_name = "SECONDS", value_parser = clap::value_parser!(u32).range(1..=86_400))]
    seconds: Option<u32>,
    /// Offer half as much again after each step, until orders end much later than in the first one
    #[arg(long)]
    steps: bool,
    /// 2,000 customers want 100 pieces of one product within half a minute. On a stack that it starts, the functions that
    /// customers call get a part of the invocations at most: see LAMBDA_ACCOUNT_CONCURRENCY in infra/bench/README.md
    #[arg(long, conflicts_with_all = ["steps", "soak", "rate"])]
    flash_sale: bool,
    /// Customers of the flash sale
    #[arg(long, default_value_t = 2_000, requires = "flash_sale", value_parser = clap::value_parser!(u32).range(101..=20_000))]
    customers: u32,
    /// 20 minutes; the report shows each process' memory before and after
    #[arg(long, conflicts_with = "steps")]
    soak: bool,
    /// Of a hundred customers, how many watch their order on the WebSocket; the others poll
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u64).range(0..=100))]
    watch: u64,
    /// Of a hundred customers, how many cancel their order at once
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u64).range(0..=100))]
    cancel: u64,
    /// How long a customer tries to order and waits for the end of the order, in seconds
    #[arg(long, default_value_t = 600, value_parser = clap::value_parser!(u64).range(10..=3_600))]
    within: u64,
    /// Decides when customers arrive and what they do
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Print the figures as JSON
    #[arg(long)]
    json: bool,
}

/// What is offered in one step.
struct Offer {
    name: String,
    arrivals: Vec<Duration>,
    order: NewOrder,
    ways: Vec<Way>,
}

impl Load {
    /// Measures, prints the figures on stdout, and lets `verdict` check what the stores hold when nothing moves any more.
    ///
    /// # Errors
    /// The stack does not start, a flash sale sold another number than there was, messages wait for too long, or the
    /// verdict is bad.
    pub async fn run<E: From<Error>>(
        self,
        settings: &Settings,
        progress: &Progress,
        verdict: impl AsyncFnOnce() -> std::result::Result<(), E>,
    ) -> std::result::Result<(), E> {
        let stack = Stack::start(settings, progress).await.map_err(Error::from)?;
        let measured = async {
            // A stack of its own: on another one, its owner decides.
            if self.flash_sale && stack.is_ours() {
                reserve(stack.outputs()).await?;
            }
            self.all(&stack, progress).await?;
            at_rest(stack.outputs(), progress).await?;
            verdict().await
        };
        let result = measured.await;
        if stack.is_ours() {
            stack.stop();
        }
        result
    }

    async fn all(&self, stack: &Stack, progress: &Progress) -> Result<()> {
        let processes = Processes::of(stack.running());
        let mut random = Rng::with_seed(self.seed);
        let mut steps: Vec<Measured> = Vec::new();
        let mut members: Vec<Arc<Member>> = Vec::new();
        let most = if self.steps { STEPS } else { 1 };
        for number in 0..most {
            let step = progress.step("preparing customers and their product");
            let offer = self.offer(number, stack.outputs(), &mut members, &mut random, &step).await?;
            step.done(&format!("{} customers for {} orders", members.len(), offer.arrivals.len()));
            let step = progress.step(&offer.name);
            let measured = measure(offer, &members, &processes, &step).await;
            step.done(&measured.name);
            if self.json {
                println!("{:#}", measured.as_json());
            } else {
                print!("{}", table(&measured, self.soak));
            }
            let is_saturated = steps.first().is_some_and(|first| measured.is_slower(first, SLOWER));
            steps.push(measured);
            if is_saturated {
                break;
            }
        }
        if self.steps {
            println!("{}", report::saturation(&steps, SLOWER));
        }
        if self.flash_sale
            && let Some(sale) = steps.first()
        {
            println!(
                "{}",
                sale.of_sale(PIECES as u64, u64::from(self.customers)).map_err(Error::Measurement)?
            );
        }
        Ok(())
    }

    async fn offer(
        &self,
        number: usize,
        outputs: &Outputs,
        members: &mut Vec<Arc<Member>>,
        random: &mut Rng,
        step: &Step,
    ) -> Result<Offer> {
        let seconds = self.seconds.unwrap_or(if self.soak { SOAK } else { 60 });
        let time = Duration::from_secs(u64::from(seconds));
        let (name, arrivals, pieces) = if self.flash_sale {
            let time = Duration::from_secs(u64::from(self.seconds.unwrap_or(30)));
            let name =
                format!("{} customers for {PIECES} pieces within {} s", self.customers, time.as_secs());
            (name, crowd(self.customers, time, random), PIECES)
        } else {
            let rate = (0..number).fold(self.rate, |rate, _| rate.saturating_add(rate / 2));
            let arrivals = poisson(rate, time, random);
            let pieces = arrivals.len();
            (format!("{rate} customers an hour for {seconds} s"), arrivals, pieces)
        };
        let patience = Duration::from_secs(self.within);
        let cancels = if self.flash_sale { 0 } else { self.cancel };
        let ways = arrivals.iter().map(|_| Way {
            watches: random.u64(..100) < self.watch,
            cancels: random.u64(..100) < cancels,
            patience,
        });
        let ways = ways.collect();
        // In a flash sale every customer wants one piece, and is a customer of their own.
        let each = if self.flash_sale { 1 } else { ORDERS_PER_CUSTOMER };
        let customers = arrivals.len().div_ceil(each).max(1);
        // What was ordered in the step before counts for the limit: each step has customers of its own.
        members.clear();
        let order = product(outputs, &Customer::register(outputs).await?, pieces).await?;
        let mut registered =
            stream::iter(0..customers).map(|_| Member::register(outputs)).buffer_unordered(REGISTERING);
        while let Some(member) = registered.try_next().await? {
            members.push(Arc::new(member));
            step.part(members.len(), customers);
        }
        Ok(Offer { name, arrivals, order, ways })
    }
}

/// Lets the customers arrive, and waits until each has seen the end of the order.
async fn measure(offer: Offer, members: &[Arc<Member>], processes: &Processes, step: &Step) -> Measured {
    let records = Arc::new(Records::default());
    let mut samples = Samples::begin(processes);
    let began = Instant::now();
    let all = offer.arrivals.len();
    let mut visits = JoinSet::new();
    let members = members.iter().cycle();
    for ((arrival, way), member) in offer.arrivals.iter().zip(offer.ways).zip(members) {
        let (arrival, member) = (began + *arrival, Arc::clone(member));
        let (order, records) = (offer.order.clone(), Arc::clone(&records));
        visits.spawn(async move {
            sleep_until(arrival).await;
            visit(&member, &order, way, &records).await;
        });
    }
    let mut ticks = interval(SAMPLE);
    let mut done = 0;
    loop {
        tokio::select! {
            ended = visits.join_next() => match ended {
                // A visit that panicked is one whose end was not seen.
                Some(result) => {
                    if result.is_err() {
                        records.unseen();
                    }
                    done += 1;
                    step.part(done, all);
                }
                None => break,
            },
            _ = ticks.tick() => {
                samples.take(processes);
                step.at(format!("{done} of {all} visits are over"));
            }
        }
    }
    samples.take(processes);
    let arriving = offer.arrivals.last().copied().unwrap_or_default();
    Measured { name: offer.name, figures: records.take(), took: began.elapsed(), arriving, samples }
}
