use std::collections::BTreeMap;

use serde::Deserialize;

use crate::client::Shop;
use crate::error::Result;

/// An e-mail that the emulator's SES took.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Mail {
    pub to: Vec<String>,
    pub subject: String,
    #[serde(default)]
    pub body_text: String,
}

/// An SMS that the emulator's SNS took.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Text {
    pub message: String,
}

impl Mail {
    /// The code in it, if it has one: a number of 8 digits.
    pub fn code(&self) -> Option<&str> {
        number(&self.body_text, 8)
    }
}

impl Text {
    /// The code in it, if it has one: a number of 6 digits.
    pub fn code(&self) -> Option<&str> {
        number(&self.message, 6)
    }
}

/// The first number of exactly this many digits.
fn number(text: &str, digits: usize) -> Option<&str> {
    text.split(|c: char| !c.is_ascii_digit()).find(|number| number.len() == digits)
}

#[derive(Deserialize)]
struct Texts {
    /// By phone number.
    sms_messages: BTreeMap<String, Vec<Text>>,
}

#[derive(Deserialize)]
struct Messages {
    /// By account.
    messages: BTreeMap<String, Vec<Mail>>,
}

/// The e-mails that were sent to an address, oldest first.
///
/// # Errors
/// The emulator does not answer.
pub async fn mail_to(aws_endpoint_url: &str, address: &str) -> Result<Vec<Mail>> {
    let sent = all_mail(aws_endpoint_url).await?;
    Ok(sent.into_iter().filter(|mail| mail.to.iter().any(|to| to.contains(address))).collect())
}

/// All e-mails that were sent.
///
/// # Errors
/// The emulator does not answer.
pub async fn all_mail(aws_endpoint_url: &str) -> Result<Vec<Mail>> {
    let sent: Messages = Shop::new(aws_endpoint_url).get("/_ministack/ses/messages").await?;
    Ok(sent.messages.into_values().flatten().collect())
}

/// The SMS to a number in E.164 form, oldest first.
///
/// # Errors
/// The emulator does not answer.
pub async fn texts_to(aws_endpoint_url: &str, phone: &str) -> Result<Vec<Text>> {
    let path = format!("/_ministack/sns/sms-messages?phoneNumber={}", phone.replace('+', "%2B"));
    let sent: Texts = Shop::new(aws_endpoint_url).get(&path).await?;
    Ok(sent.sms_messages.into_values().flatten().collect())
}
