//! The state folder's files.

use std::fs;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::error::{AboutFile, Error, Result};
use crate::process;

/// Written by the supervisor once both emulators answer, and removed when it ends.
#[derive(Debug, Clone, Serialize, Deserialize, PartialEq, Eq)]
pub struct Running {
    /// New with every start: what is recorded about another instance is of no use.
    pub instance: String,
    pub supervisor: u32,
    /// Leaders of the emulators' process groups.
    pub groups: Vec<u32>,
    pub gateway_port: u16,
    pub stripe_port: u16,
    /// localstripe itself, behind the proxy.
    pub localstripe_port: u16,
    /// Whether containers can reach it.
    #[serde(default)]
    pub containers: bool,
    pub started_at: String,
}

impl Running {
    pub fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.gateway_port)
    }

    pub fn stripe_url(&self) -> String {
        format!("http://127.0.0.1:{}", self.stripe_port)
    }
}

/// The deployments into this instance so far.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Deployed {
    pub instance: String,
    /// Stack name to the hash of all that went in.
    pub stacks: std::collections::BTreeMap<String, String>,
    /// Keys in the artifact bucket.
    pub artifacts: std::collections::BTreeSet<String>,
    pub seeded: bool,
}

#[derive(Debug, Clone, Serialize, Deserialize, PartialEq, Eq)]
pub struct Admin {
    pub email: String,
    pub password: String,
}

/// Generated once for a state folder.
#[derive(Debug, Clone, Serialize, Deserialize, PartialEq, Eq)]
pub struct Secrets {
    pub admin: Admin,
    /// Signs localstripe's webhooks.
    pub webhook: String,
}

/// The output of `cargo ops outputs`: enough to use the stack.
#[derive(Debug, Clone, Serialize, Deserialize, PartialEq, Eq)]
pub struct Outputs {
    pub api_url: String,
    pub websocket_url: String,
    pub storefront_url: String,
    pub aws_endpoint_url: String,
    pub stripe_url: String,
    pub region: String,
    pub stage: String,
    pub admin: Admin,
}

/// One stack's folder.
#[derive(Debug, Clone)]
pub struct StateDir(PathBuf);

impl StateDir {
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self(path.into())
    }

    pub fn path(&self) -> &Path {
        &self.0
    }

    pub fn logs(&self) -> PathBuf {
        self.0.join("logs")
    }

    /// The emulators' temporary files: unpacked functions, stored objects. Removed with the instance.
    pub fn scratch(&self) -> PathBuf {
        self.0.join("scratch")
    }

    fn running_file(&self) -> PathBuf {
        self.0.join("running.json")
    }

    /// The stack running here, if its supervisor is alive and is ours.
    pub fn running(&self) -> Option<Running> {
        let running: Running = read(&self.running_file())?;
        process::is_supervisor(running.supervisor, &self.0).then_some(running)
    }

    /// The recorded stack, whether or not it is alive.
    pub fn recorded(&self) -> Option<Running> {
        read(&self.running_file())
    }

    pub fn record_running(&self, running: &Running) -> Result<()> {
        write(&self.running_file(), running, PUBLIC)
    }

    pub fn forget_running(&self) {
        // Already gone is what is wanted.
        let _ = fs::remove_file(self.running_file());
        let _ = fs::remove_file(self.outputs_file());
        let _ = fs::remove_file(self.environments_file());
        let _ = fs::remove_file(self.start_api_file());
        let _ = fs::remove_dir_all(self.0.join("env"));
    }

    /// The deployments into `instance`; empty when the record is of an earlier instance.
    pub fn deployed(&self, instance: &str) -> Deployed {
        read::<Deployed>(&self.0.join("deployed.json"))
            .filter(|deployed| deployed.instance == instance)
            .unwrap_or_else(|| Deployed { instance: instance.to_owned(), ..Deployed::default() })
    }

    pub fn record_deployed(&self, deployed: &Deployed) -> Result<()> {
        write(&self.0.join("deployed.json"), deployed, PUBLIC)
    }

    fn outputs_file(&self) -> PathBuf {
        self.0.join("outputs.json")
    }

    /// # Errors
    /// Nothing runs, or what runs is not set up yet.
    pub fn outputs(&self) -> Result<Outputs> {
        self.running().ok_or(Error::NotRunning)?;
        read(&self.outputs_file()).ok_or(Error::NotReady)
    }

    pub fn record_outputs(&self, outputs: &Outputs) -> Result<()> {
        write(&self.outputs_file(), outputs, PRIVATE)
    }

    /// The functions' environments, for `sam local invoke --env-vars`.
    pub fn environments_file(&self) -> PathBuf {
        self.0.join("env.json")
    }

    /// One function's environment, for `cargo lambda watch --env-file`.
    pub fn record_env_file(&self, function: &str, text: &str) -> Result<()> {
        let folder = self.0.join("env");
        fs::create_dir_all(&folder).about("cannot make", &folder)?;
        let file = folder.join(format!("{function}.env"));
        fs::write(&file, text).about("cannot write", &file)
    }

    fn start_api_file(&self) -> PathBuf {
        self.0.join("start-api.json")
    }

    /// The REST API as a template, for `sam local start-api`.
    pub fn record_start_api(&self, template: &impl Serialize) -> Result<()> {
        write(&self.start_api_file(), template, PUBLIC)
    }

    pub fn record_environments(&self, environments: &impl Serialize) -> Result<()> {
        write(&self.environments_file(), environments, PUBLIC)
    }

    /// The secrets of every stack in this folder; made up at the first call.
    pub fn secrets(&self) -> Result<Secrets> {
        let file = self.0.join("secrets.json");
        if let Some(secrets) = read(&file) {
            return Ok(secrets);
        }
        // Has all the kinds of characters that a policy may require.
        let password = format!("Ops-{}", random());
        let admin = Admin { email: "admin@ordersaga.example".to_owned(), password };
        let secrets = Secrets { admin, webhook: format!("whsec_{}", random()) };
        write(&file, &secrets, PRIVATE)?;
        Ok(secrets)
    }

    /// Keeps a second command out of this folder for as long as the answer lives.
    pub fn lock(&self) -> Result<fs::File> {
        let path = self.0.join("lock");
        let file =
            fs::OpenOptions::new().create(true).append(true).open(&path).about("cannot open", &path)?;
        file.try_lock().map_err(|_| Error::Busy(self.0.clone()))?;
        Ok(file)
    }
}

const PUBLIC: u32 = 0o644;
/// Holds a password.
const PRIVATE: u32 = 0o600;

/// 122 random bits.
fn random() -> String {
    uuid::Uuid::new_v4().simple().to_string()
}

fn read<T: DeserializeOwned>(path: &Path) -> Option<T> {
    serde_json::from_slice(&fs::read(path).ok()?).ok()
}

/// Whole or not at all: a reader never sees half of it.
fn write<T: Serialize>(path: &Path, value: &T, mode: u32) -> Result<()> {
    let text = serde_json::to_vec_pretty(value).map_err(std::io::Error::other).about("cannot write", path)?;
    let draft = path.with_extension("draft");
    let _ = fs::remove_file(&draft);
    let mut file = fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(&draft)
        .about("cannot write", &draft)?;
    file.write_all(&text).about("cannot write", &draft)?;
    fs::rename(&draft, path).about("cannot write", path)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn folder() -> StateDir {
        let path = std::env::temp_dir().join(format!("ops-state-{}", uuid::Uuid::new_v4().simple()));
        fs::create_dir_all(&path).unwrap();
        StateDir::new(path)
    }

    #[test]
    fn the_admin_keeps_one_password_that_only_the_owner_can_read() {
        let state = folder();
        let first = state.secrets().unwrap();
        assert_eq!(first, state.secrets().unwrap());
        let mode = fs::metadata(state.path().join("secrets.json")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        fs::remove_dir_all(state.path()).unwrap();
    }

    #[test]
    fn what_was_deployed_into_an_earlier_instance_does_not_count() {
        let state = folder();
        let mut deployed = state.deployed("one");
        deployed.seeded = true;
        state.record_deployed(&deployed).unwrap();
        assert!(state.deployed("one").seeded);
        assert!(!state.deployed("two").seeded);
        fs::remove_dir_all(state.path()).unwrap();
    }

    #[test]
    fn a_dead_supervisor_is_not_running() {
        let state = folder();
        let mut child = std::process::Command::new("true").spawn().unwrap();
        let pid = child.id();
        child.wait().unwrap();
        let running = Running {
            instance: "one".into(),
            supervisor: pid,
            groups: vec![],
            gateway_port: 1,
            stripe_port: 2,
            localstripe_port: 3,
            containers: false,
            started_at: "2026-11-20T00:00:00Z".into(),
        };
        state.record_running(&running).unwrap();
        assert_eq!(state.recorded(), Some(running));
        assert_eq!(state.running(), None);
        assert!(matches!(state.outputs(), Err(Error::NotRunning)));
        fs::remove_dir_all(state.path()).unwrap();
    }

    #[test]
    fn a_locked_folder_is_busy() {
        let state = folder();
        let first = state.lock().unwrap();
        assert!(matches!(state.lock(), Err(Error::Busy(_))));
        drop(first);
        assert!(state.lock().is_ok());
        fs::remove_dir_all(state.path()).unwrap();
    }
}
