//! A template as plain JSON: CloudFormation's short tags (`!Ref x`) in their long form (`{"Ref": "x"}`).

use std::{
    fs,
    path::{Path, PathBuf},
};

use serde_json::{Map, Value, json};

pub const CONTEXTS: [&str; 9] = [
    "users",
    "catalog",
    "inventory",
    "orders",
    "payments",
    "fulfillment",
    "notifications",
    "realtime",
    "storefront",
];

pub fn repository() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// The generated part of a document: the lines between `<!-- mark -->` and `<!-- /mark -->`.
pub fn block(file: &str, mark: &str) -> String {
    let text = fs::read_to_string(repository().join(file)).unwrap_or_else(|error| panic!("{file}: {error}"));
    let (begin, end) = (format!("<!-- {mark} -->\n"), format!("<!-- /{mark} -->"));
    let block = text.split_once(&begin).and_then(|(_, rest)| rest.split_once(&end));
    let (block, _) = block.unwrap_or_else(|| panic!("{file} lacks {begin} or {end}"));
    block.to_owned()
}

/// All files below a folder.
pub fn sources(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry").path());
    entries.flat_map(|path| if path.is_dir() { sources(&path) } else { vec![path] }).collect()
}

#[derive(Debug)]
pub struct Template {
    /// The file's name without `.yaml`: a context, or `platform`.
    pub name: String,
    root: Value,
}

/// One permission in a policy of a function or a state machine.
pub struct Statement<'a> {
    pub owner: &'a str,
    pub effect: &'a str,
    pub actions: Vec<&'a str>,
    /// For a `Deny`, also the resources that it excludes (`NotResource`).
    pub resources: Vec<&'a Value>,
}

/// One event source of a function.
pub struct Source<'a> {
    pub function: &'a str,
    pub kind: &'a str,
    pub properties: &'a Value,
}

impl Template {
    pub fn parse(name: &str, yaml: &str) -> Self {
        let value = yaml_serde::from_str(yaml).unwrap_or_else(|error| panic!("infra/{name}.yaml: {error}"));
        Self::of(name, long_form(value))
    }

    pub fn of(name: &str, root: Value) -> Self {
        Self { name: name.to_owned(), root }
    }

    /// Every template in infra/, whatever there is.
    pub fn all() -> Vec<Self> {
        let folder = fs::read_dir(repository().join("infra")).expect("infra/ exists");
        folder
            .map(|entry| entry.expect("infra/ can be listed").path())
            .filter(|path| path.extension().is_some_and(|extension| extension == "yaml"))
            .map(|path| {
                let name = path.file_stem().expect("a file has a name").to_string_lossy().into_owned();
                Self::parse(&name, &fs::read_to_string(&path).expect("a template can be read"))
            })
            .collect()
    }

    pub fn root(&self) -> &Value {
        &self.root
    }

    pub fn section(&self, name: &str) -> impl Iterator<Item = (&str, &Value)> {
        self.root[name].as_object().into_iter().flatten().map(|(id, value)| (id.as_str(), value))
    }

    /// The resources of a type, with their logical ids.
    pub fn of_type(&self, kind: &'static str) -> impl Iterator<Item = (&str, &Value)> {
        self.section("Resources").filter(move |(_, resource)| resource["Type"] == kind)
    }

    pub fn properties(&self, id: &str) -> &Value {
        &self.root["Resources"][id]["Properties"]
    }

    pub fn is(&self, id: &str, kind: &str) -> bool {
        self.root["Resources"][id]["Type"] == kind
    }

    /// The functions, with what `Globals` gives them.
    pub fn functions(&self) -> impl Iterator<Item = (&str, Value)> {
        let globals = &self.root["Globals"]["Function"];
        self.of_type("AWS::Serverless::Function").map(move |(id, function)| {
            let own = &function["Properties"];
            let both = |part: fn(&Value) -> &Value| -> Map<String, Value> {
                let parts = [globals, own].into_iter().filter_map(|from| part(from).as_object().cloned());
                parts.flatten().collect()
            };
            let mut merged = both(|function| function);
            merged.insert("LoggingConfig".to_owned(), both(|function| &function["LoggingConfig"]).into());
            let variables = both(|function| &function["Environment"]["Variables"]);
            merged.insert("Environment".to_owned(), json!({ "Variables": variables }));
            (id, Value::Object(merged))
        })
    }

    /// Functions and state machines: what runs with a role that `Policies` describe.
    pub fn principals(&self) -> impl Iterator<Item = (&str, &Value)> {
        self.of_type("AWS::Serverless::Function").chain(self.of_type("AWS::Serverless::StateMachine"))
    }

    pub fn statements(&self) -> impl Iterator<Item = Statement<'_>> {
        self.principals().flat_map(|(owner, resource)| {
            let policies = one_or_more(&resource["Properties"]["Policies"]);
            let statements = policies.into_iter().flat_map(|policy| one_or_more(&policy["Statement"]));
            statements.map(move |statement| Statement {
                owner,
                effect: statement["Effect"].as_str().unwrap_or_default(),
                actions: one_or_more(&statement["Action"]).into_iter().filter_map(Value::as_str).collect(),
                resources: ["Resource", "NotResource"]
                    .into_iter()
                    .flat_map(|field| one_or_more(&statement[field]))
                    .collect(),
            })
        })
    }

    pub fn sources(&self) -> impl Iterator<Item = Source<'_>> {
        self.of_type("AWS::Serverless::Function").flat_map(|(function, resource)| {
            let events = resource["Properties"]["Events"].as_object().into_iter().flatten();
            events.map(move |(_, event)| Source {
                function,
                kind: event["Type"].as_str().unwrap_or_default(),
                properties: &event["Properties"],
            })
        })
    }
}

/// A field that takes one value or a list of them.
pub fn one_or_more(value: &Value) -> Vec<&Value> {
    match value {
        Value::Null => Vec::new(),
        Value::Array(items) => items.iter().collect(),
        one => vec![one],
    }
}

/// The logical id of the resource that `value` refers to: by `Ref`, `GetAtt`, or at the start of a `Sub`.
pub fn target(value: &Value) -> Option<&str> {
    if let Some(id) = value["Ref"].as_str() {
        // `OrdersApi.Alias` is what SAM makes of a function.
        return id.split('.').next();
    }
    match &value["Fn::GetAtt"] {
        Value::String(path) => path.split('.').next(),
        Value::Array(path) => path.first().and_then(Value::as_str),
        _ => {
            let inner = value["Fn::Sub"].as_str()?.strip_prefix("${")?.split('}').next()?;
            inner.split('.').next()
        }
    }
}

/// Every string in `value`, keys left out.
pub fn strings(value: &Value) -> Vec<&str> {
    match value {
        Value::String(text) => vec![text],
        Value::Array(items) => items.iter().flat_map(strings).collect(),
        Value::Object(fields) => fields.values().flat_map(strings).collect(),
        _ => Vec::new(),
    }
}

fn long_form(value: yaml_serde::Value) -> Value {
    use yaml_serde::Value as Yaml;
    match value {
        Yaml::Null => Value::Null,
        Yaml::Bool(flag) => Value::Bool(flag),
        Yaml::Number(number) => serde_json::to_value(number).expect("a number is JSON"),
        Yaml::String(text) => Value::String(text),
        Yaml::Sequence(items) => items.into_iter().map(long_form).collect(),
        Yaml::Mapping(fields) => fields
            .into_iter()
            .map(|(key, value)| {
                (key.as_str().expect("a template's keys are strings").to_owned(), long_form(value))
            })
            .collect(),
        Yaml::Tagged(tagged) => {
            let tag = tagged.tag.to_string();
            let name = match tag.trim_start_matches('!') {
                short @ ("Ref" | "Condition") => short.to_owned(),
                function => format!("Fn::{function}"),
            };
            json!({ name: long_form(tagged.value) })
        }
    }
}
