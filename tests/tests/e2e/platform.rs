//! That the other tests mean something: the emulator enforces IAM, so a policy that lacks an action fails a test, and it
//! delivers a stream's records again as Lambda does, so that a relay that loses events fails one.

use aws_credential_types::Credentials;
use local_stack::Emulator;
use reqwest::{Client, StatusCode};
use serde_json::json;

use crate::fixture::{Fixture, WITHIN};
use crate::harness::Outcome;

crate::tests![
    a_call_that_nobody_signed_is_refused,
    a_call_signed_by_somebody_unknown_is_refused,
    a_call_of_the_operator_is_not,
    a_function_reads_its_own_queue_and_no_other,
    a_stage_on_aws_without_a_sender_of_its_own_is_refused,
    the_emulator_does_what_aws_does_where_it_is_changed,
];

async fn list_tables(fixture: &Fixture, authorization: Option<&str>) -> reqwest::Result<StatusCode> {
    let client = Client::builder().no_proxy().build()?;
    let mut request = client
        .post(&fixture.outputs.aws_endpoint_url)
        .timeout(WITHIN)
        .header("x-amz-target", "DynamoDB_20120810.ListTables")
        .header("content-type", "application/x-amz-json-1.0")
        .body("{}");
    if let Some(authorization) = authorization {
        request = request.header("authorization", authorization).header("x-amz-date", "20261120T120000Z");
    }
    Ok(request.send().await?.status())
}

async fn a_call_that_nobody_signed_is_refused(fixture: Fixture) -> Outcome {
    assert!(list_tables(&fixture, None).await?.is_client_error());
    Ok(())
}

async fn a_call_signed_by_somebody_unknown_is_refused(fixture: Fixture) -> Outcome {
    let credential = "Credential=AKIAUNKNOWN000000000/20261120/us-east-1/dynamodb/aws4_request";
    let authorization =
        format!("AWS4-HMAC-SHA256 {credential}, SignedHeaders=host;x-amz-date, Signature={}", "0".repeat(64));
    assert!(list_tables(&fixture, Some(&authorization)).await?.is_client_error());
    Ok(())
}

async fn a_call_of_the_operator_is_not(fixture: Fixture) -> Outcome {
    let tables = fixture.emulator.json("dynamodb", "DynamoDB_20120810.ListTables", &json!({})).await?;
    assert!(tables["TableNames"].as_array().is_some_and(|tables| tables.len() >= 8), "{tables}");
    Ok(())
}

/// The emulator with the role of a function, as the function itself calls it.
async fn in_the_role_of(fixture: &Fixture, function: &str) -> Outcome<Emulator> {
    let role = fixture.function(function).role().await?;
    let form = [("RoleArn".to_owned(), role), ("RoleSessionName".to_owned(), function.to_owned())];
    let answer = fixture.emulator.query("sts", "AssumeRole", "2011-06-15", &form).await?;
    let part = |name: &str| -> Outcome<String> {
        let (_, rest) =
            answer.split_once(&format!("<{name}>")).ok_or_else(|| format!("no {name}: {answer}"))?;
        Ok(rest.split('<').next().unwrap_or_default().to_owned())
    };
    let (id, secret, token) = (part("AccessKeyId")?, part("SecretAccessKey")?, part("SessionToken")?);
    let identity = Credentials::new(id, secret, Some(token), None, "an assumed role");
    Ok(fixture.emulator.clone().with_identity(identity))
}

async fn a_function_reads_its_own_queue_and_no_other(fixture: Fixture) -> Outcome {
    let consumer = in_the_role_of(&fixture, "catalog-consumer").await?;
    let call = async |queue: &str, operation: &str| {
        let name = format!("ordersaga-{}-{queue}", fixture.outputs.stage);
        let url =
            fixture.emulator.json("sqs", "AmazonSQS.GetQueueUrl", &json!({"QueueName": name})).await?["QueueUrl"].clone();
        consumer.json("sqs", &format!("AmazonSQS.{operation}"), &json!({"QueueUrl": url})).await
    };
    // Receiving a message here would hide it from the function, so its queue is only inspected.
    call("catalog-events", "GetQueueAttributes").await?;
    for queue in ["payments-commands", "orders-events", "catalog-events-dlq"] {
        for operation in ["GetQueueAttributes", "ReceiveMessage"] {
            let refused =
                call(queue, operation).await.err().ok_or_else(|| format!("{operation} of {queue}"))?;
            assert!(refused.to_string().contains("AccessDenied"), "{refused}");
        }
    }
    Ok(())
}

async fn a_stage_on_aws_without_a_sender_of_its_own_is_refused(fixture: Fixture) -> Outcome {
    // The rule is read before any artifact is.
    let template = include_str!("../../../infra/notifications.yaml")
        .replace("CodeUri: ../target/lambda/", "CodeUri: s3://artifacts/");
    let parameters = [
        ("Stage", "other".to_owned()),
        ("EndpointUrl", String::new()),
        ("EventsTopicArn", format!("/ordersaga/{}/events-topic-arn", fixture.outputs.stage)),
        ("AlarmActionArn", format!("/ordersaga/{}/alarm-action-arn", fixture.outputs.stage)),
    ];
    let mut form: Vec<(String, String)> = [
        ("StackName", "ordersaga-other-notifications"),
        ("TemplateBody", &template),
        ("Capabilities.member.1", "CAPABILITY_IAM"),
        ("Capabilities.member.2", "CAPABILITY_AUTO_EXPAND"),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .into();
    for ((name, value), number) in parameters.into_iter().zip(1..) {
        form.push((format!("Parameters.member.{number}.ParameterKey"), name.to_owned()));
        form.push((format!("Parameters.member.{number}.ParameterValue"), value));
    }
    let created = fixture.emulator.query("cloudformation", "CreateStack", "2010-05-15", &form).await;
    let refused = created.err().ok_or("the example sender is taken")?.to_string();
    assert!(refused.contains("Set EmailFrom"), "{refused}");
    Ok(())
}

/// In the emulator's own code: what a function reports or answers cannot be chosen from outside.
async fn the_emulator_does_what_aws_does_where_it_is_changed(_: Fixture) -> Outcome {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let run = tokio::process::Command::new(root.join("target/ops/python/bin/python"))
        .args(["-B", "-m", "unittest", "-v", "emulator_test", "cloudwatch_test"])
        .current_dir(root.join("infra/local"))
        .kill_on_drop(true)
        .output()
        .await?;
    let said = String::from_utf8_lossy(&run.stderr);
    assert!(run.status.success() && !said.contains("Ran 0 tests"), "{said}");
    Ok(())
}
