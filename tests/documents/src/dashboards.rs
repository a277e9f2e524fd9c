//! The dashboards: one of the platform, which shows the business and the saga, and one of each context.
//!
//! A context's dashboard is made of its operations, functions, queues and metrics, so nothing can be forgotten.

use contracts::metrics::{self, Metric};
use serde_json::{Value, json};

use crate::{
    TemplateError,
    metrics::{Kind, Operation, operations_of},
    sorted,
};

/// The namespace of our own metrics.
const OWN: &str = "Ordersaga/${Stage}";
/// Seconds.
const PERIOD: u32 = 60;

/// The body of a dashboard, one widget a line. `template` is the text of the context's template.
///
/// # Errors
/// A template cannot be read.
pub fn dashboard(context: &str, template: &str) -> Result<String, TemplateError> {
    let widgets = if context == "platform" { platform() } else { of_context(context, template)? };
    let lines: Vec<String> = widgets.iter().map(|widget| sorted(widget).to_string()).collect();
    Ok(format!("{{\"widgets\":[\n{}\n]}}", lines.join(",\n")))
}

fn platform() -> Vec<Value> {
    let api = |metric: &str, statistic: &str, label: &str| json!(["AWS/ApiGateway", metric, "ApiId", "${HttpApi}", {"stat": statistic, "label": label}]);
    let saga = |metric: &str, statistic: &str, label: &str| {
        let arn = "arn:${AWS::Partition}:states:${AWS::Region}:${AWS::AccountId}:stateMachine:ordersaga-${Stage}-order-saga";
        json!(["AWS/States", metric, "StateMachineArn", arn, {"stat": statistic, "label": label}])
    };
    let percentiles =
        |metric: &Metric| ["p50", "p95", "p99"].map(|p| with(series_of(metric)[0].clone(), p, p));
    let channel = |channel: &str| {
        let one = |metric: &Metric, id: &str, label: &str| {
            let value = json!([OWN, metric.name, "Service", "notifications", "Channel", channel]);
            hidden(with(value, "Sum", label), &format!("{channel}_{id}"))
        };
        let (sent, failed) = (format!("FILL({channel}_sent, 0)"), format!("FILL({channel}_failed, 0)"));
        vec![
            json!([{"expression": format!("100 * {sent} / ({sent} + {failed})"), "label": channel, "id": format!("{channel}_rate")}]),
            one(&metrics::NOTIFICATIONS_SENT, "sent", "sent"),
            one(&metrics::NOTIFICATIONS_FAILED, "failed", "failed"),
        ]
    };
    let security = metrics::SECURITY_EVENTS;
    vec![
        widget(
            "Orders",
            "Sum",
            [
                labelled(&metrics::ORDERS_PLACED, "Sum", "placed"),
                vec![with(series_of(&metrics::ORDER_DURATION)[0].clone(), "SampleCount", "completed")],
            ]
            .concat(),
        ),
        widget("Order latency, ms", "p50", percentiles(&metrics::ORDER_DURATION).to_vec()),
        widget("Cancelled orders by reason", "Sum", labelled_all(&metrics::ORDERS_CANCELLED)),
        widget(
            "Reservation success rate, %",
            "Sum",
            vec![
                json!([{"expression": "100 * FILL(held, 0) / (FILL(held, 0) + FILL(refused, 0))", "label": "reserved", "id": "rate"}]),
                hidden(series_of(&metrics::RESERVATIONS_HELD)[0].clone(), "held"),
                hidden(series_of(&metrics::RESERVATIONS_REFUSED)[0].clone(), "refused"),
            ],
        ),
        widget("Payments by result", "Sum", labelled_all(&metrics::PAYMENTS)),
        widget("Revenue, minor units", "Sum", labelled_all(&metrics::REVENUE)),
        widget("Notification delivery, %", "Sum", [channel("email"), channel("sms")].concat()),
        widget("Late notifications", "Sum", labelled_all(&metrics::NOTIFICATIONS_LATE)),
        widget(
            "Saga executions",
            "Sum",
            vec![
                saga("ExecutionsStarted", "Sum", "started"),
                saga("ExecutionsSucceeded", "Sum", "succeeded"),
                saga("ExecutionsFailed", "Sum", "failed"),
                saga("ExecutionsTimedOut", "Sum", "timed out"),
            ],
        ),
        widget(
            "Orders that need a person",
            "Sum",
            [
                labelled(&metrics::UNDOS_FAILED, "Sum", "undo failed"),
                labelled(&metrics::STEPS_FAILED, "Sum", "step failed"),
                labelled(&metrics::REFUNDS_FAILED, "Sum", "refund failed"),
            ]
            .concat(),
        ),
        widget(
            "REST requests",
            "Sum",
            vec![
                json!(["AWS/ApiGateway", "Count", "ApiId", "${HttpApi}", {"stat": "SampleCount", "label": "requests"}]),
                api("4xx", "Sum", "4xx"),
                api("5xx", "Sum", "5xx"),
            ],
        ),
        widget("REST latency, ms", "p99", ["p50", "p95", "p99"].map(|p| api("Latency", p, p)).to_vec()),
        widget("Open breakers", "Maximum", labelled_all(&metrics::BREAKER_OPEN)),
        widget(
            "Functions of the account",
            "Sum",
            vec![
                json!(["AWS/Lambda", "Throttles", {"stat": "Sum", "label": "throttles"}]),
                json!(["AWS/Lambda", "ConcurrentExecutions", {"stat": "Maximum", "label": "concurrent executions"}]),
            ],
        ),
        widget("Memory of functions, MB", "Maximum", labelled(&metrics::MEMORY_USED, "Maximum", "the most")),
        widget("Security events", "Sum", labelled_all(&security)),
    ]
}

fn of_context(context: &str, template: &str) -> Result<Vec<Value>, TemplateError> {
    let mut widgets = Vec::new();
    for metric in metrics::ALL {
        let own = of_service(metric, context);
        if !own.is_empty() {
            let statistic = statistic(metric);
            widgets.push(widget(metric.name, statistic, own));
        }
    }
    let operations = operations_of(context)?;
    for (kind, title) in [(Kind::Route, "Routes"), (Kind::Event, "Events"), (Kind::Task, "Commands and runs")]
    {
        let all: Vec<_> = operations.iter().filter(|operation| operation.kind == kind).collect();
        let series = |metric: &Metric, operations: &[&Operation]| -> Vec<Value> {
            let one = |operation: &&Operation| {
                json!([OWN, metric.name, "Service", context, "Operation", operation.name])
            };
            operations.iter().map(one).collect()
        };
        let timed: Vec<_> =
            all.iter().copied().filter(|operation| metrics::is_timed(&operation.name)).collect();
        if !all.is_empty() {
            widgets.push(widget(&format!("{title}: errors"), "Sum", series(&metrics::ERRORS, &all)));
        }
        if !timed.is_empty() {
            let durations = series(&metrics::DURATION, &timed);
            widgets.push(widget(&format!("{title}: number"), "SampleCount", durations.clone()));
            for percentile in ["p50", "p95", "p99"] {
                widgets.push(widget(&format!("{title}: {percentile}, ms"), percentile, durations.clone()));
            }
        }
    }
    widgets.extend(of_functions(template));
    widgets.extend(of_queues(template));
    Ok(widgets)
}

/// Utilisation, saturation and errors of the context's functions.
fn of_functions(template: &str) -> Vec<Value> {
    let functions = names(template, "      FunctionName: !Sub ordersaga-${Stage}-");
    let all = |metric: &str| -> Vec<Value> {
        let one = |name: &&str| json!(["AWS/Lambda", metric, "FunctionName", format!("ordersaga-${{Stage}}-{name}"), {"label": name}]);
        functions.iter().map(one).collect()
    };
    let streams: Vec<Value> = functions
        .iter()
        .filter(|name| name.ends_with("-relay") || name.ends_with("-views"))
        .map(|name| {
            json!(["AWS/Lambda", "IteratorAge", "FunctionName", format!("ordersaga-${{Stage}}-{name}"), {"label": name}])
        })
        .collect();
    let mut widgets = vec![
        widget("Functions: invocations", "Sum", all("Invocations")),
        widget("Functions: concurrent executions", "Maximum", all("ConcurrentExecutions")),
        widget("Functions: duration p99, ms", "p99", all("Duration")),
        widget("Functions: throttles", "Sum", all("Throttles")),
        widget("Functions: errors", "Sum", all("Errors")),
    ];
    if !streams.is_empty() {
        widgets.push(widget("Streams: age, ms", "Maximum", streams));
    }
    widgets
}

/// How much waits in the context's queues, and for how long.
fn of_queues(template: &str) -> Vec<Value> {
    let all = names(template, "      QueueName: !Sub ordersaga-${Stage}-");
    let (dead, live): (Vec<&str>, Vec<&str>) = all.into_iter().partition(|name| name.contains("-dlq"));
    let of = |metric: &str, queues: &[&str]| -> Vec<Value> {
        let one = |name: &&str| json!(["AWS/SQS", metric, "QueueName", format!("ordersaga-${{Stage}}-{name}"), {"label": name}]);
        queues.iter().map(one).collect()
    };
    if live.is_empty() {
        return Vec::new();
    }
    vec![
        widget("Queues: messages", "Maximum", of("ApproximateNumberOfMessagesVisible", &live)),
        widget("Queues: age of the oldest message, s", "Maximum", of("ApproximateAgeOfOldestMessage", &live)),
        widget("Dead letters", "Maximum", of("ApproximateNumberOfMessagesVisible", &dead)),
    ]
}

/// The names in a template's lines that begin so.
fn names<'a>(template: &'a str, beginning: &str) -> Vec<&'a str> {
    template.lines().filter_map(|line| line.strip_prefix(beginning)).collect()
}

/// The statistic that says most about a metric.
fn statistic(metric: &Metric) -> &'static str {
    match metric.unit {
        metrics::Unit::Milliseconds => "p99",
        metrics::Unit::Megabytes => "Maximum",
        _ if metric.name == metrics::BREAKER_OPEN.name => "Maximum",
        _ => "Sum",
    }
}

/// Every series of a metric, without a label.
fn series_of(metric: &Metric) -> Vec<Value> {
    metric.series.iter().map(|series| named(metric, *series)).collect()
}

/// Every series of a metric, labelled by its value; for several contexts with the context.
fn labelled_all(metric: &Metric) -> Vec<Value> {
    let contexts =
        metric.series.iter().filter_map(|series| series.service).collect::<std::collections::BTreeSet<_>>();
    let label = |series: &metrics::Series| match (contexts.len(), series.service, series.value) {
        (2.., Some(service), Some(value)) => format!("{service}/{value}"),
        (_, _, Some(value)) => value.to_owned(),
        (_, service, None) => service.unwrap_or(metric.name).to_owned(),
    };
    metric
        .series
        .iter()
        .map(|series| with(named(metric, *series), statistic(metric), &label(series)))
        .collect()
}

fn labelled(metric: &Metric, statistic: &str, label: &str) -> Vec<Value> {
    series_of(metric).into_iter().map(|series| with(series, statistic, label)).collect()
}

/// The series that one context emits.
fn of_service(metric: &Metric, context: &str) -> Vec<Value> {
    let own = metric.series.iter().filter(|series| series.service == Some(context));
    own.map(|series| with(named(metric, *series), statistic(metric), series.value.unwrap_or(metric.name)))
        .collect()
}

fn named(metric: &Metric, series: metrics::Series) -> Value {
    let mut words = vec![OWN, metric.name];
    if let Some(service) = series.service {
        words.extend(["Service", service]);
    }
    if let Some((name, value)) = metric.dimension.zip(series.value) {
        words.extend([name, value]);
    }
    json!(words)
}

/// The series with its statistic and its label.
fn with(mut series: Value, statistic: &str, label: &str) -> Value {
    if let Some(words) = series.as_array_mut() {
        words.push(json!({"stat": statistic, "label": label}));
    }
    series
}

/// The series for an expression, which alone is drawn.
fn hidden(mut series: Value, id: &str) -> Value {
    if let Some(words) = series.as_array_mut() {
        if !words.last().is_some_and(Value::is_object) {
            words.push(json!({"stat": "Sum"}));
        }
        if let Some(options) = words.last_mut() {
            options["id"] = json!(id);
            options["visible"] = json!(false);
        }
    }
    series
}

/// The series with `...` for what is the same as in the series before (CloudWatch API reference, "Dashboard Body Structure
/// and Syntax": it stands for all words but the last).
fn shortened(metrics: Vec<Value>) -> Vec<Value> {
    let words = |metric: &Value| -> Vec<Value> {
        metric.as_array().into_iter().flatten().filter(|word| word.is_string()).cloned().collect()
    };
    let mut before: Vec<Value> = Vec::new();
    let mut all = Vec::new();
    for metric in metrics {
        let names = words(&metric);
        let options = metric.as_array().and_then(|all| all.last()).filter(|last| last.is_object()).cloned();
        let is_like_the_one_before = names.len() > 2
            && names.len() == before.len()
            && names[..names.len() - 1] == before[..names.len() - 1];
        let mut short = if is_like_the_one_before {
            vec![json!("..."), names[names.len() - 1].clone()]
        } else {
            names.clone()
        };
        short.extend(options);
        before = names;
        all.push(Value::Array(short));
    }
    all
}

/// A widget of a third of the width.
fn widget(title: &str, statistic: &str, metrics: Vec<Value>) -> Value {
    let metrics = shortened(metrics);
    json!({
        "type": "metric", "width": 8, "height": 6,
        "properties": {
            "title": title, "view": "timeSeries", "region": "${AWS::Region}", "period": PERIOD, "stat": statistic,
            "metrics": metrics,
        }
    })
}
