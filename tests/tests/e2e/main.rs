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

use libtest_mimic::{Arguments, Trial};

/// Tests wait for the stack most of the time, which two cores keep up with.
const THREADS: usize = 4;
/// The exit code of a test program with failures.
const FAILED: i32 = 101;

/// The tests of one module, by the names of their functions; `alone:` those that want the stack for themselves, `together:`
/// those that want it for their module, `ignored:` those that run only with `--ignored`, and then have it for themselves.
macro_rules! tests {
    ($($company:ident: $($name:ident),+);+ $(,)?) => {
        pub fn tests() -> Vec<libtest_mimic::Trial> {
            use $crate::harness::{Company, trial};
            vec![$($($crate::tests!(@ $company $name)),+),+]
        }
    };
    (@ any $name:ident) => { trial(module_path!(), stringify!($name), Company::Any, $name) };
    (@ together $name:ident) => { trial(module_path!(), stringify!($name), Company::Together, $name) };
    (@ alone $name:ident) => { trial(module_path!(), stringify!($name), Company::Alone, $name) };
    (@ ignored $name:ident) => { $crate::tests!(@ alone $name).with_ignored_flag(true) };
    ($($name:ident),+ $(,)?) => { $crate::tests!(any: $($name),+); };
}
pub(crate) use tests;

fn main() {
    let mut arguments = Arguments::from_args();
    arguments.test_threads.get_or_insert(THREADS);
    let areas: &[fn() -> Vec<Trial>] = &[
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
        // The tests that run alone come last, when no other test waits for the stack.
        peak::tests,
        relay::tests,
        deadline::tests,
        outage::tests,
        switches::tests,
        second_provider::tests,
        rollout::tests,
        overload::tests,
        attention::tests,
        order::tests,
        traces::tests,
        reconciler::tests,
        contract::tests,
        limits::tests,
        views::tests,
        chaos::tests,
        backup::tests,
        cargo_lambda::tests,
        sam_local::tests,
    ];
    let conclusion = libtest_mimic::run(&arguments, areas.iter().flat_map(|tests| tests()).collect());
    harness::print_slowest();
    let verified = harness::verify();
    harness::stop();
    if !verified {
        std::process::exit(FAILED);
    }
    conclusion.exit();
}
