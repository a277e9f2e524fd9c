//! End to end: every test runs against one real stack, which is started for them and ended after them.

mod accounts;
mod alarms;
mod api;
mod attention;
mod audit;
mod authorisation;
mod backup;
mod browser;
mod cancel;
mod cargo_lambda;
mod catalogue;
mod chaos;
mod client;
mod contract;
mod deadline;
mod deploy;
mod discounts;
mod dlq;
mod faults;
mod fixture;
mod gateway;
mod harness;
mod health;
mod idempotency;
mod invocations;
mod lifecycle;
mod limits;
mod load;
mod money;
mod notifications;
mod order;
mod outage;
mod overload;
mod page;
mod peak;
mod platform;
mod programs;
mod provider;
mod realtime;
mod reconciler;
mod refunds;
mod relay;
mod republish;
mod rollout;
mod saga;
mod sam_local;
mod second_provider;
mod shipments;
mod stock;
mod switches;
mod traces;
mod undo;
mod verification;
mod views;

use std::thread;

use harness::{Company, Test};
use libtest_mimic::{Arguments, Conclusion, Trial};

/// Tests wait for the stack most of the time, which two cores keep up with.
const THREADS: usize = 4;
/// Of the tests that disturb others. Each has a stack for itself, of which there is one at first and two later, except in
/// areas whose tests tolerate each other.
const DISTURBING_THREADS: usize = 3;
/// The exit code of a test program with failures.
const FAILED: i32 = 101;

/// The tests of one module, by the names of their functions; `alone:` those that want the stack for themselves, `together:`
/// those that want it for their module, `ignored:` those that run only with `--ignored`, and then have it for themselves.
macro_rules! tests {
    ($($company:ident: $($name:ident),+);+ $(,)?) => {
        pub fn tests() -> Vec<$crate::harness::Test> {
            use $crate::harness::{Company, test};
            vec![$($($crate::tests!(@ $company $name)),+),+]
        }
    };
    (@ any $name:ident) => { test(module_path!(), stringify!($name), Company::Any, $name) };
    (@ together $name:ident) => { test(module_path!(), stringify!($name), Company::Together, $name) };
    (@ alone $name:ident) => { test(module_path!(), stringify!($name), Company::Alone, $name) };
    (@ ignored $name:ident) => { $crate::tests!(@ alone $name).ignored() };
    ($($name:ident),+ $(,)?) => { $crate::tests!(any: $($name),+); };
}
pub(crate) use tests;

fn main() {
    let arguments = Arguments::from_args();
    let areas: &[fn() -> Vec<Test>] = &[
        // The longest first, so that the others run concurrently with them.
        deploy::tests,
        alarms::tests,
        saga::tests,
        gateway::tests,
        refunds::tests,
        cancel::tests,
        stock::tests,
        catalogue::tests,
        discounts::tests,
        money::tests,
        idempotency::tests,
        undo::tests,
        api::tests,
        authorisation::tests,
        audit::tests,
        accounts::tests,
        verification::tests,
        shipments::tests,
        realtime::tests,
        page::tests,
        notifications::tests,
        client::tests,
        health::tests,
        platform::tests,
        invocations::tests,
        dlq::tests,
        republish::tests,
        // Those that disturb others. First the ones that mostly wait, because the tests above need the processors
        // meanwhile, and last the ones that need the processors themselves.
        order::tests,
        attention::tests,
        reconciler::tests,
        switches::tests,
        traces::tests,
        second_provider::tests,
        relay::tests,
        cargo_lambda::tests,
        rollout::tests,
        outage::tests,
        views::tests,
        backup::tests,
        deadline::tests,
        overload::tests,
        limits::tests,
        chaos::tests,
        load::tests,
        contract::tests,
        peak::tests,
        sam_local::tests,
    ];
    let tests: Vec<Test> = areas.iter().flat_map(|tests| tests()).collect();
    let (shared, disturbing): (Vec<Test>, Vec<Test>) =
        tests.into_iter().partition(|test| test.company == Company::Any);
    let conclusions = if arguments.list {
        [(shared, THREADS), (disturbing, DISTURBING_THREADS)]
            .map(|(tests, threads)| run(&arguments, tests, threads))
    } else {
        thread::scope(|scope| {
            let disturbing = scope.spawn(|| run(&arguments, disturbing, DISTURBING_THREADS));
            let shared = run(&arguments, shared, THREADS);
            harness::shared_tests_are_over();
            [shared, disturbing.join().expect("a test that panics does not end its thread")]
        })
    };
    harness::print_slowest();
    let verified = harness::verify();
    harness::stop();
    if !verified || conclusions.iter().any(Conclusion::has_failed) {
        std::process::exit(FAILED);
    }
}

fn run(arguments: &Arguments, tests: Vec<Test>, threads: usize) -> Conclusion {
    let mut arguments = arguments.clone();
    arguments.test_threads.get_or_insert(threads);
    let trials: Vec<Trial> = tests.into_iter().map(|test| test.trial).collect();
    libtest_mimic::run(&arguments, trials)
}
