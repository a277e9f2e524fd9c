//! The CPU time that each function uses for one completed order, and its invocations.
//!
//! Real orders are placed one after the other, and each is polled like by a client without a WebSocket. The
//! CPU time is the kernel's count for each function process, from before the first order to after the last
//! one, when the system is idle.

use std::collections::BTreeMap;
use std::time::Duration;

use clap::Args;
use contracts::OrderStatus;
use demo::{Customer, Story};
use local_stack::{Emulator, LOCAL_STAGE, Profile, Progress, Settings, Stack, process};
use shop_client::eventually;
use uuid::Uuid;

use crate::cost::records::{self, Runs};
use crate::error::Result;
use crate::figures::hundredths;

/// Orders before the first one that counts: functions start, and their connections are opened.
const WARM_UP: u32 = 3;
/// The number of times that the customer polls the order.
const POLLS: u32 = 4;
/// For one order to end, and for everything after it to be done, on a busy machine.
const WITHIN: Duration = Duration::from_secs(180);
/// The system is idle when no function has used the CPU for this long: the emulator polls streams every
/// second.
const QUIET: Duration = Duration::from_secs(3);

#[derive(Debug, Args)]
#[command(
    after_help = "Starts a stack of its own (target/bench-cpu, free ports) with functions that are built as for AWS, and \
                  stops it at the end. Some minutes when the functions are built."
)]
pub struct Cpu {
    /// How many orders are placed, one after the other
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=30))]
    // With the warm-up orders, within the 40 that the rate limit allows a customer at once.
    orders: u32,
    /// Measure the functions as the local stack runs them, not optimised
    #[arg(long)]
    local: bool,
}

impl Cpu {
    /// Starts a stack, places orders, prints a table on stdout.
    ///
    /// # Errors
    /// The stack does not start, or an order does not complete.
    pub async fn run(self, settings: &Settings, progress: &Progress) -> Result<()> {
        let profile = if self.local { Profile::Local } else { Profile::Release };
        let own = Settings { profile, ..settings.own("bench-cpu")? };
        let stack = Stack::start(&own, progress).await?;
        let measured = self.measured(&stack, progress).await;
        if stack.is_ours() {
            stack.stop();
        }
        print!("{}", table(&measured?, self.orders, profile));
        Ok(())
    }

    async fn measured(&self, stack: &Stack, progress: &Progress) -> Result<BTreeMap<String, Used>> {
        let functions = Functions { groups: stack.running().groups.clone() };
        let customer = Customer::register(stack.outputs()).await?;
        let emulator = Emulator::new(&stack.outputs().aws_endpoint_url);

        let step = progress.step("warming up");
        place(&customer, WARM_UP, &step).await?;
        let before = functions.quiet().await?;
        step.done("every function has run");

        let since = jiff::Timestamp::now().as_millisecond();
        let step = progress.step("placing orders");
        place(&customer, self.orders, &step).await?;
        let after = functions.quiet().await?;
        step.done(&format!("{} orders have completed", self.orders));

        let runs = records::runs(&emulator, since).await?;
        Ok(used(&before, &after, &runs))
    }
}

/// Places orders that complete, one after the other.
async fn place(customer: &Customer, orders: u32, step: &local_stack::Step) -> Result<()> {
    for number in 0..orders {
        step.part(number as usize, orders as usize);
        let basket = customer.basket(Story::Completes).await?;
        let placed = customer.shop.place(&basket.order, &Uuid::new_v4().to_string()).await?;
        let mut polls = 0;
        let completed = async || {
            polls += 1;
            match customer.shop.order(&placed.order_id).await?.status {
                OrderStatus::OrderCompleted => Ok(()),
                status => Err(status)?,
            }
        };
        eventually(&format!("order {} completes", placed.order_id), WITHIN, completed).await?;
        // The same number for each order, however long it took.
        while polls < POLLS {
            customer.shop.order(&placed.order_id).await?;
            polls += 1;
        }
    }
    Ok(())
}

/// Processor time by function and process.
pub type Times = BTreeMap<(String, u32), Duration>;

/// The function processes of one stack.
pub struct Functions {
    pub groups: Vec<u32>,
}

impl Functions {
    fn times(&self) -> Times {
        let prefix = format!("ordersaga-{LOCAL_STAGE}-");
        let pids = self.groups.iter().flat_map(|group| process::members(*group));
        pids.filter_map(|pid| {
            let function = process::variable(pid, "AWS_LAMBDA_FUNCTION_NAME")?;
            let name = function.strip_prefix(&prefix)?.to_owned();
            Some(((name, pid), process::processor_time(pid)?))
        })
        .collect()
    }

    /// Waits until no function uses the processor any more.
    ///
    /// # Errors
    /// Some function works for minutes.
    pub async fn quiet(&self) -> Result<Times> {
        let mut last = (std::time::Instant::now(), self.times());
        let still = async || {
            let now = self.times();
            if now != last.1 {
                last = (std::time::Instant::now(), now);
            }
            if last.0.elapsed() >= QUIET { Ok(last.1.clone()) } else { Err("functions that work")? }
        };
        Ok(eventually("no function works any more", WITHIN, still).await?)
    }
}

/// The use of one function by all orders.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Used {
    pub time: Duration,
    pub invocations: u64,
    /// Processes that were started meanwhile; their start is included.
    started: u64,
}

/// What each function used between two counts.
pub fn used(before: &Times, after: &Times, runs: &BTreeMap<String, Runs>) -> BTreeMap<String, Used> {
    let mut all: BTreeMap<String, Used> = BTreeMap::new();
    for (process, time) in after {
        let used = all.entry(process.0.clone()).or_default();
        used.time += time.saturating_sub(before.get(process).copied().unwrap_or_default());
        used.started += u64::from(!before.contains_key(process));
    }
    for (function, runs) in runs {
        all.entry(function.clone()).or_default().invocations = runs.invocations;
    }
    all.retain(|_, used| used.invocations > 0);
    all
}

fn table(all: &BTreeMap<String, Used>, orders: u32, profile: Profile) -> String {
    let mut text = format!(
        "\nOne order that completes and is asked for {POLLS} times: the mean of {orders}, profile {}.\n\n\
         {:<24} {:>12} {:>12} {:>14} {:>8}\n",
        profile.name(),
        "function",
        "CPU ms",
        "invocations",
        "ms/invocation",
        "started"
    );
    let line = |name: &str, used: &Used| {
        format!(
            "{:<24} {:>12} {:>12} {:>14} {:>8}\n",
            name,
            hundredths(used.time.as_micros() / 10 / u128::from(orders)),
            hundredths(u128::from(used.invocations * 100 / u64::from(orders))),
            hundredths(used.time.as_micros() / 10 / u128::from(used.invocations.max(1))),
            used.started
        )
    };
    let mut sorted: Vec<_> = all.iter().collect();
    sorted.sort_by_key(|(_, used)| std::cmp::Reverse(used.time));
    for (name, used) in sorted {
        text.push_str(&line(name, used));
    }
    let sum = all.values().fold(Used::default(), |sum, used| Used {
        time: sum.time + used.time,
        invocations: sum.invocations + used.invocations,
        started: sum.started + used.started,
    });
    text.push_str(&line("all", &sum));
    text.push_str(
        "\nThe kernel's count of each function process. A function that was started meanwhile has its start in it.\n",
    );
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_function_used_what_its_processes_used_meanwhile() {
        let at = |name: &str, pid, time| ((name.to_owned(), pid), Duration::from_millis(time));
        let before = Times::from([at("orders-api", 1, 100), at("orders-views", 2, 7)]);
        let after =
            Times::from([at("orders-api", 1, 350), at("orders-api", 3, 50), at("orders-views", 2, 7)]);
        let runs = BTreeMap::from([("orders-api".to_owned(), Runs { invocations: 5, ..Runs::default() })]);
        let expected = Used { time: Duration::from_millis(300), invocations: 5, started: 1 };
        assert_eq!(used(&before, &after, &runs), BTreeMap::from([("orders-api".to_owned(), expected)]));
    }

    #[test]
    fn the_processor_time_of_this_process_grows_and_its_environment_is_read() {
        let own = std::process::id();
        let before = process::processor_time(own).unwrap();
        let mut sum = 0_u64;
        while process::processor_time(own).unwrap() == before {
            sum = std::hint::black_box(sum.wrapping_add(1));
        }
        assert_eq!(process::variable(own, "PATH"), std::env::var("PATH").ok());
        assert_eq!(process::variable(own, "ORDERSAGA_NOT_SET"), None);
    }
}
