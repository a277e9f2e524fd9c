//! The configuration and the code of one function in the emulator, read and changed while the stack runs.

use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use reqwest::Method;
use serde_json::{Value, json};

use crate::deploy::artifacts;
use crate::emulator::Emulator;
use crate::error::{Error, Result};

/// A function of a stage in the emulator.
#[derive(Debug)]
pub struct DeployedFunction {
    emulator: Emulator,
    path: String,
}

impl DeployedFunction {
    /// The function of this stage whose binary has that name: `orders-relay`.
    pub fn new(emulator: &Emulator, stage: &str, binary: &str) -> Self {
        let path = format!("/2015-03-31/functions/ordersaga-{stage}-{binary}");
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
        self.send("UpdateFunctionConfiguration", Method::PUT, "configuration", body).await.map(drop)
    }

    /// Replaces its code by this executable file. Its next invocation starts with it.
    ///
    /// # Errors
    /// The file cannot be read, there is no such function, or the emulator does not answer.
    pub async fn set_code(&self, bootstrap: &Path) -> Result<()> {
        let bootstrap = bootstrap.to_path_buf();
        let packed = tokio::task::spawn_blocking(move || artifacts::zip(&bootstrap)).await;
        let packed = packed.map_err(|error| Error::Deploy(format!("packing failed: {error}")))??;
        let body = json!({"ZipFile": STANDARD.encode(packed)}).to_string().into_bytes();
        self.send("UpdateFunctionCode", Method::PUT, "code", body).await.map(drop)
    }

    async fn configuration(&self) -> Result<Value> {
        let path = format!("{}/configuration", self.path);
        let answer = self.emulator.get("lambda", "GetFunctionConfiguration", &path).await?;
        serde_json::from_str(&answer).map_err(|error| self.unreadable(&error.to_string()))
    }

    async fn send(&self, operation: &str, method: Method, part: &str, body: Vec<u8>) -> Result<String> {
        let path = format!("{}/{part}", self.path);
        self.emulator.send("lambda", operation, method, &path, &[], body).await
    }

    fn unreadable(&self, reason: &str) -> Error {
        Error::Refused { operation: format!("GET {}", self.path), reason: reason.to_owned() }
    }
}
