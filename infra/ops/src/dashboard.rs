//! The figures of a stage in the terminal. They are those of the dashboards in infra/*.yaml, so both show the same.

mod frame;

use std::io::{IsTerminal, Write};
use std::path::Path;
use std::time::Duration;

use clap::Args;
use jiff::{Timestamp, Zoned};
use local_stack::{LOCAL_STAGE, Progress, Settings};
use serde::Deserialize;
use serde_json::{Value, json};

use self::frame::{Panel, Row};
use crate::aws::{Aws, Service};
use crate::error::{Error, Result};
use crate::stage::Stage;

/// CloudWatch's values are a minute each.
const PERIOD_SECONDS: i64 = 60;
/// The stack on this machine has new values at once.
const LOCAL_REFRESH: Duration = Duration::from_secs(5);
/// A value on AWS is a minute old, and each metric that is read costs a hundred-thousandth of a dollar.
const REFRESH: Duration = Duration::from_secs(60);
/// Clears the terminal, and goes to its beginning.
const CLEAR: &str = "\x1b[2J\x1b[H";

#[derive(Debug, Args)]
pub struct Dashboard {
    /// Whose figures: `platform` for the business and the saga, or the name of a context
    #[arg(default_value = "platform")]
    name: String,
    /// On AWS; without it, on this machine's stack
    #[arg(long)]
    stage: Option<Stage>,
    /// Print the figures once, and end
    #[arg(long)]
    once: bool,
    /// How many minutes are shown
    #[arg(long, default_value = "30", value_parser = clap::value_parser!(u16).range(5..=180))]
    minutes: u16,
}

/// A dashboard's body (CloudWatch API reference, "Dashboard Body Structure and Syntax"), as far as it is used here.
#[derive(Debug, Deserialize)]
struct Body {
    widgets: Vec<Widget>,
}

#[derive(Debug, Deserialize)]
struct Widget {
    properties: Properties,
}

#[derive(Debug, Deserialize)]
struct Properties {
    title: String,
    /// For metrics without one of their own.
    stat: String,
    metrics: Vec<Vec<Value>>,
}

impl Dashboard {
    /// # Errors
    /// No such stack or dashboard, or CloudWatch refuses.
    pub async fn run(self, settings: &Settings, progress: &Progress) -> Result<()> {
        let text = template(&settings.root, &self.name)?;
        let aws = Aws::of(settings, self.stage.clone(), progress).await?;
        let widgets = widgets(&text, &self.name, &aws).await?;
        let is_live = !self.once && std::io::stdout().is_terminal();
        loop {
            let panels = self.read(&aws, &widgets).await?;
            let stage = self.stage.as_ref().map_or(LOCAL_STAGE, Stage::name);
            let at = Zoned::now().strftime("%H:%M:%S").to_string();
            let heading = format!("{} of {stage}, the last {} minutes until {at}", self.name, self.minutes);
            let mut out = std::io::stdout().lock();
            if is_live {
                let _ = write!(out, "{CLEAR}");
            }
            // A closed pipe ends the command with its next line, and is no error of the figures.
            let _ = write!(out, "{}", frame::render(&heading, &panels, usize::from(self.minutes)));
            let _ = out.flush();
            drop(out);
            if !is_live {
                return Ok(());
            }
            tokio::time::sleep(if self.stage.is_some() { REFRESH } else { LOCAL_REFRESH }).await;
        }
    }

    async fn read(&self, aws: &Aws, widgets: &[Widget]) -> Result<Vec<Panel>> {
        let now = Timestamp::now().as_second();
        // Whole minutes, so that a value is in the same column at the next reading.
        let end = (now / PERIOD_SECONDS + 1) * PERIOD_SECONDS;
        let start = end - i64::from(self.minutes) * PERIOD_SECONDS;
        let mut panels = Vec::new();
        for Widget { properties } in widgets {
            let input = json!({"MetricDataQueries": queries(properties), "StartTime": start, "EndTime": end, "ScanBy": "TimestampAscending"});
            let answer = aws.call(Service::CloudWatch, "GetMetricData", input).await?;
            let results = answer["MetricDataResults"].as_array().cloned().unwrap_or_default();
            let rows = results.iter().map(|result| Row {
                label: result["Label"].as_str().unwrap_or_default().to_owned(),
                values: by_minute(result, start, self.minutes),
            });
            let is_sum = ["Sum", "SampleCount"].contains(&properties.stat.as_str())
                && !properties.title.ends_with('%');
            panels.push(Panel { title: properties.title.clone(), is_sum, rows: rows.collect() });
        }
        Ok(panels)
    }
}

/// The template of the platform or of a context.
fn template(root: &Path, name: &str) -> Result<String> {
    let infra = root.join("infra");
    if name.chars().all(|c| c.is_ascii_lowercase())
        && let Ok(text) = std::fs::read_to_string(infra.join(format!("{name}.yaml")))
    {
        return Ok(text);
    }
    let files = std::fs::read_dir(&infra).into_iter().flatten().flatten();
    let mut names: Vec<String> =
        files.filter_map(|file| Some(file.file_name().to_str()?.strip_suffix(".yaml")?.to_owned())).collect();
    names.sort();
    Err(Error::Stage(format!("there is no dashboard {name}. There are: {}.", names.join(", "))))
}

/// The widgets of a template's dashboard whose metrics have no name that only CloudFormation knows.
async fn widgets(template: &str, name: &str, aws: &Aws) -> Result<Vec<Widget>> {
    let unreadable = |what: String| Error::Stage(format!("infra/{name}.yaml: {what}"));
    let template: yaml_serde::Value =
        yaml_serde::from_str(template).map_err(|error| unreadable(error.to_string()))?;
    let body = &template["Resources"]["Dashboard"]["Properties"]["DashboardBody"];
    let body = match body {
        yaml_serde::Value::Tagged(tagged) => tagged.value.as_str(),
        other => other.as_str(),
    };
    let body = body.ok_or_else(|| unreadable("it has no dashboard".to_owned()))?;
    let body = aws
        .substitutions()
        .await?
        .into_iter()
        .fold(body.to_owned(), |body, (name, value)| body.replace(&format!("${{{name}}}"), &value));
    let Body { widgets } = serde_json::from_str(&body).map_err(|error| unreadable(error.to_string()))?;
    let is_known = |widget: &Widget| !json!(widget.properties.metrics).to_string().contains("${");
    Ok(widgets.into_iter().filter(is_known).collect())
}

/// What `GetMetricData` is asked for the widget.
fn queries(properties: &Properties) -> Vec<Value> {
    let numbered = properties.metrics.iter().enumerate();
    let mut names: Vec<&str> = Vec::new();
    numbered
        .map(|(number, words)| {
            let options = words.last().filter(|last| last.is_object()).unwrap_or(&Value::Null);
            let id = options["id"].as_str().map_or_else(|| format!("m{number}"), str::to_owned);
            let mut written: Vec<&str> = words.iter().filter_map(Value::as_str).collect();
            // `...` stands for all words of the series before but the last.
            if written.first() == Some(&"...") {
                names.pop();
                names.extend(written.drain(1..));
            } else {
                names = written;
            }
            let label = options["label"].as_str().or(names.last().copied()).unwrap_or_default();
            let mut query = json!({"Id": id, "Label": label, "ReturnData": options["visible"] != false});
            if let Some(expression) = options["expression"].as_str() {
                query["Expression"] = json!(expression);
            } else {
                let dimensions: Vec<Value> = names
                    .get(2..)
                    .unwrap_or_default()
                    .chunks_exact(2)
                    .map(|pair| json!({"Name": pair[0], "Value": pair[1]}))
                    .collect();
                query["MetricStat"] = json!({
                    "Metric": {"Namespace": names.first(), "MetricName": names.get(1), "Dimensions": dimensions},
                    "Period": PERIOD_SECONDS,
                    "Stat": options["stat"].as_str().unwrap_or(&properties.stat),
                });
            }
            query
        })
        .collect()
}

/// A result's value of each minute since `start`.
fn by_minute(result: &Value, start: i64, minutes: u16) -> Vec<Option<f64>> {
    let mut values = vec![None; usize::from(minutes)];
    let times = result["Timestamps"].as_array().into_iter().flatten();
    for (time, value) in times.zip(result["Values"].as_array().into_iter().flatten()) {
        let minute = seconds(time)
            .map(|at| (at - start) / PERIOD_SECONDS)
            .and_then(|minute| usize::try_from(minute).ok());
        if let Some(place) = minute.and_then(|minute| values.get_mut(minute)) {
            *place = value.as_f64();
        }
    }
    values
}

/// A time in either form: seconds since 1970, or as Python prints it.
fn seconds(time: &Value) -> Option<i64> {
    time.as_i64()
        .or_else(|| time.as_str()?.replacen(' ', "T", 1).parse::<Timestamp>().ok().map(Timestamp::as_second))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn properties(metrics: Value) -> Properties {
        serde_json::from_value(json!({"title": "Orders", "stat": "Sum", "metrics": metrics})).unwrap()
    }

    #[test]
    fn a_series_of_a_widget_is_asked_for_with_its_dimensions_and_statistic() {
        let asked = queries(&properties(json!([
            ["Ordersaga/dev", "OrderDuration", "Service", "orders", {"stat": "p99", "label": "slow"}],
            ["AWS/Lambda", "Throttles"],
        ])));
        let expected = json!({
            "Id": "m0", "Label": "slow", "ReturnData": true, "MetricStat": {
                "Metric": {
                    "Namespace": "Ordersaga/dev", "MetricName": "OrderDuration",
                    "Dimensions": [{"Name": "Service", "Value": "orders"}],
                },
                "Period": 60, "Stat": "p99",
            }
        });
        assert_eq!(asked[0], expected);
        assert_eq!(
            (&asked[1]["Label"], &asked[1]["MetricStat"]["Stat"]),
            (&json!("Throttles"), &json!("Sum"))
        );
    }

    #[test]
    fn dots_stand_for_the_words_of_the_series_before() {
        let asked =
            queries(&properties(json!([["N", "Payments", "Result", "succeeded"], ["...", "declined"]])));
        let metric = &asked[1]["MetricStat"]["Metric"];
        assert_eq!(
            (&metric["MetricName"], &metric["Dimensions"][0]["Value"]),
            (&json!("Payments"), &json!("declined"))
        );
        assert_eq!(asked[1]["Label"], "declined");
    }

    #[test]
    fn an_expression_is_asked_for_with_the_hidden_series_that_it_is_made_of() {
        let asked = queries(&properties(json!([
            [{"expression": "100 * held", "label": "reserved", "id": "rate"}],
            ["N", "ReservationsHeld", "Service", "inventory", {"stat": "Sum", "id": "held", "visible": false}],
        ])));
        assert_eq!(
            asked[0],
            json!({"Id": "rate", "Label": "reserved", "ReturnData": true, "Expression": "100 * held"})
        );
        assert_eq!((&asked[1]["Id"], &asked[1]["ReturnData"]), (&json!("held"), &json!(false)));
    }

    #[test]
    fn values_stand_in_their_minute_whichever_form_their_time_has() {
        let result =
            json!({"Timestamps": [1_800_000_060, "2027-01-15 08:02:00+00:00", 5], "Values": [1.0, 2.5, 9.0]});
        assert_eq!(by_minute(&result, 1_800_000_000, 4), [None, Some(1.0), Some(2.5), None]);
    }
}
