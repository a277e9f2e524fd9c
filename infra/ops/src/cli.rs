use std::path::PathBuf;

use bench::{Bench, Load};
use chaos::Chaos;
use clap::{Args, Parser, Subcommand};
use demo::Demo;
use local_stack::{
    AboutFile, DEFAULT_GATEWAY_PORT, DEFAULT_STRIPE_PORT, Outputs, Port, Progress, Settings, Stack, StateDir,
    python::{self, Purpose},
    supervisor::{self, SupervisorArgs},
};
use serde::Serialize;

use crate::audit::Audit;
use crate::backup::{Backup, Restore};
use crate::breaker::Breaker;
use crate::dashboard::Dashboard;
use crate::destroy::Destroy;
use crate::dlq::Dlq;
use crate::drill::Drill;
use crate::error::{Error, Result};
use crate::order::Order;
use crate::outputs::Addresses;
use crate::payments::Payments;
use crate::preflight::Preflight;
use crate::release::Deploy;
use crate::remote::Remote;
use crate::replay::Replay;
use crate::republish::{Outbox, Republish};
use crate::saga::Saga;
use crate::sam_local::SamLocal;
use crate::simulate::Simulate;
use crate::smoke::Smoke;
use crate::stage::Stage;
use crate::stripe::Stripe;
use crate::switch::Switches;
use crate::users::Users;
use crate::verify::Verify;
use crate::{documents, logs, status};

/// Runs Ordersaga on this machine, and deploys it to AWS.
#[derive(Debug, Parser)]
#[command(name = "cargo ops", bin_name = "cargo ops")]
pub struct Cli {
    #[command(flatten)]
    place: Place,
    #[command(subcommand)]
    command: Command,
}

/// Which stack is meant.
#[derive(Debug, Args)]
struct Place {
    /// The folder that one running stack is known by [default: target/stack]
    #[arg(long, env = "ORDERSAGA_STATE_DIR", global = true)]
    state_dir: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Start everything: emulators, functions, stacks, products; then follow the logs until Ctrl-C
    #[command(
        after_help = "Needs Rust and Python 3.11 or newer. The first time takes some minutes, most of it compiling; \
                      later only what changed is built and deployed."
    )]
    Up(Up),
    /// Stop what runs; fine when nothing does
    Down,
    /// End the AWS emulator and its functions, and start it again with its tables, queues and executions
    Restart,
    /// Say what runs: addresses, stacks, functions
    Status,
    /// Print addresses as JSON: of this machine's stack with the admin's credentials, or of a stage on AWS
    Outputs(OutputsOf),
    /// Place five real orders and watch them: completed, out of stock, declined, paid late, refunded
    #[command(after_help = "Starts the stack if it does not run, and stops at the end what it started.")]
    Demo(Demo),
    /// Say what a stage on AWS lacks before it is deployed: credentials, quotas, senders, keys, a Rust target
    #[command(
        after_help = "Changes nothing. Each line is fine (✓), a warning (!) or a stop (✗), with what to do about it; a \
                      stop ends with a non-zero code. `deploy` begins with it."
    )]
    Preflight(Preflight),
    /// Build for AWS and deploy every template there, in order
    #[command(
        after_help = "Needs AWS credentials (AWS_PROFILE, `aws sso login`, …) and the Rust target of the architecture. \
                      Nothing is built or deployed when nothing has changed."
    )]
    Deploy(Deploy),
    /// Place one order with a test card on a stage on AWS, and wait for its end on REST and on the WebSocket
    #[command(
        after_help = "Registers a customer for it and deletes the account afterwards. Where nothing is in stock, a product \
                      is made for the order and deleted again; never on prod."
    )]
    Smoke(Smoke),
    /// Remove a stage from AWS, with its tables and secrets
    #[command(
        after_help = "Asks for the stage's name, for prod twice. It can be repeated, and goes on where it stopped. At the \
                      end it says what is left: keys that KMS deletes after 30 days, SAM's bucket, senders in SES."
    )]
    Destroy(Destroy),
    /// Invoke every function in a container, as `sam local invoke` does, against the stack that runs
    #[command(
        after_help = "Needs Docker, and a stack (`cargo ops up`). The first time it downloads Lambda's image, some 150 MB. It \
                      exits 0 only if each function answers."
    )]
    SamLocal(SamLocal),
    /// Find and resolve orders whose saga needs a person: `saga list`, `saga retry`, `saga check`
    #[command(subcommand)]
    Saga(Saga),
    /// Compare payments with the gateway, and record what was paid past it: `payments check`, `payments settled`
    #[command(subcommand)]
    Payments(Payments),
    /// See an account, change its roles, suspend or restore it, end its sessions
    #[command(subcommand)]
    Users(Users),
    /// Show who changed a product, its stock, a discount code, a refund, an account or a feature switch
    #[command(
        after_help = "Each change with the time, who made it, what it was before and after, and the correlation id of the \
                      request, by which its log lines are found. Changes nothing."
    )]
    Audit(Audit),
    /// Show everything that happened to one order, what is stuck or owed, and what to do about it
    #[command(
        after_help = "Reads the tables of the contexts, the saga's execution, the dead-letter queues and the logs, and changes \
                      nothing. What the credentials may not read is left out, with a warning. E-mail addresses and phone \
                      numbers are hidden."
    )]
    Order(Order),
    /// See feature switches and set them: payments, new orders, discounts, SMS, limited stock
    #[command(subcommand)]
    Switch(Switches),
    /// Check what the stores of a stage hold against the invariants: every order's events, its money, its stock, its shipment
    #[command(
        after_help = "Reads only. Orders that are under way within their deadline are no violation. With violations it exits \
                      1 and says what to do about each kind."
    )]
    Verify(Verify),
    /// Export this machine's stack into files, or check that a stage on AWS can be restored to a point in time
    Backup(Backup),
    /// Restore an export into this machine's empty stack, or print how a stage on AWS is restored
    #[command(
        after_help = "The restored events are published again, so that consumers catch up; those of the past are known to them. \
                      Open orders go on. Lists and reports are rebuilt at the end."
    )]
    Restore(Restore),
    /// Rebuild from events what lists of orders and the sales report are read from, while they are read
    Replay(Replay),
    /// Show the figures of a stage, live: orders, latency, reservations, notifications, or those of one context
    #[command(
        after_help = "The figures of the dashboards in CloudWatch, a bar for each minute. It is renewed every five seconds, on \
                      AWS every minute, until Ctrl-C; into a file or a pipe it prints once."
    )]
    Dashboard(Dashboard),
    /// Make alarms ring, see that each reaches its subscriber, and make them quiet again
    #[command(
        after_help = "On this machine's stack by a real cause where that takes seconds, else by putting the metric; `--list` \
                      says which. On AWS it asks, and only sets the alarm's state for a moment: nothing else is touched, and \
                      the people who receive alarms get one that says it is a drill."
    )]
    Drill(Drill),
    /// See circuit breakers and switch them
    #[command(subcommand)]
    Breaker(Breaker),
    /// See what waits in dead-letter queues, and move it back
    #[command(subcommand)]
    Dlq(Dlq),
    /// Publish the state of users, products or stocks again, for a consumer that is new or late
    Republish(Republish),
    /// Publish events again that consumers missed, retry what a relay could not process: `outbox republish`, `outbox retry`
    #[command(subcommand)]
    Outbox(Outbox),
    /// Connect a stage on AWS with Stripe
    #[command(subcommand)]
    Stripe(Stripe),
    /// Measure: how functions start (`cold`), what they spend on an order (`cpu`), what orders cost (`cost`), what is done
    /// under too much load (`overload`), how live status arrives (`push`), how a hot SKU sells (`reserve`)
    #[command(subcommand)]
    Bench(Bench),
    /// Let customers arrive at a rate, order, watch and cancel: times, errors, processor time, and what the stores hold after it
    Load(Load),
    /// Run orders through the whole platform in one process, in virtual time, with every call going wrong in every way
    Simulate(Simulate),
    /// Run orders through the real functions on a stack of its own, with every call going wrong in every way
    Chaos(Chaos),
    /// Write the JSON Schemas of all events, with an example of each, into shared/contracts/schemas
    #[command(after_help = "Refuses a change to a published version that breaks a reader.")]
    Schemas,
    /// Write the description of the REST API into shared/contracts/openapi.json
    Openapi,
    /// Write the description of the events and of the WebSocket into shared/contracts/asyncapi.json
    Asyncapi,
    /// Write a sample event for each function into infra/events, for `sam local invoke` and `cargo lambda invoke`
    Events,
    /// Write what is generated from the saga's ledger: the state machine, its diagram, its policies, the page's steps
    Ledger,
    /// Write the list of metrics with their cost, infra/METRICS.md, from the code
    Metrics,
    /// Write the blocks of the templates in infra anew, from their sources in infra/blocks
    Templates,
    /// Make the Python environment with sam and cargo-lambda, and print its folder of programs
    #[command(after_help = "For the shell: export PATH=\"$PATH:$(cargo ops tools)\"")]
    Tools {
        /// Which environment
        #[arg(value_enum, default_value = "deploy")]
        purpose: Purpose,
    },
    #[command(name = local_stack::process::SUPERVISE, hide = true)]
    Supervise(SupervisorArgs),
}

#[derive(Debug, Args)]
struct Up {
    /// Return when it runs, and leave it running
    #[arg(long)]
    detach: bool,
    /// The AWS emulator's port; fails when it is in use [default: 4566, or a free one]
    #[arg(long)]
    port: Option<u16>,
    /// The Stripe proxy's port; fails when it is in use [default: 8420, or a free one]
    #[arg(long)]
    stripe_port: Option<u16>,
    /// Let containers on this machine reach the stack, at the address of Docker's bridge: for `sam local`
    #[arg(long)]
    containers: bool,
    /// The address to listen on; 0.0.0.0 lets other machines in
    #[arg(long, default_value = "127.0.0.1", hide = true)]
    bind: String,
}

#[derive(Debug, Args)]
struct OutputsOf {
    /// On AWS; without it, on this machine's stack
    #[arg(long)]
    stage: Option<Stage>,
}

impl Cli {
    /// Does what was asked for.
    ///
    /// # Errors
    /// It cannot be done: the message says why and what to do next.
    pub async fn run(self) -> Result<()> {
        let place = self.place;
        match self.command {
            Command::Up(up) => until_interrupted(up.run(place)).await,
            Command::Restart => {
                until_interrupted(async { Ok(local_stack::restart_emulator(&place.state()?).await?) })
                    .await?;
                eprintln!("the AWS emulator runs again");
                Ok(())
            }
            Command::Down => place.down(),
            Command::Status => {
                print!("{}", status::describe(&place.state()?).await?);
                Ok(())
            }
            Command::Outputs(OutputsOf { stage: None }) => {
                println!("{}", as_json(&place.state()?.outputs()?)?);
                Ok(())
            }
            Command::Outputs(OutputsOf { stage: Some(stage) }) => {
                let settings = place.settings(Port::Any, Port::Any)?;
                let remote = Remote::aws(&settings, &stage, &Progress::new()).await?;
                println!("{}", as_json(&Addresses::read(&remote, &stage).await?)?);
                Ok(())
            }
            Command::Preflight(preflight) => {
                let settings = place.settings(Port::Any, Port::Any)?;
                until_interrupted(preflight.run(&settings, &Progress::new())).await
            }
            Command::Smoke(smoke) => {
                let settings = place.settings(Port::Any, Port::Any)?;
                until_interrupted(smoke.run(&settings, &Progress::new())).await
            }
            Command::Destroy(destroy) => {
                let settings = place.settings(Port::Any, Port::Any)?;
                until_interrupted(destroy.run(&settings, &Progress::new())).await
            }
            Command::Demo(demo) => {
                let settings = place.settings(
                    Port::Preferably(DEFAULT_GATEWAY_PORT),
                    Port::Preferably(DEFAULT_STRIPE_PORT),
                )?;
                let progress = Progress::new();
                let check = async || Verify::after_orders(&settings, &progress).await;
                until_interrupted(demo.run(&settings, &progress, check)).await
            }
            Command::Deploy(deploy) => {
                let settings = place.settings(Port::Any, Port::Any)?;
                until_interrupted(deploy.run(&settings, &Progress::new())).await
            }
            Command::SamLocal(sam_local) => {
                let settings = place.settings(Port::Any, Port::Any)?;
                until_interrupted(sam_local.run(&settings, &Progress::new())).await
            }
            Command::Saga(saga) => {
                let settings = place.settings(Port::Any, Port::Any)?;
                until_interrupted(saga.run(&settings)).await
            }
            Command::Payments(payments) => {
                let settings = place.settings(Port::Any, Port::Any)?;
                until_interrupted(payments.run(&settings)).await
            }
            Command::Users(users) => {
                let settings = place.settings(Port::Any, Port::Any)?;
                until_interrupted(users.run(&settings, &Progress::new())).await
            }
            Command::Audit(audit) => {
                let settings = place.settings(Port::Any, Port::Any)?;
                until_interrupted(audit.run(&settings, &Progress::new())).await
            }
            Command::Order(order) => {
                let settings = place.settings(Port::Any, Port::Any)?;
                until_interrupted(order.run(&settings, &Progress::new())).await
            }
            Command::Switch(switches) => {
                let settings = place.settings(Port::Any, Port::Any)?;
                until_interrupted(switches.run(&settings, &Progress::new())).await
            }
            Command::Verify(verify) => {
                let settings = place.settings(Port::Any, Port::Any)?;
                until_interrupted(verify.run(&settings, &Progress::new())).await
            }
            Command::Backup(backup) => {
                let settings = place.settings(Port::Any, Port::Any)?;
                until_interrupted(backup.run(&settings, &Progress::new())).await
            }
            Command::Restore(restore) => {
                let settings = place.settings(Port::Any, Port::Any)?;
                until_interrupted(restore.run(&settings, &Progress::new())).await
            }
            Command::Replay(replay) => {
                let settings = place.settings(Port::Any, Port::Any)?;
                until_interrupted(replay.run(&settings, &Progress::new())).await
            }
            Command::Dashboard(dashboard) => {
                let settings = place.settings(Port::Any, Port::Any)?;
                until_interrupted(dashboard.run(&settings, &Progress::new())).await
            }
            Command::Drill(drill) => {
                let settings = place.settings(Port::Any, Port::Any)?;
                // It ends what it has caused itself, also after Ctrl-C.
                drill.run(&settings, &Progress::new()).await
            }
            Command::Breaker(breaker) => {
                let settings = place.settings(Port::Any, Port::Any)?;
                until_interrupted(breaker.run(&settings, &Progress::new())).await
            }
            Command::Dlq(dlq) => {
                let settings = place.settings(Port::Any, Port::Any)?;
                until_interrupted(dlq.run(&settings, &Progress::new())).await
            }
            Command::Republish(republish) => {
                let settings = place.settings(Port::Any, Port::Any)?;
                until_interrupted(republish.run(&settings, &Progress::new())).await
            }
            Command::Outbox(outbox) => {
                let settings = place.settings(Port::Any, Port::Any)?;
                until_interrupted(outbox.run(&settings, &Progress::new())).await
            }
            Command::Stripe(stripe) => {
                let settings = place.settings(Port::Any, Port::Any)?;
                until_interrupted(stripe.run(&settings, &Progress::new())).await
            }
            Command::Bench(bench) => {
                let settings = place.settings(Port::Any, Port::Any)?;
                until_interrupted(async { Ok(bench.run(&settings, &Progress::new()).await?) }).await
            }
            Command::Load(load) => {
                let settings = place.settings(Port::Any, Port::Any)?;
                let progress = Progress::new();
                let verdict = async || Verify::after_orders(&settings, &progress).await;
                until_interrupted(load.run(&settings, &progress, verdict)).await
            }
            Command::Simulate(simulate) => {
                let settings = place.settings(Port::Any, Port::Any)?;
                until_interrupted(simulate.run(&settings.root)).await
            }
            Command::Chaos(chaos) => {
                let settings = place.settings(Port::Any, Port::Any)?;
                until_interrupted(async { Ok(chaos.run(&settings, &Progress::new()).await?) }).await
            }
            Command::Schemas => write_documents(place, "schemas").await,
            Command::Openapi => write_documents(place, "openapi").await,
            Command::Asyncapi => write_documents(place, "asyncapi").await,
            Command::Events => write_documents(place, "events").await,
            Command::Ledger => write_documents(place, "ledger").await,
            Command::Metrics => write_documents(place, "metrics").await,
            Command::Templates => write_documents(place, "templates").await,
            Command::Tools { purpose } => {
                let settings = place.settings(Port::Any, Port::Any)?;
                let programs = python::environment(&settings, purpose, &Progress::new()).await?;
                println!("{}", programs.display());
                Ok(())
            }
            Command::Supervise(arguments) => Ok(supervisor::supervise(arguments).await?),
        }
    }
}

async fn write_documents(place: Place, kind: &str) -> Result<()> {
    let settings = place.settings(Port::Any, Port::Any)?;
    until_interrupted(documents::write(&settings.root, kind)).await
}

impl Place {
    fn settings(self, gateway: Port, stripe: Port) -> Result<Settings> {
        let folder = self.state_dir.clone().unwrap_or_default();
        Ok(Settings::new(self.state_dir, gateway, stripe).about("cannot make", &folder)?)
    }

    fn state(self) -> Result<StateDir> {
        Ok(StateDir::new(self.settings(Port::Any, Port::Any)?.state_dir))
    }

    fn down(self) -> Result<()> {
        let ran = local_stack::down(&self.state()?)?;
        eprintln!("{}", if ran { "stopped" } else { "nothing runs" });
        Ok(())
    }
}

impl Up {
    async fn run(self, place: Place) -> Result<()> {
        let wish = |asked: Option<u16>, default| asked.map_or(Port::Preferably(default), Port::Exactly);
        let mut settings = place
            .settings(wish(self.port, DEFAULT_GATEWAY_PORT), wish(self.stripe_port, DEFAULT_STRIPE_PORT))?;
        settings.bind = self.bind;
        settings.containers = self.containers;
        let progress = Progress::new();
        let stack = Stack::start(&settings, &progress).await?;
        progress.say(&summary(stack.outputs()));

        if self.detach {
            progress.say("It keeps running. `cargo ops down` stops it.");
            stack.detach()?;
            return Ok(());
        }
        progress.say(if stack.is_ours() {
            "The functions' logs follow. Ctrl-C stops everything.\n"
        } else {
            "The functions' logs follow. It was running before, so Ctrl-C leaves it running; `cargo ops down` stops it.\n"
        });
        let endpoint = stack.running().endpoint();
        tokio::select! {
            () = logs::follow(&endpoint) => {}
            () = interrupted() => {}
            () = stack.ended() => return Err(Error::Ended { logs: stack.logs() }),
        }
        progress.say("\nstopping");
        stack.stop();
        Ok(())
    }
}

fn summary(outputs: &Outputs) -> String {
    format!(
        "\n  shop      {}\n  API       {}\n  live      {}\n  AWS       {}\n  Stripe    {}\n  admin     {}  {}\n",
        outputs.storefront_url,
        outputs.api_url,
        outputs.websocket_url,
        outputs.aws_endpoint_url,
        outputs.stripe_url,
        outputs.admin.email,
        outputs.admin.password
    )
}

fn as_json(outputs: &impl Serialize) -> Result<String> {
    serde_json::to_string_pretty(outputs).map_err(|error| Error::Deploy(error.to_string()))
}

async fn interrupted() {
    // Without a handler Ctrl-C ends the process, and the supervisor notices: as good.
    if tokio::signal::ctrl_c().await.is_err() {
        std::future::pending::<()>().await;
    }
}

/// Ctrl-C ends the work at its next step, and with it all it started.
async fn until_interrupted(work: impl Future<Output = Result<()>>) -> Result<()> {
    tokio::pin!(work);
    tokio::select! {
        biased;
        result = &mut work => result,
        () = interrupted() => Err(Error::Interrupted),
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn documents_and_alarms_name_commands_that_exist() {
        let mut files = Vec::new();
        texts(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../.."), &mut files);
        let mut seen = 0;
        for file in files {
            let text = std::fs::read_to_string(&file).unwrap();
            for line in text.lines() {
                for said in line.split("cargo ops ").skip(1) {
                    let command = said.split(['`', '#', '|', ';', ')']).next().unwrap_or_default();
                    assert_eq!(unknown(command), None, "{}: cargo ops {command}", file.display());
                    seen += 1;
                }
            }
        }
        assert!(seen > 100, "only {seen} commands were found");
        assert_eq!(unknown("stripe connect --stage prod"), Some("connect"));
        assert_eq!(unknown("saga check --older-then 0"), Some("--older-then"));
    }

    /// The Markdown files and templates below a folder.
    fn texts(folder: &Path, found: &mut Vec<PathBuf>) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() && !path.ends_with("target") && !path.ends_with(".git") {
                texts(&path, found);
            } else if path.extension().is_some_and(|extension| extension == "md" || extension == "yaml") {
                found.push(path);
            }
        }
    }

    /// The first word of a command line that is no subcommand or no option.
    fn unknown(line: &str) -> Option<&str> {
        let mut command = Cli::command();
        command.build();
        let mut words = line.split_whitespace().map(|word| word.trim_end_matches(['.', ',', ':']));
        while let Some(word) = words.next() {
            // Another program reads its options, and has a test for them.
            if command.get_arguments().any(clap::Arg::is_trailing_var_arg_set) {
                return None;
            }
            if let Some(name) = word.strip_prefix("--") {
                let option = command.get_arguments().find(|argument| argument.get_long() == Some(name));
                let Some(option) = option else { return Some(word) };
                if option.get_action().takes_values() {
                    words.next();
                }
            } else if command.has_subcommands() && word.starts_with(|first: char| first.is_ascii_lowercase())
            {
                let Some(found) = command.find_subcommand(word) else { return Some(word) };
                command = found.clone();
            }
        }
        None
    }

    #[test]
    fn a_supervisor_reads_back_the_arguments_that_it_is_started_with() {
        let arguments = SupervisorArgs {
            state_dir: "/a b".into(),
            root: "/r".into(),
            python: "/p".into(),
            bind: "127.0.0.1".into(),
            gateway_port: 1,
            stripe_port: 2,
            functions_endpoint: Some("http://127.0.0.1:3".into()),
            containers: Some(std::net::Ipv4Addr::new(172, 17, 0, 1)),
        };
        let words = ["ops".to_owned(), local_stack::process::SUPERVISE.to_owned()];
        let cli = Cli::try_parse_from(words.into_iter().chain(arguments.words())).unwrap();
        let Command::Supervise(read) = cli.command else { panic!("another command") };
        assert_eq!(format!("{read:?}"), format!("{arguments:?}"));
    }
}
