//! Runs of the simulation, each in a process of its own.

use std::{
    fs,
    path::Path,
    process::{Command, Output},
};

const SCENARIOS: [(&str, &str); 12] = [
    ("completes", "order.completed"),
    ("out-of-stock", "order.cancelled"),
    ("declined", "order.cancelled"),
    ("cannot-ship", "order.cancelled"),
    ("pays-late", "order.completed"),
    ("bounces", "order.completed"),
    ("never-pays", "order.cancelled"),
    ("cancels", "order.cancelled"),
    ("gateway-down", "order.completed"),
    ("discount", "order.cancelled"),
    ("refund-fails", "order.compensation_failed"),
    ("leaves", "order.completed"),
];

fn simulate(options: &str) -> Output {
    let program = env!("CARGO_BIN_EXE_simulation");
    Command::new(program).args(options.split_whitespace()).output().expect("the simulation starts")
}

/// What a run that must end well prints.
fn said(options: &str) -> String {
    let output = simulate(options);
    let said = String::from_utf8(output.stdout).expect("it prints text");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{options}\n{said}{errors}");
    said
}

#[test]
fn each_scenario_ends_as_it_must_whatever_the_seed() {
    for (scenario, ending) in SCENARIOS {
        for seed in 1..=5 {
            let said = said(&format!("--scenario {scenario} --seed {seed} --faults none"));
            assert!(said.starts_with(&format!("{scenario}: {ending} after ")), "seed {seed}: {said}");
        }
    }
}

#[test]
fn of_twelve_customers_who_want_the_last_three_pieces_three_get_one_at_most() {
    for seed in 1..=3 {
        let said = said(&format!("--scenario rush --seed {seed} --faults none"));
        let completed = said.matches("order.completed").count();
        let cancelled = said.matches("order.cancelled").count();
        assert!(completed <= 3 && completed + cancelled == 12, "seed {seed}: {said}");
    }
}

#[test]
fn the_same_seed_gives_the_same_trace_to_the_byte_and_another_seed_another() {
    for options in ["--faults none", "--fault 20:ends-after --fault 40:lost"] {
        let traced = |seed: u64| said(&format!("--scenario pays-late --seed {seed} {options} --trace"));
        let first = traced(7);
        assert!(first.lines().count() > 100, "{first}");
        assert_eq!(first, traced(7));
        assert_ne!(first, traced(8));
    }
}

#[test]
fn a_fault_is_made_where_it_was_asked_for() {
    let trace = said("--scenario completes --fault 17:lost --trace");
    let (made, other): (Vec<&str>, Vec<&str>) =
        trace.lines().filter(|line| line.contains(" is ")).partition(|line| line.ends_with("#17 is lost"));
    assert_eq!((made.len(), other.len()), (1, 0), "{trace}");
}

/// The calls of a trace that a pattern is found in.
fn lines<'a>(trace: &'a str, pattern: &str) -> Vec<&'a str> {
    trace.lines().filter(|line| line.contains(pattern)).collect()
}

/// The number of the first call in a run without faults that is to this operation.
fn first(scenario: &str, operation: &str) -> String {
    let trace = said(&format!("--scenario {scenario} --faults none --trace"));
    // Calls before the first order have no number.
    let numbered = lines(&trace, operation).into_iter().filter_map(|line| line.split_once('#'));
    let first = numbered.map(|(_, rest)| rest.split(' ').next().unwrap_or_default()).next();
    first.expect("a call").to_owned()
}

#[test]
fn a_request_that_is_delivered_twice_reaches_two_instances_and_one_that_is_held_up_comes_later() {
    let webhook = first("completes", "calls webhook");
    let without = said("--scenario completes --faults none --trace");
    let twice = said(&format!("--scenario completes --fault {webhook}:twice --trace"));
    let reads = |trace: &str| lines(trace, "payments-api calls").len();
    assert!(reads(&twice) > reads(&without), "{twice}");
    let refund = first("cannot-ship", "POST v1/refunds");
    let delayed = said(&format!("--scenario cannot-ship --fault {refund}:delayed --trace"));
    assert!(lines(&delayed, "POST v1/refunds").len() > 1, "{delayed}");
}

#[test]
fn what_a_service_leaves_of_a_batch_is_asked_for_again() {
    let read = first("discount", "BatchGetItem");
    let trace = said(&format!("--scenario discount --fault {read}:partial --trace"));
    assert!(lines(&trace, "orders-api calls dynamodb.BatchGetItem").len() > 1, "{trace}");
}

#[test]
fn a_gateway_that_is_away_is_called_again_when_it_is_back() {
    let trace = said("--scenario completes --fault 1:away:stripe:120 --trace");
    let calls = lines(&trace, "calls stripe.");
    assert!(lines(&trace, " is reset").len() > 1 && calls.len() > 2, "{trace}");
    let last: f64 =
        calls[calls.len() - 1].split(' ').next().and_then(|time| time.parse().ok()).expect("a time");
    assert!(last > 120.0, "{trace}");
}

#[test]
fn an_address_whose_first_e_mail_bounced_gets_no_further_one() {
    let emails = |scenario: &str| {
        let trace = said(&format!("--scenario {scenario} --faults none --trace"));
        lines(&trace, "calls email.SendEmail").len()
    };
    assert_eq!((emails("pays-late"), emails("bounces")), (3, 1));
}

#[test]
fn an_order_completes_although_a_contexts_clock_is_a_minute_ahead() {
    let trace = said("--scenario completes --fault 1:ahead:orders:60 --trace");
    assert!(trace.contains("completes: order.completed"), "{trace}");
    assert_ne!(trace, said("--scenario completes --faults none --trace"));
}

#[test]
fn whatever_goes_wrong_nothing_is_lost_oversold_or_charged_twice() {
    for options in ["--sample 150", "--faults pairs --sample 60", "--faults lasting --sample 40"] {
        let said = said(options);
        assert!(said.contains(" runs with ") && said.contains(": 0 failed"), "{said}");
    }
}

#[test]
fn a_storm_ends_well_and_its_faults_listed_one_by_one_give_the_same_storm() {
    let storm = "--scenario storm --orders 12 --seed 3";
    let by_chance = said(&format!("{storm} --trace"));
    let number = |line: &str| line.rsplit('#').next().unwrap_or_default().replace(" is ", ":");
    let faults: Vec<String> = lines(&by_chance, " is ").into_iter().map(number).collect();
    assert!(!faults.is_empty(), "{by_chance}");
    let listed: Vec<String> = faults.iter().map(|fault| format!("--fault {fault}")).collect();
    assert_eq!(by_chance, said(&format!("{storm} {} --trace", listed.join(" "))));
}

#[test]
fn storms_go_on_where_they_were_interrupted() {
    let report = Path::new(env!("CARGO_TARGET_TMPDIR")).join("storms.json");
    let _ = fs::remove_file(&report);
    let storms = |orders: u32, seed: u32| {
        let file = report.display();
        simulate(&format!("--storms --size 10 --orders {orders} --seed {seed} --report {file}"))
    };
    assert!(storms(10, 5).status.success());
    let more = storms(30, 5);
    let said = String::from_utf8_lossy(&more.stdout);
    assert!(more.status.success() && said.contains("| orders | 30"), "{said}");
    let other = storms(30, 6);
    let errors = String::from_utf8_lossy(&other.stderr);
    assert!(other.status.code() == Some(1) && errors.contains("Move it away"), "{errors}");
}

#[test]
fn the_code_can_still_be_broken_in_each_way_that_the_judge_must_see() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"));
    let patches = fs::read_dir(folder.join("breaks")).expect("there are some");
    let patches = patches.map(|file| file.expect("a file").path());
    let patches: Vec<_> =
        patches.filter(|file| file.extension().is_some_and(|name| name == "patch")).collect();
    assert_eq!(patches.len(), 12, "eleven breaks and their switch");
    let check = Command::new("git")
        .current_dir(folder.join("../.."))
        .args(["apply", "--check", "-C1"])
        .args(patches)
        .output()
        .expect("git starts");
    assert!(check.status.success(), "{}", String::from_utf8_lossy(&check.stderr));
}

#[test]
fn a_fault_that_cannot_be_read_is_refused_with_the_kinds_there_are() {
    let output = simulate("--scenario completes --fault 17:gone");
    assert_eq!(output.status.code(), Some(2));
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(errors.contains("ends-after") && errors.contains("17:lost"), "{errors}");
}
