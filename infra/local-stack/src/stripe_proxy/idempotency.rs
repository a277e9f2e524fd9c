//! Stripe's rules for `Idempotency-Key`: <https://docs.stripe.com/api/idempotent_requests>.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::body::Bytes;
use http::{HeaderMap, Method, StatusCode, header};

use super::answer::Answer;

/// Whose key it is, and the key.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Key {
    account: String,
    key: String,
}

impl Key {
    /// Only POST requests have one: "GET and DELETE requests are idempotent by definition".
    pub fn of(method: &Method, headers: &HeaderMap) -> Option<Self> {
        if method != Method::POST {
            return None;
        }
        let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
        let account = text(header::AUTHORIZATION.as_str()).unwrap_or_default();
        text("idempotency-key").filter(|key| !key.is_empty()).map(|key| Self { account, key })
    }

    /// The key as the client sent it.
    pub fn name(&self) -> &str {
        &self.key
    }
}

/// The first answers, for as long as the process lives (Stripe keeps them for at least a day).
#[derive(Debug, Default)]
pub struct Answers(Arc<Mutex<HashMap<Key, Entry>>>);

#[derive(Debug)]
struct Entry {
    path: String,
    body: Bytes,
    /// None while the first request is on its way.
    answer: Option<Answer>,
}

/// How to handle a request with a key.
pub enum Claim {
    First(Slot),
    Replay(Answer),
    InProgress,
    /// The key belongs to another request; the message is Stripe's.
    OtherRequest(String),
}

impl Answers {
    pub fn claim(&self, key: Key, path: &str, body: &Bytes) -> Claim {
        let mut answers = lock(&self.0);
        let Some(entry) = answers.get(&key) else {
            let entry = Entry { path: path.to_owned(), body: body.clone(), answer: None };
            answers.insert(key.clone(), entry);
            return Claim::First(Slot { answers: self.0.clone(), key, kept: false });
        };
        if entry.path != path {
            return Claim::OtherRequest(format!(
                "Keys for idempotent requests can only be used for the same endpoint they were first used for \
                 ('{path}' vs '{}'). Try using a key other than '{}' if you meant to execute a different request.",
                entry.path, key.key
            ));
        }
        if entry.body != *body {
            return Claim::OtherRequest(format!(
                "Keys for idempotent requests can only be used with the same parameters they were first used with. \
                 Try using a key other than '{}' if you meant to execute a different request.",
                key.key
            ));
        }
        match &entry.answer {
            Some(answer) => Claim::Replay(answer.clone()),
            None => Claim::InProgress,
        }
    }
}

/// The right to give a key its answer. Dropped without one, the key is free again.
pub struct Slot {
    answers: Arc<Mutex<HashMap<Key, Entry>>>,
    key: Key,
    kept: bool,
}

impl Slot {
    pub fn keep(mut self, answer: &Answer) {
        if !executed(answer.status) {
            return;
        }
        if let Some(entry) = lock(&self.answers).get_mut(&self.key) {
            entry.answer = Some(answer.clone());
            self.kept = true;
        }
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        if !self.kept {
            lock(&self.answers).remove(&self.key);
        }
    }
}

/// "Results are only saved if an endpoint started executing." With these statuses it did not.
fn executed(status: StatusCode) -> bool {
    !matches!(
        status,
        StatusCode::UNAUTHORIZED
            | StatusCode::CONFLICT
            | StatusCode::TOO_MANY_REQUESTS
            | StatusCode::BAD_GATEWAY
    )
}

/// A panic elsewhere leaves the map whole: it is never half changed.
fn lock(answers: &Mutex<HashMap<Key, Entry>>) -> MutexGuard<'_, HashMap<Key, Entry>> {
    answers.lock().unwrap_or_else(PoisonError::into_inner)
}
