//! The printed report.

use std::collections::BTreeMap;
use std::fmt::Write;

use serde::Serialize;

use super::bill::{self, Counted, Line, by_service, is_upkeep, total};
use super::prices::{self, Microdollars, Price};
use super::proxy::Count;
use super::topology::Topology;
use crate::error::{Error, Result};

/// How the figures were obtained. Printed below them, so that they are not mistaken for measurements on AWS.
const HOW: &str = "\
Measured: every call of a function to AWS (by a proxy between the functions and the emulator); DynamoDB's units, from the
items that each call read and wrote, by DynamoDB's rules; states entered, and retries; invocations; bytes of logs.
Modelled: what a topic hands on (its subscriptions' filters, read from the stack); a request to SQS for each message that a
topic or the saga puts into a queue; one receive and one delete for each invocation by a queue. A function's milliseconds,
and how many messages share an invocation, are this machine's (warm, one order at a time, without the proxy's own time): AWS's
are others. An HTTP request is an invocation of a function of the REST API that no other function made.
A visit is measured without the frames of an order, which are added: one for each event that realtime gets. Its WebSocket is
open for four minutes. A trace is an invocation by a client or a stream of a function with Tracing: Active, and every one is
recorded, as Lambda does below one a second. Kept bytes are those of items that do not expire, without indexes, after one month.
A month without orders: metrics are those that functions record which run by the clock; the templates say the rest. The
metrics in use are those that these orders and the visit recorded.
Left out: reads and milliseconds of functions that run by the clock, keys and secrets that a process reads when it starts; API
Gateway's access log; data transfer; SMS; the gateway's fees.
";

/// The title of the visit.
pub const VISIT: &str = "a customer's visit";

/// One kind of order, or the visit, counted.
pub struct Kind {
    pub title: &'static str,
    pub ending: String,
    pub counted: Counted,
}

pub struct Report {
    kinds: Vec<(Kind, Vec<Line>)>,
    month: Month,
}

/// What a stage costs in a month.
pub struct Month {
    /// Without an order.
    pub idle: Vec<Line>,
    /// What it costs more when orders come, however many.
    pub in_use: Vec<Line>,
}

impl Report {
    pub fn new(kinds: Vec<Kind>, month: Month, topology: &Topology) -> Self {
        let billed = kinds.into_iter().map(|kind| {
            let lines = kind.counted.bill(topology);
            (kind, lines)
        });
        Self { kinds: billed.collect(), month }
    }

    /// The first kind, the visit, and the stage.
    fn bill_of_a_million(&self) -> Microdollars {
        let title = |(kind, _): &&(Kind, Vec<Line>)| kind.title == VISIT;
        let visit = self.kinds.iter().find(title).map_or(Microdollars(0), |(_, lines)| total(lines));
        let order = self.kinds.first().map_or(Microdollars(0), |(_, lines)| total(lines));
        [order, visit, total(&self.month.idle), total(&self.month.in_use)].into_iter().sum()
    }

    pub fn text(&self, by_function: bool) -> String {
        let mut text = String::new();
        for (index, (kind, lines)) in self.kinds.iter().enumerate() {
            // Writing to a string cannot fail.
            let _ = writeln!(text, "\n{}. {} → {}", index + 1, kind.title, kind.ending);
            if kind.counted.saga.has_ended {
                text.push_str(&states(&kind.counted));
            }
            text.push_str(&calls(&kind.counted, by_function));
            text.push_str(&functions(&kind.counted));
            text.push_str(&bill_table(lines));
            text.push_str(&unpriced(&kind.counted));
        }
        let _ = writeln!(text, "\nA month without orders");
        text.push_str(&month_table(&self.month.idle));
        let _ = writeln!(text, "\nMore in a month with orders");
        text.push_str(&month_table(&self.month.in_use));
        text.push_str(&self.summary());
        let _ = writeln!(
            text,
            "\nA million orders that complete, each with a visit, in a stage of their own: {}",
            self.bill_of_a_million()
        );
        text.push_str(&price_list());
        text.push('\n');
        text.push_str(HOW);
        text
    }

    /// The cost of a million orders of each kind, by service.
    fn summary(&self) -> String {
        let mut text = format!("\n{:<32}", "a million orders");
        let all: Vec<Line> = self.kinds.iter().flat_map(|(_, lines)| lines).copied().collect();
        let services = by_service(&all);
        for (service, _) in &services {
            let _ = write!(text, "{service:>15}");
        }
        let _ = writeln!(text, "{:>12}", "sum");
        for (kind, lines) in &self.kinds {
            let costs: BTreeMap<_, _> = by_service(lines).into_iter().collect();
            let _ = write!(text, "{:<32}", kind.title);
            for (service, _) in &services {
                let _ = write!(text, "{:>15}", costs.get(service).copied().unwrap_or_default());
            }
            let _ = writeln!(text, "{:>12}", total(lines));
        }
        text
    }

    /// # Errors
    /// There is none: everything in it has a JSON form.
    pub fn json(&self) -> Result<String> {
        let kinds = self.kinds.iter().map(|(kind, lines)| KindJson::new(kind, lines)).collect();
        let document = Json {
            prices_as_of: prices::AS_OF,
            region: local_stack::REGION,
            kinds,
            idle_month: self.month.idle.iter().map(LineJson::of).collect(),
            more_in_use: self.month.in_use.iter().map(LineJson::of).collect(),
            microdollars_per_million_orders_with_visits_and_stage: self.bill_of_a_million(),
        };
        let text =
            serde_json::to_string_pretty(&document).map_err(|error| Error::Measurement(error.to_string()))?;
        Ok(format!("{text}\n"))
    }
}

fn states(counted: &Counted) -> String {
    let saga = &counted.saga;
    let retries = if saga.retries > 0 { format!(", {} retries", saga.retries) } else { String::new() };
    format!("   {} states entered{retries}: {}\n", saga.entered.len(), saga.entered.join(", "))
}

fn calls(counted: &Counted, by_function: bool) -> String {
    let mut rows: BTreeMap<[&str; 3], Count> = BTreeMap::new();
    let mut sum = Count::default();
    for (call, count) in &counted.calls {
        let function = if by_function { call.signer.as_str() } else { "" };
        *rows.entry([function, &call.service, &call.operation]).or_default() += count.clone();
        sum += count.clone();
    }
    let items = if by_function { "   bytes of items written" } else { "" };
    let mut text = format!(
        "\n   {:<56}{:>6}{:>13}{:>12}{items}\n",
        "calls to AWS", "calls", "write units", "read units"
    );
    for ([function, service, operation], count) in rows {
        if by_function {
            let name = format!("{function:<24}{service} {operation}");
            let written: Vec<String> = count.written.iter().map(u64::to_string).collect();
            text.push_str(format!("{}   {}", row(&name, &count), written.join(", ")).trim_end());
        } else {
            text.push_str(&row(&format!("{service} {operation}"), &count));
        }
        text.push('\n');
    }
    text.push_str(&row("sum", &sum));
    text.push('\n');
    text
}

fn row(name: &str, count: &Count) -> String {
    let units = count.units;
    format!("   {name:<56}{:>6}{:>13}{:>12}", count.calls, units.writes, halves(units.half_reads))
}

fn functions(counted: &Counted) -> String {
    let mut used: BTreeMap<&str, Count> = BTreeMap::new();
    for (call, count) in &counted.calls {
        *used.entry(&call.signer).or_default() += count.clone();
    }
    let mut text = format!(
        "\n   {:<30}{:>13}{:>8}{:>11}{:>7}{:>13}{:>12}\n",
        "functions", "invocations", "ms", "log bytes", "calls", "write units", "read units"
    );
    for (name, runs) in &counted.runs {
        let count = used.get(name.as_str()).cloned().unwrap_or_default();
        let _ = writeln!(
            text,
            "   {name:<30}{:>13}{:>8}{:>11}{:>7}{:>13}{:>12}",
            runs.invocations,
            runs.milliseconds,
            runs.log_bytes,
            count.calls,
            count.units.writes,
            halves(count.units.half_reads)
        );
    }
    text
}

fn bill_table(lines: &[Line]) -> String {
    let mut text = format!("\n   {:<44}{:>12}{:>20}\n", "paid for", "an order", "a million orders");
    for line in lines.iter().filter(|line| line.quantity > 0) {
        let (what, quantity) = shown(line.price, line.quantity);
        let _ = writeln!(
            text,
            "   {:<44}{quantity:>12}{:>20}",
            format!("{}: {what}", line.price.service),
            line.cost
        );
    }
    let sum = total(lines);
    let _ = writeln!(text, "   {:<56}{sum:>20}", "sum");
    let dearest: Vec<String> = by_service(lines)
        .into_iter()
        .take(2)
        .map(|(service, cost)| format!("{service} is {} % of it", cost.percent_of(sum)))
        .collect();
    let _ = writeln!(text, "   {}.", dearest.join(", "));
    text
}

fn month_table(lines: &[Line]) -> String {
    let mut text = String::new();
    for line in lines.iter().filter(|line| line.quantity > 0) {
        let name = format!("{}: {}", line.price.service, line.price.what);
        let _ = writeln!(text, "   {name:<44}{:>12}{:>20}", line.quantity, line.cost);
    }
    let _ = writeln!(text, "   {:<56}{:>20}", "sum", total(lines));
    text
}

/// A quantity as a person reads it: halves of read units are counted, and read units shown.
fn shown(price: &Price, quantity: u64) -> (&'static str, String) {
    if *price == prices::HALF_READ_UNIT {
        ("read units", halves(quantity))
    } else {
        (price.what, quantity.to_string())
    }
}

/// `2.5`, of 5 halves.
fn halves(count: u64) -> String {
    format!("{}{}", count / 2, if count % 2 == 1 { ".5" } else { "" })
}

fn unpriced(counted: &Counted) -> String {
    let mut text = String::new();
    for (call, calls) in counted.unpriced() {
        let _ = writeln!(text, "   not in the sum: {} {} × {calls}", call.service, call.operation);
    }
    for (call, count) in counted.calls.iter().filter(|(call, _)| is_upkeep(call)) {
        let _ = writeln!(
            text,
            "   not in the sum, since a process does it and not an order: {} {} × {}",
            call.service, call.operation, count.calls
        );
    }
    text
}

fn price_list() -> String {
    let mut text =
        format!("\nList prices of {}, {}, without free tiers:\n", local_stack::REGION, prices::AS_OF);
    for price in prices::ALL {
        let (what, _) = shown(price, 0);
        let name = format!("{}: {what}", price.service);
        let _ = writeln!(text, "   {name:<44}{:<58}{}", price.listed(), price.source);
    }
    text
}

#[derive(Serialize)]
struct Json<'a> {
    region: &'a str,
    prices_as_of: &'a str,
    kinds: Vec<KindJson<'a>>,
    /// Its `per_order` are per month.
    idle_month: Vec<LineJson>,
    more_in_use: Vec<LineJson>,
    microdollars_per_million_orders_with_visits_and_stage: Microdollars,
}

#[derive(Serialize)]
struct KindJson<'a> {
    order: &'a str,
    ended_as: String,
    states: &'a [String],
    retries: u64,
    calls: Vec<CallJson<'a>>,
    functions: Vec<FunctionJson<'a>>,
    bill: Vec<LineJson>,
    microdollars_per_million_orders: Microdollars,
}

#[derive(Serialize)]
struct CallJson<'a> {
    function: &'a str,
    service: &'a str,
    operation: &'a str,
    calls: u64,
    write_units: u64,
    half_read_units: u64,
    /// Sizes of the items that were written.
    item_bytes: &'a [u64],
}

#[derive(Serialize)]
struct FunctionJson<'a> {
    function: &'a str,
    invocations: u64,
    milliseconds: u64,
    log_bytes: u64,
}

#[derive(Serialize)]
struct LineJson {
    service: &'static str,
    what: &'static str,
    per_order: u64,
    microdollars_per_million_orders: Microdollars,
    price: String,
    source: &'static str,
}

impl LineJson {
    fn of(line: &Line) -> Self {
        Self {
            service: line.price.service,
            what: line.price.what,
            per_order: line.quantity,
            microdollars_per_million_orders: line.cost,
            price: line.price.listed(),
            source: line.price.source,
        }
    }
}

impl<'a> KindJson<'a> {
    fn new(kind: &'a Kind, lines: &[Line]) -> Self {
        let counted = &kind.counted;
        let calls = counted.calls.iter().map(|(call, count)| CallJson {
            function: &call.signer,
            service: &call.service,
            operation: &call.operation,
            calls: count.calls,
            write_units: count.units.writes,
            half_read_units: count.units.half_reads,
            item_bytes: &count.written,
        });
        let functions = counted.runs.iter().map(|(function, runs)| FunctionJson {
            function,
            invocations: runs.invocations,
            milliseconds: runs.milliseconds,
            log_bytes: runs.log_bytes,
        });
        let bill = lines.iter().map(LineJson::of);
        Self {
            order: kind.title,
            ended_as: kind.ending.clone(),
            states: &counted.saga.entered,
            retries: counted.saga.retries,
            calls: calls.collect(),
            functions: functions.collect(),
            bill: bill.collect(),
            microdollars_per_million_orders: bill::total(lines),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn halves_are_shown_as_they_are() {
        assert_eq!([halves(4), halves(5)], ["2", "2.5"]);
    }

    #[test]
    fn a_bill_says_what_dominates() {
        let line = |price: &'static Price, quantity| Line {
            price,
            quantity,
            cost: price.of_a_million_orders(quantity),
        };
        let text =
            bill_table(&[line(&prices::TRANSITION, 5), line(&prices::EMAIL, 1), line(&prices::LOG_BYTE, 0)]);
        assert!(
            text.contains("$225.00") && text.contains("Step Functions is 56 % of it, SES is 44 % of it."),
            "{text}"
        );
        assert!(!text.contains("CloudWatch"), "{text}");
    }
}
