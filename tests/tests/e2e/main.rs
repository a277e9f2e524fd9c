//! End to end: every test runs against one real stack, which is started for them and ended after them.

mod api;
mod harness;
mod health;
mod idempotency;
mod notifications;
mod platform;
mod realtime;
mod saga;
mod stock;
mod undo;
mod world;

use libtest_mimic::{Arguments, Trial};

/// Tests wait for the stack most of the time, which two cores keep up with.
const THREADS: usize = 4;

/// The tests of one module, by the names of their functions.
macro_rules! tests {
    ($($name:ident),+ $(,)?) => {
        pub fn tests() -> Vec<libtest_mimic::Trial> {
            vec![$($crate::harness::trial(module_path!(), stringify!($name), $name)),+]
        }
    };
}
pub(crate) use tests;

fn main() {
    let mut arguments = Arguments::from_args();
    arguments.test_threads.get_or_insert(THREADS);
    let areas: [fn() -> Vec<Trial>; 9] = [
        saga::tests,
        idempotency::tests,
        undo::tests,
        stock::tests,
        api::tests,
        realtime::tests,
        notifications::tests,
        health::tests,
        platform::tests,
    ];
    let conclusion = libtest_mimic::run(&arguments, areas.into_iter().flat_map(|tests| tests()).collect());
    harness::stop();
    conclusion.exit();
}
