use std::path::PathBuf;

/// Why a stack cannot be built, started, deployed or called. Each message says what happened and what to do next.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("no stack runs here. Start one with `cargo ops up`.")]
    NotRunning,
    #[error(
        "a stack is being started or stopped in {0} by another `cargo ops`. Wait for it, or stop that command."
    )]
    Busy(PathBuf),
    #[error(
        "the stack is still being set up. Wait for `cargo ops up` to finish; its progress is shown there."
    )]
    NotReady,
    #[error(
        "port {port} ({what}) is in use by another program. Stop that program, or choose another port with {option}."
    )]
    PortInUse { port: u16, what: &'static str, option: &'static str },
    #[error("{0}")]
    Python(String),
    #[error("the build failed.\n\n{0}\nCorrect the error above and run the command again.")]
    Build(String),
    #[error("no function is there to build: no package under functions/ has a binary.")]
    NoFunctions,
    #[error("{what} failed: {reason}\nIts log is {log}.")]
    Emulator { what: &'static str, reason: String, log: PathBuf },
    #[error(
        "stack {stack} failed.\n\n{reasons}\nCorrect {template} and run `cargo ops up` again; what cannot be changed in place needs `cargo ops down` before."
    )]
    StackFailed { stack: String, template: String, reasons: String },
    #[error("{template} cannot be read as a template: {reason}")]
    Template { template: PathBuf, reason: String },
    #[error("the emulator refused {operation}: {reason}")]
    Refused { operation: String, reason: String },
    #[error("the API refused {request}: {reason}\nThe functions' logs are in {logs}.")]
    Seed { request: String, reason: String, logs: PathBuf },
    #[error("{0}")]
    Deploy(String),
    #[error("{0}")]
    Containers(String),
    #[error("{what} {}: {source}", path.display())]
    File { what: &'static str, path: PathBuf, source: std::io::Error },
    #[error("{command} cannot be run: {source}")]
    Command { command: String, source: std::io::Error },
    #[error("{operation} got no answer: {}", shop_client::causes(source))]
    NoAnswer { operation: String, source: reqwest::Error },
}

impl Error {
    /// Whether the same call may succeed a moment later: the emulator failed or gave no answer, and refused nothing.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::NoAnswer { .. } => true,
            Self::Refused { reason, .. } => reason.starts_with('5'),
            _ => false,
        }
    }

    pub(crate) fn signals(source: std::io::Error) -> Self {
        Self::Command { command: "a signal handler".into(), source }
    }
}

pub type Result<T> = std::result::Result<T, Error>;

/// Says which file an I/O error is about.
pub trait AboutFile<T> {
    fn about(self, what: &'static str, path: &std::path::Path) -> Result<T>;
}

impl<T> AboutFile<T> for std::io::Result<T> {
    fn about(self, what: &'static str, path: &std::path::Path) -> Result<T> {
        self.map_err(|source| Error::File { what, path: path.to_path_buf(), source })
    }
}
