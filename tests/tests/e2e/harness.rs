//! Two stacks: one for the tests that run concurrently, and one for those that disturb others, which run meanwhile. When the
//! former are over, the latter have both stacks. The first test that needs a stack starts it, so that none runs when none is
//! wanted.

use std::panic::{AssertUnwindSafe, resume_unwind};
use std::path::Path;
use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use futures::FutureExt;
use libtest_mimic::{Failed, Trial};
use local_stack::{AboutFile, Port, Progress, Settings, Stack, functions};
use tokio::runtime::Runtime;
use tokio::sync::{Mutex as AsyncMutex, Notify, OnceCell};

use crate::fixture::Fixture;

pub type Outcome<T = ()> = Result<T, Failed>;

/// Every wait in a test has its own deadline; this is for the one that was forgotten. A test has several waits, each of
/// which may take most of its time.
const TEST_WITHIN: Duration = Duration::from_secs(600);

static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| Runtime::new().expect("a runtime needs threads only"));
static SHARED: World = World::new(concat!(env!("CARGO_TARGET_TMPDIR"), "/e2e"), Room::taken());
static DISTURBED: World = World::new(concat!(env!("CARGO_TARGET_TMPDIR"), "/e2e-disturbed"), Room::free());
/// Whose turn it is to start a stack: the first one compiles the functions and installs the emulators for both.
static STARTING: AsyncMutex<()> = AsyncMutex::const_new(());
/// When tests have left a stack that they disturbed.
static LEFT: Notify = Notify::const_new();
/// The duration of each test, without waiting for its turn.
static TOOK: Mutex<Vec<(String, Duration)>> = Mutex::new(Vec::new());
/// How long before the end an order must have ended to be compared everywhere, in seconds. Queues are tried again after a
/// few seconds, and more often than once only by tests that wait for it.
const SETTLED: &str = "30";
/// The number of slowest tests that are listed at the end.
const SLOWEST: usize = 15;

/// A stack with what tests need of it.
struct World {
    /// Identifies the stack.
    folder: &'static str,
    /// Which of the tests that disturb others have it.
    room: Room,
    /// The result of the start. After a failure, no test tries again.
    fixture: OnceCell<Option<Fixture>>,
    stack: Mutex<Option<Stack>>,
}

/// Whether a test may run concurrently with others on the same stack.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Company {
    Any,
    /// It switches off or slows down what others need; [`Fixture::mend`] takes that back after it.
    Alone,
    /// Like `Alone`, but tests of the same area may run concurrently: they make the same changes and tolerate
    /// each other.
    Together,
}

/// A test with its company.
pub struct Test {
    pub company: Company,
    pub trial: Trial,
}

impl Test {
    /// It runs only with `--ignored`.
    pub fn ignored(self) -> Self {
        Self { trial: self.trial.with_ignored_flag(true), ..self }
    }
}

/// Room for many tests of one company.
struct Room {
    /// The name of the company, and how many of it are in.
    tenants: Mutex<Option<(String, usize)>>,
}

/// A place on a stack, until it is dropped.
struct Place(&'static World);

impl Room {
    const fn free() -> Self {
        Self { tenants: Mutex::new(None) }
    }

    /// By a company that has no name, so that no test joins it.
    const fn taken() -> Self {
        Self { tenants: Mutex::new(Some((String::new(), 1))) }
    }

    fn admit(&self, company: &str) -> bool {
        let mut tenants = self.tenants();
        match &mut *tenants {
            Some((name, number)) if name == company => *number += 1,
            Some(_) => return false,
            none => *none = Some((company.to_owned(), 1)),
        }
        true
    }

    fn tenants(&self) -> MutexGuard<'_, Option<(String, usize)>> {
        self.tenants.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Place {
    /// Waits for a stack.
    async fn of(company: &str) -> Self {
        loop {
            let left = LEFT.notified();
            if let Some(world) = [&DISTURBED, &SHARED].into_iter().find(|world| world.room.admit(company)) {
                return Self(world);
            }
            left.await;
        }
    }

    /// Gives up the place while other tests of its company run. The last one keeps it, so that no other test
    /// enters.
    fn leave(self) -> Option<Self> {
        let mut tenants = self.0.room.tenants();
        match &mut *tenants {
            Some((_, number)) if *number > 1 => None,
            last => {
                *last = Some((String::new(), 1));
                drop(tenants);
                Some(self)
            }
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut tenants = self.0.room.tenants();
        match &mut *tenants {
            Some((_, number)) if *number > 1 => *number -= 1,
            _ => *tenants = None,
        }
        drop(tenants);
        LEFT.notify_waiters();
    }
}

/// A test named after its module and function.
pub fn test<F, Fut>(module: &str, name: &str, company: Company, test: F) -> Test
where
    F: FnOnce(Fixture) -> Fut + Send + 'static,
    Fut: Future<Output = Outcome>,
{
    let area = module.rsplit("::").next().unwrap_or(module).to_owned();
    let name = format!("{area}::{name}");
    let trial = Trial::test(name.clone(), move || {
        RUNTIME.block_on(async {
            let place = match company {
                Company::Any => None,
                Company::Alone => Some(Place::of(&name).await),
                Company::Together => Some(Place::of(&area).await),
            };
            let world = place.as_ref().map_or(&SHARED, |place| place.0);
            let fixture = world.fixture().await.ok_or("the stack did not start: why is said above")?;
            let clock = Clock::start(name);
            let outcome =
                AssertUnwindSafe(within_limits(async { test(fixture.clone().signed_in().await?).await }))
                    .catch_unwind()
                    .await;
            drop(clock);
            let mended = match place.and_then(Place::leave) {
                Some(_last) => fixture.mend().await,
                None => Ok(()),
            };
            outcome.unwrap_or_else(|panic| resume_unwind(panic))?;
            mended
        })
    });
    Test { company, trial }
}

/// Lets tests that disturb others have the stack of those that run concurrently, which are over.
pub fn shared_tests_are_over() {
    drop(Place(&SHARED));
}

async fn within_limits(test: impl Future<Output = Outcome>) -> Outcome {
    tokio::time::timeout(TEST_WITHIN, test)
        .await
        .unwrap_or_else(|_| Err(format!("it was not over within {} s", TEST_WITHIN.as_secs()).into()))
}

/// Notes how long a test took, however it ends.
struct Clock(String, Instant);

impl Clock {
    fn start(name: String) -> Self {
        Self(name, Instant::now())
    }
}

impl Drop for Clock {
    fn drop(&mut self) {
        let took = (std::mem::take(&mut self.0), self.1.elapsed());
        TOOK.lock().unwrap_or_else(PoisonError::into_inner).push(took);
    }
}

/// Names the slowest tests: those are what the next person who waits for them can shorten.
pub fn print_slowest() {
    let mut took = std::mem::take(&mut *TOOK.lock().unwrap_or_else(PoisonError::into_inner));
    took.sort_by_key(|(_, time)| std::cmp::Reverse(*time));
    for (name, time) in took.iter().take(SLOWEST) {
        eprintln!("{:6.1} s  {name}", time.as_secs_f64());
    }
}

/// Checks what all tests left in the stores against the platform's invariants. Returns whether they hold.
// At the end and not in a test of its own: it would have to run after all others, whichever are chosen.
pub fn verify() -> bool {
    // Both are verified, also when the first is broken.
    [&SHARED, &DISTURBED].map(World::verify) == [true, true]
}

/// Ends the stacks that were started.
pub fn stop() {
    for world in [&SHARED, &DISTURBED] {
        let stack = world.stack.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(stack) = stack {
            stack.stop();
        }
    }
}

impl World {
    const fn new(folder: &'static str, room: Room) -> Self {
        Self { folder, room, fixture: OnceCell::const_new(), stack: Mutex::new(None) }
    }

    async fn fixture(&self) -> Option<Fixture> {
        self.fixture.get_or_init(|| self.start()).await.clone()
    }

    async fn start(&self) -> Option<Fixture> {
        // Printed once and not by every test, because a failed build has long output.
        let say = |error: &dyn std::fmt::Display| eprintln!("error: {error}");
        let _turn = STARTING.lock().await;
        let stack = self.start_stack().await.inspect_err(|error| say(error)).ok()?;
        let fixture = Fixture::new(stack.outputs(), self.folder).await.inspect_err(|error| say(error)).ok();
        if let Some(Err(error)) =
            futures::future::OptionFuture::from(fixture.as_ref().map(Fixture::mend)).await
        {
            say(&error.message().unwrap_or("the stack cannot be made ready"));
            return None;
        }
        *self.stack.lock().unwrap_or_else(PoisonError::into_inner) = Some(stack);
        fixture
    }

    /// A stack of its own on free ports. `cargo ops` supervises it, because a test cannot, and [`Fixture::ops`] runs its
    /// commands.
    async fn start_stack(&self) -> local_stack::Result<Stack> {
        let folder = Path::new(self.folder);
        let settings =
            Settings::new(Some(folder.into()), Port::Any, Port::Any).about("cannot make", folder)?;
        let ops = functions::build_program(&settings, &["--package", "ops", "--bin", "ops"]).await?;
        Stack::start_by(&settings, &ops, &Progress::new()).await
    }

    fn verify(&self) -> bool {
        let Some(Some(fixture)) = self.fixture.get() else { return true };
        match RUNTIME.block_on(fixture.ops(&["verify", "--settle", SETTLED])) {
            Ok(report) => {
                eprint!("{report}");
                true
            }
            Err(error) => {
                eprintln!("error: {}", error.message().unwrap_or("the stores could not be verified"));
                false
            }
        }
    }
}
