//! Asks before production is changed.

use std::io::{BufRead, IsTerminal};

use crate::error::{Error, Result};
use crate::stage::Stage;

/// Asks once, if the stage is production and `yes` does not answer already. `what` says what happens.
///
/// # Errors
/// Another text than the stage's name was typed, or there is no terminal to ask on.
pub fn production(stage: &Stage, yes: bool, what: &str) -> Result<()> {
    if stage.is_production() { self::stage(stage, yes, what) } else { Ok(()) }
}

/// Asks once, for any stage, if `yes` does not answer already. `what` says what happens.
///
/// # Errors
/// Another text than the stage's name was typed, or there is no terminal to ask on.
pub fn stage(stage: &Stage, yes: bool, what: &str) -> Result<()> {
    if yes {
        return Ok(());
    }
    let stdin = std::io::stdin();
    if !stdin.is_terminal() {
        return Err(refused());
    }
    ask(stage, what, &mut stdin.lock())
}

fn ask(stage: &Stage, what: &str, answers: &mut impl BufRead) -> Result<()> {
    eprint!("{what} Type `{stage}` to go on: ");
    let mut answer = String::new();
    // A failed read counts as a wrong name.
    let read = answers.read_line(&mut answer);
    if read.is_ok() && answer.trim() == stage.name() { Ok(()) } else { Err(refused()) }
}

fn refused() -> Error {
    Error::Stage(
        "the stage was not confirmed; nothing was changed. Add --yes to go on without being asked."
            .to_owned(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_of_the_stage_confirms_and_nothing_else() {
        let prod: Stage = "prod".parse().unwrap();
        assert!(ask(&prod, "This deploys to production.", &mut "prod\n".as_bytes()).is_ok());
        for typed in ["", "\n", "yes\n", "dev\n"] {
            let refused = ask(&prod, "This deploys to production.", &mut typed.as_bytes()).unwrap_err();
            assert!(refused.to_string().contains("nothing was changed"), "{typed:?}");
        }
    }

    #[test]
    fn only_production_is_asked_for() {
        assert!(production(&"dev".parse().unwrap(), false, "").is_ok());
        assert!(production(&"prod".parse().unwrap(), true, "").is_ok());
    }
}
