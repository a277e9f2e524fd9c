//! Finds Chromium, or installs it.

use std::path::{Path, PathBuf};

use tokio::process::Command;
use tokio::sync::OnceCell;

use super::Result;

/// Debian's, Ubuntu's, and what GitHub's machines have.
const NAMES: [&str; 4] = ["chromium", "chromium-browser", "google-chrome", "google-chrome-stable"];
const INSTALL: &str = "apt-get update -qq && apt-get install -y -qq --no-install-recommends chromium";

static FOUND: OnceCell<Result<PathBuf>> = OnceCell::const_new();

/// The browser's program. Installs Debian's package where it is missing and this may be done.
pub async fn chromium() -> Result<PathBuf> {
    FOUND.get_or_init(find_or_install).await.clone()
}

async fn find_or_install() -> Result<PathBuf> {
    if let Some(found) = NAMES.into_iter().find_map(in_path) {
        return Ok(found);
    }
    let missing = "the tests of the page need Chromium: `apt-get install chromium` on Debian, or any browser that is called chromium or google-chrome in PATH";
    if !nix::unistd::geteuid().is_root() || in_path("apt-get").is_none() {
        return Err(missing.to_owned());
    }
    eprintln!("installing Chromium, which the tests of the page need: {INSTALL}");
    let mut command = Command::new("/bin/sh");
    command.args(["-c", INSTALL]).env("DEBIAN_FRONTEND", "noninteractive");
    let output = command.output().await.map_err(|error| format!("{missing}; {error}"))?;
    in_path("chromium").ok_or_else(|| format!("{missing}; {}", String::from_utf8_lossy(&output.stderr)))
}

fn in_path(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|folder| folder.join(name)).find(|file| Path::is_file(file))
}
