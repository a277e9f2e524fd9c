//! The name of a stage on AWS.

use std::fmt;
use std::str::FromStr;

use local_stack::LOCAL_STAGE;

/// The stage that needs confirmation before changes.
const PRODUCTION: &str = "prod";
/// Names of functions carry the stage and may have 64 characters: this leaves room for the longest function.
const LONGEST: usize = 16;

/// A stage on AWS: `[a-z][a-z0-9-]{1,15}`, and not `local`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stage(String);

/// Why a text is not the name of a stage on AWS.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotAStage {
    #[error(
        "a stage is 2 to {LONGEST} characters, small letters, digits and hyphens, the first a letter: dev, prod, \
         alice, pr-17"
    )]
    Spelling,
    #[error(
        "`{LOCAL_STAGE}` is the stack on this machine, not a stage on AWS: `cargo ops up` starts it, and other commands \
         work on it without --stage"
    )]
    Local,
}

impl Stage {
    pub fn name(&self) -> &str {
        &self.0
    }

    pub fn is_production(&self) -> bool {
        self.0 == PRODUCTION
    }
}

impl FromStr for Stage {
    type Err = NotAStage;

    fn from_str(text: &str) -> Result<Self, NotAStage> {
        if text == LOCAL_STAGE {
            return Err(NotAStage::Local);
        }
        let is_spelled_well = (2..=LONGEST).contains(&text.len())
            && text.starts_with(|first: char| first.is_ascii_lowercase())
            && text.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-');
        if is_spelled_well { Ok(Self(text.to_owned())) } else { Err(NotAStage::Spelling) }
    }
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stage_is_a_short_lower_case_name() {
        for good in ["dev", "prod", "alice", "pr-17", "a1", "abcdefghijklmnop"] {
            assert_eq!(good.parse::<Stage>().unwrap().name(), good);
        }
        for bad in ["", "a", "Dev", "1st", "-a", "a_b", "a b", "ä1", "abcdefghijklmnopq", "dev\n"] {
            assert_eq!(bad.parse::<Stage>(), Err(NotAStage::Spelling), "{bad:?}");
        }
    }

    #[test]
    fn the_stack_on_this_machine_is_no_stage_on_aws() {
        let refused = "local".parse::<Stage>().unwrap_err();
        assert!(refused.to_string().contains("cargo ops up"), "{refused}");
    }
}
