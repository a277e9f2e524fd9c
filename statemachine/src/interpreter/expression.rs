//! JSONata, as far as the definition uses it: paths, texts, numbers, `=`, `<`, `-`, `*`, `&`, `? :`, arrays, objects, and six
//! functions.

use jiff::Timestamp;
use serde_json::{Map, Value, json};

/// The values that an expression can read.
#[derive(Default)]
pub(super) struct Scope {
    /// The state's input, and then the next state's.
    pub input: Value,
    pub variables: Map<String, Value>,
    /// `$states` without `input` and `context`.
    pub states: Value,
    /// The context object: `Execution`, `State` and `Task`.
    pub context: Value,
    pub now: Timestamp,
}

/// A value of the definition, with the expressions in it.
pub(super) enum Template {
    Plain(Value),
    Object(Vec<(String, Template)>),
    Expression(Expression),
}

pub(super) enum Expression {
    Value(Value),
    Path(Vec<String>),
    Call(String, Vec<Expression>),
    Array(Vec<Expression>),
    Object(Vec<(String, Expression)>),
    Equal(Box<(Expression, Expression)>),
    Less(Box<(Expression, Expression)>),
    Difference(Box<(Expression, Expression)>),
    Product(Box<(Expression, Expression)>),
    Concatenation(Box<(Expression, Expression)>),
    Choice(Box<(Expression, Expression, Expression)>),
}

impl Scope {
    /// Leaves a state: variables first, on what the state saw, then its output.
    pub fn leave(&mut self, assign: Option<&Template>, output: Option<&Template>) {
        let assigned = assign.map(|template| template.fill(self));
        let output = output.map(|template| template.fill(self));
        if let Some(Value::Object(assigned)) = assigned {
            self.variables.extend(assigned);
        }
        if let Some(output) = output {
            self.input = output;
        }
    }

    fn look_up(&self, path: &[String]) -> Option<Value> {
        let (root, rest) = path.split_first().expect("a path has a root");
        let (from, rest) = match (root.as_str(), rest.first().map(String::as_str)) {
            ("states", Some("input")) => (&self.input, &rest[1..]),
            ("states", Some("context")) => (&self.context, &rest[1..]),
            ("states", _) => (&self.states, rest),
            (variable, _) => (self.variables.get(variable)?, rest),
        };
        rest.iter().try_fold(from, |value, name| value.get(name)).cloned()
    }
}

impl Template {
    pub fn read(value: &Value) -> Self {
        match value {
            Value::String(text) => match text.strip_prefix("{%").and_then(|text| text.strip_suffix("%}")) {
                Some(expression) => Self::Expression(Parser::whole(expression)),
                None => Self::Plain(value.clone()),
            },
            Value::Object(fields) => {
                Self::Object(fields.iter().map(|(name, value)| (name.clone(), Self::read(value))).collect())
            }
            other => Self::Plain(other.clone()),
        }
    }

    /// Fails on what is not there, as Step Functions does.
    pub fn fill(&self, scope: &Scope) -> Value {
        match self {
            Self::Plain(value) => value.clone(),
            Self::Object(fields) => {
                fields.iter().map(|(name, template)| (name.clone(), template.fill(scope))).collect()
            }
            Self::Expression(expression) => expression.evaluate(scope).expect("the expression has a value"),
        }
    }
}

impl Expression {
    fn evaluate(&self, scope: &Scope) -> Option<Value> {
        match self {
            Self::Value(value) => Some(value.clone()),
            Self::Path(path) => scope.look_up(path),
            Self::Array(items) => Some(items.iter().filter_map(|item| item.evaluate(scope)).collect()),
            Self::Object(fields) => Some(
                fields
                    .iter()
                    .filter_map(|(name, value)| Some((name.clone(), value.evaluate(scope)?)))
                    .collect(),
            ),
            Self::Equal(both) => {
                let (left, right) = (both.0.evaluate(scope), both.1.evaluate(scope));
                Some(json!(left.is_some() && left == right))
            }
            Self::Less(both) => Some(json!(both.0.number(scope)? < both.1.number(scope)?)),
            Self::Difference(both) => Some(json!(both.0.number(scope)? - both.1.number(scope)?)),
            Self::Product(both) => Some(json!(both.0.number(scope)? * both.1.number(scope)?)),
            Self::Concatenation(both) => {
                let text =
                    |side: &Self| side.evaluate(scope).map_or_else(String::new, |value| as_text(&value));
                Some(json!(text(&both.0) + &text(&both.1)))
            }
            Self::Choice(three) => match three.0.evaluate(scope) {
                Some(Value::Bool(true)) => three.1.evaluate(scope),
                _ => three.2.evaluate(scope),
            },
            Self::Call(name, arguments) => call(name, arguments, scope),
        }
    }

    fn number(&self, scope: &Scope) -> Option<i64> {
        self.evaluate(scope)?.as_i64()
    }
}

fn call(name: &str, arguments: &[Expression], scope: &Scope) -> Option<Value> {
    let argument = |n: usize| arguments[n].evaluate(scope);
    match name {
        "exists" => Some(json!(argument(0).is_some())),
        "millis" => Some(json!(scope.now.as_millisecond())),
        "toMillis" => argument(0).map(|value| {
            let time: Timestamp = serde_json::from_value(value).expect("a time");
            json!(time.as_millisecond())
        }),
        "string" => argument(0).map(|value| json!(as_text(&value))),
        "substring" => argument(0).map(|value| {
            let length = argument(2)
                .and_then(|n| n.as_u64())
                .map_or(usize::MAX, |n| usize::try_from(n).expect("a length"));
            json!(as_text(&value).chars().take(length).collect::<String>())
        }),
        "merge" => {
            let objects = argument(0)?;
            let fields = objects.as_array().expect("an array").iter().filter_map(Value::as_object).flatten();
            Some(fields.map(|(name, value)| (name.clone(), value.clone())).collect())
        }
        other => panic!("the definition uses ${other}, which the interpreter does not know"),
    }
}

fn as_text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

struct Parser<'a> {
    rest: &'a str,
}

impl<'a> Parser<'a> {
    fn whole(text: &'a str) -> Expression {
        let mut parser = Self { rest: text };
        let expression = parser.expression();
        assert!(parser.rest.trim().is_empty(), "{:?} is left of {text:?}", parser.rest);
        expression
    }

    /// Consumes `sign` if it comes next, and returns whether it did.
    fn takes(&mut self, sign: &str) -> bool {
        match self.rest.trim_start().strip_prefix(sign) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    fn must(&mut self, sign: &str) {
        assert!(self.takes(sign), "{sign} was expected at {:?}", self.rest);
    }

    fn expression(&mut self) -> Expression {
        let mut left = self.sum();
        if self.takes("=") {
            left = Expression::Equal(Box::new((left, self.sum())));
        } else if self.takes("<") {
            left = Expression::Less(Box::new((left, self.sum())));
        }
        if self.takes("&") {
            return Expression::Concatenation(Box::new((left, self.expression())));
        }
        if self.takes("?") {
            let yes = self.expression();
            self.must(":");
            return Expression::Choice(Box::new((left, yes, self.expression())));
        }
        left
    }

    fn sum(&mut self) -> Expression {
        let mut left = self.product();
        while self.takes("-") {
            left = Expression::Difference(Box::new((left, self.product())));
        }
        left
    }

    fn product(&mut self) -> Expression {
        let mut left = self.operand();
        while self.takes("*") {
            left = Expression::Product(Box::new((left, self.operand())));
        }
        left
    }

    fn operand(&mut self) -> Expression {
        if self.takes("'") {
            let (text, rest) = self.rest.split_once('\'').expect("a text ends");
            self.rest = rest;
            return Expression::Value(json!(text));
        }
        if self.takes("[") {
            return Expression::Array(self.list("]", Self::expression));
        }
        if self.takes("{") {
            return Expression::Object(self.list("}", |parser| {
                let Expression::Value(Value::String(name)) = parser.operand() else {
                    panic!("a name in quotes")
                };
                parser.must(":");
                (name, parser.expression())
            }));
        }
        if self.takes("$") {
            let path: Vec<String> = self.word().split('.').map(str::to_owned).collect();
            if self.takes("(") {
                return Expression::Call(path.concat(), self.list(")", Self::expression));
            }
            return Expression::Path(path);
        }
        let word = self.word();
        Expression::Value(
            serde_json::from_str(&word).unwrap_or_else(|_| panic!("{word:?} is not understood")),
        )
    }

    fn list<T>(&mut self, end: &str, mut item: impl FnMut(&mut Self) -> T) -> Vec<T> {
        let mut items = vec![];
        while !self.takes(end) {
            items.push(item(self));
            self.takes(",");
        }
        items
    }

    fn word(&mut self) -> String {
        let text = self.rest.trim_start();
        let end = text.find(|c: char| !c.is_ascii_alphanumeric() && !"._".contains(c)).unwrap_or(text.len());
        self.rest = &text[end..];
        text[..end].to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value_of(expression: &str) -> Value {
        let scope = Scope {
            input: json!({"order_id": "ord_1"}),
            variables: Map::from_iter([("paid_at".to_owned(), json!(1000))]),
            states: json!({"result": {"Payload": {"status": "held"}}, "errorOutput": {"Error": "Transient"}}),
            context: json!({"Execution": {"StartTime": "1970-01-01T00:00:01Z", "Input": {"order_id": "ord_2"}}}),
            now: Timestamp::from_millisecond(2500).unwrap(),
        };
        Template::read(&json!(format!("{{% {expression} %}}"))).fill(&scope)
    }

    #[test]
    fn an_expression_has_the_value_that_step_functions_gives_it() {
        for (expression, expected) in [
            ("$states.input.order_id", json!("ord_1")),
            ("$states.result.Payload", json!({"status": "held"})),
            ("$states.errorOutput.Error", json!("Transient")),
            ("$paid_at", json!(1000)),
            ("$millis()", json!(2500)),
            ("$toMillis($states.context.Execution.StartTime)", json!(1000)),
            ("$states.context.Execution.Input.order_id", json!("ord_2")),
            ("'order ' & $states.input.order_id & ', ' & $paid_at", json!("order ord_1, 1000")),
            ("$string($paid_at)", json!("1000")),
            ("$string('text')", json!("text")),
            ("$substring('abcdef', 0, 3)", json!("abc")),
            ("10 - 2 - 3", json!(5)),
            ("10 - 2 * 3", json!(4)),
            ("2 < 3", json!(true)),
            ("3 < 3", json!(false)),
            ("$paid_at = 1000", json!(true)),
            ("$missing = $missing", json!(false)),
            ("$exists($paid_at)", json!(true)),
            ("$exists($missing) ? 'yes' : 'no'", json!("no")),
            ("$exists($missing) ? $missing : null", json!(null)),
            ("[$paid_at, $missing, 'b']", json!([1000, "b"])),
            ("{'a': $missing, 'b': {'c': 1}}", json!({"b": {"c": 1}})),
            ("$merge([{'a': 1, 'b': 1}, {'b': 2}])", json!({"a": 1, "b": 2})),
        ] {
            assert_eq!(value_of(expression), expected, "{expression}");
        }
    }

    #[test]
    #[should_panic(expected = "the expression has a value")]
    fn what_is_not_there_fails_the_execution() {
        value_of("$states.input.user_id");
    }

    #[test]
    fn a_state_is_left_with_its_variables_taken_from_what_it_saw() {
        let mut scope = Scope { input: json!({"n": 1}), ..Scope::default() };
        let assign = Template::read(&json!({"seen": "{% $states.input.n %}"}));
        let output = Template::read(&json!({"n": 2, "text": "plain"}));
        scope.leave(Some(&assign), Some(&output));
        assert_eq!((&scope.variables["seen"], &scope.input), (&json!(1), &json!({"n": 2, "text": "plain"})));
    }
}
