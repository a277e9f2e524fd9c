//! A drill on AWS. It sets the alarm's state and nothing else: no message is lost, no function is switched off, and no
//! metric is put, since others would read it.

use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::{Alarm, short};
use crate::aws::{Aws, Service};
use crate::confirm;
use crate::error::{Error, Result};
use crate::stage::Stage;

/// CloudWatch publishes within seconds, and its history follows.
const PATIENCE: Duration = Duration::from_secs(90);
const PAUSE: Duration = Duration::from_secs(3);

/// Asks, on every stage: people are called.
///
/// # Errors
/// It was not confirmed.
pub fn confirm(stage: &Stage, yes: bool, alarms: usize) -> Result<()> {
    confirm::stage(
        stage,
        yes,
        &format!("This calls the people who receive the alarms of {stage}, for {alarms} of them."),
    )
}

/// Sets the alarm to `ALARM` for a moment, and checks that CloudWatch published that.
///
/// # Errors
/// CloudWatch refuses, or has not published within a minute and a half.
pub async fn ring(aws: &Aws, alarm: &Alarm) -> Result<()> {
    let (name, caller) = (short(alarm, aws), aws.caller().await?);
    let since = Timestamp::now();
    set(aws, alarm, "ALARM", &format!("This is a fire drill by {caller}. Nothing is broken.")).await?;
    let published = published(aws, alarm, since).await;
    // CloudWatch would do so itself at its next evaluation.
    set(aws, alarm, &alarm.state_value, &format!("The fire drill by {caller} has ended.")).await?;
    println!("{name}: rang, and {}. Runbook: {}", published?, alarm.section());
    Ok(())
}

async fn set(aws: &Aws, alarm: &Alarm, state: &str, reason: &str) -> Result<()> {
    let input = json!({"AlarmName": alarm.alarm_name, "StateValue": state, "StateReason": reason});
    aws.call(Service::CloudWatch, "SetAlarmState", input).await.map(drop)
}

/// What CloudWatch's history says about the alarm's actions.
async fn published(aws: &Aws, alarm: &Alarm, since: Timestamp) -> Result<String> {
    let input = json!({
        "AlarmName": alarm.alarm_name, "HistoryItemType": "Action", "StartDate": since.as_second(),
        "EndDate": since.as_second() + 600,
    });
    let deadline = tokio::time::Instant::now() + PATIENCE;
    while tokio::time::Instant::now() < deadline {
        let answer = aws.call(Service::CloudWatch, "DescribeAlarmHistory", input.clone()).await?;
        if let Some(summary) = action(&answer) {
            return Ok(format!("CloudWatch says: {summary}"));
        }
        tokio::time::sleep(PAUSE).await;
    }
    Err(Error::Drill(format!(
        "{} was set to ALARM, and CloudWatch has published nothing for {} s. Check the alarm's actions and its topic.",
        alarm.alarm_name,
        PATIENCE.as_secs()
    )))
}

/// The summary of the first action about the topic.
fn action(history: &Value) -> Option<&str> {
    let items = history["AlarmHistoryItems"].as_array()?;
    items.iter().filter_map(|item| item["HistorySummary"].as_str()).find(|summary| summary.contains(":sns:"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_action_on_the_topic_counts_as_published() {
        let history = json!({"AlarmHistoryItems": [
            {"HistorySummary": "Alarm updated from OK to ALARM"},
            {"HistorySummary": "Successfully executed action arn:aws:sns:eu-central-1:1:ordersaga-dev-alarms"},
        ]});
        assert!(action(&history).is_some_and(|summary| summary.starts_with("Successfully")));
        assert_eq!(action(&json!({"AlarmHistoryItems": []})), None);
    }
}
