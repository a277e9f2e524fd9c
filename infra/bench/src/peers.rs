//! An order beside the limit and a peer, on one emulator and in turn.
//!
//! The limit is a state machine of five functions that return what they get: no saga of five steps is faster. The peer is the
//! saga that AWS publishes as its sample: three functions that store an item each, and a message to a topic. It checks no
//! stock, charges no card, and tells no customer about the order's status. [`TEMPLATE`] holds both.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::time::{Duration, Instant};

use clap::Args;
use demo::{Customer, Story};
use local_stack::{
    Emulator, Profile, Progress, Settings, Stack, deploy,
    functions::{self, ECHO},
};
use serde_json::{Value, json};
use shop_client::eventually_with_pauses;
use uuid::Uuid;

use crate::cost::records;
use crate::cost::topology::state_machine;
use crate::cpu::{Functions, Used, used};
use crate::error::{Error, Result};
use crate::figures::{hundredths, percentile};

/// Both other sagas.
const TEMPLATE: &str = "bench/peers.yaml";
/// The program of the peer's functions.
const PEER: &str = "peer";
/// For one saga to end.
const WITHIN: Duration = Duration::from_secs(120);
/// Between two looks at an execution.
const POLL: Duration = Duration::from_millis(5);
/// Runs before the first one that counts: functions start, and their connections are opened.
const WARM_UP: u32 = 3;

#[derive(Debug, Args)]
#[command(
    after_help = "Starts a stack of its own (target/bench-peers, free ports), and stops it at the end. The times are mostly the \
                  emulator's: compare the rows, not this machine with AWS."
)]
pub struct Peers {
    /// How often each of them runs, in turn
    #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u32).range(1..=37))]
    // With the warm-up, within the 40 orders that the rate limit allows a customer at once.
    rounds: u32,
    /// Measure functions that are built as for AWS
    #[arg(long)]
    release: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Subject {
    Bare,
    Peer,
    Order,
}

impl Subject {
    const ALL: [Self; 3] = [Self::Bare, Self::Peer, Self::Order];

    const fn name(self) -> &'static str {
        match self {
            Self::Bare => "five functions that do nothing",
            Self::Peer => "AWS's sample of a saga",
            Self::Order => "an order",
        }
    }

    const fn state_machine(self) -> &'static str {
        match self {
            Self::Bare => "bare",
            Self::Peer => "peer",
            Self::Order => "order-saga",
        }
    }

    /// Whose a function is.
    fn of_function(name: &str) -> Self {
        match name.split_once('-') {
            Some(("bare", _)) => Self::Bare,
            Some(("peer", _)) => Self::Peer,
            _ => Self::Order,
        }
    }
}

/// The runs of one of them.
#[derive(Debug, Default)]
struct Runs {
    /// From the request until the saga has succeeded.
    totals: Vec<Duration>,
    /// From the saga's start on.
    sagas: Vec<Duration>,
    transitions: u64,
}

impl Peers {
    /// Starts a stack, lets each run in turn, prints a table on stdout.
    ///
    /// # Errors
    /// The stack does not start, or one of them does not succeed.
    pub async fn run(self, settings: &Settings, progress: &Progress) -> Result<()> {
        let profile = if self.release { Profile::Release } else { Profile::Local };
        let own = Settings { profile, ..settings.own("bench-peers")? };
        let stack = Stack::start(&own, progress).await?;
        let measured = self.measured(&own, &stack, progress).await;
        if stack.is_ours() {
            stack.stop();
        }
        let (runs, used) = measured?;
        print!("{}", table(&runs, &used, self.rounds, profile));
        Ok(())
    }

    async fn measured(
        &self,
        settings: &Settings,
        stack: &Stack,
        progress: &Progress,
    ) -> Result<(BTreeMap<Subject, Runs>, BTreeMap<String, Used>)> {
        let step = progress.step("deploying the peers");
        for program in [ECHO, PEER] {
            functions::build_beside(settings, program).await?;
        }
        deploy::beside(settings, stack.running(), "peers", &settings.infra().join(TEMPLATE)).await?;
        step.done("deployed the peers");

        let emulator = Emulator::new(&stack.outputs().aws_endpoint_url);
        let bench = Bench::new(emulator, Customer::register(stack.outputs()).await?).await?;
        let functions = Functions { groups: stack.running().groups.clone() };
        let step = progress.step("running each in turn");
        bench.rounds(WARM_UP, &functions, &step).await?;
        let (before, since) = (functions.quiet().await?, jiff::Timestamp::now().as_millisecond());
        let runs = bench.rounds(self.rounds, &functions, &step).await?;
        let after = functions.quiet().await?;
        step.done(&format!("each ran {} times", self.rounds));
        Ok((runs, used(&before, &after, &records::runs(&bench.emulator, since).await?)))
    }
}

struct Bench {
    emulator: Emulator,
    customer: Customer,
    /// The state machines' addresses.
    machines: BTreeMap<Subject, String>,
}

impl Bench {
    async fn new(emulator: Emulator, customer: Customer) -> Result<Self> {
        let mut machines = BTreeMap::new();
        for subject in Subject::ALL {
            machines.insert(subject, state_machine(&emulator, subject.state_machine()).await?);
        }
        Ok(Self { emulator, customer, machines })
    }

    async fn rounds(
        &self,
        rounds: u32,
        functions: &Functions,
        step: &local_stack::Step,
    ) -> Result<BTreeMap<Subject, Runs>> {
        let mut all: BTreeMap<Subject, Runs> = BTreeMap::new();
        for round in 0..rounds {
            step.part(round as usize, rounds as usize);
            for subject in Subject::ALL {
                let began = Instant::now();
                let execution = self.start(subject).await?;
                let saga = self.ended(&execution).await?;
                let runs = all.entry(subject).or_default();
                runs.totals.push(began.elapsed());
                runs.sagas.push(saga);
                runs.transitions = records::execution(&self.emulator, &execution).await?.transitions();
            }
            // What follows an order must not slow down the next round.
            functions.quiet().await?;
        }
        Ok(all)
    }

    /// Starts a saga, and returns the address of its execution.
    async fn start(&self, subject: Subject) -> Result<String> {
        let machine = self.machines.get(&subject).map(String::as_str).unwrap_or_default();
        if subject == Subject::Order {
            let basket = self.customer.basket(Story::Completes).await?;
            let placed = self.customer.shop.place(&basket.order, &Uuid::new_v4().to_string()).await?;
            return Ok(format!("{}:{}", machine.replace(":stateMachine:", ":execution:"), placed.order_id));
        }
        let order = json!({"order_id": Uuid::new_v4(), "items": [{"sku": "MUG-BLUE", "quantity": 1}]});
        let input = json!({"stateMachineArn": machine, "input": order.to_string()});
        let started = self.emulator.json("states", "AWSStepFunctions.StartExecution", &input).await?;
        Ok(started["executionArn"].as_str().unwrap_or_default().to_owned())
    }

    /// Waits until the saga has succeeded, and returns how long it took.
    async fn ended(&self, execution: &str) -> Result<Duration> {
        let input = json!({"executionArn": execution});
        let description = eventually_with_pauses("the saga ends", POLL, WITHIN, async || {
            // An order's saga does not exist until its relay has started it.
            let description = self.emulator.json("states", "AWSStepFunctions.DescribeExecution", &input);
            let description = description.await.map_err(|error| error.to_string())?;
            match description["status"].as_str() {
                Some("RUNNING") => Err("it runs")?,
                _ => Ok(description),
            }
        })
        .await?;
        if description["status"] != "SUCCEEDED" {
            return Err(Error::Measurement(format!("{execution} did not succeed: {description}")));
        }
        Ok(took(&description))
    }
}

/// The time of an execution, by its start and end in seconds since 1970.
fn took(description: &Value) -> Duration {
    let at = |name: &str| description[name].as_f64().and_then(|at| Duration::try_from_secs_f64(at).ok());
    at("stopDate").unwrap_or_default().saturating_sub(at("startDate").unwrap_or_default())
}

fn table(
    all: &BTreeMap<Subject, Runs>,
    functions: &BTreeMap<String, Used>,
    rounds: u32,
    profile: Profile,
) -> String {
    let mut text = format!(
        "\nEach ran {rounds} times in turn, profile {}. Milliseconds from the request until the saga has succeeded, and from \
         the saga's start on.\n\n{:<32} {:>8} {:>8} {:>10} {:>12} {:>12} {:>8}\n",
        profile.name(),
        "",
        "p50",
        "p99",
        "saga p50",
        "transitions",
        "invocations",
        "CPU ms"
    );
    for (subject, runs) in all {
        let own = functions.iter().filter(|(name, _)| Subject::of_function(name) == *subject);
        let (time, invocations) = own.fold((Duration::ZERO, 0), |(time, invocations), (_, used)| {
            (time + used.time, invocations + used.invocations)
        });
        // Writing into a string cannot fail.
        let _ = writeln!(
            text,
            "{:<32} {:>8} {:>8} {:>10} {:>12} {:>12} {:>8}",
            subject.name(),
            percentile(&runs.totals, 50).as_millis(),
            percentile(&runs.totals, 99).as_millis(),
            percentile(&runs.sagas, 50).as_millis(),
            runs.transitions,
            hundredths(u128::from(invocations * 100 / u64::from(rounds))),
            hundredths(time.as_micros() / 10 / u128::from(rounds)),
        );
    }
    text.push_str(
        "\nAn order's saga starts when its event has come through the table's stream. AWS's sample checks no stock, charges no \
         card, and publishes no events.\n",
    );
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_function_is_counted_for_the_saga_that_calls_it() {
        let subjects = ["bare-a", "peer-order", "orders-api"].map(Subject::of_function);
        assert_eq!(subjects, Subject::ALL);
    }

    #[test]
    fn a_percentile_is_one_of_the_times() {
        let times: Vec<Duration> = (1..=100).rev().map(Duration::from_millis).collect();
        let in_millis = |times: &[Duration], percent| percentile(times, percent).as_millis();
        assert_eq!([50, 99].map(|percent| in_millis(&times, percent)), [50, 99]);
        assert_eq!((in_millis(&times[..1], 50), in_millis(&[], 50)), (100, 0));
        assert_eq!(took(&json!({"startDate": 10.5, "stopDate": 11.75})), Duration::from_millis(1250));
    }
}
