//! That the other tests mean something: the emulator enforces IAM, so a policy that lacks an action fails a test.

use reqwest::{Client, StatusCode};
use serde_json::json;

use crate::harness::Outcome;
use crate::world::{WITHIN, World};

crate::tests![
    a_call_that_nobody_signed_is_refused,
    a_call_signed_by_somebody_unknown_is_refused,
    a_call_of_the_operator_is_not,
];

async fn list_tables(world: &World, authorization: Option<&str>) -> reqwest::Result<StatusCode> {
    let client = Client::builder().no_proxy().build()?;
    let mut request = client
        .post(&world.outputs.aws_endpoint_url)
        .timeout(WITHIN)
        .header("x-amz-target", "DynamoDB_20120810.ListTables")
        .header("content-type", "application/x-amz-json-1.0")
        .body("{}");
    if let Some(authorization) = authorization {
        request = request.header("authorization", authorization).header("x-amz-date", "20261120T120000Z");
    }
    Ok(request.send().await?.status())
}

async fn a_call_that_nobody_signed_is_refused(world: World) -> Outcome {
    assert!(list_tables(&world, None).await?.is_client_error());
    Ok(())
}

async fn a_call_signed_by_somebody_unknown_is_refused(world: World) -> Outcome {
    let credential = "Credential=AKIAUNKNOWN000000000/20261120/us-east-1/dynamodb/aws4_request";
    let authorization =
        format!("AWS4-HMAC-SHA256 {credential}, SignedHeaders=host;x-amz-date, Signature={}", "0".repeat(64));
    assert!(list_tables(&world, Some(&authorization)).await?.is_client_error());
    Ok(())
}

async fn a_call_of_the_operator_is_not(world: World) -> Outcome {
    let tables = world.emulator.json("dynamodb", "DynamoDB_20120810.ListTables", &json!({})).await?;
    assert!(tables["TableNames"].as_array().is_some_and(|tables| tables.len() >= 8), "{tables}");
    Ok(())
}
