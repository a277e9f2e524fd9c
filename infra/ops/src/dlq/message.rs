//! The safe summary of a message. Bodies hold addresses, e-mail addresses, payment methods and task tokens,
//! so only the fields named here are read, and only values that look like an id or a name are shown.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::Serialize;
use serde_json::Value;

/// The attribute with the number of redrives, set by redriving.
pub const REDRIVEN: &str = "redriven";

/// The fields that are shown of an event envelope or a command, in this order.
const SHOWN: [&str; 9] = [
    "event_type",
    "action",
    "order_id",
    "subject",
    "source",
    "sequence",
    "event_id",
    "correlation_id",
    "occurred_at",
];

/// Ids and names are shorter; a task token is longer.
const LONGEST: usize = 100;

#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct Summary {
    pub message_id: String,
    pub sent_at: Option<Timestamp>,
    /// The number of receives, including those by `show`.
    pub received: u64,
    pub redriven: u64,
    pub bytes: usize,
    pub fields: BTreeMap<&'static str, String>,
}

/// Summarises a received message without its confidential parts.
pub fn describe(message: &Value) -> Summary {
    let text = message["Body"].as_str().unwrap_or_default();
    let body: Value = serde_json::from_str(text).unwrap_or_default();
    let mut fields: BTreeMap<&'static str, String> =
        SHOWN.into_iter().filter_map(|name| Some((name, plain(&body[name])?))).collect();
    if let Some(told) = plain(&message["MessageAttributes"]["event_type"]["StringValue"]) {
        fields.entry("event_type").or_insert(told);
    }
    let attributes = &message["Attributes"];
    Summary {
        message_id: message["MessageId"].as_str().unwrap_or_default().to_owned(),
        sent_at: number(&attributes["SentTimestamp"])
            .and_then(|milliseconds| Timestamp::from_millisecond(i64::try_from(milliseconds).ok()?).ok()),
        received: number(&attributes["ApproximateReceiveCount"]).unwrap_or_default(),
        redriven: redriven(message),
        bytes: text.len(),
        fields,
    }
}

pub fn redriven(message: &Value) -> u64 {
    number(&message["MessageAttributes"][REDRIVEN]["StringValue"]).unwrap_or_default()
}

impl Summary {
    pub fn lines(&self) -> String {
        let sent = self.sent_at.map_or_else(|| "at an unknown time".to_owned(), |time| time.to_string());
        let redriven = match self.redriven {
            0 => String::new(),
            times => format!(", redriven {times}×"),
        };
        let mut text = format!("{}  sent {sent}, received {}×{redriven}\n", self.message_id, self.received);
        if self.fields.is_empty() {
            text.push_str(&format!("    neither an event nor a command, {} bytes\n", self.bytes));
        } else {
            let shown = SHOWN.iter().filter_map(|name| Some(format!("{name} {}", self.fields.get(name)?)));
            text.push_str(&format!("    {}\n", shown.collect::<Vec<_>>().join("  ")));
        }
        text
    }
}

/// A number, or a text that looks like an id, a name or a time: an e-mail address and a sentence do not.
fn plain(value: &Value) -> Option<String> {
    if value.is_u64() {
        return Some(value.to_string());
    }
    let text = value.as_str()?;
    let fits = (1..=LONGEST).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._:-".contains(&byte));
    fits.then(|| text.to_owned())
}

fn number(value: &Value) -> Option<u64> {
    value.as_str()?.parse().ok()
}
