/// Why a run of chaos ended without a verdict, or with a bad one. The message says what to do next.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Stack(#[from] local_stack::Error),
    #[error(transparent)]
    Shop(#[from] shop_client::Error),
    /// The runs cannot begin.
    #[error("{0}")]
    Chaos(String),
    /// The runs are over, and the judge objects.
    #[error("{0}")]
    Violated(String),
}

pub type Result<T> = std::result::Result<T, Error>;
