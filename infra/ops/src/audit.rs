//! `cargo ops audit`: who changed a thing. Reads the audit entries in the tables of the contexts, so it also works while
//! no function does.

use std::cmp::Reverse;

use clap::Args;
use contracts::{Money, OrderId, Sku, Switch, UserId};
use jiff::Timestamp;
use local_stack::{Progress, Settings};
use serde_json::{Map, Value, json};

use crate::attribute::plain;
use crate::aws::{Aws, Service};
use crate::error::{Error, Result};
use crate::stage::Stage;

#[derive(Debug, Args)]
pub struct Audit {
    /// A SKU, a discount code, an order (`ord_…`), an account (`usr_…`) or a feature switch (`switch/payments`)
    subject: String,
    /// How many changes to show at most, the newest first
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    limit: u32,
    /// Print JSON, one change a line
    #[arg(long)]
    json: bool,
    /// On AWS; without it, on this machine's stack
    #[arg(long)]
    stage: Option<Stage>,
}

impl Audit {
    /// # Errors
    /// The text names nothing that has a trail, no such stack runs, or a table refuses.
    pub async fn run(self, settings: &Settings, progress: &Progress) -> Result<()> {
        let Self { subject, limit, json, stage } = self;
        // Before anything is asked.
        let trails = trails(&subject)?;
        let aws = Aws::of(settings, stage, progress).await?;
        let mut entries = Vec::new();
        for (context, subject) in trails {
            entries.extend(read(&aws, context, &subject, limit).await?);
        }
        let found = entries.len();
        let entries = newest(entries, limit);
        if json {
            entries.iter().for_each(|entry| println!("{entry}"));
            return Ok(());
        }
        entries.iter().for_each(|entry| print!("{}", text(entry)));
        match found {
            0 => println!("no change of {subject} is recorded"),
            found if found > entries.len() => {
                println!("older changes are not shown: --limit {}", limit.saturating_mul(10).min(10_000));
            }
            _ => {}
        }
        Ok(())
    }
}

/// The contexts that may have changed a subject, and what each calls it.
fn trails(subject: &str) -> Result<Vec<(&'static str, String)>> {
    let named = |context| (context, subject.to_owned());
    if OrderId::try_from(subject).is_ok() {
        return Ok(vec![named("payments"), named("orders")]);
    }
    if UserId::try_from(subject).is_ok() {
        return Ok(vec![named("users")]);
    }
    if let Some(name) = subject.strip_prefix("switch/") {
        let switch: Switch = name.parse().map_err(|error| Error::Audit(format!("{error}")))?;
        return Ok(vec![named(switch.context())]);
    }
    if Sku::try_from(subject).is_err() {
        return Err(Error::Audit(format!(
            "`{subject}` is no SKU, discount code, order (ord_…), account (usr_…) or feature switch (switch/…). Give one \
             of these."
        )));
    }
    // Lower and upper case make no difference in discount codes. They do in SKUs.
    Ok(vec![named("catalog"), named("inventory"), ("orders", subject.to_ascii_uppercase())])
}

/// The newest entries of a subject in the table of a context.
///
/// # Errors
/// The table refuses.
pub async fn read(aws: &Aws, context: &str, subject: &str, limit: u32) -> Result<Vec<Value>> {
    let mut query = json!({
        "TableName": aws.name(context),
        "KeyConditionExpression": "pk = :subject",
        "ExpressionAttributeValues": {":subject": {"S": format!("AUDIT#{subject}")}},
        "ScanIndexForward": false,
        "ConsistentRead": true,
        // One more shows that there are older ones.
        "Limit": limit + 1,
    });
    let mut entries = Vec::new();
    loop {
        let mut page = aws.call(Service::DynamoDb, "Query", query.clone()).await?;
        let items = page["Items"].as_array().cloned().unwrap_or_default();
        entries.extend(items.into_iter().map(entry));
        let next = page["LastEvaluatedKey"].take();
        // Emulators write an empty key after the last page, where DynamoDB writes none.
        let is_last = next.as_object().is_none_or(Map::is_empty);
        if is_last || entries.len() > usize::try_from(limit).unwrap_or(usize::MAX) {
            return Ok(entries);
        }
        query["ExclusiveStartKey"] = next;
    }
}

/// The entries of all contexts, the newest first.
fn newest(mut entries: Vec<Value>, limit: u32) -> Vec<Value> {
    let at = |entry: &Value| entry["at"].as_str().and_then(|at| at.parse::<Timestamp>().ok());
    entries.sort_by_cached_key(|entry| Reverse(at(entry)));
    entries.truncate(usize::try_from(limit).unwrap_or(usize::MAX));
    entries
}

/// An entry as the API shows it.
fn entry(item: Value) -> Value {
    let mut entry = plain(&json!({"M": item}));
    if let Some(fields) = entry.as_object_mut() {
        fields.retain(|name, _| !["pk", "sk"].contains(&name.as_str()));
    }
    entry
}

/// An entry, for a person.
fn text(entry: &Value) -> String {
    let field = |name: &str| entry[name].as_str().unwrap_or_default();
    let mut text = format!("{}  {}  by {}\n", field("at"), field("action"), field("actor"));
    let (before, after) = (&entry["before"], &entry["after"]);
    let fields = |value: &Value| value.as_object().cloned().unwrap_or_default();
    let mut names: Vec<String> =
        fields(before).into_iter().chain(fields(after)).map(|(name, _)| name).collect();
    names.sort();
    names.dedup();
    for name in names {
        let change = match (before.get(&name), after.get(&name)) {
            (Some(before), Some(after)) => format!("{} → {}", shown(before), shown(after)),
            (Some(before), None) => format!("{} → removed", shown(before)),
            (None, after) => shown(after.unwrap_or(&Value::Null)),
        };
        text.push_str(&format!("    {name}: {change}\n"));
    }
    if let Some(reason) = entry["reason"].as_str() {
        text.push_str(&format!("    reason: {reason}\n"));
    }
    text.push_str(&format!("    request: {}\n", field("correlation_id")));
    text
}

fn shown(value: &Value) -> String {
    match (value, serde_json::from_value::<Money>(value.clone())) {
        (_, Ok(money)) => money.to_string(),
        // Debug escapes what would change the terminal.
        (Value::String(text), _) => format!("{text:?}"),
        _ => value.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stored(at: &str, action: &str) -> Value {
        json!({
            "pk": {"S": "AUDIT#MUG"}, "sk": {"S": "x"}, "id": {"S": "1"}, "at": {"S": at}, "action": {"S": action},
            "actor": {"S": "operator:anna"}, "subject": {"S": "MUG"}, "correlation_id": {"S": "cor_1"},
            "reason": {"S": "a typing error"},
            "before": {"M": {
                "price": {"M": {"amount": {"N": "900"}, "currency": {"S": "USD"}}}, "tags": {"L": [{"S": "a\u{1b}"}]},
            }},
            "after": {"M": {
                "price": {"M": {"amount": {"N": "950"}, "currency": {"S": "USD"}}}, "discontinued": {"BOOL": true},
                "name": {"NULL": true},
            }},
        })
    }

    #[test]
    fn an_entry_is_read_from_its_item() {
        let entry = entry(stored("2026-11-21T12:00:00Z", "product.updated"));
        assert_eq!((entry.get("pk"), entry.get("sk")), (None, None));
        assert_eq!(entry["before"]["price"], json!({"amount": 900, "currency": "USD"}));
        assert_eq!(
            entry["after"],
            json!({
                "price": {"amount": 950, "currency": "USD"}, "discontinued": true, "name": null
            })
        );
    }

    #[test]
    fn an_entry_says_who_changed_what_from_what() {
        let said = text(&entry(stored("2026-11-21T12:00:00Z", "product.updated")));
        let expected = "2026-11-21T12:00:00Z  product.updated  by operator:anna\n    discontinued: true\n    name: null\n    \
                        price: 9.00 USD → 9.50 USD\n    tags: [\"a\\u001b\"] → removed\n    reason: a typing error\n    \
                        request: cor_1\n";
        assert_eq!(said, expected);
        let new = json!({"at": "t", "actor": "system", "before": null, "after": {"available": 5}});
        assert!(text(&new).contains("\n    available: 5\n"));
    }

    #[test]
    fn the_newest_entries_of_all_contexts_come_first() {
        let times = ["2026-11-21T12:00:00Z", "2026-11-21T12:00:00.5Z", "2026-11-20T00:00:00Z"];
        let entries = times.map(|at| json!({"at": at})).to_vec();
        let newest: Vec<Value> = newest(entries, 2).into_iter().map(|mut entry| entry["at"].take()).collect();
        assert_eq!(newest, [times[1], times[0]]);
    }

    #[test]
    fn a_subject_is_looked_for_where_it_can_be() {
        let of = |subject: &str| trails(subject).unwrap();
        let (order, user) = ("ord_0123456789abcdef0123456789abcdef", "usr_0123456789abcdef0123456789abcdef");
        assert_eq!(of(order), [("payments", order.to_owned()), ("orders", order.to_owned())]);
        assert_eq!(of(user), [("users", user.to_owned())]);
        assert_eq!(of("switch/discounts"), [("orders", "switch/discounts".to_owned())]);
        assert!(trails("switch/none").unwrap_err().to_string().contains("is no switch"));
        let named = |context, name: &str| (context, name.to_owned());
        assert_eq!(
            of("Mug-1"),
            [named("catalog", "Mug-1"), named("inventory", "Mug-1"), named("orders", "MUG-1")]
        );
        for none in ["", "a b", "anna@example.com", "a/b"] {
            assert!(trails(none).unwrap_err().to_string().contains("is no SKU"), "{none}");
        }
    }
}
