//! The dead-letter queues: what waits in them, and the two ways out.

mod message;
mod queues;
mod redrive;

use std::num::NonZeroUsize;

use clap::{Args, Subcommand};
use local_stack::{Progress, Settings};
use serde::Serialize;
use serde_json::json;

pub use self::message::Summary;
use self::queues::DeadLetters;
use self::redrive::Tally;
use crate::aws::{Aws, Service};
use crate::error::{Error, Result};
use crate::stage::Stage;

#[derive(Debug, Subcommand)]
pub enum Dlq {
    /// Say how many messages wait in each
    List {
        /// For machines
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        place: Where,
    },
    /// Describe messages and leave them there: what they are about, never what they hold
    #[command(
        after_help = "Of a FIFO queue it shows the first ten of each group: SQS gives no more at a time."
    )]
    Show {
        #[command(flatten)]
        queue: Which,
        /// The most messages to show
        #[arg(long, default_value = "10")]
        max: NonZeroUsize,
        /// For machines
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        place: Where,
    },
    /// Move messages back to the queue that they came from, once the cause is mended
    #[command(
        after_help = "Each message is moved once: one that fails again comes back to the dead-letter queue and stays \
                      there, and `show` says how often it was redriven. It can be stopped and repeated."
    )]
    Redrive {
        #[command(flatten)]
        queue: Which,
        /// The most messages to move [default: those that are there when it begins]
        #[arg(long)]
        max: Option<NonZeroUsize>,
        #[command(flatten)]
        place: Where,
    },
    /// Throw every message of one away, for good
    Purge {
        #[command(flatten)]
        queue: Which,
        /// Really
        #[arg(long)]
        yes: bool,
        #[command(flatten)]
        place: Where,
    },
}

#[derive(Debug, Args)]
pub struct Which {
    /// As `list` shows it, or with the stage: payments-commands-dlq, ordersaga-dev-payments-commands-dlq
    queue: String,
}

#[derive(Debug, Clone, Args)]
pub struct Where {
    /// On AWS; without it, on this machine's stack
    #[arg(long)]
    stage: Option<Stage>,
}

impl Dlq {
    /// # Errors
    /// No such stack or queue, or SQS refuses.
    pub async fn run(self, settings: &Settings, progress: &Progress) -> Result<()> {
        let stage = match &self {
            Self::List { place, .. }
            | Self::Show { place, .. }
            | Self::Redrive { place, .. }
            | Self::Purge { place, .. } => place.stage.clone(),
        };
        let aws = Aws::of(settings, stage, progress).await?;
        let all = queues::all(&aws).await?;
        match self {
            Self::List { json: true, .. } => println!("{}", as_json(&all)?),
            Self::List { json: false, .. } => print!("{}", list(&all, &aws.option())),
            Self::Show { queue, max, json, .. } => {
                let queue = queues::find(all, &queue.queue, &aws.name(""))?;
                let messages = redrive::look(&aws, &queue, max.get()).await?;
                let described: Vec<Summary> = messages.iter().map(message::describe).collect();
                if json {
                    println!("{}", as_json(&described)?);
                } else {
                    print!("{}", show(&queue, &described, &aws.option()));
                }
            }
            Self::Redrive { queue, max, .. } => {
                let queue = queues::find(all, &queue.queue, &aws.name(""))?;
                let step = progress.step(&format!("moving what is in {}", queue.name));
                let (tally, ended) = redrive::run(&aws, &queue, max.map(NonZeroUsize::get), &step).await;
                drop(step);
                print!("{}", redriven(&queue, &tally, &aws.option()));
                return ended;
            }
            Self::Purge { queue, yes, .. } => {
                let queue = queues::find(all, &queue.queue, &aws.name(""))?;
                purge(&aws, &queue, yes).await?;
            }
        }
        Ok(())
    }
}

/// The messages in all dead-letter queues, each with its queue: at most `max` of a queue. The second part are the queues
/// that have more.
///
/// # Errors
/// SQS refuses.
pub async fn messages(aws: &Aws, max: usize) -> Result<(Vec<(String, Summary)>, Vec<String>)> {
    let (mut found, mut longer) = (Vec::new(), Vec::new());
    for queue in queues::all(aws).await? {
        if queue.is_empty() {
            continue;
        }
        let messages = redrive::look(aws, &queue, max).await?;
        if queue.visible > messages.len() {
            longer.push(queue.name.clone());
        }
        found.extend(messages.iter().map(|message| (queue.name.clone(), message::describe(message))));
    }
    Ok((found, longer))
}

fn as_json(value: &impl Serialize) -> Result<String> {
    serde_json::to_string_pretty(value).map_err(|error| Error::Dlq(error.to_string()))
}

fn list(all: &[DeadLetters], option: &str) -> String {
    let width = all.iter().map(|queue| queue.name.len()).max().unwrap_or_default();
    let mut text = format!("{:<width$}  messages  in flight  serves\n", "queue");
    for queue in all {
        let DeadLetters { name, visible, in_flight, .. } = queue;
        let served = queue.served();
        let line = format!("{name:<width$}  {visible:>8}  {in_flight:>9}  {served}");
        let line = if queue.is_empty() { line } else { console::style(line).red().bold().to_string() };
        text.push_str(&format!("{line}\n"));
    }
    let full: Vec<&str> = all.iter().filter(|q| !q.is_empty()).map(|q| q.name.as_str()).collect();
    if let Some(first) = full.first() {
        let commands = if full.len() == 1 { String::new() } else { format!(": {}", full.join(", ")) };
        text.push_str(&format!(
            "\n{} of {} not empty{commands}. Next: cargo ops dlq show {first}{option}\n",
            full.len(),
            all.len()
        ));
    }
    text
}

fn show(queue: &DeadLetters, messages: &[Summary], option: &str) -> String {
    let DeadLetters { name, visible, in_flight, .. } = queue;
    if messages.is_empty() {
        return match visible + in_flight {
            0 => format!("{name} is empty\n"),
            held => format!(
                "{name}: all {held} are held by a command that looks at them or moves them. Try again in {} s.\n",
                redrive::HOLD_SECONDS
            ),
        };
    }
    let mut text: String = messages.iter().map(Summary::lines).collect();
    let more = visible.saturating_sub(messages.len());
    if more > 0 {
        text.push_str(&format!("and {more} more: --max shows them\n"));
    }
    text.push_str(&format!(
        "\nWhy they failed is in the log of the function that serves {}: look for the message's, order's or correlation \
         id.\nWhen that is mended: cargo ops dlq redrive {name}{option}\n",
        queue.served()
    ));
    text
}

fn redriven(queue: &DeadLetters, tally: &Tally, option: &str) -> String {
    let name = &queue.name;
    let Tally { moved, again, .. } = *tally;
    let mut text = match moved {
        0 => format!("nothing was moved from {name}\n"),
        _ => format!("{moved} moved to {}\n", queue.served()),
    };
    if again > 0 {
        text.push_str(&format!("{again} of them had come back from a redrive before\n"));
    }
    for reason in &tally.left {
        text.push_str(&format!("left there: {reason}\n"));
    }
    if !tally.back.is_empty() {
        text.push_str(&format!(
            "{} came back already: look at the function's log before trying again\n",
            tally.back.len()
        ));
    }
    if moved > tally.back.len()
        && let Some(minutes) = queue.minutes_to_fail()
    {
        text.push_str(&format!(
            "What fails again is back within about {minutes} min; then see: cargo ops dlq list{option}\n"
        ));
    }
    text
}

async fn purge(aws: &Aws, queue: &DeadLetters, yes: bool) -> Result<()> {
    let DeadLetters { name, visible, in_flight, url, .. } = queue;
    let count = counted(visible + in_flight);
    if !yes {
        return Err(Error::Dlq(format!(
            "{name} holds {count}, and what is in it is nowhere else: it would never be done.\n`cargo ops dlq show \
             {name}{option}` describes it, `cargo ops dlq redrive {name}{option}` tries it again. To throw it away all the \
             same, add --yes.",
            option = aws.option()
        )));
    }
    aws.call(Service::Sqs, "PurgeQueue", json!({"QueueUrl": url})).await?;
    println!("{name}: {count} thrown away");
    if !aws.option().is_empty() {
        // https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_PurgeQueue.html
        eprintln!("AWS takes up to a minute for it; what arrives meanwhile may go as well");
    }
    Ok(())
}

fn counted(messages: usize) -> String {
    if messages == 1 { "1 message".to_owned() } else { format!("{messages} messages") }
}

#[cfg(test)]
mod tests;
