//! Checks whether a schema may replace a published one of the same version.
//!
//! Compatible in both directions, because events and readers of both ages are in use at the same time: stored
//! events must be valid now (stores, queues and archives keep them), and new events must be valid for readers
//! that were built before. That allows one change: an additional optional field. Anything else is a new
//! version.
//!
//! The rule is so narrow that the two schemas are compared keyword by keyword, with their references
//! resolved. A general compatibility checker would add fifty crates, and a feature of serde_json that changes
//! how every test reads numbers.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

/// Keywords that do not affect validity (JSON Schema 2020-12, Validation, section 9), and definitions, which
/// are compared where they are referenced.
const ANNOTATIONS: [&str; 7] =
    ["$schema", "$defs", "title", "description", "default", "examples", "$comment"];

/// A change that breaks a reader. Each names the place in the schema.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Broken {
    /// Events that exist would be invalid.
    #[error("{0}: what was written before is not valid any more")]
    OldEvents(String),
    /// New events would be invalid for readers that exist.
    #[error("{0}: what is written now is not valid for readers that were built before")]
    OldReaders(String),
    /// A difference that is not an additional optional field.
    #[error("{0} has changed, and only an additional optional field is compatible")]
    Changed(String),
    /// A `$ref` without its definition.
    #[error("{0} refers to a definition that does not exist")]
    Reference(String),
}

/// Checks that `new` may replace `old`.
///
/// # Errors
/// The first place that differs in more than an additional optional field, and which side would break.
pub fn check(old: &Value, new: &Value) -> Result<(), Broken> {
    Comparison { old, new, compared: BTreeSet::new() }.values(old, new, "#")
}

struct Comparison<'a> {
    old: &'a Value,
    new: &'a Value,
    /// Pairs of references that are compared already: a definition may refer to itself.
    compared: BTreeSet<(String, String)>,
}

impl<'a> Comparison<'a> {
    fn values(&mut self, old: &'a Value, new: &'a Value, place: &str) -> Result<(), Broken> {
        match (old, new) {
            (Value::Object(old), Value::Object(new)) => self.schemas(old, new, place),
            (Value::Array(old), Value::Array(new)) if old.len() == new.len() => old
                .iter()
                .zip(new)
                .enumerate()
                .try_for_each(|(index, (old, new))| self.values(old, new, &format!("{place}/{index}"))),
            _ if old == new => Ok(()),
            _ => Err(Broken::Changed(place.to_owned())),
        }
    }

    fn schemas(
        &mut self,
        old: &'a Map<String, Value>,
        new: &'a Map<String, Value>,
        place: &str,
    ) -> Result<(), Broken> {
        if let (Some(Value::String(a)), Some(Value::String(b))) = (old.get("$ref"), new.get("$ref"))
            && !self.compared.insert((a.clone(), b.clone()))
        {
            return Ok(());
        }
        let (old, new) = (resolved(self.old, old, place)?, resolved(self.new, new, place)?);
        self.fields(&old, &new, place)?;
        let ours = |key: &&String| !["properties", "required"].contains(&key.as_str());
        let keywords: BTreeSet<&String> = old.keywords().chain(new.keywords()).filter(ours).collect();
        for keyword in keywords {
            let place = format!("{place}/{keyword}");
            match (old.get(keyword), new.get(keyword)) {
                (Some(old), Some(new)) => self.values(old, new, &place)?,
                _ => return Err(Broken::Changed(place)),
            }
        }
        Ok(())
    }

    fn fields(&mut self, old: &Schema<'a>, new: &Schema<'a>, place: &str) -> Result<(), Broken> {
        let (must, may) = (old.required(), new.required());
        if let Some(name) = may.difference(&must).next() {
            return Err(Broken::OldEvents(format!("{place}/required/{name}")));
        }
        if let Some(name) = must.difference(&may).next() {
            return Err(Broken::OldReaders(format!("{place}/required/{name}")));
        }
        for (name, field) in old.properties() {
            let place = format!("{place}/properties/{name}");
            let Some(other) = new.properties().find(|(other, _)| *other == name) else {
                return Err(Broken::Changed(place));
            };
            self.values(field, other.1, &place)?;
        }
        let closed = old.get("additionalProperties") == Some(&Value::Bool(false));
        let added = new.properties().find(|(name, _)| old.properties().all(|(known, _)| known != *name));
        match added {
            Some((name, _)) if closed => Err(Broken::OldReaders(format!("{place}/properties/{name}"))),
            _ => Ok(()),
        }
    }
}

/// A schema and what it refers to, as one.
struct Schema<'a>(Vec<&'a Map<String, Value>>);

impl<'a> Schema<'a> {
    fn get(&self, keyword: &str) -> Option<&'a Value> {
        self.0.iter().find_map(|part| part.get(keyword))
    }

    fn keywords(&self) -> impl Iterator<Item = &'a String> {
        let all = self.0.iter().flat_map(|part| part.keys());
        all.filter(|key| *key != "$ref" && !ANNOTATIONS.contains(&key.as_str()))
    }

    fn properties(&self) -> impl Iterator<Item = (&'a String, &'a Value)> {
        self.get("properties").and_then(Value::as_object).into_iter().flatten()
    }

    fn required(&self) -> BTreeSet<&'a str> {
        let names = self.get("required").and_then(Value::as_array).into_iter().flatten();
        names.filter_map(Value::as_str).collect()
    }
}

fn resolved<'a>(
    document: &'a Value,
    schema: &'a Map<String, Value>,
    place: &str,
) -> Result<Schema<'a>, Broken> {
    let mut parts = vec![schema];
    let mut last = schema;
    while let Some(Value::String(reference)) = last.get("$ref") {
        let target = reference.strip_prefix('#').and_then(|pointer| document.pointer(pointer));
        // As many steps as a document has definitions would be a circle.
        match target.and_then(Value::as_object) {
            Some(target) if parts.len() < 100 => {
                parts.push(target);
                last = target;
            }
            _ => return Err(Broken::Reference(format!("{place}/$ref"))),
        }
    }
    Ok(Schema(parts))
}
