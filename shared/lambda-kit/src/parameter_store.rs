//! Reads a value of AWS Systems Manager's Parameter Store.
//!
//! The SDK's client for Systems Manager is one of the largest, and of its operations one is needed. So this signs and
//! sends the request itself, with the SDK's library for signatures.

use std::time::SystemTime;

use aws_credential_types::Credentials;
use aws_sigv4::{
    http_request::{SignableBody, SignableRequest, SigningSettings, sign},
    sign::v4,
};
use aws_smithy_runtime_api::{
    box_error::BoxError,
    client::{
        http::{HttpConnector, SharedHttpConnector},
        orchestrator::HttpRequest,
    },
};
use aws_smithy_types::body::SdkBody;
use http_body_util::{BodyExt, Limited};
use serde::Deserialize;

use crate::{
    aws::{self, SdkConfig},
    config::{self, ConfigError},
    connector::connector,
    limits::CONNECT,
};

const TARGET: &str = "AmazonSSM.GetParameter";
const CONTENT_TYPE: &str = "application/x-amz-json-1.1";
/// The most bytes of an answer. A value has 4 KB (Parameter Store, "Managing parameter tiers").
const ANSWER_LIMIT: usize = 16 * 1024;

/// The parameters of the account and region.
#[derive(Debug)]
pub(crate) struct ParameterStore {
    connector: SharedHttpConnector,
    url: String,
    region: String,
    credentials: Credentials,
}

/// Why a parameter cannot be read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ParameterError {
    #[error("the request could not be signed or sent, or its answer is cut short")]
    Call(#[source] BoxError),
    #[error("Parameter Store answered with {status} {name}")]
    Refused { status: u16, name: String },
    #[error("the answer has another form")]
    Form(#[from] serde_json::Error),
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Answer {
    parameter: Parameter,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Parameter {
    value: String,
}

/// An error of a service with the protocol AWS JSON 1.1: the name may have a namespace before it.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Refusal {
    __type: String,
}

impl ParameterStore {
    /// With the region and the credentials of the function, and the endpoint that the SDK's own client would use.
    pub(crate) fn from_env(sdk: &SdkConfig) -> Result<Self, ConfigError> {
        let region = sdk.region().map_or_else(String::new, ToString::to_string);
        let endpoint =
            config::optional("AWS_ENDPOINT_URL_SSM").or_else(|| sdk.endpoint_url().map(str::to_owned));
        Ok(Self {
            connector: connector(CONNECT),
            url: endpoint.unwrap_or_else(|| endpoint_of(&region)),
            credentials: aws::credentials()?,
            region,
        })
    }

    /// The value of a parameter; `None` when there is no such parameter.
    pub(crate) async fn get(&self, name: &str) -> Result<Option<String>, ParameterError> {
        let body = serde_json::json!({"Name": name}).to_string();
        let request = self.request(body).map_err(ParameterError::Call)?;
        let response =
            self.connector.call(request).await.map_err(|error| ParameterError::Call(error.into()))?;
        let status = response.status().as_u16();
        let body = Limited::new(response.into_body(), ANSWER_LIMIT).collect().await;
        let body = body.map_err(ParameterError::Call)?.to_bytes();
        if status == 200 {
            let answer: Answer = serde_json::from_slice(&body)?;
            return Ok(Some(answer.parameter.value));
        }
        let Refusal { __type: name } = serde_json::from_slice(&body).unwrap_or_default();
        if name.ends_with("ParameterNotFound") {
            return Ok(None);
        }
        Err(ParameterError::Refused { status, name })
    }

    fn request(&self, body: String) -> Result<HttpRequest, BoxError> {
        let headers = [("content-type", CONTENT_TYPE), ("x-amz-target", TARGET)];
        let signature = {
            let identity = self.credentials.clone().into();
            let parameters = v4::SigningParams::builder()
                .identity(&identity)
                .region(&self.region)
                .name("ssm")
                .time(SystemTime::now())
                .settings(SigningSettings::default())
                .build()?;
            let content = SignableBody::Bytes(body.as_bytes());
            let request = SignableRequest::new("POST", &self.url, headers.into_iter(), content)?;
            let (instructions, _) = sign(request, &parameters.into())?.into_parts();
            instructions
        };
        let mut request = HttpRequest::new(SdkBody::from(body));
        request.set_method("POST")?;
        request.set_uri(self.url.as_str())?;
        for (name, value) in headers {
            request.headers_mut().insert(name, value);
        }
        let (signed, _) = signature.into_parts();
        for header in signed {
            request.headers_mut().try_insert(header.name(), header.value().to_owned())?;
        }
        Ok(request)
    }
}

/// The endpoint of a region (AWS General Reference, "AWS Systems Manager endpoints and quotas").
fn endpoint_of(region: &str) -> String {
    let suffix = if region.starts_with("cn-") { "amazonaws.com.cn" } else { "amazonaws.com" };
    format!("https://ssm.{region}.{suffix}/")
}

#[cfg(test)]
mod tests {
    use wiremock::{
        Mock, MockServer, ResponseTemplate,
        matchers::{body_json, header, header_exists, method},
    };

    use super::*;

    impl ParameterStore {
        /// One at this address.
        pub(crate) fn at(url: &str) -> Self {
            Self {
                connector: connector(CONNECT),
                url: url.to_owned(),
                region: "eu-central-1".to_owned(),
                credentials: Credentials::new(
                    "AKIDEXAMPLE",
                    "secret",
                    Some("token".to_owned()),
                    None,
                    "test",
                ),
            }
        }
    }

    async fn answer(status: u16, body: serde_json::Value) -> (MockServer, ParameterStore) {
        let server = MockServer::start().await;
        Mock::given(method("POST"))
            .and(header("x-amz-target", TARGET))
            .and(header_exists("authorization"))
            .and(body_json(serde_json::json!({"Name": "/ordersaga/dev/switches/sms"})))
            .respond_with(ResponseTemplate::new(status).set_body_json(body))
            .mount(&server)
            .await;
        let store = ParameterStore::at(&server.uri());
        (server, store)
    }

    #[tokio::test]
    async fn a_parameter_is_read_by_a_signed_request() {
        let found = serde_json::json!({"Parameter": {"Name": "x", "Type": "String", "Value": "off"}});
        let (server, store) = answer(200, found).await;
        assert_eq!(store.get("/ordersaga/dev/switches/sms").await.unwrap(), Some("off".to_owned()));
        let requests = server.received_requests().await.unwrap();
        let sent = |name: &str| requests[0].headers[name].to_str().unwrap().to_owned();
        assert!(sent("authorization").contains("/eu-central-1/ssm/aws4_request"));
        assert_eq!(sent("x-amz-security-token"), "token");
    }

    #[tokio::test]
    async fn a_missing_parameter_is_no_error_and_a_refusal_is_one() {
        let missing = serde_json::json!({"__type": "com.amazonaws.ssm#ParameterNotFound"});
        let (_server, store) = answer(400, missing).await;
        assert_eq!(store.get("/ordersaga/dev/switches/sms").await.unwrap(), None);
        let throttled = serde_json::json!({"__type": "ThrottlingException", "message": "Rate exceeded"});
        let (_server, store) = answer(400, throttled).await;
        let error = store.get("/ordersaga/dev/switches/sms").await.unwrap_err();
        assert_eq!(error.to_string(), "Parameter Store answered with 400 ThrottlingException");
    }

    #[test]
    fn the_endpoint_is_that_of_the_region() {
        assert_eq!(endpoint_of("eu-central-1"), "https://ssm.eu-central-1.amazonaws.com/");
        assert_eq!(endpoint_of("cn-north-1"), "https://ssm.cn-north-1.amazonaws.com.cn/");
    }
}
