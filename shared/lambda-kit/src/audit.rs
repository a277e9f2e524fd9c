//! The audit trail: who changed what, when and why.
//!
//! | pk | sk | holds |
//! |---|---|---|
//! | `AUDIT#<subject>` | `<time, microseconds>#<id>` | one [`Entry`] |
//!
//! An entry is an item in the table of the context that makes the change, and is written in the transaction of
//! the change ([`Entry::write`]). So there is no change without its entry, and no entry of a change that did not
//! happen. Entries are never changed or deleted. They hold no personal data, because an erasure does not reach
//! them: users are named by their ids.

use std::{cmp::Reverse, fmt, str::FromStr};

use contracts::{CorrelationId, InvalidId, UserId};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use uuid::Uuid;

use crate::{
    cursor,
    dynamodb::{ABSENT, Table, TableError, Write, from_item, key, string, to_item},
    http::{List, Page, Problem},
};

const SYSTEM: &str = "system";
const OPERATOR: &str = "operator:";

/// Who made a change. As text: a user's id, `operator:<IAM name>`, or `system`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Actor {
    /// A user, by the API.
    User(UserId),
    /// A person with AWS credentials, by `cargo ops`: the ARN of the caller, as AWS STS returns it.
    Operator(String),
    /// The platform itself.
    System,
}

impl fmt::Display for Actor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::User(user_id) => f.write_str(user_id.as_str()),
            Self::Operator(name) => write!(f, "{OPERATOR}{name}"),
            Self::System => f.write_str(SYSTEM),
        }
    }
}

impl FromStr for Actor {
    type Err = InvalidId;

    fn from_str(text: &str) -> Result<Self, InvalidId> {
        match text.strip_prefix(OPERATOR) {
            Some(name) => Ok(Self::Operator(name.to_owned())),
            None if text == SYSTEM => Ok(Self::System),
            None => text.parse().map(Self::User),
        }
    }
}

impl TryFrom<String> for Actor {
    type Error = InvalidId;

    fn try_from(text: String) -> Result<Self, InvalidId> {
        text.parse()
    }
}

impl From<Actor> for String {
    fn from(actor: Actor) -> Self {
        actor.to_string()
    }
}

/// One change, as the audit trail keeps it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "openapi", schemars(rename = "AuditEntry"))]
pub struct Entry {
    /// The entry's own id.
    pub id: String,
    /// When it was done.
    pub at: Timestamp,
    /// A user's id, `operator:` with the name that IAM knows the operator by, or `system`.
    #[cfg_attr(feature = "openapi", schemars(with = "String"))]
    pub actor: Actor,
    /// What was done, as `product.updated`.
    pub action: String,
    /// What was changed: a SKU, a discount code, an order's id or a user's id.
    pub subject: String,
    /// What changed, as it was before. Null when it is new.
    #[serde(default)]
    pub before: Value,
    /// What changed, as it is since. Null when it is gone.
    #[serde(default)]
    pub after: Value,
    /// The actor's own words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Of the request or command that made the change.
    pub correlation_id: CorrelationId,
}

impl Entry {
    /// An entry with a new id, without `before`, `after` and `reason`.
    // The id is random. Each attempt at a change has an entry of its own, and only that of the attempt which
    // takes effect is stored.
    pub fn new(
        at: Timestamp,
        actor: Actor,
        action: &str,
        subject: impl Into<String>,
        correlation_id: &CorrelationId,
    ) -> Self {
        Self {
            id: Uuid::now_v7().simple().to_string(),
            at,
            actor,
            action: action.to_owned(),
            subject: subject.into(),
            before: Value::Null,
            after: Value::Null,
            reason: None,
            correlation_id: correlation_id.clone(),
        }
    }

    /// With what changed, as it was and as it is: values, or their [`difference`].
    #[must_use]
    pub fn with_change(self, (before, after): (Value, Value)) -> Self {
        Self { before, after, ..self }
    }

    /// With the actor's own words.
    #[must_use]
    pub fn with_reason(self, reason: impl Into<String>) -> Self {
        Self { reason: Some(reason.into()), ..self }
    }

    /// The entry as a part of the transaction that makes the change.
    ///
    /// # Errors
    /// When the entry has no form as an item.
    pub fn write(&self) -> Result<Write, TableError> {
        let item = to_item("writing an audit entry", key(partition(&self.subject), self.place()), self)?;
        Ok(Write::put(item).when(ABSENT))
    }

    /// The sort key: by time, and different for entries of the same microsecond.
    fn place(&self) -> String {
        format!("{:.6}#{}", self.at, self.id)
    }
}

/// The top-level fields in which the JSON of two values differs, as they were and as they are. A field that only
/// one of the two has is in that one only. A value that is no object is returned whole.
///
/// # Errors
/// When a value has no JSON form.
pub fn difference<B: Serialize, A: Serialize>(before: &B, after: &A) -> serde_json::Result<(Value, Value)> {
    let (before, after) = (serde_json::to_value(before)?, serde_json::to_value(after)?);
    let (Value::Object(old), Value::Object(new)) = (&before, &after) else { return Ok((before, after)) };
    let changed = |of: &Map<String, Value>, other: &Map<String, Value>| {
        let fields = of.iter().filter(|(name, value)| other.get(*name) != Some(*value));
        Value::Object(fields.map(|(name, value)| (name.clone(), value.clone())).collect())
    };
    Ok((changed(old, new), changed(new, old)))
}

/// A page of the entries of a subject, the newest first. A page may have fewer entries than its limit when more
/// follow. A subject without entries has an empty list.
///
/// # Errors
/// 422 for a cursor of another kind of list, 503 while the table does not answer.
pub async fn list(table: &Table, subject: &str, page: Page) -> Result<List<Entry>, Problem> {
    const OPERATION: &str = "reading audit entries";
    let Page { limit, cursor } = page;
    let after = cursor.as_deref().map(place_of).transpose()?;
    let query = table
        .query()
        // An administrator who has just made a change expects to see it.
        .consistent_read(true)
        .scan_index_forward(false)
        .key_condition_expression("pk = :subject")
        .expression_attribute_values(":subject", string(partition(subject)))
        .set_exclusive_start_key(after.map(|place| key(partition(subject), place)))
        // One more entry shows whether there is a next page.
        .set_limit(i32::try_from(limit + 1).ok());
    let found = table.query_page(OPERATION, query).await?;
    let more = found.next.is_some();
    let entries = found.items.into_iter().map(|item| from_item(OPERATION, item));
    newest(entries.collect::<Result<_, _>>()?, limit, more)
}

/// One page of several lists that were read with the same cursor.
///
/// # Errors
/// When the cursor of the next page has no JSON form.
pub fn merge(lists: Vec<List<Entry>>, limit: usize) -> Result<List<Entry>, Problem> {
    let last_of = |list: &List<Entry>| list.items.last().map(Entry::place);
    // A list that goes on may have entries that are newer than what the others have returned. Nothing older than
    // its last entry is taken, because the next page would begin after that.
    let horizon = lists.iter().filter(|list| list.next_cursor.is_some()).filter_map(last_of).max();
    let mut entries: Vec<Entry> = lists.into_iter().flat_map(|list| list.items).collect();
    if let Some(horizon) = &horizon {
        entries.retain(|entry| entry.place() >= *horizon);
    }
    entries.sort_by_cached_key(|entry| Reverse(entry.place()));
    newest(entries, limit, horizon.is_some())
}

/// A page of entries that are sorted, the newest first. `more`: others follow them.
// The cursor is the place of the last entry in time, and names no subject. So several lists can be read on with the
// same one.
fn newest(mut entries: Vec<Entry>, limit: usize, more: bool) -> Result<List<Entry>, Problem> {
    let more = more || entries.len() > limit;
    entries.truncate(limit);
    let last = entries.last().filter(|_| more);
    let next_cursor = last.map(|last| cursor::encode(&last.place())).transpose();
    Ok(List { items: entries, next_cursor: next_cursor.map_err(|e| Problem::internal(&e))? })
}

/// The place that a cursor names.
fn place_of(cursor: &str) -> Result<String, cursor::InvalidCursor> {
    let place: String = cursor::decode(cursor)?;
    let parts = place.split_once('#').map(|(time, id)| (time.parse::<Timestamp>(), Uuid::try_parse(id)));
    if matches!(parts, Some((Ok(_), Ok(_)))) { Ok(place) } else { Err(cursor::InvalidCursor) }
}

fn partition(subject: &str) -> String {
    format!("AUDIT#{subject}")
}

/// The description of a route that answers with [`list`], in the class `LISTS`. `path` has one parameter, the subject.
#[cfg(feature = "openapi")]
pub fn operation(
    path: &'static str,
    id: &'static str,
    summary: &'static str,
    example: Value,
) -> crate::openapi::Operation {
    use crate::{
        limits::LISTS,
        openapi::{Operation, Who},
    };

    Operation::get(
        path,
        id,
        Who::Admin,
        summary,
        "The newest change first. `before` and `after` have the fields that changed. A part of `listAuditEntries`.",
    )
    .limited(&LISTS)
    .paged()
    .answers::<List<Entry>>(
        200,
        "The changes; none when nothing was changed.",
        &[],
        serde_json::json!({"items": [example], "next_cursor": null}),
    )
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::{dynamodb::TransactOutcome, testing};

    fn entry(second: i64, action: &str) -> Entry {
        let (at, correlation_id) = (Timestamp::from_second(second).unwrap(), CorrelationId::generate());
        Entry::new(at, Actor::System, action, "MUG", &correlation_id)
    }

    async fn record(table: &Table, entry: &Entry) {
        let written = table.transact("test", vec![entry.write().unwrap()]).await.unwrap();
        assert_eq!(written, TransactOutcome::Done);
    }

    fn page(limit: usize, cursor: Option<String>) -> Page {
        Page { limit, cursor }
    }

    async fn listed(table: &Table, subject: &str, limit: usize) -> Vec<Vec<String>> {
        let (mut pages, mut cursor) = (Vec::new(), None);
        loop {
            let List { items, next_cursor } = list(table, subject, page(limit, cursor)).await.unwrap();
            pages.push(items.into_iter().map(|entry| entry.action).collect());
            cursor = next_cursor;
            if cursor.is_none() {
                return pages;
            }
        }
    }

    #[test]
    fn an_actor_is_a_text_that_is_read_back() {
        let user = UserId::generate();
        for (actor, text) in [
            (Actor::User(user.clone()), user.to_string()),
            (
                Actor::Operator("arn:aws:iam::1:user/anna".to_owned()),
                "operator:arn:aws:iam::1:user/anna".to_owned(),
            ),
            (Actor::System, "system".to_owned()),
        ] {
            assert_eq!(serde_json::to_value(&actor).unwrap(), json!(text));
            assert_eq!(serde_json::from_value::<Actor>(json!(text)).unwrap(), actor);
        }
        assert!(serde_json::from_value::<Actor>(json!("anna@example.com")).is_err());
    }

    #[test]
    fn the_difference_has_the_fields_that_changed_and_no_others() {
        let before = json!({"name": "Mug", "price": {"amount": 900}, "old": 1});
        let after = json!({"name": "Mug", "price": {"amount": 950}, "new": null});
        let expected =
            (json!({"price": {"amount": 900}, "old": 1}), json!({"price": {"amount": 950}, "new": null}));
        assert_eq!(difference(&before, &after).unwrap(), expected);
        assert_eq!(difference(&before, &before).unwrap(), (json!({}), json!({})));
        assert_eq!(difference(&Value::Null, &after).unwrap(), (Value::Null, after));
    }

    #[tokio::test]
    async fn an_entry_is_read_as_it_was_written() {
        let (table, _) = testing::table(&[]).await;
        let after =
            json!({"price": {"amount": -950, "currency": "USD"}, "tags": [], "gone": null, "on": true});
        let entry =
            entry(5, "product.updated").with_change((Value::Null, after)).with_reason("a typing error");
        let written = Entry { actor: Actor::User(UserId::generate()), ..entry };
        record(&table, &written).await;
        let List { items, next_cursor } = list(&table, "MUG", page(20, None)).await.unwrap();
        assert_eq!((items, next_cursor), (vec![written], None));
    }

    #[tokio::test]
    async fn entries_are_listed_page_by_page_the_newest_first() {
        let (table, _) = testing::table(&[]).await;
        let other = Entry { subject: "CUP".to_owned(), ..entry(3, "other") };
        let late = Entry { at: Timestamp::from_millisecond(2500).unwrap(), ..entry(0, "2.5") };
        // 2 s sorts after 2.5 s when the text of a time has as many digits as the time needs.
        for entry in [&entry(10, "10"), &entry(2, "2"), &late, &other] {
            record(&table, entry).await;
        }
        assert_eq!(listed(&table, "MUG", 2).await, [vec!["10", "2.5"], vec!["2"]]);
        assert_eq!(listed(&table, "MUG", 3).await, [vec!["10", "2.5", "2"]]);
        assert_eq!(listed(&table, "NONE", 3).await, [Vec::<&str>::new()]);
    }

    #[tokio::test]
    async fn changes_of_the_same_moment_have_an_entry_each() {
        let (table, _) = testing::table(&[]).await;
        for action in ["one", "other"] {
            record(&table, &entry(1, action)).await;
        }
        assert_eq!(listed(&table, "MUG", 20).await[0].len(), 2);
    }

    #[tokio::test]
    async fn a_text_that_is_no_cursor_is_refused_before_anything_is_read() {
        let (table, faults) = testing::table(&[]).await;
        for text in
            ["", "x", &cursor::encode(&"MUG").unwrap(), &cursor::encode(&"2026-11-29T12:00:00Z#1").unwrap()]
        {
            let refused = list(&table, "MUG", page(1, Some(text.to_owned()))).await.unwrap_err();
            assert_eq!(refused.fields(), ["cursor"], "{text}");
        }
        assert!(faults.calls().is_empty());
    }

    #[tokio::test]
    async fn lists_of_several_subjects_are_read_together_by_one_cursor() {
        let (table, _) = testing::table(&[]).await;
        for second in 1..=9 {
            let subject = if [3, 6, 7, 9].contains(&second) { "CUP" } else { "MUG" };
            record(&table, &Entry { subject: subject.to_owned(), ..entry(second, &second.to_string()) })
                .await;
        }
        let (mut read, mut cursor) = (String::new(), None);
        loop {
            let mut lists = Vec::new();
            // CUP's pages are shorter, as if its entries were too large for one read.
            for (subject, limit) in [("MUG", 2), ("CUP", 1)] {
                lists.push(list(&table, subject, page(limit, cursor.clone())).await.unwrap());
            }
            let List { items, next_cursor } = merge(lists, 2).unwrap();
            read.extend(items.iter().map(|entry| &*entry.action).chain([" "]));
            cursor = next_cursor;
            if cursor.is_none() {
                break;
            }
        }
        assert_eq!(read, "9 87 6 54 32 1 ");
    }
}
