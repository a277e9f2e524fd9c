use std::path::{Path, PathBuf};

use crate::profile::Profile;

/// The usual port of AWS emulators.
pub const DEFAULT_GATEWAY_PORT: u16 = 4566;
/// The usual port of localstripe.
pub const DEFAULT_STRIPE_PORT: u16 = 8420;
/// The emulator's only region that needs no configuration.
pub const REGION: &str = "us-east-1";
/// The stage of a stack on one machine.
pub const LOCAL_STAGE: &str = "local";

/// Folders and ports.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The repository.
    pub root: PathBuf,
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
    /// The build profile of the functions.
    pub profile: Profile,
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
        let state_dir = state_dir.unwrap_or_else(|| root.join("target/stack"));
        std::fs::create_dir_all(&state_dir)?;
        // Resolved, since other processes with other working folders get it, and are recognised by it.
        let state_dir = state_dir.canonicalize()?;
        let bind = "127.0.0.1".to_owned();
        Ok(Self {
            root,
            state_dir,
            gateway_port,
            stripe_port,
            bind,
            containers: false,
            functions_endpoint: None,
            profile: Profile::Local,
        })
    }

    pub fn target_dir(&self) -> PathBuf {
        std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| self.root.join("target"), PathBuf::from)
    }

    /// The folder for files that stacks share: the Python environment.
    pub fn tools_dir(&self) -> PathBuf {
        self.target_dir().join("ops")
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
