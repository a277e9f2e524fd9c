//! JSON for people: members keep their order, and what fits on a line stays on it.

use std::fmt::{self, Display, Formatter};

/// The longest line of an object or a list that is not broken.
const WIDTH: usize = 160;

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Json {
    Text(String),
    Number(u32),
    True,
    List(Vec<Json>),
    Object(Vec<(String, Json)>),
}

impl Json {
    pub const fn object() -> Self {
        Self::Object(Vec::new())
    }

    /// The object with one more member at its end.
    ///
    /// # Panics
    /// When this is no object.
    #[must_use]
    pub fn with(self, name: &str, value: impl Into<Self>) -> Self {
        self.with_some(name, Some(value))
    }

    /// The same, unless there is no value.
    #[must_use]
    pub fn with_some(mut self, name: &str, value: Option<impl Into<Self>>) -> Self {
        let Self::Object(members) = &mut self else { panic!("{name} is to be a member of something else") };
        members.extend(value.map(|value| (name.to_owned(), value.into())));
        self
    }

    fn on_one_line(&self) -> String {
        match self {
            Self::Text(text) => serde_json::Value::from(text.as_str()).to_string(),
            Self::Number(number) => number.to_string(),
            Self::True => "true".to_owned(),
            Self::List(items) => {
                format!("[{}]", items.iter().map(Self::on_one_line).collect::<Vec<_>>().join(", "))
            }
            Self::Object(members) => {
                let members =
                    members.iter().map(|(name, value)| format!("\"{name}\": {}", value.on_one_line()));
                format!("{{ {} }}", members.collect::<Vec<_>>().join(", "))
            }
        }
    }

    /// Writes the value behind `before`, on a line that is indented by this much.
    fn write(&self, f: &mut Formatter<'_>, indent: usize, before: &str, after: &str) -> fmt::Result {
        let line = self.on_one_line();
        let space = " ".repeat(indent);
        if indent + before.len() + line.len() + after.len() <= WIDTH {
            return writeln!(f, "{space}{before}{line}{after}");
        }
        let parts: Vec<(String, &Self)> = match self {
            Self::List(items) => items.iter().map(|item| (String::new(), item)).collect(),
            Self::Object(members) => {
                members.iter().map(|(name, value)| (format!("\"{name}\": "), value)).collect()
            }
            Self::Text(_) | Self::Number(_) | Self::True => {
                return writeln!(f, "{space}{before}{line}{after}");
            }
        };
        let (open, close) = if matches!(self, Self::List(_)) { ('[', ']') } else { ('{', '}') };
        writeln!(f, "{space}{before}{open}")?;
        for (position, (name, value)) in parts.iter().enumerate() {
            let comma = if position + 1 < parts.len() { "," } else { "" };
            value.write(f, indent + 2, name, comma)?;
        }
        writeln!(f, "{space}{close}{after}")
    }
}

/// With a newline at the end, as in a file.
impl Display for Json {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        self.write(f, 0, "", "")
    }
}

impl From<&str> for Json {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<String> for Json {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<u32> for Json {
    fn from(number: u32) -> Self {
        Self::Number(number)
    }
}

impl<T: Into<Self>> From<Vec<T>> for Json {
    fn from(items: Vec<T>) -> Self {
        Self::List(items.into_iter().map(Into::into).collect())
    }
}

impl<T: Into<Self>, const N: usize> From<[T; N]> for Json {
    fn from(items: [T; N]) -> Self {
        Self::List(items.into_iter().map(Into::into).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_json_in_the_order_in_which_it_was_made() {
        let long = "x".repeat(WIDTH);
        let made = Json::object()
            .with("b", [1, 2])
            .with("a", Json::object().with("text", "\"quoted\"").with("long", long.as_str()))
            .with_some("none", None::<u32>)
            .with("end", Json::True);
        let expected = format!(
            "{{\n  \"b\": [1, 2],\n  \"a\": {{\n    \"text\": \"\\\"quoted\\\"\",\n    \"long\": \"{long}\"\n  }},\n  \"end\": true\n}}\n"
        );
        assert_eq!(made.to_string(), expected);
        let read: serde_json::Value = serde_json::from_str(&expected).unwrap();
        assert_eq!(read["a"]["text"], "\"quoted\"");
    }
}
