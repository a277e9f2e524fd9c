//! How `sam deploy` is started.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::Path;

use crate::deploy::StageConfig;
use crate::error::{Error, Result};

/// The arguments of `sam` that deploy one template. `config` is infra/samconfig.toml, `extra` the options of this run.
///
/// Paths must be absolute: SAM looks for a relative samconfig.toml beside the template.
///
/// # Errors
/// SAM cannot be given one of the values.
pub fn deploy_arguments(
    config: &Path,
    stage: &StageConfig,
    template: &Path,
    stack: &str,
    parameters: &BTreeMap<String, String>,
    extra: &[&str],
) -> Result<Vec<OsString>> {
    let mut arguments: Vec<OsString> = vec!["deploy".into(), "--template-file".into(), template.into()];
    arguments.extend(["--config-file".into(), config.into()]);
    let options = ["--config-env", &stage.section, "--region", &stage.region, "--stack-name", stack];
    arguments.extend(
        options.into_iter().chain(["--no-progressbar"]).chain(extra.iter().copied()).map(OsString::from),
    );
    arguments.push("--parameter-overrides".into());
    for (name, value) in parameters {
        arguments.push(override_argument(name, value)?.into());
    }
    Ok(arguments)
}

/// One value of `--parameter-overrides`. In this long form SAM reads no second parameter out of a value.
fn override_argument(name: &str, value: &str) -> Result<String> {
    // SAM removes a backslash there, and has no way to write it (samcli/cli/types.py, _unquote_wrapped_quotes).
    let is_lost = |rest: &str| rest.is_empty() || rest.starts_with(['"', '\'', ' ']);
    if value.match_indices('\\').any(|(at, _)| is_lost(&value[at + 1..])) {
        return Err(Error::Deploy(format!(
            "parameter {name} cannot be given to SAM: it has a backslash before a quote, before a space or at its end."
        )));
    }
    Ok(format!("ParameterKey={name},ParameterValue=\"{}\"", value.replace('"', "\\\"")))
}
