//! The templates of infra/, resolved as CloudFormation does for a stage: parameters with their defaults, references,
//! conditions.
//!
//! Sources: AWS CloudFormation User Guide, "Intrinsic function reference"; the return values of `Ref` and `Fn::GetAtt`
//! in the reference of each resource.

use std::{collections::BTreeMap, fs, path::Path};

use contracts::FUNCTION_ALIAS;
use serde_json::{Map, Value};
use yaml_serde::Value as Yaml;

/// Where all resources are.
pub const REGION: &str = "us-east-1";
/// Whose all resources are.
pub const ACCOUNT: &str = "000000000000";

/// Parameters that are not left at their defaults: by default no SMS is sent.
const GIVEN: [(&str, &str); 1] = [("SmsCountries", "+1")];

/// The templates by name: a context, or `platform`.
#[derive(Debug)]
pub struct Templates(BTreeMap<String, Yaml>);

/// A resource of a template.
#[derive(Debug, Clone, Copy)]
pub struct Resource<'a> {
    templates: &'a Templates,
    template: &'a str,
    properties: &'a Yaml,
    pub id: &'a str,
}

impl Templates {
    /// Reads these templates.
    ///
    /// # Panics
    /// When one cannot be read.
    pub fn read(infra: &Path, names: &[&str]) -> Self {
        let read = |name: &&str| {
            let file = infra.join(format!("{name}.yaml"));
            let text =
                fs::read_to_string(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
            let yaml =
                yaml_serde::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
            ((*name).to_owned(), yaml)
        };
        Self(names.iter().map(read).collect())
    }

    /// The resources of a type in all templates.
    pub fn of_type(&self, kind: &str) -> Vec<Resource<'_>> {
        let mut found = Vec::new();
        for (template, yaml) in &self.0 {
            for (id, resource) in entries(&yaml["Resources"]) {
                if resource["Type"].as_str() == Some(kind) && self.is_made(template, resource) {
                    found.push(Resource {
                        templates: self,
                        template,
                        properties: &resource["Properties"],
                        id,
                    });
                }
            }
        }
        found
    }

    /// Whether the condition of a resource is met, if it has one.
    fn is_made(&self, template: &str, resource: &Yaml) -> bool {
        let condition = resource["Condition"].as_str();
        condition.is_none_or(|name| self.condition(template, name) == Value::Bool(true))
    }

    fn resolve(&self, template: &str, value: &Yaml) -> Value {
        match value {
            Yaml::Null => Value::Null,
            Yaml::Bool(flag) => Value::Bool(*flag),
            Yaml::Number(number) => serde_json::to_value(number).expect("a number is JSON"),
            Yaml::String(text) => Value::String(text.clone()),
            Yaml::Sequence(items) => items.iter().map(|item| self.resolve(template, item)).collect(),
            Yaml::Mapping(_) => entries(value)
                .map(|(name, value)| (name.to_owned(), self.resolve(template, value)))
                .filter(|(_, value)| !value.is_null())
                .collect(),
            Yaml::Tagged(tagged) => self.call(template, &tagged.tag.to_string(), &tagged.value),
        }
    }

    fn call(&self, template: &str, function: &str, argument: &Yaml) -> Value {
        let item = |index: usize| self.resolve(template, &argument[index]);
        let flag = |value: Value| value.as_bool().expect("a condition is true or false");
        match function {
            "!Ref" => self.reference(template, argument.as_str().expect("a name")),
            "!GetAtt" => {
                let (id, attribute) =
                    argument.as_str().and_then(|path| path.split_once('.')).expect("id.attribute");
                Value::String(self.attribute(template, id, attribute))
            }
            "!Sub" => Value::String(match argument.as_str() {
                Some(text) => self.substitute(template, text, &Yaml::Null),
                None => self.substitute(template, argument[0].as_str().expect("a text"), &argument[1]),
            }),
            "!Join" => {
                let (separator, parts) = (text_of(&item(0)), item(1));
                let parts: Vec<String> = parts.as_array().into_iter().flatten().map(text_of).collect();
                Value::String(parts.join(&separator))
            }
            "!Condition" => self.condition(template, argument.as_str().expect("a name")),
            "!Equals" => Value::Bool(item(0) == item(1)),
            "!Not" => Value::Bool(!flag(item(0))),
            "!And" => Value::Bool((0..argument.as_sequence().map_or(0, Vec::len)).all(|n| flag(item(n)))),
            "!Or" => Value::Bool((0..argument.as_sequence().map_or(0, Vec::len)).any(|n| flag(item(n)))),
            "!If" => {
                let name = argument[0].as_str().expect("the name of a condition");
                if flag(self.condition(template, name)) { item(1) } else { item(2) }
            }
            "!Split" => {
                let (separator, text) = (item(0), item(1));
                let text = text.as_str().expect("a text");
                text.split(separator.as_str().expect("a text")).map(Value::from).collect()
            }
            "!Select" => {
                let index = item(0).as_u64().and_then(|index| usize::try_from(index).ok()).expect("an index");
                item(1)[index].clone()
            }
            other => panic!("{template}.yaml uses {other}, which the simulation does not resolve"),
        }
    }

    fn condition(&self, template: &str, name: &str) -> Value {
        self.resolve(template, &self.0[template]["Conditions"][name])
    }

    /// Replaces `${name}` by the value that `own` has for it, or else by what the template has.
    fn substitute(&self, template: &str, text: &str, own: &Yaml) -> String {
        let mut parts = text.split("${");
        let mut whole = parts.next().unwrap_or_default().to_owned();
        for part in parts {
            let (name, rest) = part.split_once('}').expect("${…} ends");
            whole += &match name.split_once('.') {
                _ if !own[name].is_null() => text_of(&self.resolve(template, &own[name])),
                Some((id, attribute)) => self.attribute(template, id, attribute),
                None => text_of(&self.reference(template, name)),
            };
            whole += rest;
        }
        whole
    }

    fn reference(&self, template: &str, name: &str) -> Value {
        match name {
            "AWS::NoValue" => return Value::Null,
            "AWS::Partition" => return Value::from("aws"),
            "AWS::Region" => return Value::from(REGION),
            "AWS::AccountId" => return Value::from(ACCOUNT),
            "AWS::URLSuffix" => return Value::from("amazonaws.com"),
            _ => {}
        }
        // SAM resolves it to the alias that it makes.
        if let Some(function) = name.strip_suffix(".Alias") {
            return Value::from(format!("{}:{FUNCTION_ALIAS}", self.attribute(template, function, "Arn")));
        }
        let parameter = &self.0[template]["Parameters"][name];
        if !parameter.is_null() {
            if let Some((_, given)) = GIVEN.iter().find(|(given, _)| *given == name) {
                return Value::from(*given);
            }
            let default = self.resolve(template, &parameter["Default"]);
            return match parameter["Type"].as_str().unwrap_or_default() {
                kind if kind.starts_with("AWS::SSM::") => self.stored(&text_of(&default)),
                "CommaDelimitedList" => text_of(&default).split(',').map(Value::from).collect(),
                _ => default,
            };
        }
        let resource = &self.0[template]["Resources"][name];
        let own = |property: &str| self.resolve(template, &resource["Properties"][property]);
        match resource["Type"].as_str().unwrap_or_else(|| panic!("{template}.yaml has no {name}")) {
            "AWS::DynamoDB::Table" => own("TableName"),
            "AWS::Serverless::Function" => own("FunctionName"),
            "AWS::SQS::Queue" => Value::String(queue_url(&text_of(&own("QueueName")))),
            "AWS::ApiGatewayV2::Stage" => own("StageName"),
            "AWS::SNS::Topic" | "AWS::SecretsManager::Secret" | "AWS::Serverless::StateMachine" => {
                Value::String(self.attribute(template, name, "Arn"))
            }
            _ => Value::from(name),
        }
    }

    /// The value of a parameter in the Parameter Store, which another template writes.
    fn stored(&self, name: &str) -> Value {
        let parameters = self.of_type("AWS::SSM::Parameter");
        let parameter = parameters.iter().find(|parameter| parameter.text("Name") == name);
        let parameter = parameter.unwrap_or_else(|| panic!("no template stores {name}"));
        parameter.property("Value")
    }

    fn attribute(&self, template: &str, id: &str, attribute: &str) -> String {
        let resource = &self.0[template]["Resources"][id];
        let own = |property: &str| text_of(&self.resolve(template, &resource["Properties"][property]));
        let arn = |service: &str, name: &str| format!("arn:aws:{service}:{REGION}:{ACCOUNT}:{name}");
        match (resource["Type"].as_str().unwrap_or_default(), attribute) {
            ("AWS::DynamoDB::Table", "Arn") => arn("dynamodb", &format!("table/{}", own("TableName"))),
            ("AWS::DynamoDB::Table", "StreamArn") => {
                arn("dynamodb", &format!("table/{}/stream/1", own("TableName")))
            }
            ("AWS::Serverless::Function", "Arn") => {
                arn("lambda", &format!("function:{}", own("FunctionName")))
            }
            ("AWS::Serverless::StateMachine", "Arn") => {
                arn("states", &format!("stateMachine:{}", own("Name")))
            }
            ("AWS::SQS::Queue", "Arn") => arn("sqs", &own("QueueName")),
            ("AWS::SQS::Queue", "QueueName") => own("QueueName"),
            ("AWS::SNS::Topic", "Arn") => arn("sns", &own("TopicName")),
            ("AWS::KMS::Key", "Arn") => arn("kms", &format!("key/{id}")),
            ("AWS::SecretsManager::Secret", _) => arn("secretsmanager", &format!("secret:{}", own("Name"))),
            (kind, _) => panic!("the attribute {attribute} of {id} ({kind}) is not known"),
        }
    }
}

impl Resource<'_> {
    /// A property, resolved; null when there is none.
    pub fn property(&self, name: &str) -> Value {
        self.templates.resolve(self.template, &self.properties[name])
    }

    /// A property that is a text; empty when there is none.
    pub fn text(&self, name: &str) -> String {
        text_of(&self.property(name))
    }

    /// A property that is a number.
    pub fn number(&self, name: &str) -> Option<u64> {
        self.property(name).as_u64()
    }

    /// The variables of a function's environment, with those that its template gives to all of its functions.
    pub fn environment(&self) -> BTreeMap<String, String> {
        let globals = &self.templates.0[self.template]["Globals"]["Function"]["Environment"]["Variables"];
        let globals = self.templates.resolve(self.template, globals);
        let own = &self.property("Environment")["Variables"];
        let all = [globals, own.clone()].into_iter().filter_map(|from| from.as_object().cloned());
        all.flatten().map(|(name, value)| (name, text_of(&value))).collect()
    }
}

/// The address of a queue (Amazon SQS Developer Guide, "Queue and message identifiers").
pub fn queue_url(name: &str) -> String {
    format!("https://sqs.{REGION}.amazonaws.com/{ACCOUNT}/{name}")
}

fn entries(value: &Yaml) -> impl Iterator<Item = (&str, &Yaml)> {
    value.as_mapping().into_iter().flatten().filter_map(|(name, value)| Some((name.as_str()?, value)))
}

fn text_of(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// The fields of an object, none of anything else.
pub fn fields(value: &Value) -> Map<String, Value> {
    value.as_object().cloned().unwrap_or_default()
}
