//! Tells everyone who waits for a payment how it ended: the saga's step, by its task tokens.

use aws_sdk_sfn::error::{ProvideErrorMetadata, SdkError};
use contracts::OrderId;
use futures::future::try_join_all;
use serde_json::json;

use crate::domain::{Payment, Secret, StepResult};

/// The step has ended without us: answered before, timed out, or its execution is gone.
const NOBODY_WAITS: [&str; 3] = ["TaskDoesNotExist", "TaskTimedOut", "InvalidToken"];

#[derive(Debug, Clone)]
pub struct Answers {
    sfn: aws_sdk_sfn::Client,
}

#[derive(Debug, thiserror::Error)]
#[error("the saga could not be answered")]
pub struct AnswerError(#[source] Box<dyn std::error::Error + Send + Sync>);

impl Answers {
    pub fn new(sfn: aws_sdk_sfn::Client) -> Self {
        Self { sfn }
    }

    /// Answers every token of a payment that has a result, also those that were answered before.
    ///
    /// # Errors
    /// When one of them may not have been answered.
    pub async fn tell(&self, payment: &Payment) -> Result<(), AnswerError> {
        let Some(step_result) = payment.step_result() else { return Ok(()) };
        try_join_all(
            payment.tokens.iter().map(|token| self.tell_one(&payment.order_id, &step_result, token)),
        )
        .await?;
        Ok(())
    }

    async fn tell_one(
        &self,
        order_id: &OrderId,
        step_result: &StepResult,
        token: &Secret,
    ) -> Result<(), AnswerError> {
        match step_result {
            StepResult::Paid => {
                let output = json!({"status": "succeeded", "order_id": order_id}).to_string();
                let call = self.sfn.send_task_success().task_token(token.expose()).output(output);
                heard(call.send().await)
            }
            StepResult::NotPaid { error, cause } => {
                let call = self.sfn.send_task_failure().task_token(token.expose());
                heard(call.error(*error).cause(cause).send().await)
            }
        }
    }
}

fn heard<T, E, R>(result: Result<T, SdkError<E, R>>) -> Result<(), AnswerError>
where
    E: ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
    R: std::fmt::Debug + Send + Sync + 'static,
{
    match result {
        Ok(_) => Ok(()),
        Err(error) if error.code().is_some_and(|code| NOBODY_WAITS.contains(&code)) => Ok(()),
        Err(error) => Err(AnswerError(error.into())),
    }
}
