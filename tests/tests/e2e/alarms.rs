//! Alarms are raised by the functions' logs, and publish to the alarm topic.

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::fixture::{Fixture, eventually, unique};
use crate::harness::Outcome;

crate::tests![
    an_alarm_is_published_when_it_is_raised_and_when_it_ends,
    a_surge_of_forged_tokens_raises_an_alarm,
];

/// CloudWatch's API.
const VERSION: &str = "2010-08-01";

/// Checks that the alarm is raised by a count of `kind` that the function has logged.
pub async fn is_raised_by_log(fixture: &Fixture, function: &str, kind: &str, alarm: &str) -> Outcome {
    is_raised_by_logs(fixture, function, kind, alarm, 1).await
}

/// Checks that the alarm is raised by this number of records of `kind`, of which the function has logged one. The emulator does
/// not turn logs into metrics, as CloudWatch does for this record format, so the test copies the values from the
/// record, and the alarm must find them.
async fn is_raised_by_logs(
    fixture: &Fixture,
    function: &str,
    kind: &str,
    alarm: &str,
    records: u64,
) -> Outcome {
    let lines = fixture.log_lines(function, &["CloudWatchMetrics", kind]).await?;
    let record: Value = serde_json::from_str(lines.last().ok_or("no metric was logged")?)?;
    let directive = &record["_aws"]["CloudWatchMetrics"][0];
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let metric = text(&directive["Metrics"][0]["Name"]);
    let count = record[&metric].as_u64().ok_or("the record has no count")?;
    let mut form = vec![
        ("Namespace".to_owned(), text(&directive["Namespace"])),
        ("MetricData.member.1.MetricName".to_owned(), metric.clone()),
        ("MetricData.member.1.Value".to_owned(), (count * records).to_string()),
    ];
    for (name, number) in directive["Dimensions"][0].as_array().into_iter().flatten().zip(1..) {
        let dimension = format!("MetricData.member.1.Dimensions.member.{number}");
        form.push((format!("{dimension}.Name"), text(name)));
        form.push((format!("{dimension}.Value"), text(&record[text(name)])));
    }
    fixture.emulator.query("monitoring", "PutMetricData", VERSION, &form).await?;

    let asked = [("AlarmNames.member.1".to_owned(), name(fixture, alarm))];
    eventually(&format!("{alarm} is raised"), async || {
        let alarms = fixture.emulator.query("monitoring", "DescribeAlarms", VERSION, &asked).await?;
        if alarms.contains("<StateValue>ALARM</StateValue>") { Ok(()) } else { Err(alarms)? }
    })
    .await?;
    Ok(())
}

fn name(fixture: &Fixture, alarm: &str) -> String {
    format!("ordersaga-{}-{alarm}", fixture.outputs.stage)
}

async fn a_surge_of_forged_tokens_raises_an_alarm(fixture: Fixture) -> Outcome {
    let forged = fixture.shop.with_token("not.a.token");
    let answer = forged.call(Method::GET, "/v1/users/me").send_once().await?;
    assert_eq!(answer.status, StatusCode::UNAUTHORIZED);
    let logged = eventually("the function has logged it", async || {
        let lines = fixture.log_lines("users-api", &["security event", "token_refused"]).await?;
        lines.into_iter().next().ok_or_else(|| "no security event".into())
    })
    .await?;
    let line: Value = serde_json::from_str(&logged)?;
    assert_eq!(line["security_event"], "token_refused");
    assert!(line["source"].as_str().is_some_and(|source| source.len() == 32), "{line}");
    assert!(!logged.contains("not.a.token"), "{line}");
    is_raised_by_logs(&fixture, "users-api", "token_refused", "security-tokens", 100).await
}

async fn an_alarm_is_published_when_it_is_raised_and_when_it_ends(fixture: Fixture) -> Outcome {
    // A queue of this test's own instead of the mailbox of a person.
    let sqs = async |operation: &str, input: Value| {
        fixture.emulator.json("sqs", &format!("AmazonSQS.{operation}"), &input).await
    };
    let lets_sns_in = json!({"Version": "2012-10-17", "Statement": {
        "Effect": "Allow", "Principal": {"Service": "sns.amazonaws.com"},
        "Action": "sqs:SendMessage", "Resource": "*"
    }});
    let input = json!({"QueueName": unique("alarms"), "Attributes": {"Policy": lets_sns_in.to_string()}});
    let queue = sqs("CreateQueue", input).await?["QueueUrl"].clone();
    let attributes =
        sqs("GetQueueAttributes", json!({"QueueUrl": queue, "AttributeNames": ["QueueArn"]})).await?;
    let subscribe = [
        ("TopicArn", fixture.parameter("alarm-action-arn").await?),
        ("Protocol", "sqs".to_owned()),
        ("Endpoint", attributes["Attributes"]["QueueArn"].as_str().ok_or("the queue has an ARN")?.to_owned()),
    ]
    .map(|(name, value)| (name.to_owned(), value));
    fixture.emulator.query("sns", "Subscribe", "2010-03-31", &subscribe).await?;

    // An alarm on a metric that no other test uses.
    let alarm = name(&fixture, "payments-refund-failed");
    for state in ["ALARM", "OK"] {
        let form = [("AlarmName", &*alarm), ("StateValue", state), ("StateReason", "a test")]
            .map(|(name, value)| (name.to_owned(), value.to_owned()));
        fixture.emulator.query("monitoring", "SetAlarmState", VERSION, &form).await?;
        eventually(&format!("the topic has published {state}"), async || {
            let received = sqs("ReceiveMessage", json!({"QueueUrl": queue, "WaitTimeSeconds": 1})).await?;
            let read = |text: &Value| -> Value {
                text.as_str().and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default()
            };
            let told = read(&read(&received["Messages"][0]["Body"])["Message"]);
            if told["AlarmName"] == alarm && told["NewStateValue"] == state {
                Ok(())
            } else {
                Err(told.to_string())?
            }
        })
        .await?;
    }
    Ok(())
}
