//! The regions and parameters of stages, from infra/samconfig.toml.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::error::{AboutFile, Error, Result};

/// The section of stages that have none of their own.
const DEFAULT: &str = "default";
/// Stands for the stage's name there.
const PLACEHOLDER: &str = "{stage}";

/// The configuration of one stage.
#[derive(Debug)]
pub struct StageConfig {
    /// The section it comes from: the stage's own, or the default.
    pub section: String,
    /// For a stage without a section of its own `AWS_REGION` or `AWS_DEFAULT_REGION`, where one is set.
    pub region: String,
    /// Every parameter of every template.
    pub parameters: BTreeMap<String, String>,
}

impl StageConfig {
    /// # Errors
    /// The file cannot be read, or its section lacks the region or the list of parameters.
    pub fn read(file: &Path, stage: &str) -> Result<Self> {
        let region =
            ["AWS_REGION", "AWS_DEFAULT_REGION"].into_iter().find_map(|name| std::env::var(name).ok());
        Self::with_region(file, stage, region.filter(|region| !region.is_empty()))
    }

    fn with_region(file: &Path, stage: &str, environment: Option<String>) -> Result<Self> {
        let wrong = |reason: String| Error::Template { template: PathBuf::from(file), reason };
        let text = std::fs::read_to_string(file).about("cannot read", file)?;
        let config: toml::Table = text.parse().map_err(|error: toml::de::Error| wrong(error.to_string()))?;
        let has_own = config.get(stage).is_some_and(toml::Value::is_table);
        let section = if has_own { stage } else { DEFAULT };
        let value = |path: &[&str]| path.iter().try_fold(config.get(section)?, |value, key| value.get(key));

        let region = value(&["global", "parameters", "region"]).and_then(toml::Value::as_str);
        let region = if has_own { None } else { environment }
            .or_else(|| region.map(str::to_owned))
            .ok_or_else(|| wrong(format!("it has no [{section}.global.parameters] region")))?;
        let list = value(&["deploy", "parameters", "parameter_overrides"]).and_then(toml::Value::as_array);
        let list = list.ok_or_else(|| {
            wrong(format!("it has no list [{section}.deploy.parameters] parameter_overrides"))
        })?;
        let parameters = list
            .iter()
            .filter_map(|entry| entry.as_str()?.split_once('='))
            .map(|(name, value)| (name.to_owned(), unquoted(value).replace(PLACEHOLDER, stage)))
            .collect();
        Ok(Self { section: section.to_owned(), region, parameters })
    }
}

/// SAM takes no empty value, and no space outside quotes: the file has quotes there.
fn unquoted(value: &str) -> &str {
    let within = |quote: char| value.strip_prefix(quote)?.strip_suffix(quote);
    within('\'').or_else(|| within('"')).unwrap_or(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(stage: &str, environment: Option<&str>) -> StageConfig {
        let file = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../samconfig.toml"));
        StageConfig::with_region(file, stage, environment.map(str::to_owned)).unwrap()
    }

    #[test]
    fn every_stage_has_its_region() {
        for (stage, expected) in [("local", "us-east-1"), ("dev", "eu-central-1"), ("prod", "eu-central-1")] {
            assert_eq!(config(stage, None).region, expected);
            assert_eq!(config(stage, Some("us-west-2")).region, expected, "{stage} has a section of its own");
        }
    }

    #[test]
    fn a_stage_without_a_section_of_its_own_takes_the_default() {
        let config = config("pr-17", None);
        assert_eq!((config.section.as_str(), config.region.as_str()), ("default", "eu-central-1"));
        assert_eq!(config.parameters["Stage"], "pr-17");
        assert_eq!(config.parameters["HttpApiId"], "/ordersaga/pr-17/http-api-id");
        assert_eq!(self::config("pr-17", Some("us-west-2")).region, "us-west-2");
    }

    #[test]
    fn a_key_of_the_file_that_is_no_section_is_a_stage_without_one() {
        assert_eq!(config("version", None).section, "default");
    }

    #[test]
    fn the_quotes_around_a_value_are_sams() {
        assert_eq!(config("dev", None).parameters["EndpointUrl"], "");
        assert_eq!(unquoted("\"a b\""), "a b");
        assert_eq!(unquoted("'"), "'");
        assert_eq!(unquoted("it's"), "it's");
    }
}
