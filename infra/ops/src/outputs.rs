//! `cargo ops outputs --stage`: a stage's addresses, from the parameters that its templates leave for each other.

use serde::Serialize;
use serde_json::json;

use crate::error::{Error, Result};
use crate::remote::Remote;
use crate::stage::Stage;

/// The addresses of a stage on AWS.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Addresses {
    pub stage: String,
    pub account: String,
    pub region: String,
    pub api_url: String,
    pub websocket_url: String,
    pub storefront_url: String,
}

impl Addresses {
    /// # Errors
    /// The stage is not deployed, or AWS refuses.
    pub async fn read(remote: &Remote, stage: &Stage) -> Result<Self> {
        let names = ["api-url", "websocket-url"].map(|name| format!("/ordersaga/{stage}/{name}"));
        let found = remote.repeatable("ssm", "GetParameters", json!({"Names": names})).await?;
        let value = |name: &str| {
            let parameters = found["Parameters"].as_array()?;
            let parameter = parameters.iter().find(|parameter| parameter["Name"] == name)?;
            parameter["Value"].as_str().map(|value| value.trim_end_matches('/').to_owned())
        };
        let identity = remote.repeatable("sts", "GetCallerIdentity", json!({})).await?;
        let account = identity["Account"].as_str().unwrap_or_default().to_owned();
        let region = remote.region().to_owned();
        let (Some(api_url), Some(websocket_url)) = (value(&names[0]), value(&names[1])) else {
            return Err(Error::Stage(format!(
                "stage {stage} is not deployed in account {account}, region {region}. Deploy it with `cargo ops deploy \
                 --stage {stage}`, or sign in to the account that it is in."
            )));
        };
        let storefront_url = format!("{api_url}/");
        Ok(Self { stage: stage.to_string(), account, region, api_url, websocket_url, storefront_url })
    }
}
