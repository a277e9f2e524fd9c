//! Expressions of DynamoDB: conditions and updates, with their placeholders.

use std::collections::HashMap;

use aws_sdk_dynamodb::types::AttributeValue;

use super::number;

/// The condition that the item does not exist.
pub const ABSENT: &str = "attribute_not_exists(pk)";

/// The condition that the item's attribute `version` is unchanged since it was read. Versions count the writes
/// of an item, from 1; 0 stands for no item.
pub fn at_version(version: u64) -> Expression {
    match version {
        0 => ABSENT.into(),
        version => Expression::new("version = :version").value(":version", number(version)),
    }
}

/// A condition or update expression with the values and names of its placeholders.
///
/// An update and its condition share their placeholders, as in the call to DynamoDB: what one defines, the
/// other may use.
#[derive(Debug, Clone, Default)]
pub struct Expression {
    text: String,
    names: HashMap<String, String>,
    values: HashMap<String, AttributeValue>,
}

/// An update and its condition as a call takes them: DynamoDB refuses empty maps.
#[derive(Debug, Clone, Default)]
pub(super) struct Parts {
    /// The update expression, if the call has one.
    pub update: Option<String>,
    /// The condition expression, if the call has one.
    pub condition: Option<String>,
    /// The names of both; `None` when there is none, since the API refuses an empty map.
    pub names: Option<HashMap<String, String>>,
    /// The values of both; `None` when there is none.
    pub values: Option<HashMap<String, AttributeValue>>,
}

impl Expression {
    /// `text` may contain names (`#name`) and values (`:value`) that are given with it.
    pub fn new(text: impl Into<String>) -> Self {
        Self { text: text.into(), ..Self::default() }
    }

    /// Sets the value of a placeholder such as `:amount`.
    #[must_use]
    pub fn value(mut self, placeholder: impl Into<String>, value: AttributeValue) -> Self {
        self.values.insert(placeholder.into(), value);
        self
    }

    /// Sets the attribute of a placeholder such as `#name`, which is needed where the attribute's own name is
    /// a reserved word.
    #[must_use]
    pub fn name(mut self, placeholder: impl Into<String>, attribute: impl Into<String>) -> Self {
        self.names.insert(placeholder.into(), attribute.into());
        self
    }
}

impl From<&str> for Expression {
    fn from(text: &str) -> Self {
        Self::new(text)
    }
}

impl Parts {
    /// The parts of a call with these expressions.
    pub fn of(update: Option<Expression>, condition: Option<Expression>) -> Self {
        let (mut names, mut values) = (HashMap::new(), HashMap::new());
        let mut text = |expression: Expression| {
            names.extend(expression.names);
            values.extend(expression.values);
            expression.text
        };
        let (update, condition) = (update.map(&mut text), condition.map(&mut text));
        Self {
            update,
            condition,
            names: Some(names).filter(|names| !names.is_empty()),
            values: Some(values).filter(|values| !values.is_empty()),
        }
    }
}
