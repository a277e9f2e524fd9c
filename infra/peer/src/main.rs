//! One step of the saga that AWS publishes as its sample (github.com/aws-samples/aws-step-functions-long-lived-transactions),
//! rebuilt from its public definition: it stores its part of the order with one PutItem, and returns the order. It checks
//! no stock, charges no card and publishes no event. `cargo ops bench peers` measures an order beside it.

use lambda_kit::{
    MainResult, aws,
    dynamodb::{Table, key, string},
};
use lambda_runtime::{Error, LambdaEvent, service_fn};
use serde_json::Value;

/// Stores the order. A repeat stores it again.
async fn handle(table: &Table, event: LambdaEvent<Value>) -> Result<Value, Error> {
    let order_id = event.payload["order_id"].as_str().ok_or("the event has no order_id")?;
    let mut item = key(order_id, "ORDER");
    item.insert("order".to_owned(), string(event.payload.to_string()));
    table.put("storing the order", item).await?;
    Ok(event.payload)
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> MainResult {
    let table = Table::from_env(&aws::sdk_config()?)?;
    let step = service_fn(async |event| handle(&table, event).await);
    lambda_runtime::run(step).await
}
