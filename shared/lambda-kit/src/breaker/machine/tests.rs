use proptest::prelude::*;
use rstest::rstest;

use super::*;

const T: i64 = 1_800_000_000_000;

/// A tally of this many failures and successes, all just before `now`.
fn tally(failures: usize, successes: usize, now: i64) -> Tally {
    let mut tally = Tally::default();
    (0..failures).for_each(|_| tally.count(true, now));
    (0..successes).for_each(|_| tally.count(false, now));
    tally
}

fn open(until: i64) -> Circuit {
    Circuit { state: State::Open { until }, version: 1, ..Circuit::default() }
}

fn half_open(probes: &[(&str, i64)], successes: usize) -> Circuit {
    let probes = probes.iter().map(|(id, until)| Probe { id: (*id).to_owned(), until: *until }).collect();
    Circuit { state: State::HalfOpen { probes, successes, step: 0 }, version: 1, ..Circuit::default() }
}

fn state(circuit: Option<Circuit>) -> Option<&'static str> {
    circuit.map(|circuit| circuit.state.name())
}

#[rstest]
#[case::nothing_failed(0, 100, None)]
#[case::four(4, 0, Some("closed"))]
#[case::five(5, 0, Some("open"))]
#[case::five_of_many(5, 1000, Some("open"))]
#[case::a_quarter_of_twenty(4, 16, Some("closed"))]
#[case::too_few_calls_to_say(4, 9, Some("closed"))]
fn five_failures_open_it(#[case] failures: usize, #[case] successes: usize, #[case] expected: Option<&str>) {
    assert_eq!(state(Circuit::default().after_report(&tally(failures, successes, T), T)), expected);
}

#[rstest]
#[case::a_third(7, 14, "open")]
#[case::exactly_thirty_percent(6, 14, "open")]
#[case::less(6, 15, "closed")]
#[case::nineteen_calls(6, 13, "closed")]
fn thirty_percent_of_twenty_calls_open_it_however_far_apart_the_failures_are(
    #[case] failures: i64,
    #[case] successes: usize,
    #[case] expected: &str,
) {
    // Seven seconds apart: no more than two in any ten.
    let mut circuit = Circuit::default();
    let mut now = T;
    for n in 0..failures {
        now = T + n * 7_000;
        let news = tally(1, if n == 0 { successes } else { 0 }, now);
        circuit = circuit.after_report(&news, now).unwrap_or(circuit);
    }
    assert!(now - T < 50_000);
    assert_eq!(circuit.state.name(), expected);
}

#[test]
fn failures_that_are_ten_seconds_apart_are_not_of_the_same_five() {
    let circuit = Circuit::default().after_report(&tally(4, 0, T), T).unwrap();
    assert_eq!(state(circuit.after_report(&tally(1, 0, T + 10_000), T + 10_000)), Some("closed"));
    assert_eq!(state(circuit.after_report(&tally(1, 0, T + 9_999), T + 9_999)), Some("open"));
}

#[test]
fn calls_of_more_than_a_minute_ago_count_no_more() {
    let circuit = Circuit::default().after_report(&tally(4, 15, T), T).unwrap();
    let later = T + 60_000;
    let circuit = circuit.after_report(&tally(2, 0, later), later).unwrap();
    assert_eq!(circuit.state, State::Closed(tally(2, 0, later)));
}

#[test]
fn an_open_circuit_lets_nothing_through_for_thirty_seconds_and_then_three_probes() {
    let circuit = open(T);
    assert_eq!(circuit.decide("a", T - 30_000), Decision::Refused { wait: 30_000 });
    assert_eq!(circuit.decide("a", T - 1), Decision::Refused { wait: 1 });
    let mut circuit = circuit;
    for id in ["a", "b", "c"] {
        let Decision::Probe(next) = circuit.decide(id, T) else { panic!("{id} is refused") };
        assert_eq!(next.version, circuit.version + 1);
        assert_eq!(next.decide(id, T), Decision::Held, "its own slot, found again after a lost answer");
        circuit = next;
    }
    assert_eq!(circuit.decide("d", T), Decision::Refused { wait: PROBING });
    assert_eq!(circuit.decide("d", T + LEASE - 1), Decision::Refused { wait: 1 });
}

#[test]
fn a_dead_probes_slot_comes_back_when_its_lease_ends() {
    let circuit = half_open(&[("dead", T)], 2);
    assert_eq!(circuit.decide("a", T - 1), Decision::Refused { wait: 1 });
    let Decision::Probe(next) = circuit.decide("a", T) else { panic!("refused") };
    assert_eq!(next.state, half_open(&[("a", T + LEASE)], 2).state);
    assert_eq!(
        next.after_probe("dead", CallOutcome::Failed, T),
        None,
        "whose slot another has says nothing any more"
    );
}

#[test]
fn three_successful_probes_end_the_first_step_and_one_that_fails_opens_it_again() {
    let circuit = half_open(&[("a", T), ("b", T), ("c", T)], 0);
    let one = circuit.after_probe("a", CallOutcome::Done, T).unwrap();
    assert!(matches!(one.decide("d", T - 1), Decision::Refused { .. }), "a reported probe frees no fourth");
    let two = one.after_probe("b", CallOutcome::Refused, T).unwrap();
    assert_eq!(two.after_probe("a", CallOutcome::Done, T), None, "a repeat");
    let next = State::HalfOpen { probes: vec![], successes: 0, step: 1 };
    assert_eq!(two.after_probe("c", CallOutcome::Done, T).unwrap().state, next);
    assert_eq!(
        two.after_probe("c", CallOutcome::Failed, T).unwrap().state,
        State::Open { until: T + 30_000 }
    );
}

#[test]
fn it_closes_step_by_step_and_each_step_lets_more_probes_through() {
    let mut circuit = open(T);
    let mut steps = Vec::new();
    while circuit.state.name() != "closed" {
        let mut ids: Vec<String> = Vec::new();
        while let Decision::Probe(next) = circuit.decide(&format!("p{}", ids.len()), T) {
            ids.push(format!("p{}", ids.len()));
            circuit = next;
        }
        for id in &ids {
            circuit = circuit.after_probe(id, CallOutcome::Done, T).unwrap();
        }
        steps.push(ids.len());
    }
    assert_eq!(steps, [3, 6, 12]);
}

#[test]
fn a_probe_that_fails_in_a_later_step_opens_it_again() {
    let state =
        State::HalfOpen { probes: vec![Probe { id: "a".to_owned(), until: T }], successes: 11, step: 2 };
    let circuit = Circuit { state, version: 1, ..Circuit::default() };
    assert_eq!(
        circuit.after_probe("a", CallOutcome::Failed, T).unwrap().state,
        State::Open { until: T + 30_000 }
    );
    assert_eq!(circuit.after_probe("a", CallOutcome::Done, T).unwrap().state, State::default());
}

#[test]
fn a_throttled_probe_says_nothing_and_frees_its_slot() {
    let circuit = half_open(&[("a", T + 1), ("b", T + 1), ("c", T + 1)], 0);
    let next = circuit.after_probe("a", CallOutcome::Throttled, T).unwrap();
    assert_eq!(next.state, half_open(&[("b", T + 1), ("c", T + 1)], 0).state);
    assert!(matches!(next.decide("d", T), Decision::Probe(_)));
}

#[test]
fn a_circuit_that_was_written_before_there_were_steps_is_in_the_first() {
    let state = serde_json::from_value(serde_json::json!({"half_open": {"probes": [], "successes": 2}}));
    assert_eq!(state.ok(), Some(State::HalfOpen { probes: vec![], successes: 2, step: 0 }));
}

#[test]
fn calls_that_were_let_in_before_it_opened_change_nothing() {
    for circuit in [open(T), half_open(&[("a", T)], 0)] {
        assert_eq!(circuit.after_report(&tally(9, 0, T), T), None);
    }
}

#[test]
fn an_operator_decides_over_everything() {
    for state in [State::default(), open(T).state, half_open(&[], 0).state] {
        let of = |mode| Circuit { mode, state: state.clone(), ..Circuit::default() };
        assert_eq!(of(Mode::Off).decide("a", T), Decision::Unmonitored);
        assert!(matches!(of(Mode::ForcedOpen).decide("a", T), Decision::Refused { .. }));
        assert_eq!(of(Mode::Off).after_report(&tally(9, 0, T), T), None);
    }
}

#[derive(Debug, Clone)]
enum Step {
    Wait(i64),
    Enter,
    /// One of the calls under way ends, or dies without a word.
    Leave(prop::sample::Index, Option<CallOutcome>),
    Switch(Mode),
}

fn any_step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => prop_oneof![0..2_000_i64, 0..40_000_i64].prop_map(Step::Wait),
        8 => Just(Step::Enter),
        8 => (any::<prop::sample::Index>(), prop::option::weighted(0.9, any_ending())).prop_map(|(i, end)| Step::Leave(i, end)),
        1 => prop::sample::select(vec![Mode::Normal, Mode::Normal, Mode::ForcedOpen, Mode::Off]).prop_map(Step::Switch),
    ]
}

fn any_ending() -> impl Strategy<Value = CallOutcome> {
    use CallOutcome::{Done, Failed, Refused, Throttled};
    prop::sample::select(vec![Done, Done, Refused, Failed, Failed, Throttled])
}

/// The same rules, computed from the whole list of calls since the circuit last closed.
fn opens(calls: &[(i64, bool)], now: i64) -> bool {
    let slice = |at: i64| at.div_euclid(10_000);
    let recent = calls.iter().filter(|(at, failed)| *failed && now - at < 10_000).count();
    let window: Vec<bool> =
        calls.iter().filter(|(at, _)| slice(now) - slice(*at) < 6).map(|(_, failed)| *failed).collect();
    let failed = window.iter().filter(|failed| **failed).count();
    recent >= 5 || (window.len() >= 20 && 10 * failed >= 3 * window.len())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn it_opens_exactly_by_the_rules_and_closes_after_the_probes_of_all_steps(
        steps in prop::collection::vec(any_step(), 0..200)
    ) {
        let (mut circuit, mut now) = (Circuit::default(), T);
        let mut local = Tally::default();
        // `None`: an ordinary call; else a probe's id and the end of its lease.
        let mut under_way: Vec<Option<(String, i64)>> = Vec::new();
        let mut dead: Vec<i64> = Vec::new();
        let (mut ids, mut calls, mut unreported, mut successes) = (0, Vec::new(), Vec::new(), 0);
        let all = BREAKER.probes.iter().sum::<usize>();
        for step in steps {
            let before = circuit.clone();
            match step {
                Step::Wait(ms) => now += ms,
                Step::Switch(mode) => {
                    circuit.mode = mode;
                    circuit.version += 1;
                }
                Step::Enter => {
                    ids += 1;
                    match circuit.decide(&format!("p{ids}"), now) {
                        Decision::Counted => under_way.push(None),
                        Decision::Unmonitored => prop_assert_eq!(circuit.mode, Mode::Off),
                        Decision::Held => prop_assert!(false, "a new id holds nothing"),
                        Decision::Refused { wait } => {
                            prop_assert!(wait > 0);
                            prop_assert!(circuit.mode == Mode::ForcedOpen || circuit.state.name() != "closed");
                        }
                        Decision::Probe(next) => {
                            prop_assert_eq!(circuit.mode, Mode::Normal);
                            if before.state.name() == "open" {
                                successes = 0;
                            }
                            under_way.push(Some((format!("p{ids}"), now + 20_000)));
                            circuit = next;
                        }
                    }
                }
                Step::Leave(index, end) if !under_way.is_empty() => {
                    let call = under_way.swap_remove(index.index(under_way.len()));
                    match (call, end) {
                        (Some((_, until)), None) => dead.push(until),
                        (None, None) => {}
                        // As the breaker does it: a throttled call is not counted.
                        (None, Some(CallOutcome::Throttled)) => {}
                        (None, Some(outcome)) => {
                            let failed = outcome == CallOutcome::Failed;
                            local.count(failed, now);
                            unreported.push((now, failed));
                            if failed {
                                let tally = std::mem::take(&mut local);
                                let listens = circuit.mode == Mode::Normal && circuit.state.name() == "closed";
                                let reported = circuit.after_report(&tally, now);
                                prop_assert_eq!(reported.is_some(), listens);
                                if let Some(next) = reported {
                                    calls.append(&mut unreported);
                                    prop_assert_eq!(next.state.name() == "open", opens(&calls, now), "{:?}", &calls);
                                    circuit = next;
                                }
                                unreported.clear();
                            }
                        }
                        (Some((id, _)), Some(outcome)) => {
                            if let Some(next) = circuit.after_probe(&id, outcome, now) {
                                let failed = outcome == CallOutcome::Failed;
                                successes += usize::from(matches!(outcome, CallOutcome::Done | CallOutcome::Refused));
                                prop_assert_eq!(next.state.name() == "open", failed);
                                prop_assert_eq!(next.state.name() == "closed", !failed && successes == all);
                                circuit = next;
                            }
                        }
                    }
                }
                Step::Leave(..) => {}
            }
            if before.state.name() != circuit.state.name() {
                calls.clear();
            }
            if circuit.state.name() == "half_open" {
                let State::HalfOpen { probes, successes: known, step } = &circuit.state else { unreachable!() };
                let live = probes.iter().filter(|probe| now < probe.until).count();
                prop_assert!(live + known <= BREAKER.probes[*step]);
                prop_assert_eq!(BREAKER.probes[..*step].iter().sum::<usize>() + known, successes);
                let ours = under_way.iter().flatten().filter(|(id, until)| {
                    now < *until && probes.iter().any(|probe| probe.id == *id)
                });
                prop_assert!(ours.count() + dead.iter().filter(|until| now < **until).count() >= live);
            }
        }
    }
}
