use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::error::{AboutFile, Result};
use crate::profile::Profile;

/// The usual port of AWS emulators.
pub const DEFAULT_GATEWAY_PORT: u16 = 4566;
/// The usual port of localstripe.
pub const DEFAULT_STRIPE_PORT: u16 = 8420;
/// The emulator's only region that needs no configuration.
pub const REGION: &str = "us-east-1";
/// A minute of an alarm's periods on this machine (infra/local/cloudwatch.py). A period is at most six of them.
pub const ALARM_MINUTE: Duration = Duration::from_secs(5);
/// The stage of a stack on one machine.
pub const LOCAL_STAGE: &str = "local";

/// Folders and ports.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The repository.
    pub root: PathBuf,
    /// Cargo's folder for what it builds.
    pub target: PathBuf,
    /// The state of one running stack: ports, logs, the admin's password. One folder for each stack.
    pub state_dir: PathBuf,
    pub gateway_port: Port,
    pub stripe_port: Port,
    /// The address that the emulator listens on. 127.0.0.1, unless other machines have to reach it.
    pub bind: String,
    /// Whether containers on this machine can reach it.
    pub containers: bool,
    /// The functions' endpoint for AWS, when it is a proxy in front of the emulator.
    pub functions_endpoint: Option<String>,
    /// The functions' address of the payment gateway, when it is a proxy in front of the stack's own.
    pub functions_gateway: Option<String>,
    /// The build profile of the functions.
    pub profile: Profile,
    /// Parameters of the templates with other values than in samconfig.toml.
    pub parameters: BTreeMap<String, String>,
}

/// Which port a listener takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Port {
    /// This port or an error: the user requested it.
    Exactly(u16),
    /// This one, or another when it is taken.
    Preferably(u16),
    /// Whichever is free.
    Any,
}

impl Settings {
    /// # Errors
    /// The state folder cannot be made, or its path cannot be resolved.
    pub fn new(state_dir: Option<PathBuf>, gateway_port: Port, stripe_port: Port) -> std::io::Result<Self> {
        let root = repository();
        let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), PathBuf::from);
        // Cargo runs in other folders, too.
        let target = std::path::absolute(target)?;
        let state_dir = state_dir.unwrap_or_else(|| root.join("target/stack"));
        std::fs::create_dir_all(&state_dir)?;
        // Resolved, since other processes with other working folders get it, and are recognised by it.
        let state_dir = state_dir.canonicalize()?;
        let bind = "127.0.0.1".to_owned();
        Ok(Self {
            root,
            target,
            state_dir,
            gateway_port,
            stripe_port,
            bind,
            containers: false,
            functions_endpoint: None,
            functions_gateway: None,
            profile: Profile::Local,
            parameters: BTreeMap::new(),
        })
    }

    /// The settings of a stack of its own in the folder `name` of the target folder, on free ports.
    ///
    /// # Errors
    /// The folder cannot be made.
    pub fn own(&self, name: &str) -> Result<Self> {
        let folder = self.target.join(name);
        Self::new(Some(folder.clone()), Port::Any, Port::Any).about("cannot make", &folder)
    }

    /// The folder for files that stacks share: the Python environment.
    pub fn tools_dir(&self) -> PathBuf {
        self.target.join("ops")
    }

    pub fn infra(&self) -> PathBuf {
        self.root.join("infra")
    }

    pub fn samconfig(&self) -> PathBuf {
        self.infra().join("samconfig.toml")
    }
}

/// The repository that this program was built in: it is run from there by `cargo ops`, and is never installed elsewhere.
pub fn repository() -> PathBuf {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    package.ancestors().nth(2).unwrap_or(package).to_path_buf()
}
