//! What happened in a run, line by line. The same seed gives the same lines.

use std::{cell::RefCell, fmt};

use sha2::{Digest, Sha256};

use crate::process;

#[derive(Debug)]
pub struct Trace {
    is_on: bool,
    lines: RefCell<Vec<String>>,
}

impl Trace {
    pub fn new(is_on: bool) -> Self {
        Self { is_on, lines: RefCell::default() }
    }

    /// Whether lines are kept.
    pub const fn is_on(&self) -> bool {
        self.is_on
    }

    /// Adds a line, with the time since the beginning.
    pub fn line(&self, text: fmt::Arguments<'_>) {
        if !self.is_on {
            return;
        }
        let now = process::elapsed();
        self.lines.borrow_mut().push(format!("{}.{:03} {text}", now.as_secs(), now.subsec_millis()));
    }

    /// All lines.
    pub fn text(&self) -> String {
        let mut text = self.lines.borrow().join("\n");
        text.push('\n');
        text
    }
}

/// The beginning of a text's SHA-256: enough to see that two are the same.
pub fn digest(text: &str) -> String {
    let hash = Sha256::digest(text.as_bytes());
    hash[..4].iter().map(|byte| format!("{byte:02x}")).collect()
}
