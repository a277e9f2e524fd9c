//! Queries orders for the status of an order: a direct invocation, allowed by IAM. It is called only for the
//! first report about a shipment, so that fulfillment needs no event for each completed order.

use std::time::Duration;

use aws_sdk_lambda::config::Config;
use contracts::{
    OrderId, OrderStatus,
    query::{OrderQuery, OrderStatuses},
};
use lambda_kit::function_client::{CallError, FunctionClient};

/// The timeout of a query.
// Within the 3 s of a REST function, with time left to write.
const DEADLINE: Duration = Duration::from_secs(2);

/// A client for orders' queries.
#[derive(Debug, Clone)]
pub struct OrdersClient(FunctionClient);

impl OrdersClient {
    pub fn new(sdk: &Config, stage: String) -> Self {
        Self(FunctionClient::new(sdk, stage, DEADLINE))
    }

    /// The order's status, if the order exists.
    ///
    /// # Errors
    /// When orders does not answer.
    pub async fn status(&self, order_id: &OrderId) -> Result<Option<OrderStatus>, CallError> {
        let question = OrderQuery::OrderStatuses { order_ids: vec![order_id.clone()] };
        let answer: OrderStatuses = self.0.call("orders-commands", &question).await?;
        Ok(answer.orders.into_iter().map(|order| order.status).next())
    }
}
