use std::path::PathBuf;

/// All errors that end a command. Each message says what happened and what to do next.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Stack(#[from] local_stack::Error),
    #[error(transparent)]
    Demo(#[from] demo::Error),
    #[error(transparent)]
    Bench(#[from] bench::Error),
    #[error(transparent)]
    Chaos(#[from] chaos::Error),
    #[error("{0}")]
    Deploy(String),
    #[error("{operation} failed: {reason}\nCorrect that and run the command again.")]
    Remote { operation: String, reason: String },
    #[error("{0}")]
    Stage(String),
    #[error("{0}")]
    Saga(String),
    /// Payments could not be compared with the gateway, or one not be recorded.
    #[error("{0}")]
    Payments(String),
    #[error("{0}")]
    Users(String),
    #[error("{0}")]
    Audit(String),
    #[error("{0}")]
    Order(String),
    #[error("{0}")]
    Switch(String),
    #[error("{0}")]
    Replay(String),
    #[error("{0}")]
    Dlq(String),
    #[error("{0}")]
    Drill(String),
    #[error("{0}")]
    Republish(String),
    #[error("{function} answers what cannot be read ({reason}): {said}")]
    Unreadable { function: String, reason: String, said: String },
    #[error("{0}")]
    SamLocal(String),
    #[error("{0}")]
    Simulate(String),
    #[error("{0}")]
    Verify(String),
    #[error("{0}")]
    Backup(String),
    #[error("the stack has ended by itself. Why is in {}.", logs.join("supervisor.log").display())]
    Ended { logs: PathBuf },
    #[error("stopped by Ctrl-C")]
    Interrupted,
}

pub type Result<T> = std::result::Result<T, Error>;
