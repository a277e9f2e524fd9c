//! infra/METRICS.md is as the code makes it, and alarms and dashboards are on metrics that functions emit.

use std::{collections::BTreeSet, fs};

use contracts::metrics::{self, Metric};
use documents::{CONTEXTS, metrics_document, operations_of, repository};
use serde_json::Value;

/// The namespace of our own metrics, as templates write it.
const OWN: &str = "Ordersaga/${Stage}";

/// A series of a metric of our own, as an alarm or a widget names it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Named {
    name: String,
    /// Names and values.
    dimensions: Vec<(String, String)>,
}

/// The templates without their tags: `!Sub x` is `x`.
fn template(name: &str) -> Value {
    let path = repository().join(format!("infra/{name}.yaml"));
    parse(&fs::read_to_string(path).expect("a template"))
}

fn parse(text: &str) -> Value {
    without_tags(yaml_serde::from_str(text).expect("it is YAML"))
}

fn without_tags(value: yaml_serde::Value) -> Value {
    use yaml_serde::Value as Yaml;
    match value {
        Yaml::Sequence(items) => items.into_iter().map(without_tags).collect(),
        Yaml::Mapping(fields) => fields
            .into_iter()
            .map(|(key, value)| (key.as_str().expect("keys are strings").to_owned(), without_tags(value)))
            .collect(),
        Yaml::Tagged(tagged) => without_tags(tagged.value),
        plain => serde_json::to_value(plain).expect("a scalar is JSON"),
    }
}

fn templates() -> Vec<(String, Value)> {
    let names = CONTEXTS.iter().chain(&["platform"]);
    names.map(|name| ((*name).to_owned(), template(name))).collect()
}

/// The properties of a template's resources of this type.
fn of_type<'a>(template: &'a Value, kind: &'a str) -> impl Iterator<Item = &'a Value> {
    let resources = template["Resources"].as_object().into_iter().flatten();
    resources.map(|(_, resource)| resource).filter(move |r| r["Type"] == kind).map(|r| &r["Properties"])
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

/// The series of our own that a template's alarms are on.
fn in_alarms(template: &Value) -> Vec<Named> {
    let parts = |alarm: &Value| -> Vec<Value> {
        let parts = alarm["Metrics"].as_array().into_iter().flatten();
        parts.map(|part| part["MetricStat"]["Metric"].clone()).chain([alarm.clone()]).collect()
    };
    of_type(template, "AWS::CloudWatch::Alarm")
        .flat_map(parts)
        .filter(|metric| metric["Namespace"] == OWN)
        .map(|metric| {
            let dimensions = metric["Dimensions"].as_array().into_iter().flatten();
            let dimensions = dimensions.map(|each| (text(&each["Name"]), text(&each["Value"]))).collect();
            Named { name: text(&metric["MetricName"]), dimensions }
        })
        .collect()
}

/// The series of our own that a template's dashboards show.
fn in_dashboards(template: &Value) -> Vec<Named> {
    let mut shown = Vec::new();
    for dashboard in of_type(template, "AWS::CloudWatch::Dashboard") {
        let body: Value = serde_json::from_str(&text(&dashboard["DashboardBody"])).expect("the body is JSON");
        for widget in body["widgets"].as_array().expect("widgets") {
            let mut words: Vec<String> = Vec::new();
            for metric in widget["properties"]["metrics"].as_array().expect("metrics") {
                let written =
                    metric.as_array().expect("a list").iter().filter(|word| word.is_string()).map(text);
                let mut written: Vec<String> = written.collect();
                // `...` stands for all words of the series before but the last.
                if written.first().is_some_and(|word| word == "...") {
                    words.truncate(words.len() - 1);
                    words.extend(written.drain(1..));
                } else {
                    words = written;
                }
                if let [namespace, name, dimensions @ ..] = words.as_slice()
                    && namespace == OWN
                {
                    let pairs = dimensions.chunks_exact(2);
                    let dimensions = pairs.map(|pair| (pair[0].clone(), pair[1].clone())).collect();
                    shown.push(Named { name: name.clone(), dimensions });
                }
            }
        }
    }
    shown
}

/// Every series that functions emit.
fn emitted() -> BTreeSet<Named> {
    let dimension = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    let mut all = BTreeSet::new();
    for context in CONTEXTS {
        for operation in operations_of(context).expect("the templates") {
            let timed = metrics::is_timed(&operation.name).then_some(&metrics::DURATION);
            for metric in timed.into_iter().chain([&metrics::ERRORS]) {
                let dimensions = vec![dimension("Service", context), dimension("Operation", &operation.name)];
                all.insert(Named { name: metric.name.to_owned(), dimensions });
            }
        }
    }
    for metric in metrics::ALL {
        for series in metric.series {
            let service = series.service.map(|service| dimension("Service", service));
            let own = metric.dimension.zip(series.value).map(|(name, value)| dimension(name, value));
            let dimensions = service.into_iter().chain(own).collect();
            all.insert(Named { name: metric.name.to_owned(), dimensions });
        }
    }
    all
}

fn not_emitted(named: Vec<Named>) -> Vec<Named> {
    let emitted = emitted();
    named.into_iter().filter(|series| !emitted.contains(series)).collect()
}

#[test]
fn the_document_of_metrics_is_as_the_list_makes_it() {
    let file = fs::read_to_string(repository().join("infra/METRICS.md")).expect("the document");
    assert!(
        file == metrics_document().expect("the templates"),
        "infra/METRICS.md differs: run `cargo ops metrics`"
    );
}

#[test]
fn alarms_are_on_metrics_that_functions_emit() {
    let mut seen = 0;
    for (name, template) in templates() {
        let named = in_alarms(&template);
        seen += named.len();
        assert_eq!(not_emitted(named), [], "infra/{name}.yaml");
    }
    assert!(seen > 40, "only {seen} metrics of our own have an alarm");
}

#[test]
fn an_alarm_on_a_metric_that_no_function_emits_is_seen() {
    let yaml = include_str!("../../../infra/payments.yaml");
    for (from, to) in [
        ("MetricName: GatewayMisused", "MetricName: GatewayMissed"),
        ("{Name: Result, Value: declined}", "{Name: Result, Value: refused}"),
        ("{Name: Result, Value: declined}", "{Name: Outcome, Value: declined}"),
    ] {
        assert!(yaml.contains(from), "there is no {from:?} to break");
        assert_eq!(
            not_emitted(in_alarms(&parse(&yaml.replacen(from, to, 1)))).len(),
            1,
            "{from:?} as {to:?}"
        );
    }
}

#[test]
fn dashboards_show_metrics_that_functions_emit() {
    for (name, template) in templates() {
        let shown = in_dashboards(&template);
        assert!(shown.len() > 3, "infra/{name}.yaml has no dashboard");
        assert_eq!(not_emitted(shown), [], "infra/{name}.yaml");
    }
}

#[test]
fn a_widget_whose_metric_no_function_emits_is_seen() {
    let yaml = include_str!("../../../infra/orders.yaml");
    for (from, to) in [
        (r#""OrdersPlaced""#, r#""OrdersPlanned""#),
        (r#"["...","CompleteOrder"]"#, r#"["...","FinishOrder"]"#),
    ] {
        assert!(yaml.contains(from), "there is no {from:?} to break");
        assert!(
            !not_emitted(in_dashboards(&parse(&yaml.replace(from, to)))).is_empty(),
            "{from:?} as {to:?}"
        );
    }
}

#[test]
fn every_metric_is_on_a_dashboard() {
    let shown: BTreeSet<Named> =
        templates().iter().flat_map(|(_, template)| in_dashboards(template)).collect();
    let missing: Vec<Named> = emitted().into_iter().filter(|series| !shown.contains(series)).collect();
    assert_eq!(missing, [], "stand nowhere");
}

#[test]
fn a_metric_has_the_dimensions_that_the_function_emits() {
    // The names are written in the record in this order, and CloudWatch's series do not depend on it.
    let of = |metric: &Metric| metric.dimensions();
    assert_eq!(of(&metrics::PAYMENTS), ["Service", "Result"]);
    assert_eq!(of(&metrics::SECURITY_EVENTS), ["Event"]);
}
