mod delivery;

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::*;
use crate::stream::StreamRecord;

fn event(sequence: u64) -> String {
    json!({
        "event_id": format!("evt_{sequence:032x}"), "event_type": "user.registered", "event_version": 1,
        "occurred_at": "2026-11-20T12:00:00Z", "source": "users", "subject": "u", "sequence": sequence,
        "correlation_id": "c", "causation_id": "c", "data": {}, "metadata": {"user_id": null, "tenant_id": null},
    })
    .to_string()
}

fn image(outbox: &[String]) -> Value {
    let outbox: Vec<Value> = outbox.iter().map(|event| json!({"S": event})).collect();
    json!({
        "pk": {"S": "USER#1"}, "version": {"N": "2"}, "erased": {"NULL": true},
        "preferences": {"M": {"email": {"BOOL": true}}}, "outbox": {"L": outbox},
    })
}

fn record(name: &str, new: Option<Value>, old: Option<Value>) -> StreamRecord {
    let mut change = json!({"SequenceNumber": "7", "Keys": {"pk": {"S": "USER#1"}}, "StreamViewType": "NEW_AND_OLD_IMAGES"});
    for (name, image) in [("NewImage", new), ("OldImage", old)] {
        if let Some(image) = image {
            change[name] = image;
        }
    }
    let payload = json!({"Records": [{"eventName": name, "eventID": "x", "dynamodb": change}]}).to_string();
    serde_json::from_str::<StreamEvent>(&payload).unwrap().records.remove(0)
}

fn sequences(record: &StreamRecord) -> Vec<u64> {
    record.new_events().unwrap().iter().map(|outgoing| outgoing.event.sequence).collect()
}

#[test]
fn an_items_first_write_brings_all_its_events_in_order() {
    let record = record("INSERT", Some(image(&[event(1), event(2)])), None);
    assert_eq!(sequences(&record), [1, 2]);
    let image = record.dynamodb.new_image.as_ref().unwrap();
    assert_eq!(image.string("pk").as_deref(), Some("USER#1"));
    assert_eq!((image.string("version"), image.string("nothing")), (None, None));
    assert!(image.has("erased") && !image.has("nothing"));
    assert_eq!((image.number("version"), image.number::<u8>("pk")), (Some(2_u32), None));
}

#[test]
fn a_change_brings_what_the_item_did_not_hold_before() {
    assert_eq!(sequences(&record("MODIFY", Some(image(&[event(2)])), Some(image(&[event(1)])))), [2]);
    assert!(sequences(&record("MODIFY", Some(image(&[event(1)])), Some(image(&[event(1)])))).is_empty());
}

#[test]
fn a_deletion_and_an_item_without_outbox_bring_nothing() {
    assert!(sequences(&record("REMOVE", None, Some(image(&[event(1)])))).is_empty());
    assert!(sequences(&record("INSERT", Some(json!({"pk": {"S": "EMAIL#x"}})), None)).is_empty());
}

#[test]
fn an_outbox_entry_that_is_no_envelope_is_an_error() {
    assert!(record("INSERT", Some(image(&["{}".to_owned()])), None).new_events().is_err());
}

#[test]
fn records_that_failed_or_cannot_be_processed_are_not_done() {
    let numbers = || BTreeSet::from(["7".to_owned()]);
    assert!(Handled::default().is_empty());
    let failed = Handled::from(numbers());
    assert_eq!(failed, Handled { failed: numbers(), unprocessable: BTreeSet::new() });
    assert!(!failed.is_empty());
    assert!(!Handled { unprocessable: numbers(), ..Handled::default() }.is_empty());
}

#[test]
fn what_an_operator_asks_for_is_no_batch_of_the_stream() {
    let asked = request(r#"{"action":"republish","run":"r1"}"#).unwrap().unwrap();
    assert!(matches!(asked, Request::Republish(asked) if asked.run == "r1"));
    let asked = request(r#"{"action":"retry_parked","cursor":"7"}"#).unwrap().unwrap();
    assert!(matches!(asked, Request::RetryParked(asked) if asked.cursor.as_deref() == Some("7")));
    for broken in [r#"{"action":"republish"}"#, r#"{"action":"retry"}"#, r#"{"action":7}"#] {
        assert_eq!(request(broken).unwrap().unwrap_err().error_type, "MalformedRequest", "{broken}");
    }
    assert!(request(r#"{"Records":[]}"#).is_none());
}

#[test]
fn a_record_that_cannot_be_read_leaves_the_others_of_its_batch_readable() {
    let broken = json!({"pk": {"S": "USER#1"}, "outbox": {"S": "no list"}});
    assert!(record("INSERT", Some(broken.clone()), None).new_events().is_err());
    // The old outbox was malformed and not published, so all events of the new one are new.
    assert_eq!(sequences(&record("MODIFY", Some(image(&[event(1)])), Some(broken))), [1]);
}
