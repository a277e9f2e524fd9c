//! Alarms are raised by the functions' logs, and publish to the alarm topic.

use contracts::{OrderStatus, metrics};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::fixture::{Fixture, buy, eventually, unique};
use crate::harness::Outcome;

crate::tests![
    an_alarm_is_published_when_it_is_raised_and_when_it_ends,
    a_forged_token_is_a_security_event_that_is_logged_and_counted,
    alarms_ring_reach_a_subscriber_and_go_quiet_in_their_drills,
    a_drill_refuses_an_alarm_that_does_not_exist,
    an_order_is_in_the_figures_that_the_list_of_metrics_names,
];

/// CloudWatch's API.
const VERSION: &str = "2010-08-01";

/// Checks that the alarm was raised by what the functions have logged. It may have ended since: on this machine a minute of
/// an alarm lasts five seconds.
pub async fn has_been_raised(fixture: &Fixture, alarm: &str) -> Outcome {
    let input = json!({"AlarmName": name(fixture, alarm), "HistoryItemType": "StateUpdate"});
    eventually(&format!("{alarm} has been raised"), async || {
        let history = cloudwatch(fixture, "DescribeAlarmHistory", &input).await?;
        if history.to_string().contains("to ALARM") { Ok(()) } else { Err(history.to_string())? }
    })
    .await?;
    Ok(())
}

async fn cloudwatch(fixture: &Fixture, operation: &str, input: &Value) -> local_stack::Result<Value> {
    fixture.emulator.json("monitoring", &format!("GraniteServiceVersion20100801.{operation}"), input).await
}

fn name(fixture: &Fixture, alarm: &str) -> String {
    format!("ordersaga-{}-{alarm}", fixture.outputs.stage)
}

async fn a_forged_token_is_a_security_event_that_is_logged_and_counted(fixture: Fixture) -> Outcome {
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
    let input = json!({
        "Namespace": "Ordersaga/local", "MetricName": metrics::SECURITY_EVENTS.name,
        "Dimensions": [{"Name": "Event", "Value": "token_refused"}],
    });
    eventually("CloudWatch has the metric", async || {
        let found = cloudwatch(&fixture, "ListMetrics", &input).await?;
        if found["Metrics"].as_array().is_some_and(|metrics| !metrics.is_empty()) {
            Ok(())
        } else {
            Err(found.to_string())?
        }
    })
    .await?;
    Ok(())
}

/// One alarm for each kind of cause, at the same time: a dead letter, forged tokens, a function that fails,
/// a function without concurrency, and values of metrics with and without mathematics, and of a service.
async fn alarms_ring_reach_a_subscriber_and_go_quiet_in_their_drills(fixture: Fixture) -> Outcome {
    let alarms = [
        "fulfillment-events-dlq",
        "security-tokens",
        "storefront-breaker",
        "notifications-smtp-breaker",
        "users-errors",
        "throttles",
        "orders-attention",
        "payments-declined",
        "orders-slow",
        "realtime-disconnects",
        "notifications-bounces",
        "http-5xx",
    ];
    let said = fixture.ops(&[&["drill"], &alarms[..]].concat()).await?;
    for alarm in alarms {
        let rang = format!("{alarm}: rang after ");
        assert!(said.contains(&rang) && said.contains(&format!("{alarm}: quiet after ")), "{alarm}: {said}");
    }
    assert!(said.contains("Runbook: NeedsAttention"), "{said}");
    Ok(())
}

async fn a_drill_refuses_an_alarm_that_does_not_exist(fixture: Fixture) -> Outcome {
    let refused = fixture.ops(&["drill", "orders-on-fire"]).await.err().ok_or("it rang")?;
    let refused = refused.message().unwrap_or_default();
    assert!(
        refused.contains("there is no alarm orders-on-fire") && refused.contains("drill --list"),
        "{refused}"
    );
    let listed = fixture.ops(&["drill", "--list"]).await?;
    for (alarm, how) in
        [("payments-events-dlq", "real: sends a message"), ("orders-attention", "puts values")]
    {
        let line =
            listed.lines().find(|line| line.starts_with(&format!("{alarm} "))).ok_or("it is not listed")?;
        assert!(line.contains(how), "{line}");
    }
    Ok(())
}

/// What an order makes the functions emit is in the list of metrics, and the dashboard shows it.
async fn an_order_is_in_the_figures_that_the_list_of_metrics_names(fixture: Fixture) -> Outcome {
    let customer = fixture.customer().await?;
    let sku = fixture.product(3).await?;
    let placed = customer.shop.place(&buy(&sku), &unique("key")).await?;
    assert_eq!(customer.ended(&placed.order_id).await?.status, OrderStatus::OrderCompleted);

    let emitted = async |name: &str| -> local_stack::Result<Vec<Value>> {
        let input = json!({"Namespace": "Ordersaga/local", "MetricName": name});
        let found = cloudwatch(&fixture, "ListMetrics", &input).await?;
        Ok(found["Metrics"].as_array().cloned().unwrap_or_default())
    };
    for metric in [
        &metrics::ORDERS_PLACED,
        &metrics::ORDER_DURATION,
        &metrics::REVENUE,
        &metrics::RESERVATIONS_HELD,
        &metrics::PAYMENTS,
        &metrics::NOTIFICATIONS_SENT,
        &metrics::MEMORY_USED,
    ] {
        eventually(&format!("{} has a value", metric.name), async || {
            if emitted(metric.name).await?.is_empty() { Err("none")? } else { Ok(()) }
        })
        .await?;
    }
    let input = json!({"Namespace": "Ordersaga/local"});
    let all = cloudwatch(&fixture, "ListMetrics", &input).await?;
    for series in all["Metrics"].as_array().into_iter().flatten() {
        let name = series["MetricName"].as_str().unwrap_or_default();
        let metric = metrics::ALL.iter().find(|metric| metric.name == name);
        let metric = metric.ok_or_else(|| format!("{name} is not in the list of metrics"))?;
        let dimensions = series["Dimensions"].as_array().cloned().unwrap_or_default();
        let mut names: Vec<&str> = dimensions.iter().filter_map(|each| each["Name"].as_str()).collect();
        names.sort_by_key(|name| *name != "Service");
        let expected =
            if metric.series.is_empty() { vec!["Service", "Operation"] } else { metric.dimensions() };
        assert_eq!(names, expected, "{series}");
    }

    let shown = fixture.ops(&["dashboard", "--once"]).await?;
    for line in ["Orders ", "Order latency, ms", "  p99 ", "  reserved ", "  succeeded "] {
        assert!(shown.contains(line), "{line:?} is missing: {shown}");
    }
    let shown = fixture.ops(&["dashboard", "inventory", "--once", "--minutes", "5"]).await?;
    assert!(shown.contains("  ReserveInventory "), "{shown}");
    Ok(())
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
