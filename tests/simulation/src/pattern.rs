//! Which events a filter lets through: filter policies of SNS (Amazon SNS Developer Guide, "Filter policy constraints",
//! "String values matching") and filter criteria of Lambda (Lambda Developer Guide, "Control which events Lambda sends
//! to your function").

use serde_json::Value;

/// Whether `value` has every field of the pattern, with one of the values that the pattern lists. Where it is a list
/// of attributes of an item, it must be the value itself.
///
/// # Panics
/// On a rule that the templates do not use.
pub fn matches(pattern: &Value, value: Option<&Value>) -> bool {
    match pattern {
        Value::Object(fields) => {
            fields.iter().all(|(name, pattern)| matches(pattern, value.and_then(|value| value.get(name))))
        }
        Value::Array(rules) => rules.iter().any(|rule| rule_matches(rule, value)),
        other => panic!("{other} is no pattern"),
    }
}

fn rule_matches(rule: &Value, value: Option<&Value>) -> bool {
    match rule {
        Value::Object(rule) => match rule.iter().next().map(|(name, value)| (name.as_str(), value)) {
            Some(("prefix", Value::String(prefix))) => {
                value.and_then(Value::as_str).is_some_and(|value| value.starts_with(prefix.as_str()))
            }
            Some(("anything-but", Value::Array(others))) => {
                value.is_some_and(|value| !others.contains(value))
            }
            // On leaves only: where the value is an object, the rule takes it for absent.
            Some(("exists", Value::Bool(exists))) => value.is_some_and(|value| !value.is_object()) == *exists,
            other => panic!("the rule {other:?} of a filter is not known"),
        },
        literal => value == Some(literal),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_filter_lists_the_values_of_each_field() {
        let pattern = json!({"eventName": ["INSERT", "MODIFY"], "dynamodb": {"Keys": {"pk": {"S": [{"prefix": "ORDER#"}]}}}});
        let record =
            |name: &str, pk: &str| json!({"eventName": name, "dynamodb": {"Keys": {"pk": {"S": pk}}}});
        assert!(matches(&pattern, Some(&record("INSERT", "ORDER#1"))));
        assert!(!matches(&pattern, Some(&record("REMOVE", "ORDER#1"))));
        assert!(!matches(&pattern, Some(&record("INSERT", "PRICE#1"))));
        assert!(!matches(&pattern, Some(&json!({"eventName": "INSERT"}))));
    }

    #[test]
    fn a_filter_says_whether_a_leaf_exists() {
        let pattern = |exists: bool| json!({"intent": {"M": {"id": {"S": [{"exists": exists}]}}}});
        let with = json!({"intent": {"M": {"id": {"S": "pi_1"}}}});
        let without = json!({"intent": {"M": {}}});
        assert!(matches(&pattern(true), Some(&with)) && !matches(&pattern(false), Some(&with)));
        assert!(!matches(&pattern(true), Some(&without)) && matches(&pattern(false), Some(&without)));
        assert!(!matches(&json!({"intent": [{"exists": true}]}), Some(&with)), "an object is no leaf");
    }

    #[test]
    fn a_filter_lists_the_values_that_a_field_must_not_have() {
        let pattern = json!({"sk": {"S": [{"anything-but": ["BUCKET", "AUDIT"]}]}});
        assert!(matches(&pattern, Some(&json!({"sk": {"S": "SHIPMENT"}}))));
        assert!(!matches(&pattern, Some(&json!({"sk": {"S": "BUCKET"}}))));
        assert!(!matches(&pattern, Some(&json!({"pk": {"S": "SHIPMENT"}}))));
    }
}
