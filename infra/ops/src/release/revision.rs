//! Checks out an earlier revision of the repository in a separate folder.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use local_stack::{AboutFile, Settings};

use crate::error::{Error, Result};

/// A git worktree of one revision. Dropping removes it.
#[derive(Debug)]
pub struct Checkout {
    root: PathBuf,
    folder: PathBuf,
}

impl Checkout {
    /// # Errors
    /// There is no such revision, or git cannot check it out.
    pub fn new(root: &Path, target: &Path, revision: &str) -> Result<Self> {
        let commit = git(root, &["rev-parse", "--verify", "--quiet", "--end-of-options", &format!("{revision}^{{commit}}")])
            .map_err(|_| {
                Error::Deploy(format!(
                    "there is no git revision `{revision}` here. `git log --oneline` lists them; `git fetch --tags` brings \
                     those of others."
                ))
            })?;
        let folder = target.join("revisions").join(&commit[..commit.len().min(12)]);
        let path = folder.to_string_lossy().into_owned();
        // A command that was killed has left it behind.
        let _ = git(root, &["worktree", "remove", "--force", &path]);
        git(root, &["worktree", "add", "--quiet", "--force", "--detach", &path, &commit])
            .map_err(|said| Error::Deploy(format!("git cannot check out `{revision}`: {said}")))?;
        let checkout = Self { root: root.to_path_buf(), folder };
        // The dependencies that are built already serve it, too.
        let link = checkout.folder.join("target");
        std::os::unix::fs::symlink(target, &link).about("cannot make", &link)?;
        Ok(checkout)
    }

    /// The same settings for the revision's files.
    pub fn settings(&self, settings: &Settings) -> Settings {
        Settings { root: self.folder.clone(), ..settings.clone() }
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
    use super::*;

    /// A repository with two commits of one file.
    fn repository(name: &str) -> PathBuf {
        let root = std::env::temp_dir().join(format!("ops-revision-{name}-{}", std::process::id()));
        std::fs::create_dir_all(root.join("target")).unwrap();
        git(&root, &["init", "--quiet"]).unwrap();
        std::fs::write(root.join(".gitignore"), "/target\n").unwrap();
        for text in ["old", "new"] {
            std::fs::write(root.join("file"), text).unwrap();
            git(&root, &["add", "."]).unwrap();
            let commit =
                ["-c", "user.name=t", "-c", "user.email=t@t", "commit", "--quiet", "--message", text];
            git(&root, &commit).unwrap();
        }
        root
    }

    #[test]
    fn an_earlier_revision_is_checked_out_and_removed() {
        let root = repository("earlier");
        let target = root.join("target");
        let checkout = Checkout::new(&root, &target, "HEAD~1").unwrap();
        let folder = checkout.folder.clone();
        assert_eq!(std::fs::read_to_string(folder.join("file")).unwrap(), "old");
        assert_eq!(folder.join("target").canonicalize().unwrap(), target.canonicalize().unwrap());
        // As after a command that was killed.
        std::mem::forget(checkout);
        drop(Checkout::new(&root, &target, "HEAD~1").unwrap());
        assert!(!folder.exists());
        assert_eq!(std::fs::read_to_string(root.join("file")).unwrap(), "new");
        std::fs::remove_dir_all(&root).unwrap();
    }

    #[test]
    fn an_unknown_revision_is_named() {
        let root = repository("unknown");
        for revision in ["v9", "--help", ""] {
            let said = Checkout::new(&root, &root.join("target"), revision).unwrap_err().to_string();
            assert!(said.contains(&format!("`{revision}`")), "{said}");
        }
        std::fs::remove_dir_all(&root).unwrap();
    }
}
