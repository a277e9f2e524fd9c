//! One stack for all tests. The first test that runs starts it, so that none runs when none is wanted.

use std::sync::{LazyLock, Mutex, PoisonError};
use std::time::Duration;

use libtest_mimic::{Failed, Trial};
use ops::stack::{Stack, StackOptions};
use tokio::runtime::Runtime;
use tokio::sync::OnceCell;

use crate::world::World;

pub type Outcome = Result<(), Failed>;

/// Every wait in a test has its own deadline; this is for the one that was forgotten.
const TEST_WITHIN: Duration = Duration::from_secs(180);

static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| Runtime::new().expect("a runtime needs threads only"));
/// What the start came to: tests after a failed one do not try again.
static WORLD: OnceCell<Result<World, String>> = OnceCell::const_new();
static STACK: Mutex<Option<Stack>> = Mutex::new(None);

/// A test named after its module and function.
pub fn trial<F, Fut>(module: &str, name: &str, test: F) -> Trial
where
    F: FnOnce(World) -> Fut + Send + 'static,
    Fut: Future<Output = Outcome>,
{
    let area = module.rsplit("::").next().unwrap_or(module);
    Trial::test(format!("{area}::{name}"), move || {
        RUNTIME.block_on(async {
            let world = WORLD.get_or_init(start).await.clone()?;
            tokio::time::timeout(TEST_WITHIN, test(world))
                .await
                .unwrap_or_else(|_| Err(format!("it was not over within {} s", TEST_WITHIN.as_secs()).into()))
        })
    })
}

/// Ends the stack, if one was started.
pub fn stop() {
    let stack = STACK.lock().unwrap_or_else(PoisonError::into_inner).take();
    if let Some(stack) = stack {
        stack.stop();
    }
}

async fn start() -> Result<World, String> {
    let folder = concat!(env!("CARGO_TARGET_TMPDIR"), "/e2e");
    let stack = Stack::start(StackOptions::isolated(folder)).await.map_err(|error| error.to_string())?;
    let world = World::new(stack.outputs()).await.map_err(|error| error.to_string());
    *STACK.lock().unwrap_or_else(PoisonError::into_inner) = Some(stack);
    world
}
