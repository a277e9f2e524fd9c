//! Building every Lambda function for this machine.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use serde_json::Value;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::Command;

use crate::error::{AboutFile, Error, Result};
use crate::profile::RELEASE;
use crate::progress::{Progress, Step};
use crate::settings::Settings;

/// The package and program that start-up times are compared with.
pub const ECHO: &str = "echo";

/// A package and the functions in it.
#[derive(Debug, PartialEq, Eq)]
pub struct Package {
    pub name: String,
    pub functions: Vec<String>,
}

/// The packages and functions to build, from `cargo metadata`.
struct Workspace {
    packages: Vec<Package>,
    /// The number of packages to compile, for the progress bar.
    parts: usize,
}

/// Builds all functions and puts each where the templates look: `target/lambda/<function>/bootstrap`.
///
/// # Errors
/// There are none, or the build fails; the error then holds the compiler's own words.
pub async fn build(settings: &Settings, progress: &Progress) -> Result<Vec<String>> {
    let workspace = workspace(settings).await?;
    let functions: Vec<String> =
        workspace.packages.iter().flat_map(|package| package.functions.clone()).collect();
    if functions.is_empty() {
        return Err(Error::NoFunctions);
    }
    let step = progress.step(&format!("building {} functions", functions.len()));
    compile(settings, &workspace, &settings.profile.options(), &step).await?;
    for function in &functions {
        put(settings, function)?;
    }
    step.done(&format!("built {} functions", functions.len()));
    Ok(functions)
}

/// Builds all functions as for AWS, but for this machine, and the echo.
///
/// # Errors
/// The build fails; the error then contains the compiler's output.
pub async fn build_release(settings: &Settings, progress: &Progress) -> Result<Vec<String>> {
    let workspace = workspace(settings).await?;
    let step = progress.step("building with the release profile");
    let options = ["--profile", RELEASE, "--package", ECHO];
    compile(settings, &workspace, &options, &step).await?;
    step.done("built with the release profile");
    Ok(workspace.packages.into_iter().flat_map(|package| package.functions).collect())
}

/// Builds one more program, whose package has its name, and puts it where a template looks.
///
/// # Errors
/// The build fails; the error then contains the compiler's output.
pub async fn build_beside(settings: &Settings, program: &str) -> Result<()> {
    let mut options = settings.profile.options();
    options.extend(["--package", program, "--bin", program]);
    build_program(settings, &options).await?;
    put(settings, program)
}

/// Builds one program of the workspace, a binary or an example that the arguments name, and returns its path.
///
/// # Errors
/// The build fails; the error then contains the compiler's output.
pub async fn build_program(settings: &Settings, arguments: &[&str]) -> Result<PathBuf> {
    let output = cargo(settings)
        .args(["build", "--quiet", "--message-format", "json-render-diagnostics"])
        .args(arguments)
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output()
        .await
        .map_err(cargo_missing)?;
    let failed = || Error::Build(String::from_utf8_lossy(&output.stderr).into_owned());
    if !output.status.success() {
        return Err(failed());
    }
    String::from_utf8_lossy(&output.stdout)
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .filter_map(|message| message["executable"].as_str().map(PathBuf::from))
        .next_back()
        .ok_or_else(failed)
}

/// Every package under functions/ that has a binary.
///
/// # Errors
/// `cargo metadata` fails: a manifest is wrong.
pub async fn packages(settings: &Settings) -> Result<Vec<Package>> {
    Ok(workspace(settings).await?.packages)
}

async fn workspace(settings: &Settings) -> Result<Workspace> {
    let output = cargo(settings)
        .args(["metadata", "--format-version", "1", "--offline"])
        .output()
        .await
        .map_err(cargo_missing)?;
    // Offline fails on a machine that never fetched: then with the network.
    let output = if output.status.success() {
        output
    } else {
        cargo(settings).args(["metadata", "--format-version", "1"]).output().await.map_err(cargo_missing)?
    };
    let metadata: Value = serde_json::from_slice(&output.stdout)
        .map_err(|_| Error::Build(String::from_utf8_lossy(&output.stderr).into_owned()))?;
    let packages = functions_of(&metadata, &settings.root.join("functions"));
    let roots = packages.iter().map(|package| package.name.as_str()).collect();
    let parts = reachable(&metadata, &roots);
    Ok(Workspace { packages, parts })
}

fn functions_of(metadata: &Value, folder: &Path) -> Vec<Package> {
    list(metadata, "packages")
        .filter(|package| Path::new(text(package, "manifest_path")).starts_with(folder))
        .map(|package| Package {
            name: text(package, "name").to_owned(),
            functions: list(package, "targets")
                .filter(|target| list(target, "kind").any(|kind| kind == "bin"))
                .map(|target| text(target, "name").to_owned())
                .collect(),
        })
        .filter(|package| !package.functions.is_empty())
        .collect()
}

/// The number of packages that `roots` depend on, including themselves, without dev-dependencies.
fn reachable(metadata: &Value, roots: &BTreeSet<&str>) -> usize {
    let nodes: std::collections::BTreeMap<&str, &Value> =
        list(&metadata["resolve"], "nodes").map(|node| (text(node, "id"), node)).collect();
    let mut open: Vec<&str> = list(metadata, "packages")
        .filter(|package| roots.contains(text(package, "name")) && package["source"].is_null())
        .map(|package| text(package, "id"))
        .collect();
    let mut seen: BTreeSet<&str> = BTreeSet::new();
    while let Some(id) = open.pop() {
        if !seen.insert(id) {
            continue;
        }
        let Some(node) = nodes.get(id) else { continue };
        open.extend(
            list(node, "deps")
                .filter(|dep| list(dep, "dep_kinds").any(|kind| kind["kind"] != "dev"))
                .map(|dep| text(dep, "pkg")),
        );
    }
    seen.len()
}

async fn compile(settings: &Settings, workspace: &Workspace, options: &[&str], step: &Step) -> Result<()> {
    let mut command = cargo(settings);
    command.args(["build", "--bins", "--message-format", "json-diagnostic-rendered-ansi"]).args(options);
    for package in &workspace.packages {
        command.args(["--package", &package.name]);
    }
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(cargo_missing)?;
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    let finished = BTreeSet::new();
    let (errors, said) =
        tokio::join!(artifacts(stdout, finished, workspace.parts, step), spoken(stderr, step));
    let status = child.wait().await.map_err(cargo_missing)?;
    if status.success() {
        return Ok(());
    }
    Err(Error::Build(if errors.is_empty() { said } else { errors }))
}

/// Follows what is finished; answers the compiler's errors.
async fn artifacts(
    stream: Option<tokio::process::ChildStdout>,
    mut finished: BTreeSet<String>,
    parts: usize,
    step: &Step,
) -> String {
    let mut errors = String::new();
    let Some(stream) = stream else { return errors };
    let mut lines = BufReader::new(stream).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        let Ok(message) = serde_json::from_str::<Value>(&line) else { continue };
        match text(&message, "reason") {
            "compiler-artifact" => {
                finished.insert(text(&message, "package_id").to_owned());
                step.part(finished.len().min(parts), parts);
                step.at(text(&message["target"], "name").to_owned());
            }
            "compiler-message" if text(&message["message"], "level") == "error" => {
                errors.push_str(text(&message["message"], "rendered"));
            }
            _ => {}
        }
    }
    errors
}

/// Follows cargo's own messages: waiting for a lock, downloading, an invalid manifest.
async fn spoken(stream: Option<tokio::process::ChildStderr>, step: &Step) -> String {
    let mut said = String::new();
    let Some(stream) = stream else { return said };
    let mut lines = BufReader::new(stream).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        let trimmed = line.trim();
        if ["Blocking", "Updating", "Downloading", "Downloaded"].iter().any(|word| trimmed.starts_with(word))
        {
            step.at(trimmed.to_owned());
        }
        if !["Compiling", "Downloaded", "Finished"].iter().any(|word| trimmed.starts_with(word)) {
            said.push_str(&line);
            said.push('\n');
        }
    }
    said
}

/// A hard link where possible: 23 copies of a few megabytes each would be written at every build.
fn put(settings: &Settings, function: &str) -> Result<()> {
    let built = settings.target.join(settings.profile.folder()).join(function);
    let folder = settings.target.join("lambda").join(function);
    let bootstrap = folder.join("bootstrap");
    if same_file(&built, &bootstrap) {
        return Ok(());
    }
    fs::create_dir_all(&folder).about("cannot make", &folder)?;
    // Under a name of its own first: another process may be doing, or reading, the same.
    let draft = folder.join(format!("bootstrap.{}", std::process::id()));
    let _ = fs::remove_file(&draft);
    if fs::hard_link(&built, &draft).is_err() {
        fs::copy(&built, &draft).about("cannot copy", &built)?;
    }
    fs::rename(&draft, &bootstrap).about("cannot write", &bootstrap)
}

fn same_file(one: &PathBuf, other: &PathBuf) -> bool {
    use std::os::unix::fs::MetadataExt;
    match (fs::metadata(one), fs::metadata(other)) {
        (Ok(one), Ok(other)) => one.dev() == other.dev() && one.ino() == other.ino(),
        _ => false,
    }
}

/// The cargo that runs this program, or the one in PATH, at the root of the workspace, with its target folder.
pub fn cargo(settings: &Settings) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(&settings.root).env("CARGO_TARGET_DIR", &settings.target);
    command
}

fn cargo_missing(source: std::io::Error) -> Error {
    Error::Command { command: "cargo".into(), source }
}

fn list<'a>(value: &'a Value, key: &str) -> impl Iterator<Item = &'a Value> {
    value[key].as_array().into_iter().flatten()
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key].as_str().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn functions_are_the_binaries_of_packages_under_functions() {
        let metadata = json!({"packages": [
            {"name": "users", "manifest_path": "/r/functions/users/Cargo.toml", "targets": [
                {"name": "users", "kind": ["lib"]}, {"name": "users-api", "kind": ["bin"]}]},
            {"name": "ops", "manifest_path": "/r/infra/ops/Cargo.toml", "targets": [{"name": "ops", "kind": ["bin"]}]},
            {"name": "empty", "manifest_path": "/r/functions/empty/Cargo.toml", "targets": [{"name": "empty", "kind": ["lib"]}]},
        ]});
        let found = functions_of(&metadata, Path::new("/r/functions"));
        assert_eq!(found, [Package { name: "users".into(), functions: vec!["users-api".into()] }]);
    }

    #[test]
    fn the_bar_counts_what_the_functions_need() {
        let metadata = json!({
            "packages": [{"name": "users", "id": "users 0", "source": null}],
            "resolve": {"nodes": [
                {"id": "users 0", "deps": [
                    {"pkg": "serde 1", "dep_kinds": [{"kind": null}]},
                    {"pkg": "proptest 1", "dep_kinds": [{"kind": "dev"}]}]},
                {"id": "serde 1", "deps": []},
                {"id": "proptest 1", "deps": []},
            ]},
        });
        assert_eq!(reachable(&metadata, &BTreeSet::from(["users"])), 2);
    }
}
