//! Reading a stage's tables as a whole.

use futures::future::try_join_all;
use serde_json::{Map, Value, json};

use crate::aws::{Aws, Service};
use crate::error::Result;

/// Connections that read at the same time.
// Each takes a megabyte a page, and with four the stage itself keeps most of what a table can read.
pub const LANES: usize = 4;

/// What to read of a table.
#[derive(Debug, Clone, Copy)]
pub struct Part<'a> {
    pub table: &'a str,
    /// Only these attributes; all of them when there are none.
    pub attributes: &'a [&'a str],
}

/// Reads all items of a table, in as many segments as there are lanes, and hands over each page.
///
/// # Errors
/// A page cannot be read, after some tries; or it cannot be handed over.
pub async fn scan(
    lanes: &[Aws],
    part: Part<'_>,
    on_page: &(dyn Fn(Vec<Value>) -> Result<()> + Sync),
) -> Result<()> {
    try_join_all(lanes.iter().enumerate().map(|(segment, lane)| async move {
        let mut input = json!({"TableName": part.table, "Segment": segment, "TotalSegments": lanes.len()});
        project(&mut input, part.attributes);
        pages(lane, "Scan", input, on_page).await
    }))
    .await
    .map(drop)
}

/// Reads all items of a partition.
///
/// # Errors
/// As [`scan`].
pub async fn query(
    aws: &Aws,
    part: Part<'_>,
    pk: &str,
    on_page: &(dyn Fn(Vec<Value>) -> Result<()> + Sync),
) -> Result<()> {
    let mut input = json!({
        "TableName": part.table,
        "KeyConditionExpression": "pk = :pk",
        "ExpressionAttributeValues": {":pk": {"S": pk}},
    });
    project(&mut input, part.attributes);
    pages(aws, "Query", input, on_page).await
}

/// Names are placeholders, since some of the attributes' are DynamoDB's own words.
fn project(input: &mut Value, attributes: &[&str]) {
    if attributes.is_empty() {
        return;
    }
    let placeholders: Vec<String> = (0..attributes.len()).map(|number| format!("#a{number}")).collect();
    input["ProjectionExpression"] = json!(placeholders.join(", "));
    let names = placeholders.into_iter().zip(attributes.iter().map(|name| json!(name)));
    input["ExpressionAttributeNames"] = Value::Object(names.collect());
}

async fn pages(
    aws: &Aws,
    operation: &str,
    mut input: Value,
    on_page: &(dyn Fn(Vec<Value>) -> Result<()> + Sync),
) -> Result<()> {
    loop {
        let mut page = aws.read(Service::DynamoDb, operation, input.clone()).await?;
        if let Value::Array(items) = page["Items"].take() {
            on_page(items)?;
        }
        let next = page["LastEvaluatedKey"].take();
        // Emulators write an empty key after the last page, where DynamoDB writes none.
        if next.as_object().is_none_or(Map::is_empty) {
            return Ok(());
        }
        input["ExclusiveStartKey"] = next;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_are_named_by_placeholders() {
        let mut input = json!({});
        project(&mut input, &["pk", "status"]);
        let expected = json!({"ProjectionExpression": "#a0, #a1", "ExpressionAttributeNames": {"#a0": "pk", "#a1": "status"}});
        assert_eq!(input, expected);
        let mut whole = json!({});
        project(&mut whole, &[]);
        assert_eq!(whole, json!({}));
    }
}
