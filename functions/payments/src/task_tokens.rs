//! Sends a payment's result to the saga's step, by its task tokens.

use aws_sdk_sfn::error::{ProvideErrorMetadata, SdkError};
use contracts::OrderId;
use futures::future::try_join_all;
use serde_json::json;

use crate::domain::{Payment, Secret, StepResult};

/// The errors of a token whose step has ended: it has its result, it timed out, or its execution is gone.
// They count as a success. The saga goes on without this result, and a retry would get the same error.
const STEP_HAS_ENDED: [&str; 3] = ["TaskDoesNotExist", "TaskTimedOut", "InvalidToken"];

#[derive(Debug, Clone)]
pub struct TaskTokens {
    sfn: aws_sdk_sfn::Client,
}

#[derive(Debug, thiserror::Error)]
#[error("the result could not be sent to the saga")]
pub struct TaskTokenError(#[source] Box<dyn std::error::Error + Send + Sync>);

impl TaskTokens {
    pub fn new(sfn: aws_sdk_sfn::Client) -> Self {
        Self { sfn }
    }

    /// Sends the result of a payment, if it has one, to all its tokens, also to those that have it already.
    ///
    /// # Errors
    /// When one of them may not have the result.
    pub async fn send_result(&self, payment: &Payment) -> Result<(), TaskTokenError> {
        let Some(step_result) = payment.step_result() else { return Ok(()) };
        try_join_all(payment.tokens.iter().map(|token| self.send_to(&payment.order_id, &step_result, token)))
            .await?;
        Ok(())
    }

    async fn send_to(
        &self,
        order_id: &OrderId,
        step_result: &StepResult,
        token: &Secret,
    ) -> Result<(), TaskTokenError> {
        match step_result {
            StepResult::Paid => {
                let output = json!({"status": "succeeded", "order_id": order_id}).to_string();
                let call = self.sfn.send_task_success().task_token(token.expose()).output(output);
                accept_ended(call.send().await)
            }
            StepResult::NotPaid { error, cause } => {
                let call = self.sfn.send_task_failure().task_token(token.expose());
                accept_ended(call.error(*error).cause(cause).send().await)
            }
        }
    }
}

fn accept_ended<T, E, R>(result: Result<T, SdkError<E, R>>) -> Result<(), TaskTokenError>
where
    E: ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
    R: std::fmt::Debug + Send + Sync + 'static,
{
    match result {
        Ok(_) => Ok(()),
        Err(error) if error.code().is_some_and(|code| STEP_HAS_ENDED.contains(&code)) => Ok(()),
        Err(error) => Err(TaskTokenError(error.into())),
    }
}
