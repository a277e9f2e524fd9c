use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use crate::error::{AboutFile, Error, Result};

/// Properties that name a local file or folder, which CloudFormation wants as an object in S3.
const LOCAL_PATHS: [&str; 2] = ["CodeUri", "DefinitionUri"];

/// A template as it is checked in.
#[derive(Debug)]
pub struct Template {
    pub file: PathBuf,
    text: String,
    /// The names that it declares.
    pub parameters: BTreeSet<String>,
    functions: Vec<Function>,
}

/// A function of a template.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Function {
    /// As the template names it: `OrdersApi`.
    pub logical_id: String,
    /// Its binary: `orders-api`.
    pub name: String,
    pub template: PathBuf,
    /// The route keys of the HTTP API that lead to it: `ANY /v1/orders`.
    pub routes: Vec<String>,
}

impl Template {
    pub fn read(file: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(file).about("cannot read", file)?;
        let wrong = |reason: String| Error::Template { template: file.to_path_buf(), reason };
        let document: yaml_serde::Value =
            yaml_serde::from_str(&text).map_err(|error| wrong(error.to_string()))?;
        let parameters = match document.get("Parameters") {
            Some(yaml_serde::Value::Mapping(map)) => {
                map.keys().filter_map(|key| key.as_str()).map(str::to_owned).collect()
            }
            _ => BTreeSet::new(),
        };
        let functions = functions(&document, file);
        Ok(Self { file: file.to_path_buf(), text, parameters, functions })
    }

    /// The functions, as the template orders them.
    pub fn functions(&self) -> &[Function] {
        &self.functions
    }

    /// The same.
    pub fn into_functions(self) -> Vec<Function> {
        self.functions
    }

    /// The parameters that this template declares. CloudFormation refuses others.
    pub fn pick(&self, all: &BTreeMap<String, String>) -> BTreeMap<String, String> {
        all.iter()
            .filter(|(name, _)| self.parameters.contains(*name))
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect()
    }

    /// The local paths in the template, as they are written.
    pub fn local_paths(&self) -> BTreeSet<&str> {
        self.text.lines().filter_map(local_path).collect()
    }

    /// The text with each local path replaced.
    pub fn with_paths(&self, replacements: &BTreeMap<String, String>) -> String {
        let mut text = String::with_capacity(self.text.len());
        for line in self.text.lines() {
            match local_path(line).and_then(|path| Some((path, replacements.get(path)?))) {
                Some((path, object)) => text.push_str(&line.replacen(path, object, 1)),
                None => text.push_str(line),
            }
            text.push('\n');
        }
        text
    }
}

fn functions(document: &yaml_serde::Value, file: &Path) -> Vec<Function> {
    let Some(yaml_serde::Value::Mapping(resources)) = document.get("Resources") else { return Vec::new() };
    let functions = resources.iter().filter_map(|(id, resource)| {
        if resource.get("Type")?.as_str()? != "AWS::Serverless::Function" {
            return None;
        }
        let code = resource.get("Properties")?.get("CodeUri")?.as_str()?;
        let name = Path::new(code).file_name()?.to_string_lossy().into_owned();
        let logical_id = id.as_str()?.to_owned();
        let routes = routes(resources, &logical_id);
        Some(Function { logical_id, name, template: file.to_path_buf(), routes })
    });
    functions.collect()
}

/// The route keys of the HTTP API whose integration is this function.
fn routes(resources: &yaml_serde::Mapping, function: &str) -> Vec<String> {
    let text = |resource: &yaml_serde::Value, property: &str| {
        Some(resource.get("Properties")?.get(property)?.as_str()?.to_owned())
    };
    let of_type = |kind: &'static str| {
        resources.iter().filter(move |(_, resource)| {
            resource.get("Type").and_then(yaml_serde::Value::as_str) == Some(kind)
                && text(resource, "ApiId").as_deref() == Some("HttpApiId")
        })
    };
    let uri = format!("/functions/${{{function}.Alias}}/");
    let targets: Vec<String> = of_type("AWS::ApiGatewayV2::Integration")
        .filter(|(_, integration)| text(integration, "IntegrationUri").is_some_and(|own| own.contains(&uri)))
        .filter_map(|(id, _)| Some(format!("integrations/${{{}}}", id.as_str()?)))
        .collect();
    of_type("AWS::ApiGatewayV2::Route")
        .filter(|(_, route)| text(route, "Target").is_some_and(|target| targets.contains(&target)))
        .filter_map(|(_, route)| text(route, "RouteKey"))
        .collect()
}

/// The path in a line such as `CodeUri: ../target/lambda/users-api/`; none when it is an object or no plain text.
fn local_path(line: &str) -> Option<&str> {
    let (property, value) = line.split_once(": ")?;
    let property = property.trim().trim_start_matches("- ");
    let value = value.split(" #").next()?.trim().trim_matches(['\'', '"']);
    let local = LOCAL_PATHS.contains(&property) && value.starts_with('.') && !value.contains("://");
    local.then_some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn template(text: &str) -> Template {
        Template {
            file: PathBuf::from("x.yaml"),
            text: text.to_owned(),
            parameters: BTreeSet::from(["Stage".into()]),
            functions: Vec::new(),
        }
    }

    #[test]
    fn functions_are_found_with_their_binaries_and_routes() {
        let file = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../realtime.yaml"));
        let found = Template::read(file).unwrap().into_functions();
        let names: Vec<&str> = found.iter().map(|function| function.name.as_str()).collect();
        assert_eq!(names, ["realtime-api", "realtime-authorizer", "realtime-ws", "realtime-consumer"]);
        assert_eq!(found[0].logical_id, "RealtimeApi");
        assert_eq!(found[0].routes, ["ANY /v1/realtime/{proxy+}"]);
        // The WebSocket's routes are none of the HTTP API.
        assert_eq!(found[2].routes, Vec::<String>::new());
    }

    #[test]
    fn only_local_paths_are_replaced() {
        let template = template(
            "    CodeUri: ../target/lambda/users-api/\n    CodeUri: s3://bucket/key\n    DefinitionUri: '../statemachine/x.asl.json'  # why\n    Other: ../x\n",
        );
        assert_eq!(
            template.local_paths(),
            BTreeSet::from(["../target/lambda/users-api/", "../statemachine/x.asl.json"])
        );
        let objects = BTreeMap::from([
            ("../target/lambda/users-api/".to_owned(), "s3://b/1".to_owned()),
            ("../statemachine/x.asl.json".to_owned(), "s3://b/2".to_owned()),
        ]);
        assert_eq!(
            template.with_paths(&objects),
            "    CodeUri: s3://b/1\n    CodeUri: s3://bucket/key\n    DefinitionUri: 's3://b/2'  # why\n    Other: ../x\n"
        );
    }

    #[test]
    fn a_template_gets_only_the_parameters_that_it_declares() {
        let all = BTreeMap::from([
            ("Stage".to_owned(), "local".to_owned()),
            ("StripeUrl".to_owned(), "http://x".to_owned()),
        ]);
        assert_eq!(template("").pick(&all), BTreeMap::from([("Stage".to_owned(), "local".to_owned())]));
    }
}
