//! The state of an order's execution in Step Functions.

use aws_sdk_sfn::{
    config::http::HttpResponse,
    error::SdkError,
    operation::describe_execution::DescribeExecutionError,
    types::ExecutionStatus::{Aborted, Failed, Succeeded, TimedOut},
};
use contracts::OrderId;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Execution {
    NeverStarted,
    Running,
    Ended,
}

#[derive(Debug, Clone)]
pub struct Executions {
    client: aws_sdk_sfn::Client,
    /// An execution's ARN is this and its name.
    prefix: String,
}

#[derive(Debug, thiserror::Error)]
#[error("the order's execution cannot be read")]
pub struct ExecutionError(#[source] Box<SdkError<DescribeExecutionError, HttpResponse>>);

impl Executions {
    pub fn new(client: aws_sdk_sfn::Client, state_machine_arn: &str) -> Self {
        let prefix = format!("{}:", state_machine_arn.replacen(":stateMachine:", ":execution:", 1));
        Self { client, prefix }
    }

    /// # Errors
    /// When Step Functions does not answer.
    pub async fn of(&self, order_id: &OrderId) -> Result<Execution, ExecutionError> {
        let arn = format!("{}{order_id}", self.prefix);
        match self.client.describe_execution().execution_arn(arn).send().await {
            Ok(answer) => Ok(match answer.status {
                Aborted | Failed | Succeeded | TimedOut => Execution::Ended,
                // A status that this code does not know counts as running, so that the order is left alone.
                _ => Execution::Running,
            }),
            // Step Functions forgets an execution 90 days after its end. An order that stayed open until then
            // is started again, and the marks of its undos refuse the steps.
            Err(error) if is_unknown(&error) => Ok(Execution::NeverStarted),
            Err(error) => Err(ExecutionError(Box::new(error))),
        }
    }
}

fn is_unknown(error: &SdkError<DescribeExecutionError, HttpResponse>) -> bool {
    error.as_service_error().is_some_and(DescribeExecutionError::is_execution_does_not_exist)
}
