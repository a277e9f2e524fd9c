//! Attributes of DynamoDB as plain JSON.

use serde_json::Value;

/// The value of an attribute (DynamoDB API reference, "AttributeValue"). Sets become lists; bytes stay as base64.
pub fn plain(attribute: &Value) -> Value {
    let Some((kind, value)) = attribute.as_object().and_then(|attribute| attribute.iter().next()) else {
        return Value::Null;
    };
    match (kind.as_str(), value) {
        ("M", Value::Object(fields)) => {
            Value::Object(fields.iter().map(|(name, value)| (name.clone(), plain(value))).collect())
        }
        ("L", Value::Array(items)) => Value::Array(items.iter().map(plain).collect()),
        ("N", Value::String(number)) => number_of(number),
        ("NS", Value::Array(numbers)) => {
            Value::Array(numbers.iter().filter_map(Value::as_str).map(number_of).collect())
        }
        ("NULL", _) => Value::Null,
        _ => value.clone(),
    }
}

fn number_of(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_default()
}
