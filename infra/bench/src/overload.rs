//! Throughput while a limit is exceeded for a while, and afterwards.
//!
//! Each limit is a [`Half`] of the measurement: it imposes the limit, offers the work, and reports when each
//! piece is done. The output is the same for all.

mod gateway;
mod load;
mod orders;
mod starts;
mod variable;

use std::time::Duration;

use clap::{Args, ValueEnum};
use local_stack::{Outputs, Progress, Settings, Stack, Step};

use load::{Load, Measured};

use crate::error::Result;

#[derive(Debug, Args)]
#[command(
    after_help = "Uses the stack that runs here, or starts one and stops it at the end. What it changes on a running stack \
                  (a function's environment, the Stripe proxy's limit) is as it was afterwards."
)]
pub struct Overload {
    /// Limits to measure
    #[arg(long, value_delimiter = ',', value_enum, default_values_t = [Half::Gateway, Half::Starts])]
    of: Vec<Half>,
    /// What the limit allows a second
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=100))]
    limit: u32,
    /// How long twice the limit is offered, and then half of it for as long
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u32).range(1..=3600))]
    seconds: u32,
    /// How long an interval is that a line is printed for
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=600))]
    interval: u32,
}

/// What is limited.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Half {
    /// Payments, by what the gateway allows for each endpoint
    Gateway,
    /// Starts of sagas, by the quota of StartExecution
    Starts,
}

impl Half {
    const fn name(self) -> &'static str {
        match self {
            Self::Gateway => "payments, by the gateway's limit",
            Self::Starts => "starts of sagas, by the quota of StartExecution",
        }
    }

    async fn measure(self, outputs: &Outputs, load: &Load, step: &Step) -> Result<Measured> {
        match self {
            Self::Gateway => gateway::measure(outputs, load, step).await,
            Self::Starts => starts::measure(outputs, load, step).await,
        }
    }
}

impl Overload {
    /// Measures, prints a table for each limit on stdout.
    ///
    /// # Errors
    /// The stack does not start, or work is lost.
    pub async fn run(self, settings: &Settings, progress: &Progress) -> Result<()> {
        let stack = Stack::start(settings, progress).await?;
        let measured = self.all(stack.outputs(), progress).await;
        if stack.is_ours() {
            stack.stop();
        }
        for (half, measured) in measured? {
            print!("{}", table(half.name(), self.limit, u64::from(self.interval), &measured));
        }
        Ok(())
    }

    async fn all(&self, outputs: &Outputs, progress: &Progress) -> Result<Vec<(Half, Measured)>> {
        let load = Load::new(self.limit, self.seconds);
        let mut all = Vec::new();
        for half in &self.of {
            let step = progress.step(half.name());
            let measured = half.measure(outputs, &load, &step).await?;
            step.done(&format!("{}: {} done", half.name(), measured.done.len()));
            all.push((*half, measured));
        }
        Ok(all)
    }
}

fn table(what: &str, limit: u32, interval: u64, measured: &Measured) -> String {
    let Measured { offered, done, throttled, lost } = measured;
    let last = offered.iter().chain(done).max().copied().unwrap_or_default();
    let within = |times: &[Duration], from: u64, until: u64| {
        times.iter().filter(|at| (from..until).contains(&at.as_secs())).count()
    };
    let mut text =
        format!("{what}\n\n| second | offered/s | limit/s | done/s | waiting |\n|---|---|---|---|---|\n");
    for from in (0..=last.as_secs()).step_by(usize::try_from(interval).unwrap_or(1)) {
        let until = from + interval;
        let rate = |times: &[Duration]| tenths(within(times, from, until), interval);
        let waiting = within(offered, 0, until).saturating_sub(within(done, 0, until));
        text.push_str(&format!("| {from} | {} | {limit} | {} | {waiting} |\n", rate(offered), rate(done)));
    }
    text.push_str(&format!(
        "\n{} offered, {} done, {lost} lost; {throttled} calls were throttled\n\n",
        offered.len(),
        done.len()
    ));
    text
}

/// The rate a second of a count, with one decimal.
fn tenths(count: usize, seconds: u64) -> String {
    let tenths = count as u64 * 10 / seconds.max(1);
    format!("{}.{}", tenths / 10, tenths % 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_shows_each_interval() {
        let seconds = |of: &[u64]| of.iter().copied().map(Duration::from_secs).collect::<Vec<_>>();
        let measured =
            Measured { offered: seconds(&[0, 0, 1, 1]), done: seconds(&[1, 2, 3, 4]), throttled: 5, lost: 0 };
        let text = table("work", 1, 2, &measured);
        assert!(text.contains("| 0 | 2.0 | 1 | 0.5 | 3 |\n| 2 | 0.0 | 1 | 1.0 | 1 |"), "{text}");
        assert!(text.contains("4 offered, 4 done, 0 lost; 5 calls were throttled"), "{text}");
    }
}
