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
    parameters: BTreeSet<String>,
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

/// The region that a stage is in, from samconfig.toml.
///
/// # Errors
/// The file cannot be read, or does not say.
pub fn region(file: &Path, stage: &str) -> Result<String> {
    let config = samconfig(file)?;
    let region =
        config.get(stage).and_then(|stage| stage.get("global")?.get("parameters")?.get("region")?.as_str());
    region.map(str::to_owned).ok_or_else(|| Error::Template {
        template: file.to_path_buf(),
        reason: format!("it has no [{stage}.global.parameters] region"),
    })
}

fn samconfig(file: &Path) -> Result<toml::Table> {
    let text = std::fs::read_to_string(file).about("cannot read", file)?;
    let wrong = |reason: String| Error::Template { template: file.to_path_buf(), reason };
    text.parse().map_err(|error: toml::de::Error| wrong(error.to_string()))
}

/// A stage's `parameter_overrides` of samconfig.toml, each `Name=value`.
///
/// # Errors
/// The file cannot be read, or has no such stage.
pub fn overrides(file: &Path, stage: &str) -> Result<BTreeMap<String, String>> {
    let config = samconfig(file)?;
    let wrong = |reason: String| Error::Template { template: file.to_path_buf(), reason };
    let list = config
        .get(stage)
        .and_then(|stage| stage.get("deploy")?.get("parameters")?.get("parameter_overrides")?.as_array())
        .ok_or_else(|| wrong(format!("it has no list [{stage}.deploy.parameters] parameter_overrides")))?;
    Ok(list
        .iter()
        .filter_map(|entry| entry.as_str()?.split_once('='))
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_stage_has_its_region() {
        let file = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../samconfig.toml"));
        for stage in ["dev", "prod"] {
            assert!(region(file, stage).unwrap().contains('-'));
        }
        assert!(region(file, "moon").unwrap_err().to_string().contains("moon"));
    }

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
    fn every_stage_has_its_region() {
        let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../samconfig.toml");
        for (stage, expected) in [("local", "us-east-1"), ("dev", "eu-central-1"), ("prod", "eu-central-1")] {
            assert_eq!(region(Path::new(file), stage).unwrap(), expected);
        }
        assert!(region(Path::new(file), "other").is_err());
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
