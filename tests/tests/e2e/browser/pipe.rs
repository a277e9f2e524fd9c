//! The browser's process, and messages to and from it: JSON, each ended by a zero byte.

use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

use super::{Result, said};

/// For one message, also from a machine that compiles at the same time.
const ANSWER_WITHIN: Duration = Duration::from_secs(60);
const END_WITHIN: Duration = Duration::from_secs(5);

/// The browser reads its commands from descriptor 3 and answers on 4. The shell puts our pipes there and becomes it.
const LAUNCH: &str = r#"exec "$0" "$@" 3<&0 4>&1 </dev/null >/dev/null"#;

/// No option makes the browser call anything but the opened page.
const OPTIONS: &[&str] = &[
    "--headless",
    "--remote-debugging-pipe",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--hide-scrollbars",
    "--lang=en-US",
    "--no-proxy-server",
    // A page that a test puts in the place of the shop's has no address, and may then not speak to this machine.
    "--disable-features=LocalNetworkAccessChecks,LocalNetworkAccessChecksWebSockets",
];

#[derive(Debug)]
pub struct Pipe {
    process: Child,
    commands: ChildStdin,
    answers: BufReader<ChildStdout>,
    profile: PathBuf,
    session: Option<String>,
    last_id: u64,
}

impl Pipe {
    /// A browser with an empty profile in this folder, and one empty page.
    pub async fn open(program: &Path, profile: PathBuf) -> Result<Self> {
        // Left by a test that was killed.
        let _ = std::fs::remove_dir_all(&profile);
        std::fs::create_dir_all(&profile).map_err(said)?;
        let log = std::fs::File::create(profile.join("stderr.log")).map_err(said)?;
        let mut command = std::process::Command::new("/bin/sh");
        command.args(["-c", LAUNCH]).arg(program).args(OPTIONS);
        command.arg(format!("--user-data-dir={}", profile.display()));
        if nix::unistd::geteuid().is_root() {
            // Chromium refuses to run as root with its sandbox, and only our own page is opened.
            command.arg("--no-sandbox");
        }
        command.arg("about:blank").process_group(0);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(log);
        let mut process = Command::from(command).kill_on_drop(true).spawn().map_err(said)?;
        let (Some(commands), Some(answers)) = (process.stdin.take(), process.stdout.take()) else {
            return Err("the browser has no pipes".to_owned());
        };
        let answers = BufReader::new(answers);
        let mut pipe = Self { process, commands, answers, profile, session: None, last_id: 0 };
        let page = pipe.ask("Target.createTarget", json!({"url": "about:blank"})).await?;
        let target = json!({"targetId": page["targetId"], "flatten": true});
        let attached = pipe.ask("Target.attachToTarget", target).await?;
        pipe.session = attached["sessionId"].as_str().map(str::to_owned);
        Ok(pipe)
    }

    async fn ask(&mut self, method: &str, parameters: Value) -> Result<Value> {
        let id = self.send(method, parameters).await?;
        loop {
            let message = self.receive().await?;
            if message["id"] == id {
                return Ok(message["result"].clone());
            }
        }
    }

    /// Answers the command's id.
    pub async fn send(&mut self, method: &str, parameters: Value) -> Result<u64> {
        self.last_id += 1;
        let mut message = json!({"id": self.last_id, "method": method, "params": parameters});
        if let Some(session) = &self.session {
            message["sessionId"] = json!(session);
        }
        let mut bytes = message.to_string().into_bytes();
        bytes.push(0);
        self.commands.write_all(&bytes).await.map_err(said)?;
        Ok(self.last_id)
    }

    /// The next message: a response or an event.
    pub async fn receive(&mut self) -> Result<Value> {
        let mut bytes = Vec::new();
        let read = tokio::time::timeout(ANSWER_WITHIN, self.answers.read_until(0, &mut bytes)).await;
        if read.map_err(|_| "the browser does not answer")?.map_err(said)? == 0 {
            let log = std::fs::read_to_string(self.profile.join("stderr.log")).unwrap_or_default();
            return Err(format!("the browser has ended: {log}"));
        }
        bytes.pop();
        serde_json::from_slice(&bytes).map_err(said)
    }
}

impl Drop for Pipe {
    /// Ends the browser with all its processes. If this process is killed, this does not run, and the browser
    /// ends because its pipe closes.
    fn drop(&mut self) {
        if let Some(group) = self.process.id().and_then(|id| i32::try_from(id).ok()) {
            // Gone already is what is wanted.
            let _ = killpg(Pid::from_raw(group), Signal::SIGKILL);
        }
        let deadline = Instant::now() + END_WITHIN;
        while Instant::now() < deadline && matches!(self.process.try_wait(), Ok(None)) {
            std::thread::sleep(Duration::from_millis(10));
        }
        // If this fails, the next browser that starts here removes it.
        let _ = std::fs::remove_dir_all(&self.profile);
    }
}
