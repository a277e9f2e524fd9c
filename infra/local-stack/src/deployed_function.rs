//! The configuration of one function in the emulator, read and changed while the stack runs.

use reqwest::Method;
use serde_json::{Value, json};

use crate::emulator::Emulator;
use crate::error::{Error, Result};

/// A function of a stage in the emulator.
#[derive(Debug)]
pub struct DeployedFunction {
    emulator: Emulator,
    /// Of its configuration.
    path: String,
}

impl DeployedFunction {
    /// The function of this stage whose binary has that name: `orders-relay`.
    pub fn new(emulator: &Emulator, stage: &str, binary: &str) -> Self {
        let path = format!("/2015-03-31/functions/ordersaga-{stage}-{binary}/configuration");
        Self { emulator: emulator.clone(), path }
    }

    /// The ARN of the role that it runs with.
    ///
    /// # Errors
    /// There is no such function, or the emulator does not answer.
    pub async fn role(&self) -> Result<String> {
        let configuration = self.configuration().await?;
        let role = configuration["Role"].as_str().map(str::to_owned);
        role.ok_or_else(|| self.unreadable("it names no role"))
    }

    /// Its environment: an object of texts.
    ///
    /// # Errors
    /// There is no such function, or the emulator does not answer.
    pub async fn variables(&self) -> Result<Value> {
        Ok(self.configuration().await?["Environment"]["Variables"].take())
    }

    /// Replaces its environment. Its next invocation starts with it.
    ///
    /// # Errors
    /// There is no such function, or the emulator does not answer.
    pub async fn set_variables(&self, variables: &Value) -> Result<()> {
        let body = json!({"Environment": {"Variables": variables}}).to_string().into_bytes();
        self.send("UpdateFunctionConfiguration", Method::PUT, body).await.map(drop)
    }

    async fn configuration(&self) -> Result<Value> {
        let answer = self.send("GetFunctionConfiguration", Method::GET, Vec::new()).await?;
        serde_json::from_str(&answer).map_err(|error| self.unreadable(&error.to_string()))
    }

    async fn send(&self, operation: &str, method: Method, body: Vec<u8>) -> Result<String> {
        self.emulator.send("lambda", operation, method, &self.path, &[], body).await
    }

    fn unreadable(&self, reason: &str) -> Error {
        Error::Refused { operation: format!("GET {}", self.path), reason: reason.to_owned() }
    }
}
