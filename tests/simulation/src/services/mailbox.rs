//! SES and SNS's SMS: what customers are sent, in the order in which the providers took it.
//!
//! Sources: Amazon SES API v2 reference, "SendEmail"; Amazon SES Developer Guide, "Managing your Amazon SES sending limits"
//! (more messages in a second than the maximum send rate are throttled; the rate may be exceeded for short bursts, not
//! for long); Amazon SNS API reference, "Publish" with `PhoneNumber`, and its quotas for SMS (20 a second). Whatever a
//! provider takes arrives; bounces and complaints do not happen.

use std::{
    cell::RefCell,
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

use serde_json::{Value, json};
use tokio::time::Instant;

use super::{Protocol, form};
use crate::network::Reply;

/// In a second: SES's rate of an account outside the sandbox, for which the functions have their own limit
/// (infra/notifications.yaml, `EmailsPerSecond`).
const EMAILS: Rate = Rate { most: 14, within: Duration::from_secs(1) };
/// In a second (infra/notifications.yaml, `SmsPerSecond`).
const SMS: Rate = Rate { most: 20, within: Duration::from_secs(1) };

#[derive(Debug, Clone, Copy)]
struct Rate {
    most: usize,
    within: Duration,
}

/// A message that a customer has.
#[derive(Debug, Clone)]
pub struct Letter {
    /// An address or a phone number.
    pub to: String,
    /// Of an e-mail.
    pub subject: Option<String>,
    pub text: String,
    pub at: Instant,
}

#[derive(Default)]
pub struct Mailbox {
    letters: RefCell<Vec<Letter>>,
    /// When the last e-mails and SMS were taken.
    emails: RefCell<VecDeque<Instant>>,
    text_messages: RefCell<VecDeque<Instant>>,
}

impl Mailbox {
    /// Takes an e-mail.
    pub fn send_email(&self, path: &str, request: &Value) -> Reply {
        assert_eq!(path, "v2/email/outbound-emails", "the simulation's SES has no {path}");
        if !EMAILS.admits(&mut self.emails.borrow_mut()) {
            return Protocol::Rest.throttling("Maximum sending rate exceeded.");
        }
        let message = &request["Content"]["Simple"];
        let text = |part: &Value| part["Data"].as_str().unwrap_or_default().to_owned();
        let id = self.add(
            request["Destination"]["ToAddresses"][0].as_str().unwrap_or_default(),
            Some(text(&message["Subject"])),
            text(&message["Body"]["Text"]),
        );
        Reply::ok(json!({"MessageId": id}))
    }

    /// Takes an SMS.
    pub fn publish(&self, body: &str) -> Reply {
        let fields: BTreeMap<String, String> = form(body).into_iter().collect();
        let number = fields.get("PhoneNumber").expect("an SMS has a number");
        if !SMS.admits(&mut self.text_messages.borrow_mut()) {
            return Protocol::Query.throttling("Rate exceeded");
        }
        let id = self.add(number, None, fields.get("Message").cloned().unwrap_or_default());
        Reply::ok(format!(
            "<PublishResponse xmlns=\"http://sns.amazonaws.com/doc/2010-03-31/\"><PublishResult>\
             <MessageId>{id}</MessageId></PublishResult></PublishResponse>"
        ))
    }

    /// All messages in the order in which they were taken.
    pub fn letters(&self) -> Vec<Letter> {
        self.letters.borrow().clone()
    }

    fn add(&self, to: &str, subject: Option<String>, text: String) -> String {
        let letter = Letter { to: to.to_owned(), subject, text, at: Instant::now() };
        let mut letters = self.letters.borrow_mut();
        letters.push(letter);
        format!("letter-{}", letters.len())
    }
}

impl Rate {
    /// Whether one more is taken now.
    fn admits(self, taken: &mut VecDeque<Instant>) -> bool {
        let now = Instant::now();
        taken.retain(|at| now - *at < self.within);
        let is_taken = taken.len() < self.most;
        if is_taken {
            taken.push_back(now);
        }
        is_taken
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_emails_in_a_second_than_the_rate_are_throttled() {
        let mailbox = Mailbox::default();
        let email = json!({
            "Destination": {"ToAddresses": ["ada@example.com"]},
            "Content": {"Simple": {"Subject": {"Data": "Hello"}, "Body": {"Text": {"Data": "Ada"}}}},
        });
        let send = || mailbox.send_email("v2/email/outbound-emails", &email).status;
        assert!((0..EMAILS.most).all(|_| send() == 200));
        assert_eq!(send(), 429);
        mailbox.emails.borrow_mut().iter_mut().for_each(|at| *at -= EMAILS.within);
        assert_eq!(send(), 200);
        let letters = mailbox.letters();
        assert_eq!((letters.len(), letters[0].subject.as_deref()), (15, Some("Hello")));
    }
}
