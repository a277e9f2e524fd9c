//! Checks out an earlier revision of the repository in a separate folder.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::error::{AboutFile, Error, Result};
use crate::settings::Settings;

/// What is built of any revision, below the folder of revisions. It is kept for the next one.
///
/// It is not the repository's own target folder: cargo compares the times of files only, and would take what it built of
/// an earlier revision for newer than the files as they are.
const BUILT: &str = "target";

/// A git worktree of one revision. Dropping removes it.
#[derive(Debug)]
pub struct Checkout {
    root: PathBuf,
    folder: PathBuf,
    target: PathBuf,
}

impl Checkout {
    /// # Errors
    /// There is no such revision, or git cannot check it out.
    pub fn new(settings: &Settings, revision: &str) -> Result<Self> {
        let root = &settings.root;
        let commit = git(root, &["rev-parse", "--verify", "--quiet", "--end-of-options", &format!("{revision}^{{commit}}")])
            .map_err(|_| {
                Error::Deploy(format!(
                    "there is no git revision `{revision}` here. `git log --oneline` lists them; `git fetch --tags` brings \
                     those of others."
                ))
            })?;
        let revisions = settings.target.join("revisions");
        let folder = revisions.join(&commit[..commit.len().min(12)]);
        let path = folder.to_string_lossy().into_owned();
        // A command that was killed has left it behind.
        let _ = git(root, &["worktree", "remove", "--force", &path]);
        git(root, &["worktree", "add", "--quiet", "--force", "--detach", &path, &commit])
            .map_err(|said| Error::Deploy(format!("git cannot check out `{revision}`: {said}")))?;
        let checkout = Self { root: root.clone(), folder, target: revisions.join(BUILT) };
        // Where its templates look for its functions.
        let link = checkout.folder.join("target");
        std::fs::create_dir_all(&checkout.target).about("cannot make", &checkout.target)?;
        std::os::unix::fs::symlink(&checkout.target, &link).about("cannot make", &link)?;
        Ok(checkout)
    }

    /// The same settings for the revision's files.
    pub fn settings(&self, settings: &Settings) -> Settings {
        Settings { root: self.folder.clone(), target: self.target.clone(), ..settings.clone() }
    }
}

impl Drop for Checkout {
    fn drop(&mut self) {
        // Left behind, the next one replaces it.
        let _ = git(&self.root, &["worktree", "remove", "--force", &self.folder.to_string_lossy()]);
    }
}

/// Git's output, without the newline.
fn git(root: &Path, arguments: &[&str]) -> std::result::Result<String, String> {
    let output = Command::new("git")
        .current_dir(root)
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .map_err(|error| format!("git cannot be run: {error}"))?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
    if output.status.success() { Ok(text(&output.stdout)) } else { Err(text(&output.stderr)) }
}

#[cfg(test)]
mod tests {
    use crate::functions::cargo;
    use crate::settings::Port;

    use super::*;

    /// A repository with two commits of a program that prints its own commit.
    fn repository(name: &str) -> Settings {
        let root = std::env::temp_dir().join(format!("checkout-{name}-{}", std::process::id()));
        let package = root.join("program");
        std::fs::create_dir_all(package.join("src")).unwrap();
        git(&root, &["init", "--quiet"]).unwrap();
        std::fs::write(root.join(".gitignore"), "/target\n").unwrap();
        let workspace = "[workspace]\nmembers = [\"program\"]\nresolver = \"3\"\n";
        std::fs::write(root.join("Cargo.toml"), workspace).unwrap();
        let manifest = "[package]\nname = \"program\"\nversion = \"0.1.0\"\nedition = \"2024\"\n";
        std::fs::write(package.join("Cargo.toml"), manifest).unwrap();
        for text in ["old", "new"] {
            std::fs::write(root.join("program/src/main.rs"), format!("fn main() {{ print!(\"{text}\"); }}"))
                .unwrap();
            git(&root, &["add", "."]).unwrap();
            let commit =
                ["-c", "user.name=t", "-c", "user.email=t@t", "commit", "--quiet", "--message", text];
            git(&root, &commit).unwrap();
        }
        let state = Some(root.join("target/stack"));
        let settings = Settings::new(state, Port::Any, Port::Any).unwrap();
        Settings { target: root.join("target"), root, ..settings }
    }

    async fn printed(settings: &Settings) -> String {
        let output = cargo(settings).args(["run", "--quiet"]).output().await.unwrap();
        String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned()
    }

    #[test]
    fn an_earlier_revision_is_checked_out_and_removed() {
        let settings = repository("earlier");
        let main = |root: &Path| std::fs::read_to_string(root.join("program/src/main.rs")).unwrap();
        let checkout = Checkout::new(&settings, "HEAD~1").unwrap();
        let folder = checkout.folder.clone();
        assert!(main(&folder).contains("old"));
        // As after a command that was killed.
        std::mem::forget(checkout);
        drop(Checkout::new(&settings, "HEAD~1").unwrap());
        assert!(!folder.exists());
        assert!(main(&settings.root).contains("new"));
        std::fs::remove_dir_all(&settings.root).unwrap();
    }

    #[tokio::test]
    async fn what_was_built_of_a_revision_is_not_taken_for_the_files_as_they_are() {
        let settings = repository("built");
        assert_eq!(printed(&settings).await, "new");
        let checkout = Checkout::new(&settings, "HEAD~1").unwrap();
        assert_eq!(printed(&checkout.settings(&settings)).await, "old");
        // As after a command that was killed. Otherwise the revision's files are gone, and cargo builds again.
        std::mem::forget(checkout);
        assert_eq!(printed(&settings).await, "new");
        std::fs::remove_dir_all(&settings.root).unwrap();
    }

    #[test]
    fn an_unknown_revision_is_named() {
        let settings = repository("unknown");
        for revision in ["v9", "--help", ""] {
            let said = Checkout::new(&settings, revision).unwrap_err().to_string();
            assert!(said.contains(&format!("`{revision}`")), "{said}");
        }
        std::fs::remove_dir_all(&settings.root).unwrap();
    }
}
