//! Fire drills: an alarm rings, its message arrives at a subscriber of the topic, and it goes quiet again.

mod cause;
mod listener;
mod stage;

use std::time::{Duration, Instant};

use clap::Args;
use futures::future::join_all;
use local_stack::{Progress, Settings, StateDir};
use serde::Deserialize;
use serde_json::{Value, json};

use self::cause::Cause;
use self::listener::Listener;
use crate::aws::{Aws, Service};
use crate::error::{Error, Result};
use crate::stage::Stage;

/// The longest wait for a change of an alarm's state. The longest periods of the alarms are 75 s together on this machine.
const PATIENCE: Duration = Duration::from_secs(150);
/// `DescribeAlarms` returns at most this many at a time.
const PAGE: u8 = 100;

#[derive(Debug, Args)]
pub struct Drill {
    /// The alarms, as `--list` names them, such as `payments-events-dlq`; several ring at the same time
    #[arg(required_unless_present = "list")]
    alarms: Vec<String>,
    /// List the alarms, their states, and how each is made to ring
    #[arg(long, conflicts_with = "alarms")]
    list: bool,
    /// On AWS; without it, on this machine's stack
    #[arg(long)]
    stage: Option<Stage>,
    /// On AWS: do not ask
    #[arg(long)]
    yes: bool,
}

/// An alarm as CloudWatch describes it.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Alarm {
    alarm_name: String,
    #[serde(default)]
    alarm_description: String,
    state_value: String,
    #[serde(default)]
    namespace: String,
    #[serde(default)]
    metric_name: String,
    #[serde(default)]
    dimensions: Vec<Dimension>,
    #[serde(default)]
    statistic: Option<String>,
    #[serde(default)]
    period: Option<u64>,
    evaluation_periods: u64,
    threshold: f64,
    #[serde(default)]
    treat_missing_data: Option<String>,
    /// Of metric math.
    #[serde(default)]
    metrics: Vec<Part>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Dimension {
    name: String,
    value: String,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Part {
    #[serde(default)]
    metric_stat: Option<MetricStat>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct MetricStat {
    metric: Metric,
    stat: String,
    /// CloudFormation of the emulator stores it as a text.
    period: Value,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Metric {
    namespace: String,
    metric_name: String,
    #[serde(default)]
    dimensions: Vec<Dimension>,
}

impl Alarm {
    /// The section of the runbook that the alarm names.
    fn section(&self) -> &str {
        let before = self.alarm_description.split(" in infra/RUNBOOK.md").next().unwrap_or_default();
        before.rsplit('"').nth(1).unwrap_or("none")
    }

    /// The value of the alarm's dimension.
    fn dimension(&self, name: &str) -> Option<&str> {
        self.dimensions
            .iter()
            .find(|dimension| dimension.name == name)
            .map(|dimension| dimension.value.as_str())
    }
}

impl Drill {
    /// # Errors
    /// No such stack or alarm, an alarm rings already, or one does not ring, is not published, or does not end.
    pub async fn run(self, settings: &Settings, progress: &Progress) -> Result<()> {
        let aws = Aws::of(settings, self.stage.clone(), progress).await?;
        let alarms = alarms(&aws).await?;
        if self.list {
            for alarm in &alarms {
                let cause = Cause::of(alarm, &aws);
                let how = if self.stage.is_some() {
                    "sets the alarm's state for a moment".to_owned()
                } else {
                    cause.to_string()
                };
                println!("{:<36} {:<18} {how}", short(alarm, &aws), alarm.state_value);
            }
            return Ok(());
        }
        let chosen = choose(&alarms, &self.alarms, &aws)?;
        match &self.stage {
            Some(stage) => {
                stage::confirm(stage, self.yes, chosen.len())?;
                for alarm in chosen {
                    stage::ring(&aws, alarm).await?;
                }
                Ok(())
            }
            None => {
                let api = StateDir::new(settings.state_dir.clone()).outputs()?.api_url;
                let drills = chosen.into_iter().map(|alarm| ring(&aws, &api, alarm));
                join_all(drills).await.into_iter().collect()
            }
        }
    }
}

/// All alarms of the stage.
async fn alarms(aws: &Aws) -> Result<Vec<Alarm>> {
    let mut alarms = Vec::new();
    let mut page = json!({"AlarmNamePrefix": aws.name(""), "MaxRecords": PAGE});
    loop {
        let answer = aws.call(Service::CloudWatch, "DescribeAlarms", page.clone()).await?;
        let unreadable = |error: serde_json::Error| Error::Drill(format!("an alarm cannot be read: {error}"));
        let read: Vec<Alarm> = serde_json::from_value(answer["MetricAlarms"].clone()).map_err(unreadable)?;
        alarms.extend(read);
        let Some(next) = answer["NextToken"].as_str() else { return Ok(alarms) };
        page["NextToken"] = json!(next);
    }
}

/// The alarm's name without the stage.
fn short<'a>(alarm: &'a Alarm, aws: &Aws) -> &'a str {
    alarm.alarm_name.strip_prefix(&aws.name("")).unwrap_or(&alarm.alarm_name)
}

/// The alarms of these names, none of which rings.
fn choose<'a>(alarms: &'a [Alarm], names: &[String], aws: &Aws) -> Result<Vec<&'a Alarm>> {
    let mut chosen: Vec<&Alarm> = Vec::new();
    for name in names {
        let found = alarms.iter().find(|alarm| short(alarm, aws) == name || alarm.alarm_name == *name);
        let Some(alarm) = found else {
            let list = format!("cargo ops drill --list{}", aws.option());
            return Err(Error::Drill(format!("there is no alarm {name}. `{list}` lists all.")));
        };
        if alarm.state_value == "ALARM" {
            let section = alarm.section();
            return Err(Error::Drill(format!(
                "{name} rings already, and that is no drill: see \"{section}\" in infra/RUNBOOK.md."
            )));
        }
        if !chosen.iter().any(|known| known.alarm_name == alarm.alarm_name) {
            chosen.push(alarm);
        }
    }
    Ok(chosen)
}

/// Makes an alarm of this machine's stack ring and go quiet.
async fn ring(aws: &Aws, api: &str, alarm: &Alarm) -> Result<()> {
    let name = short(alarm, aws);
    let cause = Cause::of(alarm, aws);
    println!("{name}: {cause}");
    let listener = Listener::start(aws, &alarm.alarm_name).await?;
    let started = Instant::now();
    let rung = tokio::select! {
        rung = until(&listener, cause.rings_as(), cause.act(aws, api, alarm)) => rung,
        _ = tokio::signal::ctrl_c() => Err(Error::Interrupted),
    };
    if rung.is_ok() {
        let seconds = started.elapsed().as_secs();
        println!(
            "{name}: rang after {seconds} s, and its message arrived at a subscriber of the topic. Runbook: {}",
            alarm.section()
        );
    }
    // Also when it did not ring: a cause is not left behind.
    let ended = cause.end(aws, alarm).await;
    let started = Instant::now();
    let quiet = match (rung, ended) {
        (Ok(()), Ok(())) => tokio::select! {
            quiet = until(&listener, "OK", cause.recover(aws, alarm)) => quiet,
            _ = tokio::signal::ctrl_c() => Err(Error::Interrupted),
        },
        (Err(error), _) | (Ok(()), Err(error)) => Err(error),
    };
    listener.end().await;
    quiet?;
    println!("{name}: quiet after {} s, by {}", started.elapsed().as_secs(), cause.remedy(aws));
    Ok(())
}

/// Acts until the alarm has published this state.
async fn until(listener: &Listener<'_>, state: &str, act: impl Future<Output = Result<()>>) -> Result<()> {
    let heard = async {
        tokio::time::timeout(PATIENCE, listener.hears(state)).await.unwrap_or_else(|_| {
            let seconds = PATIENCE.as_secs();
            Err(Error::Drill(format!("{} did not publish {state} within {seconds} s", listener.alarm())))
        })
    };
    // The cause acts again and again, and ends only when it cannot.
    let acted = async {
        act.await?;
        std::future::pending::<Result<()>>().await
    };
    tokio::select! {
        heard = heard => heard,
        failed = acted => failed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn alarm(description: &str) -> Alarm {
        serde_json::from_value(json!({
            "AlarmName": "ordersaga-local-orders-attention", "AlarmDescription": description, "StateValue": "OK",
            "EvaluationPeriods": 1, "Threshold": 0.0,
        }))
        .unwrap()
    }

    #[test]
    fn the_section_of_the_runbook_is_the_last_quoted_text_before_its_name() {
        let described =
            "Nothing works. See \"this\" first; see \"NeedsAttention\" in infra/RUNBOOK.md; then go home.";
        assert_eq!(alarm(described).section(), "NeedsAttention");
        assert_eq!(alarm("An alarm of another tool.").section(), "none");
    }
}
