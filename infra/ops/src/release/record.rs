//! Whether a stage already has the content to deploy: a fingerprint that the last deployment stored in it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use local_stack::{AboutFile, Template};
use serde_json::json;
use sha2::{Digest, Sha256};

use super::bootstraps;
use super::stacks::Found;
use crate::error::Result;
use crate::remote::Remote;
use crate::stage::Stage;

/// The sources of the functions in addition to their crates. Some may not exist.
const SOURCES: [&str; 8] = [
    "Cargo.toml",
    "Cargo.lock",
    "rust-toolchain.toml",
    ".cargo/config.toml",
    "functions",
    "shared",
    "statemachine",
    "infra/local/requirements-deploy.txt",
];

/// Of a hash, enough to tell versions apart.
const VERSION_DIGITS: usize = 16;

/// Changes when what would be deployed does: the templates, the parameters, and what the functions are built from, or
/// with `built` the functions themselves.
///
/// # Errors
/// A file cannot be read.
pub fn content(
    root: &Path,
    templates: &[(&str, &Template)],
    parameters: &BTreeMap<String, String>,
    built: bool,
) -> Result<String> {
    let mut files: Vec<PathBuf> = templates.iter().map(|(_, template)| template.file.clone()).collect();
    if built {
        files.push(root.join("statemachine"));
        files
            .extend(templates.iter().flat_map(|(_, template)| bootstraps::of(&root.join("infra"), template)));
    } else {
        files.extend(SOURCES.iter().map(|path| root.join(path)).filter(|path| path.exists()));
    }
    let mut hash = Sha256::new();
    for (name, value) in parameters {
        field(&mut hash, name.as_bytes());
        field(&mut hash, value.as_bytes());
    }
    for file in files {
        add(&mut hash, root, &file)?;
    }
    Ok(hex(hash))
}

/// Changes when a function of the template does: its template, its code, and the values of the parameters, of which
/// `stored` has those that are in the Parameter Store. Versions of the functions are published by it.
///
/// # Errors
/// A file cannot be read.
pub fn of_functions(
    root: &Path,
    template: &Template,
    parameters: &BTreeMap<String, String>,
    stored: &BTreeMap<String, String>,
) -> Result<String> {
    let mut hash = Sha256::new();
    for (name, value) in parameters {
        field(&mut hash, name.as_bytes());
        field(&mut hash, stored.get(value).unwrap_or(value).as_bytes());
    }
    add(&mut hash, root, &template.file)?;
    for file in bootstraps::of(&root.join("infra"), template) {
        add(&mut hash, root, &file)?;
    }
    Ok(hex(hash).split_at(VERSION_DIGITS).0.to_owned())
}

/// A file, or all files of a folder in the order of their names.
fn add(hash: &mut Sha256, root: &Path, path: &Path) -> Result<()> {
    if !path.is_dir() {
        field(hash, path.strip_prefix(root).unwrap_or(path).as_os_str().as_encoded_bytes());
        field(hash, &std::fs::read(path).about("cannot read", path)?);
        return Ok(());
    }
    let entries = std::fs::read_dir(path).about("cannot read", path)?;
    let entries = entries.map(|entry| entry.map(|entry| entry.path()));
    let mut entries: Vec<PathBuf> = entries.collect::<std::io::Result<_>>().about("cannot read", path)?;
    entries.sort();
    entries.iter().try_for_each(|entry| add(hash, root, entry))
}

/// With its length, so that what ends one field cannot begin the next.
fn field(hash: &mut Sha256, content: &[u8]) {
    hash.update(content.len().to_le_bytes());
    hash.update(content);
}

fn hex(hash: Sha256) -> String {
    hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The fingerprint of a deployment: its content, and the stacks that it came to. A stack that is changed by another
/// way, or made again, no longer matches.
fn fingerprint(content: &str, stacks: &BTreeMap<String, Found>) -> String {
    let mut hash = Sha256::new();
    field(&mut hash, content.as_bytes());
    for (name, found) in stacks {
        for text in [name, &found.id, &found.status, &found.changed] {
            field(&mut hash, text.as_bytes());
        }
    }
    hex(hash)
}

fn parameter(stage: &Stage) -> String {
    format!("/ordersaga/{stage}/deployed")
}

/// Whether the stage's last full deployment had this content, and its stacks have not changed since.
///
/// # Errors
/// The record cannot be read.
pub async fn matches(
    remote: &Remote,
    stage: &Stage,
    content: &str,
    stacks: &BTreeMap<String, Found>,
) -> Result<bool> {
    // Unknown names are in a part of the answer of their own, and no error.
    let answer = remote.call("ssm", "GetParameters", json!({"Names": [parameter(stage)]})).await?;
    Ok(answer["Parameters"][0]["Value"] == fingerprint(content, stacks))
}

/// # Errors
/// The record cannot be written.
pub async fn write(
    remote: &Remote,
    stage: &Stage,
    content: &str,
    stacks: &BTreeMap<String, Found>,
) -> Result<()> {
    let input = json!({
        "Name": parameter(stage), "Type": "String", "Overwrite": true, "Value": fingerprint(content, stacks),
        "Description": "What `cargo ops deploy` deployed last. Without it the next one deploys everything again.",
    });
    remote.call("ssm", "PutParameter", input).await.map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Repository(PathBuf);

    impl Repository {
        fn new(name: &str) -> Self {
            let root = std::env::temp_dir().join(format!("ops-record-{name}-{}", std::process::id()));
            for (file, text) in [
                ("Cargo.lock", "one"),
                ("functions/users/src/lib.rs", "two"),
                ("shared/contracts/src/lib.rs", "three"),
                ("statemachine/order_saga.asl.json", "{}"),
                ("infra/users.yaml", "Resources:\n  A:\n    CodeUri: ../target/lambda/users-api/\n"),
                ("target/lambda/users-api/bootstrap", "four"),
            ] {
                let path = root.join(file);
                std::fs::create_dir_all(path.parent().unwrap()).unwrap();
                std::fs::write(path, text).unwrap();
            }
            Self(root)
        }

        fn change(&self, file: &str) {
            std::fs::write(self.0.join(file), "Resources: {changed: now}\n").unwrap();
        }

        fn content(&self, built: bool, level: &str) -> String {
            let template = Template::read(&self.0.join("infra/users.yaml")).unwrap();
            let parameters = BTreeMap::from([("LogLevel".to_owned(), level.to_owned())]);
            content(&self.0, &[("users", &template)], &parameters, built).unwrap()
        }
    }

    impl Drop for Repository {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn a_change_of_a_source_a_template_or_a_parameter_is_seen() {
        let repository = Repository::new("sources");
        let mut seen = vec![repository.content(false, "info"), repository.content(false, "debug")];
        for file in
            ["Cargo.lock", "functions/users/src/lib.rs", "shared/contracts/src/lib.rs", "infra/users.yaml"]
        {
            repository.change(file);
            let now = repository.content(false, "info");
            assert!(!seen.contains(&now), "{file}");
            seen.push(now);
        }
        repository.change("target/lambda/users-api/bootstrap");
        assert_eq!(
            seen.last(),
            Some(&repository.content(false, "info")),
            "what is built again is not looked at"
        );
    }

    #[test]
    fn without_a_build_the_built_functions_count_and_their_sources_do_not() {
        let repository = Repository::new("built");
        let before = repository.content(true, "info");
        repository.change("functions/users/src/lib.rs");
        assert_eq!(before, repository.content(true, "info"));
        repository.change("target/lambda/users-api/bootstrap");
        assert_ne!(before, repository.content(true, "info"));
    }

    #[test]
    fn a_version_is_published_for_a_change_of_the_code_the_template_or_a_parameter() {
        let repository = Repository::new("versions");
        let hash = |level: &str, topic: &str| {
            let template = Template::read(&repository.0.join("infra/users.yaml")).unwrap();
            let given = [("LogLevel", level), ("Topic", "/ordersaga/dev/topic"), ("Fingerprint", "")];
            let given = given.map(|(name, value)| (name.to_owned(), value.to_owned()));
            let stored = BTreeMap::from([("/ordersaga/dev/topic".to_owned(), topic.to_owned())]);
            of_functions(&repository.0, &template, &BTreeMap::from(given), &stored).unwrap()
        };
        let mut seen = vec![hash("info", "arn:1"), hash("debug", "arn:1"), hash("info", "arn:2")];
        for file in ["target/lambda/users-api/bootstrap", "infra/users.yaml"] {
            repository.change(file);
            seen.push(hash("info", "arn:1"));
        }
        repository.change("functions/users/src/lib.rs");
        assert_eq!(seen.last(), Some(&hash("info", "arn:1")), "sources are not deployed");
        let different: std::collections::BTreeSet<&String> = seen.iter().collect();
        assert_eq!(different.len(), seen.len(), "{seen:?}");
    }

    #[test]
    fn a_stack_that_was_changed_by_another_way_matches_no_more() {
        let stacks = |changed: &str, id: &str| {
            let found = Found { id: id.to_owned(), changed: changed.to_owned(), ..Found::default() };
            BTreeMap::from([("ordersaga-dev-users".to_owned(), found)])
        };
        assert_eq!(fingerprint("a", &stacks("1", "x")), fingerprint("a", &stacks("1", "x")));
        for other in [stacks("2", "x"), stacks("1", "y"), BTreeMap::new()] {
            assert_ne!(fingerprint("a", &stacks("1", "x")), fingerprint("a", &other));
        }
        assert_ne!(fingerprint("a", &stacks("1", "x")), fingerprint("b", &stacks("1", "x")));
    }
}
