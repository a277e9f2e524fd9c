use local_stack::{DeployedFunction, Emulator, Outputs};
use serde_json::json;

use crate::error::Result;

/// Runs the measurement with one variable of a function's environment changed, and changes it back.
pub async fn with<T>(
    outputs: &Outputs,
    function: &str,
    (variable, value): (&str, &str),
    measurement: impl Future<Output = Result<T>>,
) -> Result<T> {
    let emulator = Emulator::new(&outputs.aws_endpoint_url);
    let function = DeployedFunction::new(&emulator, &outputs.stage, function);
    let before = function.variables().await?;
    let mut changed = before.clone();
    changed[variable] = json!(value);
    function.set_variables(&changed).await?;
    let measured = measurement.await;
    function.set_variables(&before).await?;
    measured
}
