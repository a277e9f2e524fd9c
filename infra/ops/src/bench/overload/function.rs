//! Changes a function's environment for the time of a measurement.

use reqwest::Method;
use serde_json::{Value, json};

use crate::emulator::Emulator;
use crate::error::{Error, Result};
use crate::state::Outputs;

pub struct Function {
    emulator: Emulator,
    path: String,
}

impl Function {
    pub fn new(outputs: &Outputs, name: &str) -> Self {
        let path = format!("/2015-03-31/functions/ordersaga-{}-{name}/configuration", outputs.stage);
        Self { emulator: Emulator::new(&outputs.aws_endpoint_url), path }
    }

    /// Runs the measurement with one variable changed, and changes it back.
    pub async fn with<T>(
        &self,
        variable: &str,
        value: &str,
        measurement: impl Future<Output = Result<T>>,
    ) -> Result<T> {
        let before = self.variables().await?;
        let mut changed = before.clone();
        changed[variable] = json!(value);
        self.set(&changed).await?;
        let measured = measurement.await;
        self.set(&before).await?;
        measured
    }

    async fn variables(&self) -> Result<Value> {
        let answer = self.configuration(Method::GET, Vec::new()).await?;
        let mut answer: Value =
            serde_json::from_str(&answer).map_err(|error| Error::Bench(format!("{}: {error}", self.path)))?;
        Ok(answer["Environment"]["Variables"].take())
    }

    async fn set(&self, variables: &Value) -> Result<()> {
        let body = json!({"Environment": {"Variables": variables}}).to_string().into_bytes();
        self.configuration(Method::PUT, body).await.map(drop)
    }

    async fn configuration(&self, method: Method, body: Vec<u8>) -> Result<String> {
        self.emulator.send("lambda", "FunctionConfiguration", method, &self.path, &[], body).await
    }
}
