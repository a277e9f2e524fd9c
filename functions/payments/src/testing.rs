//! Gateway and AWS as this crate's tests see them.
