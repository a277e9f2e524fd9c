//! A removal is confirmed by typing the stage's name, for production twice.

use std::io::{BufRead, IsTerminal};

use crate::error::{Error, Result};
use crate::stage::Stage;

/// Before anything is looked up: whether the command can be confirmed at all.
///
/// # Errors
/// It cannot.
pub fn possible(stage: &Stage, yes: bool, production: bool) -> Result<()> {
    if yes && stage.is_production() && !production {
        return Err(Error::Stage(
            "--yes alone does not remove prod; nothing was removed. Run the command without it and type the name, or add \
             --production."
                .to_owned(),
        ));
    }
    if !yes && !std::io::stdin().is_terminal() {
        return Err(Error::Stage(format!(
            "removing stage {stage} must be confirmed, and there is no terminal to ask on; nothing was removed. In a \
             script, add --yes."
        )));
    }
    Ok(())
}

/// # Errors
/// Another text was typed.
pub fn ask(stage: &Stage, answers: &mut impl BufRead) -> Result<()> {
    let questions: &[&str] = if stage.is_production() {
        &["Type the stage's name to remove it", "This is production. Type its name once more"]
    } else {
        &["Type the stage's name to remove it"]
    };
    for question in questions {
        eprint!("{question}: ");
        let mut answer = String::new();
        // A failed read counts as a wrong name.
        let read = answers.read_line(&mut answer);
        if read.is_err() || answer.trim() != stage.name() {
            return Err(Error::Stage(format!("stage {stage} was not confirmed; nothing was removed.")));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stage(name: &str) -> Stage {
        name.parse().unwrap()
    }

    #[test]
    fn the_name_is_typed_once_and_for_production_twice() {
        assert!(ask(&stage("dev"), &mut "dev\n".as_bytes()).is_ok());
        assert!(ask(&stage("prod"), &mut "prod\nprod\n".as_bytes()).is_ok());
        for (name, typed) in
            [("dev", ""), ("dev", "yes\n"), ("dev", "prod\n"), ("prod", "prod\n"), ("prod", "prod\nno\n")]
        {
            let error = ask(&stage(name), &mut typed.as_bytes()).unwrap_err().to_string();
            assert!(error.contains("nothing was removed"), "{name} {typed:?}: {error}");
        }
    }

    #[test]
    fn a_script_removes_production_only_with_both_options() {
        assert!(possible(&stage("dev"), true, false).is_ok());
        assert!(possible(&stage("prod"), true, true).is_ok());
        let error = possible(&stage("prod"), true, false).unwrap_err().to_string();
        assert!(error.contains("--production"), "{error}");
    }
}
