//! Writing an export into the tables of an empty stack.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Mutex;
use std::time::Duration;

use futures::future::try_join_all;
use serde_json::{Value, json};

use super::file::{self, Manifest};
use crate::aws::{Aws, Service};
use crate::error::{Error, Result};
use crate::tables::{self, Part};

/// Writes of one call (DynamoDB API reference, "BatchWriteItem").
const BATCH: usize = 25;
/// Tries of a call of which a part was not done, and the pause before the second one, which doubles.
const TRIES: u32 = 8;
const PAUSE: Duration = Duration::from_millis(100);

/// What was written into a table.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Written {
    pub items: usize,
    /// Accounts that were deleted again.
    pub deleted: usize,
}

/// The accounts that were deleted after an export, by user: what is left of their profiles.
#[derive(Debug, Default)]
pub struct Deletions(BTreeMap<String, Value>);

impl Deletions {
    /// Reads the accounts that a later export has as deleted.
    ///
    /// # Errors
    /// It is damaged, or not later.
    pub fn read(folder: &Path, before: &Manifest) -> Result<Self> {
        let later = file::checked(folder)?;
        if later.began < before.began {
            return Err(Error::Backup(format!(
                "the export of {} is older than that of {}: --deletions names a later one",
                later.began, before.began
            )));
        }
        let mut deletions = BTreeMap::new();
        for item in file::items(folder, "users")? {
            let item = item?;
            if let (Some(user), true) = (user_of(&item), item["erased_at"].is_object()) {
                deletions.insert(user.to_owned(), item);
            }
        }
        Ok(Self(deletions))
    }

    /// The items of users' table, without those of deleted accounts, of which what is left takes the place. The relay
    /// publishes the deletion from it, so that all contexts erase what they have.
    fn apply(&self, items: Vec<Value>) -> (Vec<Value>, usize) {
        let deleted: BTreeSet<String> = items
            .iter()
            .filter(|item| item["erased_at"].is_null() && item["sk"]["S"] == "PROFILE")
            .filter_map(user_of)
            .filter(|user| self.0.contains_key(*user))
            .map(str::to_owned)
            .collect();
        let is_gone = |item: &Value| user_of(item).is_some_and(|user| deleted.contains(user));
        let mut kept: Vec<Value> = items.into_iter().filter(|item| !is_gone(item)).collect();
        kept.extend(deleted.iter().filter_map(|user| self.0.get(user).cloned()));
        (kept, deleted.len())
    }
}

/// The user whose item it is: by its key, or that of an account by its attribute.
fn user_of(item: &Value) -> Option<&str> {
    let pk = item["pk"]["S"].as_str()?;
    pk.strip_prefix("USER#").or_else(|| item["user_id"]["S"].as_str())
}

/// # Errors
/// The stack has orders, or cannot be read.
pub async fn is_empty(aws: &Aws) -> Result<()> {
    let orders = Mutex::new(0_u64);
    let table = aws.name("orders");
    let count = |items: Vec<Value>| {
        let is_order = |item: &&Value| item["pk"]["S"].as_str().is_some_and(|pk| pk.starts_with("ORDER#"));
        *orders.lock().unwrap_or_else(std::sync::PoisonError::into_inner) +=
            items.iter().filter(is_order).count() as u64;
        Ok(())
    };
    let lanes = std::slice::from_ref(aws);
    tables::scan(lanes, Part { table: &table, attributes: &["pk", "sk"] }, &count).await?;
    match orders.into_inner().unwrap_or_default() {
        0 => Ok(()),
        _ => Err(Error::Backup(
            "the stack has orders, and an export is restored into an empty one: `cargo ops down`, then `cargo ops up \
             --detach`, and run the command again before anything is ordered."
                .to_owned(),
        )),
    }
}

/// Replaces the items of a table by those of the export.
///
/// # Errors
/// An item cannot be read or written: run the command again on a new stack.
pub async fn table(
    lanes: &[Aws],
    folder: &Path,
    manifest: &Manifest,
    context: &str,
    deletions: Option<&Deletions>,
) -> Result<Written> {
    let Some(file) = manifest.tables.iter().find(|file| file.context == context) else {
        return Err(Error::Backup(format!("the export has no table of {context}")));
    };
    let items: Vec<Value> = file::items(folder, context)?.collect::<Result<_>>()?;
    if items.len() as u64 != file.items {
        return Err(Error::Backup(format!(
            "the export has {} items of {context}, not {}",
            items.len(),
            file.items
        )));
    }
    let (items, deleted) = match deletions {
        Some(deletions) if context == "users" => deletions.apply(items),
        _ => (items, 0),
    };
    let table = lanes[0].name(context);
    let kept: BTreeSet<String> = items.iter().map(key).collect();
    let gone = leftovers(lanes, &table, &kept).await?;
    let count = items.len();
    let puts = items.into_iter().map(|item| json!({"PutRequest": {"Item": item}}));
    let deletes = gone.into_iter().map(|key| json!({"DeleteRequest": {"Key": key}}));
    let requests: Vec<Value> = deletes.chain(puts).collect();
    let batches: Vec<&[Value]> = requests.chunks(BATCH).collect();
    let share = batches.len().div_ceil(lanes.len()).max(1);
    try_join_all(batches.chunks(share).zip(lanes).map(|(batches, lane)| {
        let table = &table;
        async move {
            for batch in batches {
                write(lane, table, batch.to_vec()).await?;
            }
            Ok::<_, Error>(())
        }
    }))
    .await?;
    Ok(Written { items: count, deleted })
}

/// The keys of what a new stack brings, such as its administrator, and the export does not have.
async fn leftovers(lanes: &[Aws], table: &str, kept: &BTreeSet<String>) -> Result<Vec<Value>> {
    let found = Mutex::new(Vec::new());
    let add = |items: Vec<Value>| {
        let gone = items.into_iter().filter(|item| !kept.contains(&key(item)));
        found.lock().unwrap_or_else(std::sync::PoisonError::into_inner).extend(gone);
        Ok(())
    };
    tables::scan(lanes, Part { table, attributes: &["pk", "sk"] }, &add).await?;
    Ok(found.into_inner().unwrap_or_default())
}

fn key(item: &Value) -> String {
    json!([item["pk"]["S"], item["sk"]["S"]]).to_string()
}

async fn write(aws: &Aws, table: &str, mut requests: Vec<Value>) -> Result<()> {
    let mut pause = PAUSE;
    for _ in 0..TRIES {
        let input = json!({"RequestItems": {table: requests}});
        let mut answer = aws.read(Service::DynamoDb, "BatchWriteItem", input).await?;
        match answer["UnprocessedItems"][table].take() {
            Value::Array(rest) if !rest.is_empty() => requests = rest,
            _ => return Ok(()),
        }
        tokio::time::sleep(pause).await;
        pause *= 2;
    }
    Err(Error::Backup(format!(
        "{table} does not take {} items: run the command again on a new stack",
        requests.len()
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deleted_account_is_replaced_by_what_is_left_of_it() {
        let item = |pk: &str, sk: &str| json!({"pk": {"S": pk}, "sk": {"S": sk}});
        let mut account = item("EMAIL#a@b.c", "ACCOUNT");
        account["user_id"] = json!({"S": "1"});
        let mut erased = item("USER#1", "PROFILE");
        erased["erased_at"] = json!({"S": "2026-11-20T12:00:00Z"});
        let deletions = Deletions([("1".to_owned(), erased.clone())].into());
        let other = item("USER#2", "PROFILE");
        let items = vec![item("USER#1", "PROFILE"), item("USER#1", "SESSION#1"), account, other.clone()];
        assert_eq!(deletions.apply(items), (vec![other, erased.clone()], 1));
        // It was deleted before the export, too.
        assert_eq!(deletions.apply(vec![erased.clone()]), (vec![erased], 0));
    }
}
