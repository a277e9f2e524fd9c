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
        Ok(Self { file: file.to_path_buf(), text, parameters })
    }

    /// Of all parameters those that this template declares: CloudFormation refuses others.
    pub fn pick(&self, all: &BTreeMap<String, String>) -> BTreeMap<String, String> {
        all.iter()
            .filter(|(name, _)| self.parameters.contains(*name))
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect()
    }

    /// The local paths that it names, as they are spelled.
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
        }
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
