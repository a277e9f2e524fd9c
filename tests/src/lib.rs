//! Tests of the system as a whole; see README.md. They are all in `tests/`.
