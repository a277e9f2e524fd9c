//! End to end: every test runs against one real stack, which is started for them and ended after them.

mod api;
mod attention;
mod browser;
mod cancel;
mod deadline;
mod dlq;
mod faults;
mod gateway;
mod harness;
mod health;
mod idempotency;
mod notifications;
mod outage;
mod page;
mod peak;
mod platform;
mod provider;
mod realtime;
mod reconciler;
mod saga;
mod stock;
mod undo;
mod world;

use libtest_mimic::{Arguments, Trial};

/// Tests wait for the stack most of the time, which two cores keep up with.
const THREADS: usize = 4;

/// The tests of one module, by the names of their functions; `alone:` those that want the stack for themselves.
macro_rules! tests {
    (alone: $($name:ident),+ $(,)?) => { $crate::tests!(@ Alone, $($name),+); };
    (@ $company:ident, $($name:ident),+) => {
        pub fn tests() -> Vec<libtest_mimic::Trial> {
            use $crate::harness::{Company, trial};
            vec![$(trial(module_path!(), stringify!($name), Company::$company, $name)),+]
        }
    };
    ($($name:ident),+ $(,)?) => { $crate::tests!(@ Any, $($name),+); };
}
pub(crate) use tests;

fn main() {
    let mut arguments = Arguments::from_args();
    arguments.test_threads.get_or_insert(THREADS);
    let areas: [fn() -> Vec<Trial>; 18] = [
        saga::tests,
        gateway::tests,
        cancel::tests,
        stock::tests,
        idempotency::tests,
        undo::tests,
        api::tests,
        realtime::tests,
        page::tests,
        notifications::tests,
        health::tests,
        platform::tests,
        dlq::tests,
        // Those that want the stack for themselves: last, when nobody else waits for it.
        peak::tests,
        deadline::tests,
        outage::tests,
        attention::tests,
        reconciler::tests,
    ];
    let conclusion = libtest_mimic::run(&arguments, areas.into_iter().flat_map(|tests| tests()).collect());
    harness::stop();
    conclusion.exit();
}
