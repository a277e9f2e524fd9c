//! Queries orders for their statuses: a direct invocation, allowed by IAM.

use std::{collections::HashMap, time::Duration};

use aws_sdk_lambda::config::Config;
use contracts::{
    OrderId, OrderStatus,
    query::{OrderQuery, OrderStatuses},
};
use lambda_kit::function_client::{CallError, FunctionClient};

/// The timeout of a query.
// A function that starts cold and reads 50 orders is slow, but not down.
const DEADLINE: Duration = Duration::from_secs(10);

/// A client for orders' queries.
#[derive(Debug, Clone)]
pub struct OrdersClient(FunctionClient);

impl OrdersClient {
    pub fn new(config: &Config, stage: String) -> Self {
        Self(FunctionClient::new(config, stage, DEADLINE))
    }

    /// The statuses of these orders. An order that does not exist is left out.
    ///
    /// # Errors
    /// When the function does not answer for all of them.
    pub async fn statuses(
        &self,
        order_ids: Vec<OrderId>,
    ) -> Result<HashMap<OrderId, OrderStatus>, CallError> {
        let query = OrderQuery::OrderStatuses { order_ids };
        let answer: OrderStatuses = self.0.call("orders-commands", &query).await?;
        Ok(answer.orders.into_iter().map(|order| (order.order_id, order.status)).collect())
    }
}
