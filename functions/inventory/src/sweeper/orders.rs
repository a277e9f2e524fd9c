//! Asking orders where orders stand: a direct invocation, allowed by IAM.

use std::{collections::HashMap, time::Duration};

use aws_sdk_lambda::{
    Client,
    config::{Config, retry::RetryConfig, timeout::TimeoutConfig},
    primitives::Blob,
};
use contracts::{
    OrderId, OrderStatus,
    query::{OrderQuery, OrderStatuses},
};

/// A function that starts cold and reads 50 orders is slow and not down; a second try would start another one.
const DEADLINE: Duration = Duration::from_secs(10);

/// The function that answers for orders.
#[derive(Debug, Clone)]
pub struct Orders {
    lambda: Client,
    function: String,
}

#[derive(Debug, thiserror::Error)]
pub enum AskError {
    #[error("the question has no JSON form")]
    Question(#[source] serde_json::Error),
    #[error("the function could not be invoked")]
    Invoke(#[source] Box<dyn std::error::Error + Send + Sync>),
    #[error("the function failed: {0}")]
    Failed(String),
    #[error("the answer cannot be read")]
    Answer(#[source] serde_json::Error),
}

impl Orders {
    pub fn new(config: &Config, function: String) -> Self {
        let config = config
            .to_builder()
            .retry_config(RetryConfig::disabled())
            .timeout_config(TimeoutConfig::builder().operation_timeout(DEADLINE).build())
            .build();
        Self { lambda: Client::from_conf(config), function }
    }

    /// The statuses of these orders; one that does not exist is not among them.
    ///
    /// # Errors
    /// When the function does not answer all of it.
    pub async fn statuses(&self, order_ids: Vec<OrderId>) -> Result<HashMap<OrderId, OrderStatus>, AskError> {
        let question = serde_json::to_vec(&OrderQuery::OrderStatuses { order_ids });
        let question = Blob::new(question.map_err(AskError::Question)?);
        let answer = self.lambda.invoke().function_name(&self.function).payload(question).send().await;
        let answer = answer.map_err(|error| AskError::Invoke(error.into()))?;
        // What went wrong in it is in its own log.
        if let Some(kind) = answer.function_error {
            return Err(AskError::Failed(kind));
        }
        let payload = answer.payload.map(Blob::into_inner).unwrap_or_default();
        let answer: OrderStatuses = serde_json::from_slice(&payload).map_err(AskError::Answer)?;
        Ok(answer.orders.into_iter().map(|order| (order.order_id, order.status)).collect())
    }
}
