//! What a stage costs in a month of 30 days without an order: from its templates, and from what runs by the clock.

use std::collections::BTreeSet;
use std::path::Path;

use local_stack::AboutFile;
use yaml_serde::Value;

use super::bill::Line;
use super::prices::{self, Price};
use super::topology::{Queue, Topology};
use crate::error::{Error, Result};

const MINUTES: u64 = 30 * 24 * 60;
/// Lambda's pollers of a queue that is empty (Lambda Developer Guide, "Using Lambda with Amazon SQS").
const POLLERS: u64 = 5;
/// Each waits for 20 seconds for a message.
const POLLS_A_MINUTE: u64 = 3;

/// The condition of a context's dashboard. `prod` has `Dashboards=platform`, and not this one.
const OF_ALL_DASHBOARDS: &str = "HasDashboard: !Equals [!Ref Dashboards, all]";

/// What the templates declare.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Declared {
    /// The metrics that alarms look at.
    pub alarm_metrics: u64,
    pub dashboards: u64,
    pub keys: u64,
    pub secrets: u64,
    pub scheduled_runs: u64,
}

impl Declared {
    /// # Errors
    /// A template cannot be read, or has a schedule of a form that this does not know.
    pub fn read(infra: &Path) -> Result<Self> {
        let mut declared = Self::default();
        for entry in std::fs::read_dir(infra).about("cannot read", infra)? {
            let file = entry.about("cannot read", infra)?.path();
            if file.extension().is_some_and(|extension| extension == "yaml") {
                let text = std::fs::read_to_string(&file).about("cannot read", &file)?;
                declared.add(&text).map_err(|reason| {
                    Error::Measurement(format!("{} cannot be read: {reason}", file.display()))
                })?;
            }
        }
        Ok(declared)
    }

    fn add(&mut self, template: &str) -> std::result::Result<(), String> {
        let has_dashboard = !template.contains(OF_ALL_DASHBOARDS);
        let template: Value = yaml_serde::from_str(template).map_err(|error| error.to_string())?;
        let resources = template.get("Resources").and_then(Value::as_mapping);
        for resource in resources.into_iter().flat_map(|resources| resources.values()) {
            // Alarms of the minutes in which a new version is deployed.
            if resource.get("Condition").and_then(Value::as_str) == Some("HasCanary") {
                continue;
            }
            let properties = resource.get("Properties").unwrap_or(&Value::Null);
            match resource.get("Type").and_then(Value::as_str).unwrap_or_default() {
                "AWS::CloudWatch::Alarm" => self.alarm_metrics += metrics_of_alarm(properties),
                "AWS::CloudWatch::Dashboard" => self.dashboards += u64::from(has_dashboard),
                "AWS::KMS::Key" => self.keys += 1,
                "AWS::SecretsManager::Secret" => self.secrets += 1,
                "AWS::Serverless::Function" => {
                    let events = properties.get("Events").and_then(Value::as_mapping);
                    for event in events.into_iter().flat_map(|events| events.values()) {
                        let schedule = event.get("Properties").and_then(|it| it.get("ScheduleExpression"));
                        if let Some(expression) = schedule.and_then(Value::as_str) {
                            self.scheduled_runs += runs_of(expression)
                                .ok_or_else(|| format!("{expression} is no schedule that this knows"))?;
                        }
                    }
                }
                _ => {}
            }
        }
        Ok(())
    }
}

fn metrics_of_alarm(properties: &Value) -> u64 {
    let Some(metrics) = properties.get("Metrics").and_then(Value::as_sequence) else { return 1 };
    metrics.iter().filter(|metric| metric.get("MetricStat").is_some()).count() as u64
}

/// The runs in a month of `rate(10 minutes)`, or of a cron expression that names one time of each day.
fn runs_of(expression: &str) -> Option<u64> {
    if let Some(rate) = expression.strip_prefix("rate(").and_then(|rest| rest.strip_suffix(')')) {
        let (number, unit) = rate.split_once(' ')?;
        let minutes = match unit.trim_end_matches('s') {
            "minute" => 1,
            "hour" => 60,
            "day" => 24 * 60,
            _ => return None,
        };
        return MINUTES.checked_div(number.parse::<u64>().ok()? * minutes);
    }
    let fields: Vec<&str> = expression.strip_prefix("cron(")?.strip_suffix(')')?.split(' ').collect();
    let [minute, hour, days @ ..] = fields.as_slice() else { return None };
    let is_daily = [minute, hour].iter().all(|field| field.parse::<u64>().is_ok())
        && days.iter().all(|field| ["*", "?"].contains(field));
    is_daily.then_some(30)
}

/// The month's lines. `metrics` are those that functions record which run by the clock.
pub fn idle(declared: &Declared, topology: &Topology, metrics: &BTreeSet<String>) -> Vec<Line> {
    let polls = |queue: Queue| {
        let mappings = topology.polled.iter().filter(|polled| **polled == queue).count() as u64;
        mappings * POLLERS * POLLS_A_MINUTE * MINUTES
    };
    [
        (&prices::METRIC, metrics.len() as u64),
        (&prices::ALARM, declared.alarm_metrics),
        (&prices::DASHBOARD, declared.dashboards),
        (&prices::KEY, declared.keys),
        (&prices::SECRET, declared.secrets),
        (&prices::QUEUE_REQUEST, polls(Queue::Standard)),
        (&prices::FIFO_QUEUE_REQUEST, polls(Queue::Fifo)),
        (&prices::SCHEDULED_RUN, declared.scheduled_runs),
        (&prices::INVOCATION, declared.scheduled_runs),
    ]
    .map(|(price, quantity)| line(price, quantity))
    .into()
}

/// One line of a month.
pub fn line(price: &'static Price, quantity: u64) -> Line {
    Line { price, quantity, cost: price.of(quantity) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_template_says_what_a_stage_holds() {
        let mut declared = Declared::default();
        let template = "
Resources:
  Simple: {Type: AWS::CloudWatch::Alarm, Properties: {MetricName: Errors, AlarmName: !Sub '${Stage}-a'}}
  Sum:
    Type: AWS::CloudWatch::Alarm
    Properties: {Metrics: [{Id: sum, Expression: a + b}, {Id: a, MetricStat: {}}, {Id: b, MetricStat: {}}]}
  Key: {Type: AWS::KMS::Key}
  Sweeper:
    Type: AWS::Serverless::Function
    Properties: {Events: {Often: {Type: ScheduleV2, Properties: {ScheduleExpression: rate(10 minutes)}}}}
";
        declared.add(template).unwrap();
        let expected = Declared { alarm_metrics: 3, keys: 1, scheduled_runs: 4320, ..Declared::default() };
        assert_eq!(declared, expected);
    }

    #[test]
    fn a_stage_has_the_dashboard_of_the_platform_and_not_those_of_the_contexts() {
        let mut declared = Declared::default();
        for condition in ["!Not [!Equals [!Ref Dashboards, none]]", "!Equals [!Ref Dashboards, all]"] {
            let template = format!(
                "
Conditions:
  HasDashboard: {condition}
Resources:
  Dashboard: {{Type: AWS::CloudWatch::Dashboard, Condition: HasDashboard}}
"
            );
            declared.add(&template).unwrap();
        }
        assert_eq!(declared.dashboards, 1);
    }

    #[test]
    fn a_schedule_of_another_form_is_an_error() {
        assert_eq!(runs_of("rate(1 hour)"), Some(720));
        assert_eq!(runs_of("cron(0 4 * * ? *)"), Some(30));
        for unknown in ["cron(0 4 1 * ? *)", "at(2026-11-20T12:00:00)", "rate(1 week)", "rate(0 minutes)"] {
            assert_eq!(runs_of(unknown), None, "{unknown}");
        }
    }
}
