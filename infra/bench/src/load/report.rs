//! The figures of one step, and what they say.

use std::fmt::Write;
use std::time::Duration;

use serde_json::{Value, json};

use super::processes::Samples;
use super::records::{Figures, Times};
use crate::figures::hundredths;

/// The share of all processors, in percent, above which the machine itself is the limit.
const BUSY: u128 = 85;
/// The share of one processor, in percent, above which a program with one thread is the limit.
const ONE_BUSY: u128 = 90;

/// Processes that used less are not listed.
const LEAST: Duration = Duration::from_millis(10);

/// One step.
#[derive(Debug)]
pub struct Measured {
    pub name: String,
    pub figures: Figures,
    /// From the first arrival until the last customer has left.
    pub took: Duration,
    /// From the first arrival until the last one.
    pub arriving: Duration,
    pub samples: Samples,
}

impl Measured {
    /// The median of the time from an order to its completion, in milliseconds.
    fn median(&self) -> u64 {
        self.figures.ends.get("completed").map_or(0, |times| times.percentile(50))
    }

    /// Whether half of the orders ended `times` times later than in another step, or were not seen to end.
    pub fn is_slower(&self, first: &Self, times: u64) -> bool {
        self.figures.unseen > 0 || self.median() > first.median().saturating_mul(times)
    }

    fn ended(&self) -> u64 {
        self.figures.ends.values().map(Times::count).sum()
    }

    /// Ended orders a second, in hundredths.
    fn throughput(&self) -> u128 {
        u128::from(self.ended()) * 100_000 / self.took.as_millis().max(1)
    }

    /// What a flash sale sold, if it is right.
    pub fn of_sale(&self, pieces: u64, customers: u64) -> Result<String, String> {
        let Figures { unseen, .. } = self.figures;
        let (sold, refused) = (self.figures.ended_as("completed"), self.figures.ended_as("cancelled"));
        let counted =
            format!("{sold} of {pieces} pieces sold, {refused} customers refused, {unseen} without an end");
        let is_right = sold == pieces && refused + sold == customers && unseen == 0;
        if is_right {
            Ok(counted)
        } else {
            Err(format!("the flash sale of {customers} customers went wrong: {counted}"))
        }
    }

    pub fn as_json(&self) -> Value {
        let routes = self.figures.routes.iter().map(|(route, times)| ((*route).to_owned(), times.as_json()));
        let ends = self.figures.ends.iter().map(|(end, times)| ((*end).to_owned(), times.as_json()));
        let errors = self
            .figures
            .errors
            .iter()
            .map(|((route, kind), count)| (format!("{route}: {kind}"), json!(count)));
        let before = self.samples.memory_before();
        let processes = self.samples.used().into_iter().map(|(name, used)| {
            let memory = before.get(&name);
            let figures =
                json!({"cpu_ms": millis(used.time), "memory_kb": used.memory, "memory_kb_before": memory});
            (name, figures)
        });
        json!({
            "name": self.name, "arrivals": self.figures.arrivals, "placed": self.figures.placed,
            "unseen": self.figures.unseen, "took_ms": millis(self.took),
            "routes": Value::Object(routes.collect()), "ends": Value::Object(ends.collect()),
            "errors": Value::Object(errors.collect()), "processes": Value::Object(processes.collect()),
        })
    }

    /// What limits the throughput, as far as the processors show it.
    pub fn limit(&self) -> String {
        let used = self.samples.used();
        let took = self.took.as_micros().max(1);
        let all: u128 = used.values().map(|used| used.time.as_micros()).sum();
        let busy = all * 100 / (took * processors());
        let mut shares: Vec<_> =
            used.iter().map(|(name, used)| (used.time.as_micros() * 100 / took, name)).collect();
        shares.sort_by(|one, other| other.cmp(one));
        let top: Vec<String> =
            shares.iter().take(3).map(|(share, name)| format!("{name} {share} %")).collect();
        let top = top.join(", ");
        match shares.first() {
            _ if busy >= BUSY => {
                format!("the {} processors, busy for {busy} %; of one processor: {top}", processors())
            }
            Some((share, name)) if *share >= ONE_BUSY => {
                format!("{name}, which keeps one processor busy for {share} %; then {top}")
            }
            _ => format!("no processor: they are busy for {busy} %; of one processor: {top}"),
        }
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

fn processors() -> u128 {
    std::thread::available_parallelism().map_or(1, |number| number.get() as u128)
}

/// What the steps found.
pub fn saturation(steps: &[Measured], slower: u64) -> String {
    let Some(last) = steps.last() else { return String::new() };
    let is_saturated = steps.len() > 1 && steps.first().is_some_and(|first| last.is_slower(first, slower));
    let before = if is_saturated { steps.iter().rev().nth(1) } else { Some(last) };
    let kept = before.map_or_else(String::new, |step| {
        format!("{} orders a second ({})", hundredths(step.throughput()), step.name)
    });
    if is_saturated {
        format!("\nsaturated: {} is too much; it did {kept}.\nThe limit: {}", last.name, last.limit())
    } else {
        format!("\nnot saturated by {}: it did {kept}. Begin with a higher --rate.", last.name)
    }
}

/// The figures, for a person.
pub fn table(measured: &Measured, with_memory: bool) -> String {
    let Measured { name, figures, took, arriving, samples } = measured;
    let mut text = format!("\n{name}\n\n");
    // Writing into a string cannot fail.
    let _ = writeln!(
        text,
        "{} arrived within {} s, {} orders were placed, {} ended within {} s ({} a second), {} were not seen to end",
        figures.arrivals,
        arriving.as_secs(),
        figures.placed,
        measured.ended(),
        took.as_secs(),
        hundredths(measured.throughput()),
        figures.unseen
    );
    let _ = writeln!(
        text,
        "\n{:<32} {:>8} {:>8} {:>8} {:>8} {:>8}",
        "milliseconds", "count", "p50", "p90", "p99", "max"
    );
    let ends = figures.ends.iter().map(|(end, times)| (format!("order until {end}"), times));
    for (name, times) in figures.routes.iter().map(|(route, times)| ((*route).to_owned(), times)).chain(ends)
    {
        let at = |percentile| times.percentile(percentile);
        let (count, longest) = (times.count(), times.longest());
        let _ =
            writeln!(text, "{name:<32} {count:>8} {:>8} {:>8} {:>8} {longest:>8}", at(50), at(90), at(99));
    }
    if figures.failures() == 0 {
        let _ = writeln!(text, "\nno errors");
    }
    for ((route, kind), count) in &figures.errors {
        let _ = writeln!(text, "error {kind}: {count} of {route}");
    }
    let _ = write!(text, "\n{}", of_processes(samples, measured.ended().max(1), with_memory));
    let _ = writeln!(text, "the limit: {}", measured.limit());
    text
}

fn of_processes(samples: &Samples, orders: u64, with_memory: bool) -> String {
    let mut text = format!("{:<28} {:>10} {:>14}", "process", "CPU s", "CPU ms/order");
    text.push_str(if with_memory { "    MB before     MB after\n" } else { "\n" });
    let before = samples.memory_before();
    let mut used: Vec<_> = samples.used().into_iter().collect();
    used.sort_by_key(|(_, used)| std::cmp::Reverse(used.time));
    // What only waited says nothing, unless its memory is looked at.
    for (name, used) in used.into_iter().filter(|(_, used)| with_memory || used.time >= LEAST) {
        let seconds = hundredths(used.time.as_millis() / 10);
        let an_order = hundredths(used.time.as_micros() / 10 / u128::from(orders));
        let _ = write!(text, "{name:<28} {seconds:>10} {an_order:>14}");
        if with_memory {
            let before = before.get(&name).copied().unwrap_or_default();
            let _ = write!(text, " {:>12} {:>12}", before / 1_024, used.memory / 1_024);
        }
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use contracts::OrderStatus;

    use super::super::records::Records;
    use super::*;

    fn measured(completed: u64, cancelled: u64, millis: u64) -> Measured {
        let records = Records::default();
        let time = Duration::from_millis(millis);
        (0..completed).for_each(|_| records.ended(OrderStatus::OrderCompleted, time));
        (0..cancelled).for_each(|_| records.ended(OrderStatus::OrderCancelled, time));
        Measured {
            name: "10 customers".to_owned(),
            figures: records.take(),
            took: Duration::from_secs(10),
            arriving: Duration::from_secs(5),
            samples: Samples::default(),
        }
    }

    #[test]
    fn a_step_is_too_much_when_orders_end_much_later() {
        let steps = [measured(10, 0, 1_000), measured(10, 0, 3_100)];
        assert!(steps[1].is_slower(&steps[0], 3) && !steps[0].is_slower(&steps[0], 3));
        let said = saturation(&steps, 3);
        assert!(said.contains("is too much; it did 1.00 orders a second"), "{said}");
        assert!(saturation(&steps[..1], 3).contains("not saturated"));
    }

    #[test]
    fn a_flash_sale_sells_each_piece_once() {
        assert!(measured(100, 1_900, 1).of_sale(100, 2_000).is_ok());
        for (completed, cancelled) in [(101, 1_899), (99, 1_901), (100, 1_899)] {
            assert!(measured(completed, cancelled, 1).of_sale(100, 2_000).is_err());
        }
    }

    #[test]
    fn the_table_has_the_times_of_orders() {
        let text = table(&measured(3, 1, 20), true);
        assert!(
            text.contains("order until completed") && text.contains("4 ended within 10 s (0.40 a second)"),
            "{text}"
        );
        assert!(text.contains("no errors"), "{text}");
    }
}
