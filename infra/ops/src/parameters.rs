//! The options `--arch` and `--parameter`, and what they change in a stage's configuration.

use std::collections::{BTreeMap, BTreeSet};

use local_stack::{Settings, StageConfig, Template, deploy};

use crate::arch::Arch;
use crate::error::{Error, Result};

/// Parses `--parameter`.
///
/// # Errors
/// The text has another form, or another option sets this parameter.
pub fn parameter(text: &str) -> std::result::Result<(String, String), String> {
    let (name, value) =
        text.split_once('=').ok_or("it is written Name=Value; `Name=` gives the empty text")?;
    match name {
        "Stage" => Err("--stage says that".to_owned()),
        "Architecture" => Err("--arch says that".to_owned()),
        "Fingerprint" => Err("the deployment makes it of the functions".to_owned()),
        _ => Ok((name.to_owned(), value.to_owned())),
    }
}

/// The processor and the parameters: samconfig.toml's, and those of this run.
///
/// # Errors
/// No template has such a parameter, or one cannot be read.
pub fn chosen(
    source: &Settings,
    config: &StageConfig,
    arch: Option<Arch>,
    parameters: &[(String, String)],
) -> Result<(Arch, BTreeMap<String, String>)> {
    let mut all = config.parameters.clone();
    let configured = all.get("Architecture").and_then(|name| Arch::of(name));
    let arch = arch.or(configured).unwrap_or(Arch::Arm64);
    all.insert("Architecture".to_owned(), arch.name().to_owned());
    let mut declared = BTreeSet::new();
    for (_, file) in deploy::waves(source).into_iter().flatten() {
        declared.extend(Template::read(&file)?.parameters);
    }
    for (name, value) in parameters {
        if !declared.contains(name) {
            let names: Vec<&str> = declared.iter().map(String::as_str).collect();
            return Err(Error::Deploy(format!(
                "no template has a parameter {name}. There are: {}.",
                names.join(", ")
            )));
        }
        all.insert(name.clone(), value.clone());
    }
    Ok((arch, all))
}
