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
/// What the start came to. After a failed one no test tries again.
static WORLD: OnceCell<Option<World>> = OnceCell::const_new();
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
            let world =
                WORLD.get_or_init(start).await.clone().ok_or("the stack did not start: why is said above")?;
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

async fn start() -> Option<World> {
    let folder = concat!(env!("CARGO_TARGET_TMPDIR"), "/e2e");
    // Said once and not by every test: a failed build has much to say.
    let say = |error: &dyn std::fmt::Display| eprintln!("error: {error}");
    let stack = Stack::start(StackOptions::isolated(folder)).await.inspect_err(|error| say(error)).ok()?;
    let world = World::new(stack.outputs()).await.inspect_err(|error| say(error)).ok();
    *STACK.lock().unwrap_or_else(PoisonError::into_inner) = Some(stack);
    world
}
