//! Checks that Docker is usable, for a clearer error than SAM's.

use std::io::ErrorKind;
use std::process::Stdio;
use std::time::Duration;

use tokio::process::Command;

use crate::error::{Error, Result};

const PROGRAM: &str = "docker";
const WITHIN: Duration = Duration::from_secs(20);

/// # Errors
/// Docker is not installed, or does not answer.
pub async fn answers() -> Result<()> {
    asks(PROGRAM).await
}

async fn asks(program: &str) -> Result<()> {
    let mut command = Command::new(program);
    command.args(["version", "--format", "{{.Server.Version}}"]).stdin(Stdio::null()).kill_on_drop(true);
    match tokio::time::timeout(WITHIN, command.output()).await {
        Ok(Ok(output)) if output.status.success() => Ok(()),
        Ok(Ok(output)) => Err(no_answer(String::from_utf8_lossy(&output.stderr).trim())),
        Ok(Err(error)) if error.kind() == ErrorKind::NotFound => Err(Error::SamLocal(
            "Docker is not installed, and `sam local invoke` runs each function in a container. Install it (Debian, Ubuntu: \
             `apt install docker.io`; other systems: https://docs.docker.com/engine/install/), start it, and run the command \
             again."
                .to_owned(),
        )),
        Ok(Err(source)) => Err(local_stack::Error::Command { command: program.to_owned(), source }.into()),
        Err(_) => Err(no_answer(&format!("nothing within {} s", WITHIN.as_secs()))),
    }
}

fn no_answer(said: &str) -> Error {
    Error::SamLocal(format!(
        "Docker does not answer: {said}\nStart it (`systemctl start docker`) or let your user use it (`usermod -aG docker \
         $USER`, then log in again), and run the command again."
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn without_docker_the_error_says_how_to_get_it() {
        let error = asks("docker-that-is-not-installed").await.unwrap_err().to_string();
        assert!(error.contains("not installed") && error.contains("apt install docker.io"), "{error}");
    }

    #[tokio::test]
    async fn a_docker_that_does_not_answer_is_to_be_started() {
        let error = asks("false").await.unwrap_err().to_string();
        assert!(error.contains("does not answer") && error.contains("systemctl start docker"), "{error}");
    }
}
