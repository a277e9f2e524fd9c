//! infra/METRICS.md: every metric that functions emit, and what its series cost.

use std::{collections::BTreeMap, fmt::Write, fs};

use contracts::metrics::{self, Metric};
use yaml_serde::Value;

use crate::{TemplateError, openapi, repository};

/// The contexts, in the order of the documents.
pub const CONTEXTS: [&str; 9] = [
    "catalog",
    "fulfillment",
    "inventory",
    "notifications",
    "orders",
    "payments",
    "realtime",
    "storefront",
    "users",
];

/// What an operation is, for the widgets that show it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// A route of the REST API.
    Route,
    /// The events that the context consumes.
    Event,
    /// Anything else: a command, a query, a batch of a stream, a run on a timer.
    Task,
}

/// An operation that a context records.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Operation {
    pub kind: Kind,
    pub name: String,
}

/// The operations of a context that are neither routes nor events.
fn tasks(context: &str) -> &'static [&'static str] {
    match context {
        "catalog" => &["relay", "republish"],
        "fulfillment" => &["ScheduleShipment", "CancelShipment", "CountryServed", "relay", "republish"],
        "inventory" => &["ReserveInventory", "ReleaseInventory", "Availabilities", "relay", "republish"],
        "notifications" => &["account_message", "email", "sms", "relay", "republish"],
        "orders" => &[
            "RecordReservation",
            "CompleteOrder",
            "CancelOrder",
            "AbortOrder",
            "OrderStatuses",
            "CheckSagas",
            "ProjectOrders",
            "Replay",
            "relay",
            "republish",
        ],
        "payments" => &[
            "TakePayment",
            "RefundPayment",
            "CheckPayment",
            "RecordDispute",
            "RecordRefunds",
            "PaymentStatuses",
            "CheckPayments",
            "relay",
            "republish",
        ],
        "realtime" => &["connect", "message", "disconnect"],
        "users" => &[
            "ShowAccount",
            "GrantRole",
            "RevokeRole",
            "SuspendAccount",
            "RestoreAccount",
            "EndSessions",
            "relay",
            "republish",
        ],
        _ => &[],
    }
}

/// All operations of a context.
///
/// # Errors
/// The context's template cannot be read.
pub fn operations_of(context: &str) -> Result<Vec<Operation>, TemplateError> {
    let mut operations = routes(context);
    operations.extend(events(context)?);
    let tasks = tasks(context).iter().map(|name| Operation { kind: Kind::Task, name: (*name).to_owned() });
    operations.extend(tasks);
    Ok(operations)
}

/// The routes as the description of the API has them, and the name for requests that no route takes.
fn routes(context: &str) -> Vec<Operation> {
    let document = openapi().content;
    let mut routes = Vec::new();
    for (path, item) in document["paths"].as_object().into_iter().flatten() {
        for (method, operation) in item.as_object().into_iter().flatten() {
            if operation["tags"][0] == context {
                let name = format!("{} {path}", method.to_uppercase());
                routes.push(Operation { kind: Kind::Route, name });
            }
        }
    }
    if !routes.is_empty() {
        routes.push(Operation { kind: Kind::Route, name: "unmatched".to_owned() });
    }
    routes.sort();
    routes
}

/// The operation of all events, if the context has a queue with a filter for events.
///
/// # Errors
/// The context's template cannot be read.
fn events(context: &str) -> Result<Option<Operation>, TemplateError> {
    let path = repository().join(format!("infra/{context}.yaml"));
    let text =
        fs::read_to_string(&path).map_err(|source| TemplateError::Read { path: path.clone(), source })?;
    let template: Value = yaml_serde::from_str(&text).map_err(|error| TemplateError::Place {
        place: path.display().to_string(),
        problem: error.to_string(),
    })?;
    let mut resources = template["Resources"].as_mapping().into_iter().flatten();
    let has_filter = |resource: &Value| resource["Properties"]["FilterPolicy"]["event_type"].is_sequence();
    let has_events = resources.any(|(_, resource)| has_filter(resource));
    Ok(has_events.then(|| Operation { kind: Kind::Event, name: metrics::EVENTS.to_owned() }))
}

/// What one series costs for a month in which it gets a value every hour, in cents (Amazon CloudWatch pricing, the first
/// 10,000 metrics, us-east-1).
const SERIES_CENTS: usize = 30;

/// The text of infra/METRICS.md.
///
/// # Errors
/// A template cannot be read.
pub fn metrics_document() -> Result<String, TemplateError> {
    let mut counted = BTreeMap::new();
    let mut timed = 0;
    for context in CONTEXTS {
        let operations = operations_of(context)?;
        timed += operations.iter().filter(|operation| metrics::is_timed(&operation.name)).count();
        counted.insert(context, operations.len());
    }
    let operations: usize = counted.values().sum();
    let own: usize = metrics::ALL.iter().map(|metric| metric.series.len()).sum();

    let mut text = format!(
        "# Metrics\n\n\
         Written by `cargo ops metrics` from [the list in the code](../shared/contracts/src/metrics.rs); a test compares them. \
         Functions emit these metrics as log lines (CloudWatch's embedded metric format) in the namespace \
         `Ordersaga/<stage>`. Alarms and dashboards name only metrics of this list and of AWS. What AWS measures is not emitted \
         again: the length and age of queues (AWS/SQS), the age of streams, throttles, errors and concurrency (AWS/Lambda), \
         executions (AWS/States), requests (AWS/ApiGateway), and the number and time of the invocations of functions that \
         have one operation: relays, consumers, views and runs on a timer (AWS/Lambda).\n\n\
         ## What they cost\n\n\
         CloudWatch charges $0.30 a month for each series, which is one metric with one value of each dimension, by the hour \
         in which it gets a value. So a stage without requests pays for almost none. If each series got a value in every hour:\n\n\
         | | series | $ a month |\n|---|---|---|\n\
         | `Duration`, one for each operation of a function with several | {timed} | {} |\n\
         | the metrics with a name of their own | {own} | {} |\n\
         | all | {} | {} |\n\n\
         `Errors` has a value only in the hours in which an operation fails. There is no metric for the number of operations, \
         because it is the number of samples of `Duration` (statistic `SampleCount`), and none by outcome: the log lines have \
         `Outcome` as a field (`stats count() by Operation, Outcome` in Logs Insights), and those of events their type as `Event`. A request with a method that its route \
         does not have counts as `unmatched`, so that no caller can make series.\n\n\
         Operations by context: {}.\n\n\
         ## The list\n\n\
         | metric | unit | dimensions | series | what it counts or measures |\n|---|---|---|---|---|\n",
        dollars(timed),
        dollars(own),
        timed + own,
        dollars(timed + own),
        counted.iter().map(|(context, number)| format!("{context} {number}")).collect::<Vec<_>>().join(", "),
    );
    for metric in metrics::ALL {
        // Writing to a text cannot fail.
        let _ = writeln!(
            text,
            "| `{}` | {} | {} | {} | {} |",
            metric.name,
            metric.unit.as_str(),
            dimensions(metric),
            series(metric, if metric.name == metrics::DURATION.name { timed } else { operations }),
            metric.meaning,
        );
    }
    Ok(text)
}

fn dollars(series: usize) -> String {
    let cents = series * SERIES_CENTS;
    format!("{}.{:02}", cents / 100, cents % 100)
}

fn dimensions(metric: &Metric) -> String {
    let names = if metric.series.is_empty() { vec!["Service", "Operation"] } else { metric.dimensions() };
    if names.is_empty() { "none".to_owned() } else { names.join(", ") }
}

/// The values of the metric's dimension with their services, or how many operations there are.
fn series(metric: &Metric, operations: usize) -> String {
    if metric.series.is_empty() {
        return format!("{operations} operations");
    }
    let mut services: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for series in metric.series {
        services.entry(series.service.unwrap_or("all contexts")).or_default().extend(series.value);
    }
    let described = services.into_iter().map(|(service, values)| match values.is_empty() {
        true => service.to_owned(),
        false => format!("{service}: {}", values.join(", ")),
    });
    described.collect::<Vec<_>>().join("; ")
}
