//! Items of DynamoDB as plain JSON.

use serde_json::Value;

pub use verify::plain;

/// An item, or `None` for the empty answer of a read that found nothing.
pub fn item(item: &Value) -> Option<Value> {
    let attributes = item.as_object().filter(|attributes| !attributes.is_empty())?;
    Some(Value::Object(attributes.iter().map(|(name, value)| (name.clone(), plain(value))).collect()))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_item_is_read_and_the_answer_for_none_is_none() {
        let stored = json!({"status": {"S": "held"}, "short": {"L": [{"S": "MUG"}]}, "version": {"N": "2"}});
        assert_eq!(item(&stored), Some(json!({"status": "held", "short": ["MUG"], "version": 2})));
        assert_eq!((item(&Value::Null), item(&json!({}))), (None, None));
    }
}
