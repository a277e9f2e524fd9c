//! Sends SMS messages through SNS.

use aws_sdk_sns::{Client, types::MessageAttributeValue};
use lambda_kit::{aws::SdkConfig, limits::SMS_CALL};

use crate::provider::{SendError, at_own_endpoint, client_config};

/// SNS's codes for an invalid number (Publish, API reference; the codes have no `Exception` suffix).
const INVALID: [&str; 4] = [
    "InvalidParameter",
    "InvalidParameterException",
    "ParameterValueInvalid",
    "InvalidParameterValueException",
];

#[derive(Debug, Clone)]
pub struct SmsSender {
    sns: Client,
}

impl SmsSender {
    /// Sends through `AWS_ENDPOINT_URL_SNS` if that is set (the SDKs' own name for it).
    pub fn from_env(sdk: &SdkConfig) -> Self {
        Self::new(&at_own_endpoint(sdk, "AWS_ENDPOINT_URL_SNS"))
    }

    pub fn new(sdk: &SdkConfig) -> Self {
        Self { sns: Client::new(&client_config(sdk, SMS_CALL)) }
    }

    /// Sends once, and returns the provider's id of the message. `to` is in E.164 format.
    pub async fn send(&self, to: &str, text: &str) -> Result<String, SendError> {
        // Delivered before promotional messages, and also at night (SNS developer guide, "Sending SMS
        // messages").
        let kind = MessageAttributeValue::builder().data_type("String").string_value("Transactional").build();
        let answer = self
            .sns
            .publish()
            .phone_number(to)
            .message(text)
            .message_attributes("AWS.SNS.SMS.SMSType", kind.map_err(|_| SendError::Content)?)
            .send()
            .await
            .map_err(|error| SendError::of(&error, &INVALID))?;
        Ok(answer.message_id.unwrap_or_default())
    }
}
