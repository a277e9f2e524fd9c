use clap::Args;
use local_stack::{Progress, Settings, Stack};

use crate::error::{Error, Result};
use crate::screen::Screen;
use crate::tour::Tour;

#[derive(Debug, Args)]
pub struct Demo {
    /// Leave the stack running that this started
    #[arg(long)]
    keep: bool,
}

impl Demo {
    /// Starts the stack if it does not run, shows the orders, lets `check` look at what the stores hold, and stops what
    /// it started.
    ///
    /// # Errors
    /// The stack cannot be started, an order did not end as it should, or the check fails.
    pub async fn run<E: From<Error>>(
        self,
        settings: &Settings,
        progress: &Progress,
        check: impl AsyncFnOnce() -> std::result::Result<(), E>,
    ) -> std::result::Result<(), E> {
        let stack = Stack::start(settings, progress).await.map_err(Error::from)?;
        let verdict = match show(&stack).await {
            Ok(()) => check().await,
            Err(error) => Err(error.into()),
        };
        if !stack.is_ours() {
            progress.say("The stack was running before, and still is.");
        } else if self.keep {
            stack.detach().map_err(Error::from)?;
            progress
                .say("The stack keeps running: `cargo ops outputs` says where, `cargo ops down` stops it.");
        } else {
            stack.stop();
            progress.say("The stack is stopped. `cargo ops up` starts one that keeps running.");
        }
        verdict
    }
}

async fn show(stack: &Stack) -> Result<()> {
    let screen = Screen::new();
    let tour = Tour::begin(stack.outputs(), &screen).await.map_err(|error| {
        Error::Failed(format!("the demo cannot begin: {error}\n{}", where_to_look(stack)))
    })?;
    let results = tour.all().await;
    screen.summary(&results);
    let failed = results.iter().filter(|result| !result.is_fine()).count();
    if failed == 0 {
        return Ok(());
    }
    Err(Error::Failed(format!(
        "{failed} of {} orders did not end as they should; the lines with ✗ say why.\n{}",
        results.len(),
        where_to_look(stack)
    )))
}

fn where_to_look(stack: &Stack) -> String {
    format!(
        "The emulators' logs are in {}. The functions' logs end with the stack: `cargo ops up` in another terminal \
         shows them while you run this again.",
        stack.logs().display()
    )
}
