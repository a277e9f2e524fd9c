//! A local FIFO topic: stores messages, drops duplicates by deduplication id, and responds as a test
//! configures it.

use std::{
    collections::{HashSet, VecDeque},
    sync::{Arc, Mutex},
};

use contracts::Envelope;
use wiremock::{Mock, MockServer, Request, Respond, ResponseTemplate, matchers::any};

/// The topic's response to one call.
pub enum Answer {
    /// Takes every event.
    Takes,
    /// Refuses these events (`<subject> <sequence>`) with this code, by the sender's fault or not, and takes the others.
    Refuses(&'static [&'static str], &'static str, bool),
    /// Takes nothing: too many requests.
    Throttles,
    /// Takes every event, and its answer is lost.
    IsLost,
}

/// One entry of a PublishBatch.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Entry {
    /// `<subject> <sequence>`.
    pub event: String,
    pub group: String,
    pub deduplication_id: String,
    /// The message attribute of this name.
    pub traceparent: Option<String>,
}

type Rule = Box<dyn FnMut(&Entry) -> Option<(&'static str, bool)> + Send>;

#[derive(Default)]
struct State {
    answers: VecDeque<Answer>,
    /// Why an entry is refused, once there are no `answers`.
    rule: Option<Rule>,
    taken: Vec<String>,
    known: HashSet<String>,
}

/// Clones share their state.
#[derive(Clone)]
pub struct Topic {
    server: Arc<MockServer>,
    state: Arc<Mutex<State>>,
}

struct Responder(Arc<Mutex<State>>);

impl Topic {
    /// A topic that takes everything.
    pub async fn open() -> Self {
        let (server, state) = (Arc::new(MockServer::start().await), Arc::default());
        Mock::given(any()).respond_with(Responder(Arc::clone(&state))).mount(&server).await;
        Self { server, state }
    }

    pub fn url(&self) -> String {
        self.server.uri()
    }

    /// The next calls are answered like this, all later ones by the rule.
    pub fn answers(&self, answers: impl IntoIterator<Item = Answer>) {
        self.state.lock().unwrap().answers.extend(answers);
    }

    /// Refuses an entry for which the rule gives a code, and whether that is the sender's fault.
    pub fn refuses(&self, rule: impl FnMut(&Entry) -> Option<(&'static str, bool)> + Send + 'static) {
        self.state.lock().unwrap().rule = Some(Box::new(rule));
    }

    /// The events that it took, in their order, each once.
    pub fn taken(&self) -> Vec<String> {
        self.state.lock().unwrap().taken.clone()
    }

    /// The entries of each call, those that it refused among them.
    pub async fn calls(&self) -> Vec<Vec<Entry>> {
        self.server.received_requests().await.unwrap().iter().map(entries).collect()
    }
}

impl Respond for Responder {
    fn respond(&self, call: &Request) -> ResponseTemplate {
        let mut state = self.0.lock().unwrap();
        let answer = state.answers.pop_front();
        let error = |status, code| {
            ResponseTemplate::new(status).set_body_string(format!(
                "<ErrorResponse xmlns=\"http://sns.amazonaws.com/doc/2010-03-31/\"><Error><Type>Sender</Type>\
                 <Code>{code}</Code><Message>Not now</Message></Error></ErrorResponse>"
            ))
        };
        if matches!(answer, Some(Answer::Throttles)) {
            return error(429, "Throttled");
        }
        let mut failed = String::new();
        for (id, entry) in entries(call).into_iter().enumerate() {
            let refused = match &answer {
                Some(Answer::Refuses(events, code, is_senders)) => {
                    events.contains(&&*entry.event).then_some((*code, *is_senders))
                }
                Some(_) => None,
                None => state.rule.as_mut().and_then(|rule| rule(&entry)),
            };
            if let Some((code, is_senders)) = refused {
                failed += &format!(
                    "<member><Id>{id}</Id><Code>{code}</Code><SenderFault>{is_senders}</SenderFault></member>"
                );
            } else if state.known.insert(entry.deduplication_id) {
                state.taken.push(entry.event);
            }
        }
        if matches!(answer, Some(Answer::IsLost)) {
            return error(500, "InternalError");
        }
        ResponseTemplate::new(200).set_body_string(format!(
            "<PublishBatchResponse xmlns=\"http://sns.amazonaws.com/doc/2010-03-31/\"><PublishBatchResult>\
             <Failed>{failed}</Failed><Successful/></PublishBatchResult></PublishBatchResponse>"
        ))
    }
}

/// The entries of a PublishBatch request.
fn entries(call: &Request) -> Vec<Entry> {
    let mut entries: Vec<Entry> = Vec::new();
    for (name, value) in form_urlencoded::parse(&call.body) {
        let Some(rest) = name.strip_prefix("PublishBatchRequestEntries.member.") else { continue };
        let Some((number, field)) = rest.split_once('.') else { continue };
        let index = number.parse::<usize>().unwrap() - 1;
        if entries.len() <= index {
            entries.resize(index + 1, Entry::default());
        }
        match field {
            "Message" => {
                let event: Envelope = serde_json::from_str(&value).unwrap();
                entries[index].event = format!("{} {}", event.subject, event.sequence);
            }
            "MessageGroupId" => entries[index].group = value.into_owned(),
            "MessageDeduplicationId" => entries[index].deduplication_id = value.into_owned(),
            // The other attributes are a type and a source.
            _ if field.ends_with(".StringValue") && value.starts_with("00-") => {
                entries[index].traceparent = Some(value.into_owned());
            }
            _ => {}
        }
    }
    entries
}
