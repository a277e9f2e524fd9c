//! The command.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};
use local_stack::{Checkout, Emulator, Port, Progress, Settings, Stack, StateDir, functions, ports};

use crate::disturbance::{Disturbance, Disturbed, Versions};
use crate::error::{Error, Result};
use crate::fault::{Fault, Kind};
use crate::judge;
use crate::platform::Platform;
use crate::proxy::{Known, Proxies};
use crate::runs::{self, Calls, Ended, Log, Run};
use crate::scenario::Scenario;
use crate::sweep::{self, Orders, Sweep};

/// The longest names of calls in a report of slow runs.
const SLOWEST: usize = 3;

#[derive(Debug, Args)]
#[command(
    after_help = "Starts a stack of its own (target/chaos, free ports), and stops it at the end. A run is one order with one \
                  fault: one of its calls goes wrong in one way. The runs that are over are kept in \
                  target/chaos/runs.jsonl, and the next `cargo ops chaos` goes on after them, until the functions or \
                  templates change. It exits with 1 when an order or the stack did not end well."
)]
pub struct Chaos {
    /// What the customer does; may be repeated [default: each]
    #[arg(long, value_enum)]
    scenario: Vec<Scenario>,
    /// One run, in which this call goes wrong in this way: `inventory-commands.dynamodb.TransactWriteItems.1:lost`
    #[arg(long, value_name = "CALL:KIND", conflicts_with_all = ["sample", "list", "fresh"])]
    fault: Option<Fault>,
    /// No faults of calls: what happens to the whole stack while orders of each scenario are under way
    #[arg(long, value_enum, conflicts_with_all = ["fault", "sample", "list", "fresh"])]
    disturbance: Option<Disturbance>,
    /// The git revision that functions go back to with `--disturbance versions`. It is built first
    #[arg(
        long,
        value_name = "REVISION",
        required_if_eq("disturbance", "versions"),
        requires = "disturbance"
    )]
    before: Option<String>,
    /// Only this number of runs, chosen by the seed
    #[arg(long, value_name = "RUNS")]
    sample: Option<usize>,
    /// Decides the order of the runs, and which functions end in a disturbance
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Begin no run after this time. The next `cargo ops chaos` goes on with the others
    #[arg(long, default_value_t = 60)]
    minutes: u64,
    /// Orders side by side
    #[arg(long, default_value_t = 32, value_parser = clap::value_parser!(u16).range(1..=200))]
    lanes: u16,
    /// Print the calls of each scenario without faults, and run nothing else
    #[arg(long)]
    list: bool,
    /// Forget the runs that are over
    #[arg(long)]
    fresh: bool,
}

impl Chaos {
    /// Starts a stack, runs orders with faults, and prints how they ended on stdout.
    ///
    /// # Errors
    /// The stack does not start, or the judge found something wrong.
    pub async fn run(self, settings: &Settings, progress: &Progress) -> Result<()> {
        let scenarios = self.scenarios()?;
        let (settings, proxies) = prepared(settings).await?;
        let versions = self.versions(&settings, progress).await?;
        let stack = Stack::start(&settings, progress).await?;
        let known =
            Known::read(&Emulator::new(&stack.running().endpoint()), stack.running().groups.clone()).await?;
        // It is set once, here.
        let _ = proxies.known.set(known);
        let platform = Platform::new(stack.outputs(), proxies.ledger.clone(), &settings).await?;
        let report = self.all(&settings, &platform, (&scenarios, versions.as_ref()), progress).await;
        stack.stop();
        report
    }

    /// The code of now, which the stack's start builds, and that of the revision before, which is built here.
    async fn versions(&self, settings: &Settings, progress: &Progress) -> Result<Option<Versions>> {
        let Some(revision) = &self.before else { return Ok(None) };
        if self.disturbance != Some(Disturbance::Versions) {
            return Err(Error::Chaos("--before is for --disturbance versions, and for no other.".to_owned()));
        }
        let checkout = Checkout::new(settings, revision)?;
        let of_before = checkout.settings(settings);
        functions::build(&of_before, progress).await?;
        let folder = |settings: &Settings| settings.target.join("lambda");
        Ok(Some(Versions { now: folder(settings), before: folder(&of_before) }))
    }

    /// Those that are asked for, each once.
    fn scenarios(&self) -> Result<Vec<Scenario>> {
        let mut scenarios = self.scenario.clone();
        scenarios.sort();
        scenarios.dedup();
        match (&self.fault, scenarios.as_slice()) {
            (Some(_), [_]) => Ok(scenarios),
            (Some(fault), _) => {
                Err(Error::Chaos(format!("--fault {fault} needs its --scenario, and only one.")))
            }
            (None, []) => Ok(Scenario::value_variants().to_vec()),
            (None, _) => Ok(scenarios),
        }
    }

    async fn all(
        &self,
        settings: &Settings,
        platform: &Platform,
        (scenarios, versions): (&[Scenario], Option<&Versions>),
        progress: &Progress,
    ) -> Result<()> {
        let number = if self.fault.is_some() { 1 } else { usize::from(self.lanes).max(scenarios.len()) };
        let step = progress.step("adding customers, products and codes");
        let mut lanes = platform.lanes(number).await?;
        step.done(&format!("added {number} customers, each with a product and a code"));
        let orders = Orders::default();
        if let (Some(fault), [scenario]) = (&self.fault, scenarios) {
            let run = Run { scenario: *scenario, fault: fault.clone() };
            // Functions that have not run yet make calls of their own.
            sweep::record(platform, &mut lanes, scenarios, &orders).await?;
            return self
                .judged(platform, &mut lanes, (vec![run], None), BTreeMap::new(), (&orders, progress))
                .await;
        }
        if let Some(disturbance) = self.disturbance {
            let of = (lanes.as_mut_slice(), scenarios);
            let disturbed = disturbance.run(platform, of, (&orders, progress), (self.seed, versions)).await?;
            let stack = judged_stack(platform, &orders, progress).await;
            return self.disturbed(disturbance, &disturbed, &stack);
        }
        let functions = runs::fingerprint(settings)?;
        let path = log_path(settings);
        let (mut log, before) = Log::open(&path, &functions, self.fresh)?;
        let (calls, over) = match before {
            Some((calls, over)) if scenarios.iter().all(|scenario| calls.contains_key(scenario)) => {
                (calls, over)
            }
            _ => {
                let step = progress.step("recording the calls of each scenario");
                let calls = sweep::record(platform, &mut lanes, scenarios, &orders).await?;
                let number: usize = calls.values().map(Vec::len).sum();
                step.done(&format!("recorded {number} calls of {} scenarios", calls.len()));
                log = Log::open(&path, &functions, true)?.0;
                log.begin(&functions, &calls)?;
                (calls, BTreeMap::new())
            }
        };
        if self.list {
            print!("{}", listed(&calls, scenarios));
            return Ok(());
        }
        let wanted = self.wanted(calls, scenarios, progress);
        let over: BTreeMap<Run, Ended> = over
            .into_iter()
            .filter(|(run, ended)| ended.violations.is_empty() && wanted.contains(run))
            .collect();
        let waiting: Vec<Run> = wanted.into_iter().filter(|run| !over.contains_key(run)).collect();
        if !over.is_empty() {
            progress.say(&format!("{} runs are over from before, {} are left", over.len(), waiting.len()));
        }
        self.judged(platform, &mut lanes, (waiting, Some(log)), over, (&orders, progress)).await
    }

    /// Prints how orders ended in a disturbance.
    fn disturbed(&self, disturbance: Disturbance, disturbed: &Disturbed, stack: &[String]) -> Result<()> {
        let Disturbed { orders, slowest, violations } = disturbed;
        println!("{orders} orders, {} violations, slowest {} s", violations.len(), slowest.as_secs());
        for (order, scenario, violation) in violations {
            println!("✗ {scenario} {order}: {violation}");
        }
        stack.iter().for_each(|violation| println!("✗ {violation}"));
        if violations.is_empty() && stack.is_empty() {
            return Ok(());
        }
        let name = disturbance.to_possible_value().map_or(String::new(), |value| value.get_name().to_owned());
        let before = self.before.as_ref().map_or(String::new(), |revision| format!(" --before {revision}"));
        Err(Error::Violated(format!(
            "orders or the stack did not end well. `cargo ops chaos --disturbance {name}{before} --seed {}` repeats it.",
            self.seed
        )))
    }

    fn wanted(&self, calls: Calls, scenarios: &[Scenario], progress: &Progress) -> Vec<Run> {
        let calls: Calls = calls.into_iter().filter(|(scenario, _)| scenarios.contains(scenario)).collect();
        let mut kinds = Kind::value_variants().to_vec();
        if !cfg!(target_os = "linux") {
            progress.say("This system does not tell which process calls, so no function is ended.");
            kinds.retain(|kind| !matches!(kind, Kind::EndsBefore | Kind::EndsAfter));
        }
        let mut runs = runs::all(&calls, &kinds, self.seed);
        runs.truncate(self.sample.unwrap_or(usize::MAX));
        runs
    }

    /// Runs them, and prints the verdict.
    async fn judged(
        &self,
        platform: &Platform,
        lanes: &mut [crate::lane::Lane],
        (runs, log): (Vec<Run>, Option<Log>),
        mut over: BTreeMap<Run, Ended>,
        (orders, progress): (&Orders, &Progress),
    ) -> Result<()> {
        let time = Duration::from_secs(self.minutes * 60);
        let sweep = Sweep::new(platform, progress, orders, runs, log, time);
        let (ended, left) = sweep.run(lanes).await?;
        over.extend(ended);
        let stack = judged_stack(platform, orders, progress).await;
        let report = Report { over: &over, left: left.len(), stack: &stack };
        print!("{}", report.text());
        report.verdict()
    }
}

async fn judged_stack(platform: &Platform, orders: &Orders, progress: &Progress) -> Vec<String> {
    let step = progress.step("judging the whole stack");
    let stack = judge::stack(platform, &orders.all()).await;
    step.done(&format!("judged the whole stack: {} violations", stack.len()));
    stack
}

fn log_path(settings: &Settings) -> PathBuf {
    settings.state_dir.join("runs.jsonl")
}

/// The settings of the stack, and the proxies that its functions will call.
async fn prepared(settings: &Settings) -> Result<(Settings, Proxies)> {
    let mut own = settings.own("chaos")?;
    // A running stack has functions that call another proxy, and orders of another run.
    if StateDir::new(&own.state_dir).running().is_some() {
        return Err(Error::Chaos(format!(
            "another `cargo ops chaos` runs. Wait for it, or end it with `cargo ops --state-dir {} down`.",
            own.state_dir.display()
        )));
    }
    let emulator = ports::choose(Port::Any, &own.bind, "the AWS emulator's", "--port")?.port;
    let gateway = ports::choose(Port::Any, &own.bind, "the Stripe proxy's", "--stripe-port")?.port;
    (own.gateway_port, own.stripe_port) = (Port::Exactly(emulator), Port::Exactly(gateway));
    let proxies = Proxies::start(emulator, gateway).await?;
    own.functions_endpoint = Some(proxies.functions_endpoint.clone());
    own.functions_gateway = Some(proxies.functions_gateway.clone());
    Ok((own, proxies))
}

fn listed(calls: &Calls, scenarios: &[Scenario]) -> String {
    let mut text = String::new();
    for (scenario, calls) in calls.iter().filter(|(scenario, _)| scenarios.contains(scenario)) {
        text += &format!("{scenario}: {} calls\n", calls.len());
        text.extend(calls.iter().map(|call| format!("  {call}\n")));
    }
    text
}

struct Report<'a> {
    over: &'a BTreeMap<Run, Ended>,
    left: usize,
    /// What is wrong with the stack as a whole.
    stack: &'a [String],
}

impl Report<'_> {
    fn text(&self) -> String {
        let mut text = format!(
            "{:<14} {:>6} {:>8} {:>11} {:>11}\n",
            "scenario", "runs", "struck", "violations", "slowest"
        );
        for scenario in Scenario::value_variants() {
            let of = || self.over.iter().filter(|(run, _)| run.scenario == *scenario).map(|(_, ended)| ended);
            if of().next().is_none() {
                continue;
            }
            let struck = of().filter(|ended| ended.struck).count();
            let bad = of().filter(|ended| !ended.violations.is_empty()).count();
            let slowest = of().map(|ended| ended.milliseconds).max().unwrap_or_default() / 1000;
            text += &format!(
                "{:<14} {:>6} {struck:>8} {bad:>11} {:>11}\n",
                scenario.to_string(),
                of().count(),
                format!("{slowest} s"),
            );
        }
        let mut slow: Vec<_> = self.over.iter().collect();
        slow.sort_by_key(|(_, ended)| std::cmp::Reverse(ended.milliseconds));
        text += "\nslowest:\n";
        for (run, ended) in slow.into_iter().take(SLOWEST) {
            text += &format!("{:>6} s  {} {}\n", ended.milliseconds / 1000, run.scenario, run.fault);
        }
        for (run, ended) in self.over.iter().filter(|(_, ended)| !ended.violations.is_empty()) {
            text += &format!("\n✗ {} {}\n", run.scenario, run.fault);
            text.extend(ended.violations.iter().map(|violation| format!("  {violation}\n")));
            text += &format!("  {}\n", run.command());
        }
        for violation in self.stack {
            text += &format!("\n✗ {violation}\n");
        }
        if self.left > 0 {
            text +=
                &format!("\nTime is up: {} runs are left. `cargo ops chaos` goes on with them.\n", self.left);
        }
        text
    }

    fn verdict(&self) -> Result<()> {
        let bad = self.over.values().filter(|ended| !ended.violations.is_empty()).count();
        if bad == 0 && self.stack.is_empty() {
            return Ok(());
        }
        Err(Error::Violated(format!(
            "{bad} of {} orders did not end well, and the stack has {} other violations. Above are what is wrong and the \
             commands that repeat the orders.",
            self.over.len(),
            self.stack.len()
        )))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(violations: &[&str], stack: &[String]) -> (String, bool) {
        let fault = "orders-relay.states.StartExecution.1:lost".parse().unwrap();
        let run = Run { scenario: Scenario::Completes, fault };
        let violations = violations.iter().map(|text| (*text).to_owned()).collect();
        let over = BTreeMap::from([(run, Ended { struck: true, milliseconds: 61_000, violations })]);
        let report = Report { over: &over, left: 2, stack };
        (report.text(), report.verdict().is_ok())
    }

    #[test]
    fn a_violation_is_reported_with_the_command_that_repeats_it() {
        let (text, is_fine) = report(&["2 live charges"], &[]);
        assert!(!is_fine);
        assert!(
            text.contains("  2 live charges\n  cargo ops chaos --scenario completes --fault orders-relay."),
            "{text}"
        );
        let (text, is_fine) = report(&[], &["3 dead letters".to_owned()]);
        assert!(!is_fine && text.contains("✗ 3 dead letters"), "{text}");
        let (text, is_fine) = report(&[], &[]);
        assert!(is_fine && text.contains("61 s") && text.contains("2 runs are left"), "{text}");
    }

    #[derive(clap::Parser)]
    struct Program {
        #[command(flatten)]
        chaos: Chaos,
    }

    fn parsed(words: &str) -> Chaos {
        <Program as clap::Parser>::parse_from(words.split_whitespace()).chaos
    }

    #[test]
    fn a_fault_needs_the_one_scenario_that_it_belongs_to() {
        let fault = "orders-relay.states.StartExecution.1:lost";
        assert!(parsed(&format!("chaos --fault {fault}")).scenarios().is_err());
        let one = parsed(&format!("chaos --scenario declined --fault {fault}"));
        assert_eq!(one.scenarios().unwrap(), [Scenario::Declined]);
        assert_eq!(parsed("chaos").scenarios().unwrap(), Scenario::value_variants());
    }
}
