//! One stack for all tests. The first test that runs starts it, so that none runs when none is wanted.

use std::panic::{AssertUnwindSafe, resume_unwind};
use std::sync::{LazyLock, Mutex, PoisonError};
use std::time::Duration;

use futures::FutureExt;
use libtest_mimic::{Failed, Trial};
use ops::stack::{Stack, StackOptions};
use tokio::runtime::Runtime;
use tokio::sync::{OnceCell, RwLock};

use crate::world::World;

pub type Outcome<T = ()> = Result<T, Failed>;

/// The folder that the stack is known by.
pub const STACK_FOLDER: &str = concat!(env!("CARGO_TARGET_TMPDIR"), "/e2e");

/// Every wait in a test has its own deadline; this is for the one that was forgotten. A test has several waits, each of
/// which may take most of its time.
const TEST_WITHIN: Duration = Duration::from_secs(600);

static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| Runtime::new().expect("a runtime needs threads only"));
/// What the start came to. After a failed one no test tries again.
static WORLD: OnceCell<Option<World>> = OnceCell::const_new();
static STACK: Mutex<Option<Stack>> = Mutex::new(None);
/// Held by many tests at a time, or by one that wants the stack for itself.
static ROOM: RwLock<()> = RwLock::const_new(());

/// Whether a test can run beside others, on the same stack.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Company {
    Any,
    /// It switches off or slows down what others need; [`World::mend`] takes that back after it.
    Alone,
}

/// A test named after its module and function.
pub fn trial<F, Fut>(module: &str, name: &str, company: Company, test: F) -> Trial
where
    F: FnOnce(World) -> Fut + Send + 'static,
    Fut: Future<Output = Outcome>,
{
    let area = module.rsplit("::").next().unwrap_or(module);
    Trial::test(format!("{area}::{name}"), move || {
        RUNTIME.block_on(async {
            let world =
                WORLD.get_or_init(start).await.clone().ok_or("the stack did not start: why is said above")?;
            match company {
                Company::Any => {
                    let _room = ROOM.read().await;
                    within_limits(test(world.signed_in().await?)).await
                }
                Company::Alone => {
                    let _room = ROOM.write().await;
                    let outcome = AssertUnwindSafe(within_limits(test(world.clone().signed_in().await?)))
                        .catch_unwind()
                        .await;
                    let mended = world.mend().await;
                    outcome.unwrap_or_else(|panic| resume_unwind(panic))?;
                    Ok(mended?)
                }
            }
        })
    })
}

async fn within_limits(test: impl Future<Output = Outcome>) -> Outcome {
    tokio::time::timeout(TEST_WITHIN, test)
        .await
        .unwrap_or_else(|_| Err(format!("it was not over within {} s", TEST_WITHIN.as_secs()).into()))
}

/// Ends the stack, if one was started.
pub fn stop() {
    let stack = STACK.lock().unwrap_or_else(PoisonError::into_inner).take();
    if let Some(stack) = stack {
        stack.stop();
    }
}

async fn start() -> Option<World> {
    // Said once and not by every test: a failed build has much to say.
    let say = |error: &dyn std::fmt::Display| eprintln!("error: {error}");
    let stack =
        Stack::start(StackOptions::isolated(STACK_FOLDER)).await.inspect_err(|error| say(error)).ok()?;
    let world = World::new(stack.outputs()).await.inspect_err(|error| say(error)).ok();
    if let Some(Err(error)) = futures::future::OptionFuture::from(world.as_ref().map(World::mend)).await {
        say(&error.message().unwrap_or("the stack cannot be made ready"));
        return None;
    }
    *STACK.lock().unwrap_or_else(PoisonError::into_inner) = Some(stack);
    world
}
