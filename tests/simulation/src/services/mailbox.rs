//! SES and SNS's SMS: what customers are sent, in the order in which the providers took it, and what SES says of it later.
//!
//! Sources: Amazon SES API v2 reference, "SendEmail"; Amazon SES Developer Guide, "Managing your Amazon SES sending limits"
//! (more messages in a second than the maximum send rate are throttled; the rate may be exceeded for short bursts, not
//! for long); Amazon SNS API reference, "Publish" with `PhoneNumber`, and its quotas for SMS (20 a second). An SMS that the
//! provider takes arrives.
//!
//! Of bounces and complaints: Amazon SES Developer Guide, "Contents of event data that Amazon SES publishes to Amazon SNS"
//! and its examples (the kinds of bounces and complaints, the tags of the e-mail), "Set up an Amazon SNS event destination
//! for event publishing" (only of e-mails with the configuration set), "Using the Amazon SES account-level suppression
//! list" (an e-mail to an address that bounced for good, or that complained, is accepted and not sent; SES reports it as a
//! bounce of the kind `OnAccountSuppressionList`).

use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet, VecDeque},
    time::Duration,
};

use jiff::Timestamp;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use super::{Protocol, form};
use crate::{
    network::{Reply, between},
    templates::{ACCOUNT, REGION, Templates},
    world::world,
};

/// In a second: SES's rate of an account outside the sandbox, for which the functions have their own limit
/// (infra/notifications.yaml, `EmailsPerSecond`).
const EMAILS: Rate = Rate { most: 14, within: Duration::from_secs(1) };
/// In a second (infra/notifications.yaml, `SmsPerSecond`).
const SMS: Rate = Rate { most: 20, within: Duration::from_secs(1) };
/// When SES reports a bounce, in milliseconds: the other server refuses the e-mail at once, or the mailbox some time later.
const BOUNCE: std::ops::Range<u64> = 300..30_000;
/// When SES reports a complaint, in milliseconds. Most come hours later, when a storm is over.
const COMPLAINT: std::ops::Range<u64> = 5_000..300_000;

#[derive(Debug, Clone, Copy)]
struct Rate {
    most: usize,
    within: Duration,
}

/// A message that a provider has taken.
#[derive(Debug, Clone)]
pub struct Letter {
    /// An address or a phone number.
    pub to: String,
    /// Of an e-mail.
    pub subject: Option<String>,
    pub text: String,
    pub at: Instant,
}

/// What becomes of the e-mails to an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reception {
    Arrive,
    /// There is no such mailbox.
    Bounce,
    /// The mailbox is full.
    BounceForNow,
    /// The customer reports them as spam.
    AreSpam,
    /// The customer takes them out of the folder for spam.
    AreNoSpam,
}

#[derive(Default)]
pub struct Mailbox {
    letters: RefCell<Vec<Letter>>,
    /// When the last e-mails and SMS were taken.
    emails: RefCell<VecDeque<Instant>>,
    text_messages: RefCell<VecDeque<Instant>>,
    /// The addresses whose e-mails do not just arrive.
    receptions: RefCell<BTreeMap<String, Reception>>,
    destinations: Vec<Destination>,
    /// SES's own list of the account.
    suppressed: RefCell<BTreeSet<String>>,
    /// The addresses of which SES has published an event, with the reception that it was for.
    reported: RefCell<BTreeSet<(String, Reception)>>,
}

/// Where SES publishes events of e-mails.
#[derive(Debug)]
struct Destination {
    configuration_set: String,
    /// The ARN of a topic.
    topic: String,
    /// `bounce`, `complaint`.
    kinds: Vec<String>,
}

impl Mailbox {
    pub fn new(templates: &Templates) -> Self {
        let destinations = templates.of_type("AWS::SES::ConfigurationSetEventDestination");
        let read = |resource: &crate::templates::Resource<'_>| {
            let destination = resource.property("EventDestination");
            let kinds = destination["MatchingEventTypes"].as_array().into_iter().flatten();
            Destination {
                configuration_set: resource.text("ConfigurationSetName"),
                topic: text(&destination["SnsDestination"]["TopicARN"]),
                kinds: kinds.map(text).collect(),
            }
        };
        let is_on = |resource: &&crate::templates::Resource<'_>| {
            resource.property("EventDestination")["Enabled"] == true
        };
        Self { destinations: destinations.iter().filter(is_on).map(read).collect(), ..Self::default() }
    }

    /// Says what becomes of the e-mails to an address.
    pub fn receive(&self, address: String, reception: Reception) {
        self.receptions.borrow_mut().insert(address, reception);
    }

    /// Takes an e-mail.
    pub fn send_email(&self, path: &str, request: &Value) -> Reply {
        assert_eq!(path, "v2/email/outbound-emails", "the simulation's SES has no {path}");
        if !EMAILS.admits(&mut self.emails.borrow_mut()) {
            return Protocol::Rest.throttling("Maximum sending rate exceeded.");
        }
        let message = &request["Content"]["Simple"];
        let address = text(&request["Destination"]["ToAddresses"][0]);
        let id = self.add(
            &address,
            Some(text(&message["Subject"]["Data"])),
            text(&message["Body"]["Text"]["Data"]),
        );
        let reception = self.receptions.borrow().get(&address).copied().unwrap_or(Reception::Arrive);
        self.deliver(request, &id, address, reception);
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

    /// The addresses of which SES has published an event, each with why.
    pub fn reported(&self) -> BTreeSet<(String, Reception)> {
        self.reported.borrow().clone()
    }

    fn add(&self, to: &str, subject: Option<String>, text: String) -> String {
        let letter = Letter { to: to.to_owned(), subject, text, at: Instant::now() };
        let mut letters = self.letters.borrow_mut();
        letters.push(letter);
        format!("letter-{}", letters.len())
    }

    /// Delivers an e-mail that was taken, and publishes what SES learns of it some time later.
    fn deliver(&self, request: &Value, id: &str, address: String, reception: Reception) {
        let sub_type =
            if self.suppressed.borrow().contains(&address) { "OnAccountSuppressionList" } else { "General" };
        let Some((kind, after, said)) = reception.event(&address, sub_type) else { return };
        let sent_at = Timestamp::now();
        let tags = request["EmailTags"].as_array().into_iter().flatten();
        let mut tags: serde_json::Map<String, Value> =
            tags.map(|tag| (text(&tag["Name"]), json!([tag["Value"]]))).collect();
        tags.insert("ses:configuration-set".to_owned(), json!([request["ConfigurationSetName"]]));
        let mut event = said;
        event["mail"] = json!({
            "timestamp": sent_at, "messageId": id, "source": request["FromEmailAddress"],
            "sendingAccountId": ACCOUNT, "destination": [address], "headersTruncated": false, "tags": tags,
            "sourceArn": format!("arn:aws:ses:{REGION}:{ACCOUNT}:identity/{}", text(&request["FromEmailAddress"])),
        });
        let configuration_set = text(&request["ConfigurationSetName"]);
        tokio::task::spawn_local(async move {
            let _pending = world().pending();
            sleep(after).await;
            world().mailbox.report(&configuration_set, kind, &event, (address, reception));
        });
    }

    fn report(&self, configuration_set: &str, kind: &str, event: &Value, of: (String, Reception)) {
        if of.1.stops() {
            self.suppressed.borrow_mut().insert(of.0.clone());
        }
        self.reported.borrow_mut().insert(of);
        let destinations = self.destinations.iter().filter(|destination| {
            destination.configuration_set == configuration_set
                && destination.kinds.iter().any(|known| known == kind)
        });
        destinations.for_each(|destination| world().topics.notify(&destination.topic, &event.to_string()));
    }
}

impl Reception {
    /// Whether no further e-mail may go to the address.
    pub const fn stops(self) -> bool {
        matches!(self, Self::Bounce | Self::AreSpam)
    }

    /// What SES publishes of an e-mail, with the kind and the time until then.
    fn event(self, address: &str, sub_type: &str) -> Option<(&'static str, Duration, Value)> {
        let is_suppressed = sub_type != "General";
        let bounce = |bounce_type: &str, sub_type: &str| {
            let event = json!({"eventType": "Bounce", "bounce": {
                "bounceType": bounce_type, "bounceSubType": sub_type,
                "bouncedRecipients": [{"emailAddress": address, "action": "failed"}],
            }});
            Some(("bounce", between(BOUNCE), event))
        };
        let complaint = |kind: &str| {
            let event = json!({"eventType": "Complaint", "complaint": {
                "complainedRecipients": [{"emailAddress": address}], "complaintFeedbackType": kind,
            }});
            Some(("complaint", between(COMPLAINT), event))
        };
        match self {
            Self::Arrive => None,
            Self::Bounce => bounce("Permanent", sub_type),
            Self::BounceForNow => bounce("Transient", "MailboxFull"),
            // It does not arrive.
            Self::AreSpam if is_suppressed => bounce("Permanent", sub_type),
            Self::AreSpam => complaint("abuse"),
            Self::AreNoSpam => complaint("not-spam"),
        }
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

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
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

    #[test]
    fn an_address_that_complained_gets_nothing_more_and_a_full_mailbox_may_be_empty_again() {
        let kinds = |reception: Reception, sub_type| {
            let (kind, _, event) = reception.event("ada@example.com", sub_type)?;
            Some((kind, event["bounce"]["bounceType"].clone(), reception.stops()))
        };
        assert_eq!(kinds(Reception::Arrive, "General"), None);
        let on_list = "OnAccountSuppressionList";
        assert_eq!(kinds(Reception::AreSpam, "General"), Some(("complaint", Value::Null, true)));
        assert_eq!(kinds(Reception::AreSpam, on_list), Some(("bounce", json!("Permanent"), true)));
        assert_eq!(kinds(Reception::BounceForNow, "General"), Some(("bounce", json!("Transient"), false)));
    }
}
