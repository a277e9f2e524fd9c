//! A stage with one order of each kind, and each rule broken once.

use contracts::{
    CorrelationId, Envelope, EventPayload, NewEvent, UserId,
    events::{
        OrderCancelRequested, OrderCancelled, OrderCompensationFailed, OrderCompleted, OrderCreated,
        OrderInventoryReleased, OrderInventoryReserved, OrderPaymentPending, OrderPaymentSucceeded,
        OrderShipmentScheduled,
    },
};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::*;

const ORDER: &str = "ord_01990000000070008000000000000001";
const OTHER: &str = "ord_01990000000070008000000000000002";
const USER: &str = "usr_01990000000070008000000000000001";

fn at() -> Timestamp {
    "2026-11-01T12:00:00Z".parse().unwrap()
}

fn event<P: EventPayload>(order: &str, sequence: u64, payload: Value) -> Envelope {
    let payload: P = serde_json::from_value(payload).unwrap();
    let new = NewEvent {
        source: "orders",
        subject: order,
        sequence,
        occurred_at: at(),
        correlation_id: &CorrelationId::try_from("cor_1").unwrap(),
        causation_id: "test",
        user_id: Some(&UserId::try_from(USER).unwrap()),
    };
    Envelope::new(new, &payload).unwrap()
}

fn total() -> Value {
    json!({"amount": 4_200, "currency": "USD"})
}

fn created(order: &str) -> Envelope {
    let line = json!({"sku": "MUG", "quantity": 2, "unit_price": {"amount": 2_100, "currency": "USD"}});
    event::<OrderCreated>(order, 1, json!({"items": [line], "total": total()}))
}

fn reserved(order: &str) -> [Envelope; 2] {
    [event::<OrderInventoryReserved>(order, 2, json!({})), event::<OrderPaymentPending>(order, 3, json!({}))]
}

fn completed(order: &str) -> [Envelope; 3] {
    let shipment = json!({"carrier": "C", "tracking_number": "T", "estimated_delivery": "2026-11-05"});
    [
        event::<OrderPaymentSucceeded>(order, 4, json!({"amount": total()})),
        event::<OrderShipmentScheduled>(order, 5, shipment),
        event::<OrderCompleted>(order, 6, json!({"total": total()})),
    ]
}

fn cancelled(order: &str) -> [Envelope; 2] {
    [
        event::<OrderInventoryReleased>(order, 4, json!({})),
        event::<OrderCancelled>(order, 5, json!({"reason": "PaymentDeclined", "step": "TakePayment"})),
    ]
}

fn commit(order: &str, events: &[Envelope]) -> Value {
    let (first, last) = (events[0].sequence, events[events.len() - 1].sequence);
    let outbox: Vec<Value> =
        events.iter().map(|event| json!({"S": serde_json::to_string(event).unwrap()})).collect();
    json!({
        "pk": {"S": format!("ORDER#{order}")}, "sk": {"S": format!("COMMIT#{first:08}")},
        "command_id": {"S": format!("{order}.{first}")}, "outbox": {"L": outbox},
        "first_version": {"N": first.to_string()}, "last_version": {"N": last.to_string()},
    })
}

fn keyed(pk: String, sk: &str, fields: Value) -> Value {
    let mut item = fields;
    item["pk"] = json!({"S": pk});
    item["sk"] = json!({"S": sk});
    item
}

fn view(order: &str, version: u64, status: &str) -> Value {
    let fields = json!({"version": {"N": version.to_string()}, "status": {"S": status}});
    keyed(format!("CUSTOMER#{USER}"), &format!("ORDER#2026-11-01T12:00:00.000000Z#{order}"), fields)
}

fn reservation(order: &str, status: &str) -> Value {
    let taken = json!({"M": {"sku": {"S": "MUG"}, "shard": {"N": "0"}, "quantity": {"N": "2"}}});
    let fields =
        json!({"status": {"S": status}, "taken": {"L": [taken]}, "updated_at": {"S": at().to_string()}});
    keyed(format!("RESERVATION#{order}"), "RESERVATION", fields)
}

fn payment(order: &str, status: &str) -> Value {
    let amount = json!({"M": {"amount": {"N": "4200"}, "currency": {"S": "USD"}}});
    let charge = json!({"M": {"amount": amount, "payment_method": {"S": "pm"}, "deadline": {"N": "1"}}});
    keyed(format!("PAYMENT#{order}"), "PAYMENT", json!({"status": {"S": status}, "charge": charge}))
}

fn shipment(order: &str, status: &str) -> Value {
    keyed(format!("SHIPMENT#{order}"), "SHIPMENT", json!({"status": {"S": status}}))
}

fn moves(kind: &str, id: &str, delta: i64) -> Value {
    let shard = json!({"M": {"shard": {"N": "0"}, "delta": {"N": delta.to_string()}}});
    let fields = json!({
        "sku": {"S": "MUG"}, "kind": {"S": kind}, "at": {"S": at().to_string()}, "shards": {"L": [shard]},
    });
    keyed("MOVES#MUG".to_owned(), &format!("{id}#{kind}"), fields)
}

fn letter(event: &Envelope, state: &str) -> Value {
    let expires = at().as_second() + 90 * 24 * 3_600;
    let fields = json!({"state": {"S": state}, "expires_at": {"N": expires.to_string()}});
    keyed(format!("MESSAGE#{}", event.event_id), "EMAIL", fields)
}

fn contact() -> Value {
    keyed(
        format!("CONTACT#{USER}"),
        "CONTACT",
        json!({"wants_email": {"BOOL": true}, "sequence": {"N": "2"}}),
    )
}

/// Ten pieces, two orders for two each: one completed, one declined.
fn stage() -> Vec<(&'static str, Value)> {
    vec![
        ("orders", commit(ORDER, &[created(ORDER)])),
        ("orders", commit(ORDER, &reserved(ORDER))),
        ("orders", commit(ORDER, &completed(ORDER))),
        ("orders", view(ORDER, 6, "OrderCompleted")),
        ("orders", commit(OTHER, &[created(OTHER)])),
        ("orders", commit(OTHER, &reserved(OTHER))),
        ("orders", commit(OTHER, &cancelled(OTHER))),
        ("orders", view(OTHER, 5, "OrderCancelled")),
        ("inventory", keyed("STOCK#MUG#0".to_owned(), "STOCK", json!({"available": {"N": "8"}}))),
        ("inventory", moves("set", "1", 10)),
        ("inventory", moves("reserved", ORDER, -2)),
        ("inventory", moves("reserved", OTHER, -2)),
        ("inventory", moves("released", OTHER, 2)),
        ("inventory", reservation(ORDER, "committed")),
        ("inventory", reservation(OTHER, "released")),
        ("payments", payment(ORDER, "succeeded")),
        ("payments", payment(OTHER, "declined")),
        ("fulfillment", shipment(ORDER, "scheduled")),
        ("notifications", letter(&completed(ORDER)[2], "sent")),
        ("notifications", letter(&cancelled(OTHER)[1], "sent")),
        ("notifications", contact()),
    ]
}

fn snapshot(items: &[(&'static str, Value)]) -> Snapshot {
    let mut snapshot = Snapshot::default();
    items.iter().for_each(|(context, item)| snapshot.add(context, item));
    snapshot
}

/// What is wrong with the stage when the items of these keys are replaced; an item of null is left out.
fn after(changes: &[Value]) -> Vec<String> {
    let mut items = stage();
    for change in changes {
        let context = match change["pk"]["S"].as_str().unwrap() {
            pk if pk.starts_with("RES") || pk.starts_with("STOCK") || pk.starts_with("MOVES") => "inventory",
            pk if pk.starts_with("PAYMENT") => "payments",
            pk if pk.starts_with("SHIPMENT") => "fulfillment",
            pk if pk.starts_with("MESSAGE") || pk.starts_with("CONTACT") => "notifications",
            _ => "orders",
        };
        items.retain(|(_, item)| item["pk"] != change["pk"] || item["sk"] != change["sk"]);
        if change["gone"].is_null() {
            items.push((context, change.clone()));
        }
    }
    messages(&snapshot(&items).verify(&Policy::at_rest()))
}

fn messages(report: &Report) -> Vec<String> {
    report.violations.iter().map(ToString::to_string).collect()
}

fn gone(item: &Value) -> Value {
    json!({"pk": item["pk"], "sk": item["sk"], "gone": true})
}

#[test]
fn a_stage_that_keeps_every_rule_has_no_violation_and_is_counted() {
    let report = snapshot(&stage()).verify(&Policy::at_rest());
    assert_eq!(messages(&report), Vec::<String>::new());
    let counts = report.counts;
    assert_eq!(counts.orders, [(End::Completed, 1), (End::Cancelled, 1)].into());
    assert_eq!((counts.items, counts.events), (21, 11));
    assert_eq!(counts.money["USD"], report::Sums { taken: 4_200, refunded: 0 });
    assert_eq!(counts.stock, report::Stock { skus: 1, on_hand: 8, held: 0, sold: 2 });
}

#[test]
fn stock_that_is_sold_twice_is_found() {
    let shard = keyed("STOCK#MUG#0".to_owned(), "STOCK", json!({"available": {"N": "10"}}));
    let expected = [
        "stock: MUG: expected the 10 pieces that were put in, found 10 on hand, 0 held and 2 sold",
        "moves: MUG: expected the 10 pieces on hand, found moves that add up to 8",
    ];
    assert_eq!(after(&[shard]), expected);
    let below = keyed("STOCK#MUG#0".to_owned(), "STOCK", json!({"available": {"N": "-1"}}));
    assert!(after(&[below])[0].contains("no shard below zero"));
}

#[test]
fn money_that_is_kept_or_missing_is_found() {
    let expected = format!(
        "payment: {OTHER}: expected no money kept (the order is cancelled), found Succeeded of 4200, 0 refunded"
    );
    assert_eq!(after(&[payment(OTHER, "succeeded")]), [expected]);
    assert!(
        after(&[gone(&payment(ORDER, "succeeded"))])[0]
            .contains("expected a payment of 42.00 USD, found none")
    );
    assert!(after(&[payment(ORDER, "refunding")])[0].contains("the money of a completed order kept"));
}

#[test]
fn a_refund_by_staff_is_none_of_the_platforms() {
    let mut refunded = payment(ORDER, "refunded");
    refunded["refunded"] = json!({"N": "4200"});
    assert_eq!(after(&[refunded.clone()]), Vec::<String>::new());
    refunded["refund_cause"] = json!({"S": "order_cancelled"});
    assert!(after(&[refunded])[0].contains("the money of a completed order kept"));
}

#[test]
fn the_gateways_books_are_compared() {
    let violations_with = |intents: Vec<(&str, &str, i64)>| {
        let mut snapshot = snapshot(&stage());
        let intents = intents.into_iter().map(|(order_id, status, refunded)| Intent {
            order_id: order_id.to_owned(),
            status: IntentStatus::of(status),
            amount: 4_200,
            refunded,
        });
        snapshot.add_books(intents.collect());
        messages(&snapshot.verify(&Policy::at_rest()))
    };
    assert_eq!(violations_with(vec![(ORDER, "succeeded", 0), (OTHER, "canceled", 0)]), Vec::<String>::new());
    let twice = violations_with(vec![(ORDER, "succeeded", 0), (ORDER, "succeeded", 0)]);
    assert_eq!(
        twice,
        [
            format!(
                "charge: {ORDER}: expected 4200 kept at the gateway (the order is completed), found 8400"
            ),
            format!("charge: {ORDER}: expected one live charge at most, found more"),
        ]
    );
    assert!(violations_with(vec![])[0].contains("4200 kept at the gateway"));
    let open = violations_with(vec![(ORDER, "succeeded", 0), (OTHER, "requires_action", 0)]);
    assert!(open[0].contains("no charge that may still take money"));
}

#[test]
fn a_shipment_and_a_reservation_follow_the_orders_end() {
    assert!(after(&[gone(&shipment(ORDER, ""))])[0].contains("a booked shipment"));
    assert!(after(&[shipment(OTHER, "picked")])[0].contains("no booked shipment"));
    let held = after(&[reservation(ORDER, "held")]);
    assert_eq!(
        held,
        [format!("reservation: {ORDER}: expected sold stock (the order is completed), found held")]
    );
}

#[test]
fn a_gap_in_the_events_is_found() {
    let messages = after(&[gone(&commit(ORDER, &reserved(ORDER)))]);
    let is_found =
        |part: &str| assert!(messages.iter().any(|messages| messages.contains(part)), "{part}: {messages:?}");
    is_found("expected version 2 as the next one, found 4");
    is_found("expected events that may follow order.created, found order.payment_succeeded as 4");
}

#[test]
fn an_event_after_the_end_is_found_and_so_is_a_cancel_that_was_ignored() {
    let after_the_end =
        commit(ORDER, &[event::<OrderCancelRequested>(ORDER, 7, json!({"requested_by": "saga"}))]);
    let messages = after(&[after_the_end, view(ORDER, 7, "OrderCompleted")]);
    let found = "order.cancel_requested as 7";
    assert_eq!(
        messages,
        [format!("history: {ORDER}: expected events that may follow order.completed, found {found}")]
    );
    let history = |events: &[Envelope]| {
        let mut snapshot = Snapshot::default();
        snapshot.add("orders", &commit(ORDER, events));
        history_violations(&snapshot)
    };
    let [reserved, pending] = reserved(ORDER);
    let request = event::<OrderCancelRequested>(ORDER, 4, json!({"requested_by": "customer"}));
    let paid = event::<OrderPaymentSucceeded>(ORDER, 5, json!({"amount": total()}));
    let messages = history(&[created(ORDER), reserved, pending, request, paid]);
    assert!(messages[0].contains("order.payment_pending after a requested cancel"), "{messages:?}");
}

fn history_violations(snapshot: &Snapshot) -> Vec<String> {
    let report = snapshot.verify(&Policy::at_rest());
    let of_history = report.violations.iter().filter(|violation| violation.rule == Rule::History);
    of_history.map(ToString::to_string).collect()
}

#[test]
fn an_order_that_needs_attention_is_no_violation_where_its_undo_failed() {
    let failure = json!({"failed": ["payment"], "failure": {
        "step": "TakePayment", "error": "PaymentTimeout", "cause": "",
    }});
    let failed = [
        event::<OrderInventoryReleased>(OTHER, 4, json!({})),
        event::<OrderCompensationFailed>(OTHER, 5, failure),
    ];
    let changes = [commit(OTHER, &failed), view(OTHER, 5, "NeedsAttention"), payment(OTHER, "refunding")];
    assert_eq!(after(&changes), Vec::<String>::new());
    let [first, second, third] = changes;
    assert!(after(&[first, second, third, shipment(OTHER, "scheduled")])[0].contains("no booked shipment"));
}

#[test]
fn lists_letters_and_relays_are_checked() {
    assert!(
        after(&[view(ORDER, 5, "PaymentSucceeded")])[0]
            .contains("expected version 6 as OrderCompleted in the lists")
    );
    let letter_of = letter(&completed(ORDER)[2], "sent");
    assert!(after(&[gone(&letter_of)])[0].contains("a record of the e-mail about its end"));
    assert!(
        after(&[letter(&completed(ORDER)[2], "waiting")])[0].contains("found waiting since its last try")
    );
    let parked = keyed("PARKED".to_owned(), "1", json!({}));
    assert_eq!(after(&[parked]), ["relay: orders: expected no parked records, found 1 parked"]);
}

#[test]
fn the_uses_of_a_code_are_those_of_its_orders() {
    let counter = |used: &str| keyed("DISCOUNT#TEN".to_owned(), "DISCOUNT", json!({"used": {"N": used}}));
    assert_eq!(after(&[counter("0")]), Vec::<String>::new());
    assert_eq!(after(&[counter("1")]), ["discount: TEN: expected 0 uses, found 1"]);
}

#[test]
fn what_is_kept_for_an_unknown_order_is_found() {
    let unknown = "ord_01990000000070008000000000000003";
    let found = after(&[payment(unknown, "succeeded"), shipment(unknown, "scheduled")]);
    assert_eq!(
        found,
        [
            format!("owner: {unknown}: expected an order for its payment, found none"),
            format!("owner: {unknown}: expected an order for its shipment, found none"),
        ]
    );
    let mut items = stage();
    items.push(("payments", payment(unknown, "succeeded")));
    let policy = Policy { never_placed: &["ord_01990000000070008000000000000003"], ..Policy::at_rest() };
    assert_eq!(messages(&snapshot(&items).verify(&policy)), Vec::<String>::new());
}

#[test]
fn an_item_that_cannot_be_read_is_a_violation() {
    let messages = after(&[shipment(ORDER, "teleported")]);
    assert!(
        messages[0].starts_with(&format!("item: SHIPMENT#{ORDER} SHIPMENT of fulfillment: expected ")),
        "{messages:?}"
    );
    assert!(messages[0].contains("teleported"), "{messages:?}");
}

#[test]
fn orders_under_way_are_no_violation_until_their_deadline() {
    let mut snapshot = Snapshot::default();
    snapshot.add("orders", &commit(ORDER, &[created(ORDER)]));
    snapshot.add("inventory", &reservation(ORDER, "held"));
    let live = |seconds| {
        let policy = Policy::live(at() + SignedDuration::from_secs(seconds));
        messages(&snapshot.verify(&policy))
    };
    assert_eq!(live(60), Vec::<String>::new());
    // The stock was never put in.
    assert_eq!(live(3_600).len(), 1);
    let overdue = live(ORDER_DEADLINE.as_secs());
    assert!(
        overdue[0].starts_with(&format!("ending: {ORDER}: expected an order that has ended")),
        "{overdue:?}"
    );
}

#[test]
fn an_order_that_ended_a_moment_ago_is_not_compared_yet() {
    let items: Vec<_> = stage().into_iter().filter(|(context, _)| *context == "orders").collect();
    let report = snapshot(&items).verify(&Policy::live(at() + SignedDuration::from_secs(30)));
    assert_eq!((messages(&report), report.counts.not_settled), (vec![], 2));
    let later = Policy::live(at() + SETTLE);
    assert!(!snapshot(&items).verify(&later).violations.is_empty());
    let since = Policy { since: Some(at() + SignedDuration::from_secs(1)), ..later };
    assert_eq!(messages(&snapshot(&items).verify(&since)), Vec::<String>::new());
}

#[test]
fn events_that_were_not_published_or_in_another_order_are_found() {
    let json = |event: &Envelope| serde_json::to_value(event).unwrap();
    let [first, second] = reserved(ORDER).map(|event| json(&event));
    let stored = || events_of(&commit(ORDER, &reserved(ORDER)));
    assert_eq!(unpublished([&first, &second, &first], stored()), Vec::<String>::new());
    assert_eq!(unpublished([&second, &first], stored()), [format!("orders {ORDER} published 2 after 3")]);
    assert_eq!(unpublished([&first], stored()).len(), 1);
}
