//! A running stack, for the command line and for tests.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::{Duration, Instant};

use crate::error::{AboutFile, Error, Result};
use crate::progress::Progress;
use crate::settings::Settings;
use crate::state::{Outputs, Running, StateDir};
use crate::supervisor::{KEEP_RUNNING, RESTART, SupervisorArgs};
use crate::{containers, deploy, functions, ports, process, python, setup};

/// Longer than the supervisor itself waits.
const START_WITHIN: Duration = Duration::from_secs(75);
/// Saving, ending, starting and loading take seconds.
const RESTART_WITHIN: Duration = Duration::from_secs(120);
/// The supervisor gives the emulators 10 s in all.
const STOP_WITHIN: Duration = Duration::from_secs(15);
const POLL: Duration = Duration::from_millis(50);

/// A stack that is up. Dropped, it ends, unless it was running before or was [left running](Stack::detach). When this
/// process is killed, it ends as well.
#[derive(Debug)]
pub struct Stack {
    state: StateDir,
    running: Running,
    outputs: Outputs,
    supervisor: Option<Supervisor>,
}

impl Stack {
    /// Builds, starts, deploys and seeds. A stack that already runs in the state folder is used and updated. This program
    /// supervises the stack, so it has to be `cargo ops`.
    ///
    /// # Errors
    /// Any of these steps fails. Then nothing that this call started is running.
    pub async fn start(settings: &Settings, progress: &Progress) -> Result<Self> {
        let program = std::env::current_exe()
            .map_err(|source| Error::Command { command: "cargo ops".into(), source })?;
        Self::start_by(settings, &program, progress).await
    }

    /// As [`Stack::start`], with `program` as the supervisor. It gets [`SUPERVISE`](process::SUPERVISE) and the arguments
    /// of a [`SupervisorArgs`], and has to call [`supervise`](crate::supervisor::supervise) with them.
    ///
    /// # Errors
    /// As [`Stack::start`].
    pub async fn start_by(settings: &Settings, program: &Path, progress: &Progress) -> Result<Self> {
        let state = StateDir::new(&settings.state_dir);
        let lock = state.lock()?;
        let found = state.running();
        if found.as_ref().is_some_and(|running| settings.containers && !running.containers) {
            return Err(Error::Containers(
                "the stack that runs was started without --containers. Run `cargo ops down`, then `cargo ops up \
                 --containers`."
                    .to_owned(),
            ));
        }
        // Before anything that takes minutes.
        let wanted = if found.is_none() { Some(Ports::choose(settings, progress)?) } else { None };
        // The first failure ends the other: missing Python is reported without waiting minutes for the build.
        let (python, _) = tokio::try_join!(
            python::environment(settings, python::Purpose::Local, progress),
            functions::build(settings, progress)
        )?;
        let (running, supervisor) = match (found, wanted) {
            (Some(running), _) => {
                progress.say("the emulators are running already");
                (running, None)
            }
            (None, wanted) => {
                let ports = match wanted {
                    Some(ports) => ports,
                    None => Ports::choose(settings, progress)?,
                };
                let step = progress.step("starting the emulators");
                let arguments = SupervisorArgs {
                    state_dir: settings.state_dir.clone(),
                    root: settings.root.clone(),
                    python: python.join("python"),
                    bind: settings.bind.clone(),
                    gateway_port: ports.gateway,
                    stripe_port: ports.stripe,
                    functions_endpoint: settings.functions_endpoint.clone(),
                    containers: settings.containers.then(containers::host_address),
                };
                let supervisor = Supervisor::start(program, &arguments, &state)?;
                let (supervisor, running) = supervisor.ready(&state).await?;
                step.done("the emulators are running");
                (running, Some(supervisor))
            }
        };
        deploy::local(settings, &state, &running, progress).await?;
        let outputs = setup::complete(settings, &state, &running, progress).await?;
        drop(lock);
        Ok(Self { state, running, outputs, supervisor })
    }

    pub fn outputs(&self) -> &Outputs {
        &self.outputs
    }

    pub fn running(&self) -> &Running {
        &self.running
    }

    /// The folder of its logs.
    pub fn logs(&self) -> PathBuf {
        self.state.logs()
    }

    /// Whether this call started it, and so must stop it.
    pub fn is_ours(&self) -> bool {
        self.supervisor.is_some()
    }

    /// Returns when it has ended by itself.
    pub async fn ended(&self) {
        while self.state.running().is_some() {
            tokio::time::sleep(POLL * 10).await;
        }
    }

    /// Leaves it running.
    ///
    /// # Errors
    /// It has ended in between.
    pub fn detach(mut self) -> Result<Outputs> {
        if let Some(supervisor) = self.supervisor.take() {
            supervisor.stay(&self.state)?;
        }
        Ok(self.outputs.clone())
    }

    /// Ends it and waits until nothing of it runs.
    pub fn stop(mut self) {
        self.supervisor = None;
    }
}

/// Ends what runs in a state folder. `false` when nothing did.
///
/// # Errors
/// It does not end.
pub fn down(state: &StateDir) -> Result<bool> {
    let Some(recorded) = state.recorded() else { return Ok(false) };
    let ours = || process::is_supervisor(recorded.supervisor, state.path());
    let ran = ours();
    if ran && !process::terminate(recorded.supervisor, STOP_WITHIN, ours) {
        return Err(Error::Deploy(format!(
            "the supervisor (process {}) does not end. Its log is {}; `kill -9 {}` ends it.",
            recorded.supervisor,
            state.logs().join("supervisor.log").display(),
            recorded.supervisor
        )));
    }
    // A supervisor that was killed could not end the emulators. They end by themselves within seconds; these are those
    // that do not.
    for group in &recorded.groups {
        let deadline = Instant::now() + STOP_WITHIN;
        while process::group_lives(*group) && Instant::now() < deadline && !ran {
            std::thread::sleep(POLL);
        }
        process::kill_group_of(*group, "emulator.py");
    }
    state.forget_running();
    let _ = std::fs::remove_dir_all(state.scratch());
    Ok(ran)
}

/// Ends the AWS emulator of the stack that runs in a state folder, and starts it again with its tables, queues and
/// executions. Its functions end with it.
///
/// # Errors
/// No stack runs there, or the emulator does not come back.
pub async fn restart_emulator(state: &StateDir) -> Result<()> {
    let before = state.running().ok_or(Error::NotRunning)?;
    process::signal(before.supervisor, RESTART);
    let deadline = Instant::now() + RESTART_WITHIN;
    loop {
        let running = state.running().ok_or(Error::NotRunning)?;
        if running.groups != before.groups {
            return Ok(());
        }
        if Instant::now() > deadline {
            let reason = format!("it was not back within {} s", RESTART_WITHIN.as_secs());
            return Err(Error::Emulator {
                what: "the restart",
                reason,
                log: state.logs().join("supervisor.log"),
            });
        }
        tokio::time::sleep(POLL).await;
    }
}

struct Ports {
    gateway: u16,
    stripe: u16,
}

impl Ports {
    fn choose(settings: &Settings, progress: &Progress) -> Result<Self> {
        let bind = &settings.bind;
        let gateway = ports::choose(settings.gateway_port, bind, "the AWS emulator's", "--port")?;
        let stripe = ports::choose(settings.stripe_port, bind, "the Stripe proxy's", "--stripe-port")?;
        for (chosen, what) in [(&gateway, "AWS emulator"), (&stripe, "Stripe proxy")] {
            if let Some(taken) = chosen.instead_of {
                progress.say(&format!("port {taken} is in use, so the {what} takes {}", chosen.port));
            }
        }
        Ok(Self { gateway: gateway.port, stripe: stripe.port })
    }
}

/// A supervisor that ends with this value.
#[derive(Debug)]
struct Supervisor {
    process: Child,
    lifeline: Option<ChildStdin>,
}

impl Supervisor {
    fn start(program: &Path, arguments: &SupervisorArgs, state: &StateDir) -> Result<Self> {
        std::fs::create_dir_all(state.logs()).about("cannot make", &state.logs())?;
        state.forget_running();
        let log = state.logs().join("supervisor.log");
        let file = File::create(&log).about("cannot write", &log)?;
        let errors = file.try_clone().about("cannot write", &log)?;
        let mut process = Command::new(program)
            .arg(process::SUPERVISE)
            .args(arguments.words())
            .current_dir(&arguments.state_dir)
            .stdin(Stdio::piped())
            .stdout(file)
            .stderr(errors)
            .spawn()
            .map_err(|source| Error::Command { command: program.display().to_string(), source })?;
        let lifeline = process.stdin.take();
        Ok(Self { process, lifeline })
    }

    /// Waits until the supervisor reports that the emulators answer.
    async fn ready(mut self, state: &StateDir) -> Result<(Self, Running)> {
        let log = state.logs().join("supervisor.log");
        let failed = |reason: String| Error::Emulator { what: "the stack", reason, log: log.clone() };
        let deadline = Instant::now() + START_WITHIN;
        loop {
            if let Some(running) = state.running().filter(|running| running.supervisor == self.process.id()) {
                return Ok((self, running));
            }
            if let Ok(Some(_)) = self.process.try_wait() {
                let said = std::fs::read_to_string(&log).unwrap_or_default();
                let last =
                    said.lines().rev().find(|line| line.contains("failed: ") || line.contains("in use"));
                return Err(failed(last.or(said.lines().last()).unwrap_or("it said nothing").to_owned()));
            }
            if Instant::now() > deadline {
                return Err(failed(format!("it was not ready within {} s", START_WITHIN.as_secs())));
            }
            tokio::time::sleep(POLL).await;
        }
    }

    /// Lets it run when this process ends.
    fn stay(mut self, state: &StateDir) -> Result<()> {
        let lifeline = self.lifeline.as_mut().ok_or(Error::NotRunning)?;
        lifeline
            .write_all(&[KEEP_RUNNING])
            .and_then(|()| lifeline.flush())
            .about("lost the supervisor of", state.path())?;
        // Neither closed before the byte was read nor waited for: the pipe keeps it.
        std::mem::forget(self);
        Ok(())
    }
}

impl Drop for Supervisor {
    fn drop(&mut self) {
        drop(self.lifeline.take());
        let deadline = Instant::now() + STOP_WITHIN;
        while !matches!(self.process.try_wait(), Ok(Some(_)) | Err(_)) {
            if Instant::now() > deadline {
                // Its emulators end when it does.
                let _ = self.process.kill();
                let _ = self.process.wait();
                return;
            }
            std::thread::sleep(POLL);
        }
    }
}
