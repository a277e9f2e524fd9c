//! The Python environment that the emulators and the AWS tools live in.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use sha2::{Digest, Sha256};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::Command;

use crate::error::{AboutFile, Error, Result};
use crate::progress::Progress;
use crate::settings::Settings;

/// What an environment is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Purpose {
    /// Running the emulators.
    Local,
    /// That, and building and deploying to AWS.
    Deploy,
    /// Trying the API against its description.
    Checks,
}

impl Purpose {
    fn requirements(self) -> &'static str {
        match self {
            Self::Local => "requirements.txt",
            Self::Deploy => "requirements-deploy.txt",
            Self::Checks => "requirements-checks.txt",
        }
    }

    fn folder(self) -> &'static str {
        match self {
            Self::Local => "python",
            Self::Deploy => "python-deploy",
            Self::Checks => "python-checks",
        }
    }
}

const LOCK_POLL: std::time::Duration = std::time::Duration::from_millis(200);

/// The oldest that the pinned packages accept (duckdb, below MiniStack).
const OLDEST: (u32, u32) = (3, 11);

/// Makes the environment, unless it is there for these requirements already. Answers its folder of programs.
///
/// # Errors
/// There is no suitable Python, or the packages cannot be installed.
pub async fn environment(settings: &Settings, purpose: Purpose, progress: &Progress) -> Result<PathBuf> {
    let home = settings.tools_dir().join(purpose.folder());
    let programs = home.join("bin");
    let wanted = fingerprint(&settings.infra().join("local"), purpose)?;
    let mark = home.join("ordersaga-requirements");
    let is_ready = || {
        std::fs::read_to_string(&mark).is_ok_and(|found| found == wanted) && programs.join("python").exists()
    };
    if is_ready() {
        return Ok(programs);
    }

    let step = progress.step("Python environment");
    check_python().await?;
    // Stacks in several folders share it.
    let _lock = lock(&settings.tools_dir()).await?;
    if is_ready() {
        return Ok(programs);
    }
    step.at("making it");
    if home.exists() {
        std::fs::remove_dir_all(&home).about("cannot remove", &home)?;
    }
    let made = run("python3", &["-m", "venv", &home.to_string_lossy()]).await?;
    if !made.status.success() {
        return Err(Error::Python(format!(
            "Python's venv module is missing or broken:\n{}\nInstall it (Debian, Ubuntu: `apt install python3-venv`) \
             and run the command again.",
            tail(&made)
        )));
    }
    install(&programs, &settings.infra().join("local").join(purpose.requirements()), &step).await?;
    std::fs::write(&mark, &wanted).about("cannot write", &mark)?;
    step.done("Python environment is ready");
    Ok(programs)
}

/// One of the environment's tools, with the others in its PATH: cargo-lambda looks for zig there.
pub fn tool(programs: &Path, name: &str) -> Command {
    let old = std::env::var_os("PATH").unwrap_or_default();
    let all = std::iter::once(programs.to_path_buf()).chain(std::env::split_paths(&old));
    let mut command = Command::new(programs.join(name));
    command.env("PATH", std::env::join_paths(all).unwrap_or(old)).env("SAM_CLI_TELEMETRY", "0");
    command
}

/// Waits until no other process makes an environment here. Held for as long as the answer lives.
async fn lock(tools: &Path) -> Result<std::fs::File> {
    std::fs::create_dir_all(tools).about("cannot make", tools)?;
    let path = tools.join("lock");
    let file =
        std::fs::OpenOptions::new().create(true).append(true).open(&path).about("cannot open", &path)?;
    while file.try_lock().is_err() {
        tokio::time::sleep(LOCK_POLL).await;
    }
    Ok(file)
}

async fn check_python() -> Result<()> {
    let script = "import sys; print(sys.version_info[0], sys.version_info[1])";
    let found = Command::new("python3").args(["-c", script]).output().await.map_err(|_| {
        Error::Python(format!(
            "python3 is not installed. Install Python {}.{} or newer with its venv module (Debian, Ubuntu: \
             `apt install python3 python3-venv`) and run the command again.",
            OLDEST.0, OLDEST.1
        ))
    })?;
    let text = String::from_utf8_lossy(&found.stdout).into_owned();
    let version = parse_version(&text);
    if version.is_some_and(|version| version >= OLDEST) {
        return Ok(());
    }
    Err(Error::Python(format!(
        "python3 is version {}, and {}.{} or newer is needed. Put a newer python3 first in PATH and run the command again.",
        text.trim().replace(' ', "."),
        OLDEST.0,
        OLDEST.1
    )))
}

fn parse_version(text: &str) -> Option<(u32, u32)> {
    let mut numbers = text.split_whitespace().map(str::parse);
    Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
}

async fn install(programs: &Path, requirements: &Path, step: &crate::progress::Step) -> Result<()> {
    let mut pip = Command::new(programs.join("python"))
        .args([
            "-m",
            "pip",
            "install",
            "--disable-pip-version-check",
            "--no-input",
            "--progress-bar",
            "off",
            // The file names everything that is needed, in the version and with the hashes that are installed.
            "--no-deps",
            "--require-hashes",
            "-r",
        ])
        .arg(requirements)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(|source| Error::Command { command: "pip".into(), source })?;
    let errors = pip.stderr.take().map(|stream| tokio::spawn(collect(stream)));
    if let Some(stream) = pip.stdout.take() {
        let mut lines = BufReader::new(stream).lines();
        while let Ok(Some(line)) = lines.next_line().await {
            if let Some(package) = line.strip_prefix("Collecting ") {
                step.at(package.split([' ', '=', '<', '>']).next().unwrap_or(package).to_owned());
            } else if line.starts_with("Installing collected") {
                step.at("unpacking");
            }
        }
    }
    let status = pip.wait().await.map_err(|source| Error::Command { command: "pip".into(), source })?;
    if status.success() {
        return Ok(());
    }
    let errors = match errors {
        Some(task) => task.await.unwrap_or_default(),
        None => String::new(),
    };
    Err(Error::Python(format!(
        "the Python packages in {} cannot be installed:\n{}\nCheck that PyPI can be reached (`pip config list` shows \
         where pip looks) and run the command again.",
        requirements.display(),
        last_lines(&errors)
    )))
}

async fn collect(stream: impl tokio::io::AsyncRead + Unpin) -> String {
    let mut text = String::new();
    let mut lines = BufReader::new(stream).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        text.push_str(&line);
        text.push('\n');
    }
    text
}

async fn run(program: &str, arguments: &[&str]) -> Result<std::process::Output> {
    Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .await
        .map_err(|source| Error::Command { command: program.into(), source })
}

fn tail(output: &std::process::Output) -> String {
    last_lines(&format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    ))
}

/// The last lines of a program's output, which say what went wrong.
fn last_lines(text: &str) -> String {
    let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
    lines[lines.len().saturating_sub(8)..].join("\n")
}

/// Changes whenever a requirements file does that the environment is made of, or may be.
fn fingerprint(folder: &Path, purpose: Purpose) -> Result<String> {
    let mut hash = Sha256::new();
    let made_of: &[Purpose] = match purpose {
        Purpose::Local | Purpose::Deploy => &[Purpose::Local, Purpose::Deploy],
        Purpose::Checks => &[Purpose::Checks],
    };
    for purpose in made_of {
        let file = folder.join(purpose.requirements());
        hash.update(std::fs::read(&file).about("cannot read", &file)?);
    }
    Ok(hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_compare_as_numbers() {
        assert!(parse_version("3 9\n").unwrap() < OLDEST);
        assert!(parse_version("3 11\n").unwrap() >= OLDEST);
        assert!(parse_version("3 13\n").unwrap() >= OLDEST);
        assert_eq!(parse_version("nonsense"), None);
    }

    #[test]
    fn every_requirement_has_its_version_and_hashes() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../local");
        for purpose in [Purpose::Local, Purpose::Deploy, Purpose::Checks] {
            let file = purpose.requirements();
            let text = std::fs::read_to_string(folder.join(file)).unwrap().replace("\\\n", "");
            assert!(text.lines().count() > 20, "{file}");
            for requirement in text.lines() {
                let pinned = requirement.contains("==") && requirement.contains("--hash=sha256:");
                assert!(pinned, "{file}: {requirement}");
            }
        }
    }

    #[test]
    fn the_written_files_have_the_versions_that_are_asked_for() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../local");
        for purpose in [Purpose::Local, Purpose::Deploy, Purpose::Checks] {
            let file = purpose.requirements();
            let written = std::fs::read_to_string(folder.join(file)).unwrap();
            let asked = std::fs::read_to_string(folder.join(file.replace(".txt", ".in"))).unwrap();
            let pins: Vec<&str> = asked.lines().filter(|line| line.contains("==")).collect();
            assert!(!pins.is_empty(), "{file}");
            for pin in pins {
                let pin = pin.replace("[full]", "");
                assert!(
                    written.contains(&format!("{pin} \\\n")),
                    "{file} lacks {pin}: infra/local/README.md"
                );
            }
        }
    }

    #[test]
    fn the_deployment_has_the_versions_of_the_local_stack() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../local");
        let versions = |purpose: Purpose| {
            let text = std::fs::read_to_string(folder.join(purpose.requirements())).unwrap();
            let pins = text.lines().filter(|line| line.contains("==")).map(str::to_owned);
            pins.collect::<Vec<_>>()
        };
        let (local, deploy) = (versions(Purpose::Local), versions(Purpose::Deploy));
        let missing: Vec<_> = local.iter().filter(|pin| !deploy.contains(pin)).collect();
        assert!(missing.is_empty(), "{missing:?}");
    }
}
