/// Why a measurement failed. The message says what to do next.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Stack(#[from] local_stack::Error),
    #[error(transparent)]
    Shop(#[from] shop_client::Error),
    /// What is measured did not happen, or cannot be read.
    #[error("{0}")]
    Measurement(String),
}

pub type Result<T> = std::result::Result<T, Error>;
