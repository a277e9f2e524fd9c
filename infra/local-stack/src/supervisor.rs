//! The process that runs one stack: both emulators and the Stripe proxy.
//!
//! It stops all of them and ends on SIGTERM or SIGINT, when one of them ends, or when its standard input
//! closes before it was told to [keep running](KEEP_RUNNING). So a stack whose starter is killed does not outlive it.

use std::fs::File;
use std::net::Ipv4Addr;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use tokio::io::AsyncReadExt;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

use crate::containers::Forwarder;
use crate::error::{AboutFile, Error, Result};
use crate::ports;
use crate::process;
use crate::settings::{ALARM_MINUTE, Port, REGION};
use crate::state::{Running, StateDir};
use crate::stripe_proxy::Proxy;

/// Makes the supervisor end the AWS emulator and start it again with the state that it had.
pub const RESTART: Signal = Signal::SIGUSR1;

/// Written to the supervisor's standard input: keep running when it closes.
pub const KEEP_RUNNING: u8 = b'k';

/// The emulator is ready after one second; a cold disk or a busy machine takes some more.
const READY_WITHIN: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(100);
/// A healthy emulator ends within a second.
const END_WITHIN: Duration = Duration::from_secs(5);

/// The supervisor's command line.
#[derive(Debug, Clone, clap::Args)]
pub struct SupervisorArgs {
    #[arg(long)]
    pub state_dir: PathBuf,
    #[arg(long)]
    pub root: PathBuf,
    #[arg(long)]
    pub python: PathBuf,
    #[arg(long)]
    pub bind: String,
    #[arg(long)]
    pub gateway_port: u16,
    #[arg(long)]
    pub stripe_port: u16,
    #[arg(long)]
    pub functions_endpoint: Option<String>,
    /// The address at which containers reach the stack.
    #[arg(long)]
    pub containers: Option<Ipv4Addr>,
}

impl SupervisorArgs {
    /// The words of a command line that reads back as these.
    pub fn words(&self) -> Vec<String> {
        let path = |path: &Path| path.to_string_lossy().into_owned();
        [
            ("--state-dir", path(&self.state_dir)),
            ("--root", path(&self.root)),
            ("--python", path(&self.python)),
            ("--bind", self.bind.clone()),
            ("--gateway-port", self.gateway_port.to_string()),
            ("--stripe-port", self.stripe_port.to_string()),
        ]
        .into_iter()
        .chain(self.functions_endpoint.clone().map(|url| ("--functions-endpoint", url)))
        .chain(self.containers.map(|address| ("--containers", address.to_string())))
        .flat_map(|(name, value)| [name.to_owned(), value])
        .collect()
    }
}

/// Runs until it is told to end. Output goes to its log.
///
/// # Errors
/// An emulator does not start, or ends by itself. Nothing runs then.
pub async fn supervise(arguments: SupervisorArgs) -> Result<()> {
    // A session of its own: Ctrl-C or closing the starter's terminal does not reach it. This fails only for a
    // process that is a session leader already.
    let _ = nix::unistd::setsid();
    #[cfg(target_os = "linux")]
    // Orphaned child processes are reparented to this one, which ends them. Best effort: their group is ended
    // as well.
    let _ = nix::sys::prctl::set_child_subreaper(true);

    let state = StateDir::new(&arguments.state_dir);
    let mut emulators = Emulators::default();
    let result = run_until_ended(&arguments, &state, &mut emulators).await;
    emulators.end().await;
    state.forget_running();
    // Only what the emulators unpacked.
    let _ = std::fs::remove_dir_all(state.scratch());
    match &result {
        Ok(why) => say(why),
        Err(error) => say(&error.to_string()),
    }
    result.map(drop)
}

/// Answers why it ended.
async fn run_until_ended(
    arguments: &SupervisorArgs,
    state: &StateDir,
    emulators: &mut Emulators,
) -> Result<String> {
    let mut terminate = signal(SignalKind::terminate()).map_err(Error::signals)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(Error::signals)?;
    let mut restart = signal(SignalKind::from_raw(RESTART as i32)).map_err(Error::signals)?;
    let mut abandoned = tokio::spawn(abandoned());

    let localstripe_port = ports::choose(Port::Any, "127.0.0.1", "localstripe", "--stripe-port")?.port;
    let proxy = TcpListener::bind((arguments.bind.as_str(), arguments.stripe_port)).await.map_err(|_| {
        Error::PortInUse { port: arguments.stripe_port, what: "Stripe proxy", option: "--stripe-port" }
    })?;
    tokio::spawn(Proxy::new(&format!("http://127.0.0.1:{localstripe_port}")).serve(proxy));

    let _forwarder = match arguments.containers {
        Some(address) => {
            Some(Forwarder::start(address, &[arguments.gateway_port, arguments.stripe_port]).await?)
        }
        None => None,
    };

    emulators.start(MINISTACK, arguments, state, &[MINISTACK.to_owned()], Begin::Empty)?;
    let localstripe = ["localstripe".to_owned(), localstripe_port.to_string()];
    emulators.start("localstripe", arguments, state, &localstripe, Begin::Empty)?;

    let work = async {
        emulators.ready(arguments.gateway_port, localstripe_port).await?;
        let mut running = Running {
            instance: uuid::Uuid::new_v4().to_string(),
            supervisor: std::process::id(),
            groups: emulators.groups(),
            gateway_port: arguments.gateway_port,
            stripe_port: arguments.stripe_port,
            localstripe_port,
            containers: arguments.containers.is_some(),
            started_at: jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
        };
        state.record_running(&running)?;
        say(&format!("ready: gateway {}, Stripe {}", running.gateway_port, running.stripe_port));
        loop {
            tokio::select! {
                ended = emulators.first_to_end() => return ended,
                _ = restart.recv() => {}
            }
            emulators.restart(arguments, state).await?;
            emulators.ready(arguments.gateway_port, localstripe_port).await?;
            running.groups = emulators.groups();
            state.record_running(&running)?;
            say("the AWS emulator was restarted");
        }
    };
    tokio::select! {
        ended = work => ended,
        _ = terminate.recv() => Ok("ended by a signal".to_owned()),
        _ = interrupt.recv() => Ok("ended by a signal".to_owned()),
        _ = &mut abandoned => Ok("ended because the process that started it has ended".to_owned()),
    }
}

/// Returns when standard input closes; never after the word to stay was read.
async fn abandoned() {
    let mut input = tokio::io::stdin();
    let mut byte = [0];
    loop {
        match input.read(&mut byte).await {
            Ok(1..) if byte[0] == KEEP_RUNNING => std::future::pending().await,
            Ok(1..) => {}
            Ok(0) | Err(_) => return,
        }
    }
}

fn say(line: &str) {
    eprintln!("{} {line}", jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ"));
}

const MINISTACK: &str = "ministack";

/// What an emulator begins with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Begin {
    Empty,
    /// With the state that the last one saved.
    WhereItEnded,
}

/// The emulators' processes, each the leader of a group that holds all it starts.
#[derive(Default)]
struct Emulators(Vec<Emulator>);

struct Emulator {
    name: &'static str,
    child: Child,
    /// Closing it ends the emulator: see emulator.py.
    _lifeline: Option<ChildStdin>,
    log: PathBuf,
}

impl Emulators {
    fn start(
        &mut self,
        name: &'static str,
        arguments: &SupervisorArgs,
        state: &StateDir,
        emulator: &[String],
        begin: Begin,
    ) -> Result<()> {
        let log = state.logs().join(format!("{name}.log"));
        if begin == Begin::Empty {
            File::create(&log).about("cannot write", &log)?;
        }
        let file = File::options().append(true).open(&log).about("cannot write", &log)?;
        let errors = file.try_clone().about("cannot write", &log)?;
        let scratch = state.scratch();
        let tmp = scratch.join("tmp");
        std::fs::create_dir_all(&tmp).about("cannot make", &tmp)?;
        let own_address = format!("http://127.0.0.1:{}", arguments.gateway_port);
        let mut child = Command::new(&arguments.python)
            .arg("-u")
            .arg(arguments.root.join("infra/local/emulator.py"))
            .args(emulator)
            .envs([
                ("GATEWAY_PORT", arguments.gateway_port.to_string()),
                ("BIND_HOST", arguments.bind.clone()),
                // Every IAM policy is evaluated.
                ("AUTH", "true".to_owned()),
                // It would listen for MQTT and SFTP too, on every address of the machine.
                ("IOT_MTLS_ENABLED", "0".to_owned()),
                ("SFTP_ENABLED", "0".to_owned()),
                // Without it functions would call the real AWS.
                ("AWS_ENDPOINT_URL", arguments.functions_endpoint.clone().unwrap_or(own_address)),
                ("AWS_ACCESS_KEY_ID", "test".to_owned()),
                ("AWS_SECRET_ACCESS_KEY", "test".to_owned()),
                ("AWS_DEFAULT_REGION", REGION.to_owned()),
                // Beside everything else of this stack, and not in the machine's /tmp.
                ("TMPDIR", tmp.to_string_lossy().into_owned()),
                ("S3_DATA_DIR", scratch.join("s3").to_string_lossy().into_owned()),
                ("STATE_DIR", scratch.join("state").to_string_lossy().into_owned()),
                ("PERSIST_STATE", u8::from(begin == Begin::WhereItEnded).to_string()),
                ("ORDERSAGA_ALARM_MINUTE_SECONDS", ALARM_MINUTE.as_secs().to_string()),
                ("PYTHONDONTWRITEBYTECODE", "1".to_owned()),
            ])
            // A developer's own AWS settings must not reach the emulator or the functions.
            .env_remove("AWS_PROFILE")
            .env_remove("AWS_SESSION_TOKEN")
            .env_remove("AWS_CONFIG_FILE")
            .env_remove("AWS_SHARED_CREDENTIALS_FILE")
            .stdin(Stdio::piped())
            .stdout(file)
            .stderr(errors)
            .process_group(0)
            .spawn()
            .map_err(|source| Error::Command { command: arguments.python.display().to_string(), source })?;
        let lifeline = child.stdin.take();
        self.0.push(Emulator { name, child, _lifeline: lifeline, log });
        Ok(())
    }

    fn groups(&self) -> Vec<u32> {
        self.0.iter().map(|emulator| emulator.child.id()).collect()
    }

    /// Ends the AWS emulator, with the functions that it runs, and starts it again with its state: see emulator.py.
    async fn restart(&mut self, arguments: &SupervisorArgs, state: &StateDir) -> Result<()> {
        let Some(place) = self.0.iter().position(|emulator| emulator.name == MINISTACK) else {
            return Ok(());
        };
        let mut emulator = self.0.remove(place);
        let group = emulator.child.id();
        process::signal(group, RESTART);
        let deadline = Instant::now() + READY_WITHIN;
        while matches!(emulator.child.try_wait(), Ok(None)) {
            if Instant::now() > deadline {
                return Err(emulator.failed(format!("it did not end within {} s", READY_WITHIN.as_secs())));
            }
            tokio::time::sleep(POLL).await;
        }
        process::signal_group(group, Signal::SIGKILL);
        self.start(MINISTACK, arguments, state, &[MINISTACK.to_owned()], Begin::WhereItEnded)?;
        // It reports as the first one, as before.
        self.0.rotate_right(1);
        Ok(())
    }

    /// Waits until both answer.
    async fn ready(&mut self, gateway_port: u16, localstripe_port: u16) -> Result<()> {
        let http = crate::emulator::client();
        let deadline = Instant::now() + READY_WITHIN;
        for url in [
            format!("http://127.0.0.1:{gateway_port}/_ministack/health"),
            format!("http://127.0.0.1:{localstripe_port}/js.stripe.com/v3/"),
        ] {
            while !http
                .get(&url)
                .timeout(READY_WITHIN)
                .send()
                .await
                .is_ok_and(|answer| answer.status().is_success())
            {
                if let Some(error) = self.ended() {
                    return Err(error);
                }
                if Instant::now() > deadline {
                    return Err(self.0[0].failed(format!("no answer within {} s", READY_WITHIN.as_secs())));
                }
                tokio::time::sleep(POLL).await;
            }
        }
        Ok(())
    }

    /// Waits until one ends, which neither should.
    async fn first_to_end(&mut self) -> Result<String> {
        loop {
            if let Some(error) = self.ended() {
                return Err(error);
            }
            tokio::time::sleep(POLL).await;
        }
    }

    fn ended(&mut self) -> Option<Error> {
        self.0.iter_mut().find_map(|emulator| {
            let status = emulator.child.try_wait().ok()??;
            Some(emulator.failed(format!("it ended ({status})")))
        })
    }

    /// Ends every process of every group, kindly first.
    async fn end(&mut self) {
        for emulator in &self.0 {
            process::signal_group(emulator.child.id(), Signal::SIGTERM);
        }
        let deadline = Instant::now() + END_WITHIN;
        while self.any_lives() && Instant::now() < deadline {
            tokio::time::sleep(POLL).await;
        }
        for emulator in &self.0 {
            process::signal_group(emulator.child.id(), Signal::SIGKILL);
        }
        while self.any_lives() && Instant::now() < deadline + END_WITHIN {
            tokio::time::sleep(POLL).await;
        }
        process::kill_own_children();
    }

    fn any_lives(&mut self) -> bool {
        process::reap_children();
        self.0.iter().any(|emulator| process::group_lives(emulator.child.id()))
    }
}

impl Emulator {
    fn failed(&self, reason: String) -> Error {
        Error::Emulator { what: self.name, reason, log: self.log.clone() }
    }
}
