//! Finds programs that single tests need, or installs them.

use std::path::{Path, PathBuf};

use tokio::process::Command;
use tokio::sync::OnceCell;

type Result<T> = std::result::Result<T, String>;

/// A program of a Debian package.
struct Program {
    /// What it is called in Debian, in Ubuntu, and on GitHub's machines.
    names: &'static [&'static str],
    packages: &'static str,
    used_by: &'static str,
    found: OnceCell<Result<PathBuf>>,
}

static CHROMIUM: Program = Program {
    names: &["chromium", "chromium-browser", "google-chrome", "google-chrome-stable"],
    packages: "chromium",
    used_by: "the tests of the page",
    found: OnceCell::const_new(),
};
static NPM: Program = Program {
    names: &["npm"],
    packages: "nodejs npm",
    used_by: "the tests of the generated client",
    found: OnceCell::const_new(),
};

pub async fn chromium() -> Result<PathBuf> {
    CHROMIUM.find().await
}

pub async fn npm() -> Result<PathBuf> {
    NPM.find().await
}

impl Program {
    /// Its path. Installs Debian's package where it is missing and this may be done.
    async fn find(&self) -> Result<PathBuf> {
        self.found.get_or_init(|| self.find_or_install()).await.clone()
    }

    async fn find_or_install(&self) -> Result<PathBuf> {
        let Self { names, packages, used_by, .. } = self;
        if let Some(found) = names.iter().find_map(|name| in_path(name)) {
            return Ok(found);
        }
        let missing = format!(
            "{used_by} need a program that is called {} in PATH: `apt-get install {packages}` on Debian",
            names.join(" or ")
        );
        if !nix::unistd::geteuid().is_root() || in_path("apt-get").is_none() {
            return Err(missing);
        }
        let install =
            format!("apt-get update -qq && apt-get install -y -qq --no-install-recommends {packages}");
        eprintln!("installing what {used_by} need: {install}");
        let mut command = Command::new("/bin/sh");
        command.args(["-c", &install]).env("DEBIAN_FRONTEND", "noninteractive");
        let output = command.output().await.map_err(|error| format!("{missing}; {error}"))?;
        let found = names.iter().find_map(|name| in_path(name));
        found.ok_or_else(|| format!("{missing}; {}", String::from_utf8_lossy(&output.stderr)))
    }
}

fn in_path(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|folder| folder.join(name)).find(|file| Path::is_file(file))
}
