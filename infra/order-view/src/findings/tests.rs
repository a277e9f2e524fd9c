use contracts::{CorrelationId, Envelope, EventId, Metadata, OrderId};
use jiff::SignedDuration;
use serde_json::{Value, json};

use super::*;
use crate::saga::{Attempt, Execution, Saga, Visit};
use crate::sources::{
    Breaker, DeadLetter, Frame, Function, Mapping, Message, ParkedRecord, Payment, Reservation, Shipment,
};
use crate::terminal::{Terminal, text};
use crate::view::OrderView;

const ORDER: &str = "ord_0123456789abcdef0123456789abcdef";

fn at(seconds: i64) -> Timestamp {
    let start: Timestamp = "2026-11-29T20:00:00Z".parse().unwrap();
    start.checked_add(SignedDuration::from_secs(seconds)).unwrap()
}

fn event(sequence: u64, event_type: &str, data: Value) -> Envelope {
    Envelope {
        event_id: EventId::derive("orders", ORDER, sequence),
        event_type: event_type.to_owned(),
        event_version: 1,
        occurred_at: at(i64::try_from(sequence).unwrap()),
        source: "orders".to_owned(),
        subject: ORDER.to_owned(),
        sequence,
        correlation_id: CorrelationId::try_from("cor_1").unwrap(),
        causation_id: "c".to_owned(),
        traceparent: None,
        data,
        metadata: Metadata::default(),
    }
}

fn frame(kind: &str, number: u64, event_type: &str) -> Frame {
    let is_order = kind == "order";
    Frame {
        kind: kind.to_owned(),
        version: is_order.then_some(number),
        sequence: (!is_order).then_some(number),
        event_type: event_type.to_owned(),
        occurred_at: at(i64::try_from(number).unwrap()),
    }
}

fn visit(state: &str, entered: i64, exited: Option<i64>, failures: Vec<Attempt>) -> Visit {
    let tries = u32::try_from(failures.len()).unwrap() + u32::from(exited.is_some());
    Visit { state: state.to_owned(), entered_at: at(entered), exited_at: exited.map(at), tries, failures }
}

fn failure(second: i64, error: &str, cause: &str) -> Attempt {
    Attempt { at: at(second), error: error.to_owned(), cause: cause.to_owned() }
}

fn execution(status: &str, error: Option<&str>, visits: Vec<Visit>) -> Saga {
    let ended = (status != "RUNNING").then(|| at(60));
    Saga::Started(Execution {
        status: status.to_owned(),
        started_at: at(1),
        ended_at: ended,
        error: error.map(str::to_owned),
        visits,
    })
}

fn payment(status: &str) -> Payment {
    serde_json::from_value(json!({
        "status": status, "charge": {"amount": {"amount": 4200, "currency": "USD"}, "deadline": at(900).as_second()},
    }))
    .unwrap()
}

fn function(name: &str, state: &str, concurrency: Option<u64>) -> Function {
    let mapping = Mapping { uuid: "u-1".to_owned(), state: state.to_owned(), last_result: "OK".to_owned() };
    Function { name: name.to_owned(), mapping: Some(mapping), concurrency }
}

/// An order that was placed five minutes ago, whose events have all arrived, and of which everything was read.
fn placed() -> Sources {
    let mut sources = Sources::new(OrderId::try_from(ORDER).unwrap(), "dev", " --stage dev", at(300));
    sources.events =
        Some(vec![event(1, "order.created", json!({"total": {"amount": 4200, "currency": "USD"}}))]);
    sources.frames = Some(vec![frame("order", 1, "order.created")]);
    sources.saga = Some(execution("RUNNING", None, vec![visit("ReserveInventory", 1, None, Vec::new())]));
    (sources.reservation, sources.payment, sources.shipment) = (Some(None), Some(None), Some(None));
    (sources.messages, sources.audit, sources.logs) = (Some(Vec::new()), Some(Vec::new()), Some(Vec::new()));
    (sources.parked, sources.dead_letters) = (Some(Vec::new()), Some(Vec::new()));
    (sources.functions, sources.breakers) = (Some(Vec::new()), Some(Vec::new()));
    sources
}

/// Whose payment is pending.
fn at_payment() -> Sources {
    let mut sources = placed();
    let visits =
        vec![visit("ReserveInventory", 1, Some(2), Vec::new()), visit("TakePayment", 3, None, Vec::new())];
    sources.saga = Some(execution("RUNNING", None, visits));
    sources
}

/// That ended with these events.
fn ended(last: &[(&str, Value)]) -> Sources {
    let mut sources = placed();
    let events = sources.events.as_mut().unwrap();
    let frames = sources.frames.as_mut().unwrap();
    for (number, (event_type, data)) in (2..).zip(last) {
        events.push(event(number, event_type, data.clone()));
        frames.push(frame("order", number, event_type));
    }
    sources.saga = Some(execution("SUCCEEDED", None, vec![visit("CompleteOrder", 2, Some(3), Vec::new())]));
    sources
}

#[track_caller]
fn only(sources: &Sources) -> Finding {
    let mut found = findings(sources);
    assert_eq!(found.len(), 1, "{found:#?}");
    found.remove(0)
}

fn evidence(finding: &Finding) -> String {
    finding.evidence.join("\n")
}

#[test]
fn a_saga_that_was_never_started_is_explained_by_what_keeps_the_relay_from_running() {
    let mut sources = placed();
    sources.saga = Some(Saga::NotStarted);
    let finding = only(&sources);
    assert_eq!((finding.urgency, finding.runbook), (Urgency::Stuck, section::STUCK));
    assert_eq!(finding.commands, ["cargo ops saga check --older-than 0 --stage dev"]);

    sources.functions = Some(vec![function("orders-relay", "Disabled", None)]);
    let finding = only(&sources);
    assert_eq!(finding.runbook, section::ITERATOR_AGE);
    assert!(evidence(&finding).contains("mapping is Disabled"));
    assert_eq!(finding.commands[0], "aws lambda update-event-source-mapping --uuid u-1 --enabled");

    sources.functions = Some(vec![function("orders-relay", "Enabled", Some(0))]);
    let finding = only(&sources);
    assert_eq!(finding.runbook, section::THROTTLED);
    assert!(
        finding.commands[0]
            .contains("delete-function-concurrency --function-name ordersaga-dev-orders-relay")
    );
}

#[test]
fn an_order_of_this_second_is_not_stuck() {
    let mut sources = placed();
    sources.read_at = at(3);
    sources.saga = Some(Saga::NotStarted);
    assert!(findings(&sources).is_empty());
}

#[test]
fn a_parked_record_explains_why_the_saga_was_never_started() {
    let mut sources = placed();
    sources.saga = Some(Saga::NotStarted);
    sources.frames = Some(Vec::new());
    let item = format!("ORDER#{ORDER} COMMIT#00000001");
    sources.parked = Some(vec![ParkedRecord { context: "orders".to_owned(), item, parked_at: Some(at(2)) }]);
    let finding = only(&sources);
    assert_eq!((finding.runbook, finding.since), (section::PARKED, Some(at(2))));
    assert_eq!(finding.commands, ["cargo ops outbox retry orders --stage dev"]);
}

#[test]
fn a_payment_that_nothing_takes_is_explained_by_what_keeps_its_function_from_running() {
    let mut sources = at_payment();
    sources.functions = Some(vec![function("payments-commands", "Disabled", None)]);
    let finding = only(&sources);
    assert_eq!((finding.urgency, finding.runbook), (Urgency::Stuck, section::MESSAGES_WAIT));
    assert_eq!(finding.since, Some(at(3)));
    assert!(evidence(&finding).contains("nothing invokes payments-commands"), "{finding:?}");
}

#[test]
fn a_dead_letter_of_a_payment_is_told_with_the_errors_of_its_function() {
    let mut sources = at_payment();
    sources.dead_letters = Some(vec![DeadLetter {
        queue: "payments-commands-dlq".to_owned(),
        about: "TakePayment".to_owned(),
        sent_at: Some(at(4)),
        redriven: 1,
    }]);
    sources.logs = Some(vec![LogLine {
        at: at(9),
        function: "payments-commands".to_owned(),
        level: "ERROR".to_owned(),
        message: "command failed".to_owned(),
        detail: Some("error=no secret for anna@example.com".to_owned()),
        request_id: None,
        trace_id: None,
    }]);
    let finding = only(&sources);
    assert_eq!(finding.runbook, section::DEAD_LETTERS);
    let evidence = evidence(&finding);
    assert!(evidence.contains("redriven 1× before") && evidence.contains("no secret for a…@…"), "{evidence}");
    assert_eq!(finding.commands[1], "cargo ops dlq redrive payments-commands-dlq --stage dev");
}

#[test]
fn dead_letters_are_looked_up_in_the_log_of_the_function_that_serves_their_queue() {
    let mut sources = placed();
    for (queue, function) in
        [("realtime-dlq.fifo", "realtime-consumer"), ("inventory-events-dlq", "inventory-consumer")]
    {
        sources.dead_letters = Some(vec![DeadLetter {
            queue: queue.to_owned(),
            about: "order.completed".to_owned(),
            sent_at: None,
            redriven: 0,
        }]);
        let found = findings(&sources);
        assert!(found[0].commands[0].contains(&format!("ordersaga-dev-{function} ")), "{:?}", found[0]);
    }
}

#[test]
fn an_open_breaker_is_why_a_payment_waits() {
    let mut sources = at_payment();
    sources.payment = Some(Some(payment("pending")));
    let breaker = |mode: &str, state: &str| {
        let name = "payments/gateway".to_owned();
        Some(vec![Breaker { name, mode: mode.to_owned(), state: state.to_owned() }])
    };
    sources.breakers = breaker("normal", "open");
    let finding = only(&sources);
    assert_eq!((finding.urgency, finding.runbook), (Urgency::Stuck, section::BREAKER));
    assert!(
        finding.title.contains("payments/gateway is open") && evidence(&finding).contains("20:15:00"),
        "{finding:?}"
    );
    assert_eq!(finding.commands, ["cargo ops breaker list --stage dev"]);

    sources.breakers = breaker("forced-open", "closed");
    assert_eq!(only(&sources).commands, ["cargo ops breaker set payments/gateway normal --stage dev"]);
    sources.breakers = breaker("off", "open");
    assert!(only(&sources).title.contains("gateway has not taken"), "a breaker that is off stops no call");
}

#[test]
fn a_payment_that_waits_for_the_customer_is_not_stuck() {
    let mut sources = at_payment();
    let mut pending = payment("pending");
    pending.waiting = Some("customer".to_owned());
    sources.payment = Some(Some(pending));
    let finding = only(&sources);
    assert_eq!(finding.urgency, Urgency::Waits);
    assert!(finding.title.contains("3-D Secure") && evidence(&finding).contains("deadline"));
}

#[test]
fn a_decided_payment_whose_saga_still_waits_is_stuck() {
    let mut sources = at_payment();
    sources.payment = Some(Some(payment("succeeded")));
    assert!(only(&sources).title.contains("decided (succeeded)"));
}

#[test]
fn a_step_that_fails_is_told_by_its_error_and_by_what_keeps_its_function_from_running() {
    let cases = [
        ("Transient", section::STEPS_FAIL),
        ("Lambda.TooManyRequestsException", section::THROTTLED),
        ("States.Timeout", section::FAIL),
    ];
    for (error, expected) in cases {
        let mut sources = placed();
        let failures = vec![failure(2, error, "no answer"), failure(5, error, "no answer")];
        sources.saga = Some(execution("RUNNING", None, vec![visit("ScheduleShipment", 1, None, failures)]));
        let finding = only(&sources);
        assert_eq!(finding.runbook, expected);
        assert!(finding.title.contains("ScheduleShipment fails in fulfillment-commands"));
        assert!(evidence(&finding).contains("2 tries failed") && evidence(&finding).contains("no answer"));
        assert_eq!(finding.since, Some(at(2)));
    }
}

#[test]
fn an_undo_that_is_used_up_needs_attention_and_says_why() {
    let mut sources = ended(&[("order.compensation_failed", json!({"failed": ["payment"]}))]);
    let refused = vec![
        failure(10, "Transient", "the gateway answers 503"),
        failure(40, "Transient", "the gateway answers 503"),
    ];
    let visits = vec![
        visit("RefundPayment", 9, Some(41), refused),
        visit("CompensationFailed", 59, Some(60), Vec::new()),
    ];
    sources.saga = Some(execution("FAILED", Some("CompensationFailed"), visits));
    sources.payment = Some(Some(payment("refunding")));
    let finding = only(&sources);
    assert_eq!((finding.urgency, finding.runbook), (Urgency::Stuck, section::ATTENTION));
    assert!(finding.title.contains("not undone: payment"));
    let evidence = evidence(&finding);
    assert!(evidence.contains("RefundPayment: Transient: the gateway answers 503"), "{evidence}");
    assert!(evidence.contains("the payment is refunding"), "{evidence}");
    assert_eq!(finding.commands, [format!("cargo ops saga retry {ORDER} --stage dev")]);
}

#[test]
fn an_execution_that_ended_without_its_order_is_for_the_reconciler() {
    let mut sources = placed();
    for (status, error, expected) in
        [("FAILED", Some("SagaUnresolved"), section::UNRESOLVED), ("ABORTED", None, section::STUCK)]
    {
        sources.saga = Some(execution(status, error, vec![visit("TakePayment", 1, Some(9), Vec::new())]));
        let finding = only(&sources);
        assert_eq!(finding.runbook, expected);
        assert!(finding.commands[0].contains("saga check --older-than 0"));
    }
}

#[test]
fn what_an_ended_order_still_holds_is_owed() {
    let reservation = |status: &str| {
        serde_json::from_value::<Reservation>(
            json!({"status": status, "created_at": at(1), "updated_at": at(2)}),
        )
        .unwrap()
    };
    let mut completed = ended(&[("order.completed", json!({}))]);
    completed.reservation = Some(Some(reservation("committed")));
    completed.payment = Some(Some(payment("succeeded")));
    assert!(findings(&completed).is_empty());
    completed.reservation = Some(Some(reservation("held")));
    let finding = only(&completed);
    assert_eq!((finding.urgency, finding.runbook), (Urgency::Owed, section::STOCK));

    let mut cancelled = ended(&[("order.cancelled", json!({}))]);
    cancelled.payment = Some(Some(payment("refunding")));
    cancelled.reservation = Some(Some(reservation("held")));
    let shipment = json!({"status": "scheduled", "created_at": at(1), "updated_at": at(2)});
    cancelled.shipment = Some(Some(serde_json::from_value::<Shipment>(shipment).unwrap()));
    let titles: Vec<String> = findings(&cancelled).into_iter().map(|finding| finding.title).collect();
    assert_eq!(titles.len(), 3, "{titles:?}");

    let mut returned = ended(&[("order.completed", json!({}))]);
    returned.payment = Some(Some(payment("refund_failed")));
    assert_eq!(only(&returned).runbook, section::REFUND);
}

#[test]
fn a_customer_who_was_not_told_is_owed_a_message() {
    let mut sources = ended(&[("order.completed", json!({}))]);
    let message = |state: &str| Message {
        event_type: "order.completed".to_owned(),
        channel: "email".to_owned(),
        state: state.to_owned(),
        provider: None,
        reason: Some("provider".to_owned()),
        ended_at: Some(at(9)),
        lease_until: Some(at(10)),
    };
    sources.messages = Some(vec![message("sent")]);
    assert!(findings(&sources).is_empty());
    sources.messages = Some(vec![message("given_up")]);
    let finding = only(&sources);
    assert_eq!((finding.urgency, finding.runbook), (Urgency::Owed, section::NOT_TOLD));
    assert_eq!(finding.commands, ["cargo ops dlq redrive notifications-email-dlq --stage dev"]);
    sources.messages = Some(vec![message("failed")]);
    assert_eq!(only(&sources).urgency, Urgency::Waits);
    sources.messages = Some(vec![message("waiting")]);
    let open = Breaker {
        name: "notifications/email".to_owned(),
        mode: "normal".to_owned(),
        state: "open".to_owned(),
    };
    sources.breakers = Some(vec![open]);
    assert!(only(&sources).title.contains("notifications/email is open"));
}

#[test]
fn events_that_did_not_reach_the_customers_page_are_owed() {
    let mut sources = ended(&[("order.completed", json!({}))]);
    sources.frames.as_mut().unwrap().pop();
    sources.functions = Some(vec![function("realtime-consumer", "Disabled", None)]);
    let finding = only(&sources);
    assert_eq!((finding.urgency, finding.runbook), (Urgency::Owed, section::MESSAGES_WAIT));
    assert!(evidence(&finding).contains("up to its event 1, of 2"));
    assert_eq!(
        finding.commands[1],
        "cargo ops outbox republish orders --since 2026-11-29T20:00:02Z --stage dev"
    );
}

#[test]
fn what_could_not_be_read_is_not_taken_for_missing() {
    let mut sources = Sources::new(OrderId::try_from(ORDER).unwrap(), "dev", "", at(300));
    sources.events = placed().events;
    assert!(findings(&sources).is_empty(), "{:?}", findings(&sources));
}

#[test]
fn the_runbook_has_the_sections_that_are_named() {
    let runbook = include_str!("../../../RUNBOOK.md");
    let source = include_str!("../findings.rs");
    let named: Vec<&str> =
        source.lines().filter_map(|line| line.trim().strip_prefix("pub const ")?.split('"').nth(1)).collect();
    assert!(named.len() > 10, "{named:?}");
    for section in named {
        assert!(runbook.contains(&format!("\n## {section}\n")), "the runbook has no section {section}");
    }
}

#[test]
fn the_terminal_shows_the_finding_before_the_timeline_within_its_width() {
    let mut sources = at_payment();
    sources.functions = Some(vec![function("payments-commands", "Disabled", None)]);
    let view = OrderView::new(&sources, None);
    for width in [60, 80, 120] {
        let said = text(&view, Terminal { width, colour: false });
        assert!(said.find("STUCK").unwrap() < said.find("ReserveInventory").unwrap(), "{said}");
        assert!(!said.contains('\u{1b}'), "there is no colour");
        // Commands and the runbook's headings are not wrapped, so that they can be copied and searched.
        let prose = said.lines().filter(|line| !line.contains("$ ") && !line.contains("runbook: "));
        for line in prose {
            assert!(console::measure_text_width(line) <= width, "{width}: {line}");
        }
    }
    assert!(text(&view, Terminal { width: 80, colour: true }).contains('\u{1b}'));
}

#[test]
fn an_earlier_time_shows_what_had_happened_until_then_and_no_findings() {
    let mut sources = at_payment();
    sources.reservation = Some(Some(
        serde_json::from_value(json!({"status": "released", "created_at": at(2), "updated_at": at(200)}))
            .unwrap(),
    ));
    let view = OrderView::new(&sources, Some(at(2)));
    assert!(view.findings.is_empty() && view.timeline.iter().all(|entry| entry.at <= at(2)));
    assert_eq!(view.state.saga.as_deref(), Some("ReserveInventory"));
    assert_eq!(view.state.reservation.as_deref(), Some("held"));
    let before = OrderView::new(&sources, Some(at(0)));
    assert_eq!((before.state.order, before.state.saga), (None, None));
    let later = OrderView::new(&sources, Some(at(250)));
    assert_eq!(later.state.reservation.as_deref(), Some("released"));
}

#[test]
fn the_page_is_self_contained_and_shows_the_orders_way() {
    let mut sources = ended(&[("order.cancelled", json!({"reason": "<script>alert(1)</script>"}))]);
    let visits = vec![
        visit("ReserveInventory", 1, Some(2), Vec::new()),
        visit("RecordReservation", 2, Some(3), Vec::new()),
        visit("TakePayment", 3, Some(4), vec![failure(4, "PaymentDeclined", "no")]),
        visit("ReleaseInventory", 4, Some(5), Vec::new()),
        visit("CancelOrder", 5, Some(6), Vec::new()),
    ];
    sources.saga = Some(execution("SUCCEEDED", None, visits));
    let page = crate::page::page(&OrderView::new(&sources, None));
    assert_eq!(page.matches("class=\"edge taken\"").count(), 4);
    assert!(
        page.contains("class=\"state warned\"><title>TakePayment: 1 try failed"),
        "the failed step is marked"
    );
    assert!(page.contains("class=\"state never\"><title>ScheduleShipment"));
    assert!(page.contains("&lt;script&gt;") && !page.contains("<script"));
    for outside in ["http://", "https://", "src=", "@import", "url(http"] {
        assert!(!page.contains(outside), "{outside}");
    }
}
