//! Runs of the simulation, each in a process of its own.

use std::process::{Command, Output};

const SCENARIOS: [(&str, &str); 7] = [
    ("completes", "order.completed"),
    ("out-of-stock", "order.cancelled"),
    ("declined", "order.cancelled"),
    ("cannot-ship", "order.cancelled"),
    ("pays-late", "order.completed"),
    ("never-pays", "order.cancelled"),
    ("cancels", "order.cancelled"),
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

#[test]
fn whichever_call_goes_wrong_nothing_is_lost_oversold_or_charged_twice() {
    let said = said("--sample 150");
    assert!(said.contains(" runs in ") && said.contains(": 0 failed"), "{said}");
}

#[test]
fn a_fault_that_cannot_be_read_is_refused_with_the_kinds_there_are() {
    let output = simulate("--scenario completes --fault 17:gone");
    assert_eq!(output.status.code(), Some(2));
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(errors.contains("ends-after") && errors.contains("17:lost"), "{errors}");
}
