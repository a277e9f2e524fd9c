use contracts::Sku;
use jiff::civil::date;

use super::*;

fn context() -> EventContext {
    EventContext {
        order_id: OrderId::try_from("ord_00000000000000000000000000000001").unwrap(),
        user_id: UserId::try_from("usr_00000000000000000000000000000002").unwrap(),
        correlation_id: CorrelationId::try_from("cor").unwrap(),
        causation_id: "test".to_owned(),
        at: Timestamp::UNIX_EPOCH,
    }
}

fn schedule_with(booked: Result<Booking, NotServed>) -> Command {
    Command::Schedule(Box::new(Schedule {
        booked,
        items: vec![OrderLine { sku: Sku::try_from("MUG").unwrap(), quantity: 1 }],
        shipping_address: ShippingAddress {
            name: "Ada Lovelace".to_owned(),
            line1: "1 Secret Street".to_owned(),
            line2: None,
            city: "Town".to_owned(),
            postal_code: "12345".to_owned(),
            country: "DE".to_owned(),
        },
    }))
}

fn schedule() -> Command {
    schedule_with(Ok(Booking {
        shipment_id: "shp_1".to_owned(),
        carrier: "Parcel".to_owned(),
        tracking_number: "OP1".to_owned(),
        estimated_delivery: date(2026, 11, 25),
    }))
}

fn refused_schedule() -> Command {
    schedule_with(Err(NotServed::Country("AQ".to_owned())))
}

fn written(current: Option<&Shipment>, command: Command) -> Change {
    match decide(current, command, &context()) {
        Ok(Decision::Write(change)) => change,
        other => panic!("expected a write, got {other:?}"),
    }
}

/// The effect of a command on a state, in one word.
fn word(current: Option<&Shipment>, command: Command) -> String {
    match decide(current, command, &context()) {
        Ok(Decision::Keep(shipment)) => {
            assert_eq!(Some(&shipment), current, "keeping changes nothing");
            "keep".to_owned()
        }
        Ok(Decision::Write(change)) => format!("{:?}", change.shipment.status).to_lowercase(),
        Err(Rejected::NotServed(reason)) => reason,
        Err(Rejected::AlreadyCancelled) => "AlreadyCancelled".to_owned(),
        Err(Rejected::InProgress) => "InProgress".to_owned(),
    }
}

#[test]
fn every_state_answers_every_command() {
    let row = |current: Option<&Shipment>| {
        [schedule(), refused_schedule(), Command::Cancel].map(|command| word(current, command))
    };
    let scheduled = written(None, schedule()).shipment;
    let rejected = written(None, refused_schedule()).shipment;
    let cancelled = written(Some(&scheduled), Command::Cancel).shipment;
    let forestalled = written(None, Command::Cancel).shipment;

    let no = "no carrier delivers to AQ";
    assert_eq!(row(None), ["scheduled", "rejected", "cancelled"]);
    assert_eq!(row(Some(&scheduled)), ["keep", "keep", "cancelled"]);
    assert_eq!(row(Some(&rejected)), [no, no, "keep"]);
    assert_eq!(row(Some(&cancelled)), ["AlreadyCancelled", "AlreadyCancelled", "keep"]);
    assert_eq!(row(Some(&forestalled)), ["AlreadyCancelled", "AlreadyCancelled", "keep"]);

    assert!(cancelled.was_cancelled());
    for other in [scheduled, rejected, forestalled] {
        assert!(!other.was_cancelled(), "{other:?}");
    }
}

#[test]
fn events_tell_the_shipment_and_not_the_address() {
    let scheduled = written(None, schedule());
    let events = scheduled.events().unwrap();
    assert_eq!(
        (events.len(), events[0].event_type.as_str(), events[0].sequence),
        (1, "shipment.scheduled", 1)
    );
    assert_eq!(
        events[0].data,
        serde_json::json!({
            "order_id": context().order_id, "carrier": "Parcel", "tracking_number": "OP1",
            "estimated_delivery": "2026-11-25",
        })
    );
    assert!(!serde_json::to_string(&events).unwrap().contains("Secret"));
    assert_eq!(events[0].metadata.user_id, Some(context().user_id));

    let cancelled = written(Some(&scheduled.shipment), Command::Cancel).events().unwrap();
    assert_eq!((cancelled[0].event_type.as_str(), cancelled[0].sequence), ("shipment.cancelled", 2));
}

#[test]
fn where_nothing_was_booked_there_is_no_event() {
    assert_eq!(written(None, refused_schedule()).events().unwrap(), []);
    assert_eq!(written(None, Command::Cancel).events().unwrap(), []);
}

#[test]
fn the_address_is_kept_only_while_there_is_something_to_send() {
    let scheduled = written(None, schedule()).shipment;
    assert!(scheduled.shipping_address.is_some());
    assert_eq!(written(Some(&scheduled), Command::Cancel).shipment.shipping_address, None);
    assert_eq!(written(None, refused_schedule()).shipment.shipping_address, None);
}

#[test]
fn staff_take_a_shipment_step_by_step_and_no_other_way() {
    use Status::*;
    let steps = [Progress::Picked, Progress::Packed, Progress::Shipped, Progress::Delivered];
    let allowed = [(Scheduled, 0), (Picked, 1), (Packed, 2), (Shipped, 3)];
    let shipment = written(None, schedule()).shipment;
    for is in [Scheduled, Picked, Packed, Shipped, Delivered, Rejected, Cancelled] {
        let shipment = Shipment { status: is, ..shipment.clone() };
        for (n, progress) in steps.into_iter().enumerate() {
            let outcome = report(&shipment, &ProgressReport { progress, tracking_number: None }, &context());
            match outcome {
                Ok(Decision::Write(change)) => {
                    assert!(allowed.contains(&(is, n)), "{is:?} to {progress:?}");
                    assert_eq!(change.shipment.version, shipment.version + 1);
                    let events = change.events().unwrap();
                    let name = serde_json::to_value(progress).unwrap();
                    assert_eq!(events[0].event_type, format!("shipment.{}", name.as_str().unwrap()));
                }
                Ok(Decision::Keep(same)) => assert_eq!(format!("{:?}", same.status), format!("{progress:?}")),
                Err(refused) => {
                    assert!(
                        !allowed.contains(&(is, n))
                            && refused == OutOfOrder { current: is, reported: progress }
                    );
                }
            }
        }
    }
}

#[test]
fn a_change_is_recorded_with_the_items_and_the_command_that_caused_it() {
    let scheduled = written(None, schedule()).shipment;
    assert_eq!(scheduled.items, [OrderLine { sku: Sku::try_from("MUG").unwrap(), quantity: 1 }]);

    let later = EventContext {
        correlation_id: CorrelationId::try_from("cor_cancel").unwrap(),
        at: Timestamp::from_second(60).unwrap(),
        ..context()
    };
    let reported = ProgressReport { progress: Progress::Picked, tracking_number: None };
    let Ok(Decision::Write(picked)) = report(&scheduled, &reported, &later) else {
        panic!("the shipment can be picked")
    };
    assert_eq!((picked.shipment.created_at, picked.shipment.updated_at), (context().at, later.at));

    let Ok(Decision::Write(cancelled)) = decide(Some(&scheduled), Command::Cancel, &later) else {
        panic!("the shipment can be cancelled")
    };
    let event = &cancelled.events().unwrap()[0];
    assert_eq!((&event.correlation_id, event.occurred_at), (&later.correlation_id, later.at));
    assert_eq!(cancelled.shipment.created_at, context().at);
}

#[test]
fn the_address_is_kept_until_the_shipment_is_delivered() {
    let mut shipment = written(None, schedule()).shipment;
    for progress in [Progress::Picked, Progress::Packed, Progress::Shipped, Progress::Delivered] {
        let reported = report(&shipment, &ProgressReport { progress, tracking_number: None }, &context());
        let Ok(Decision::Write(change)) = reported else { panic!("{progress:?} is the next step") };
        shipment = change.shipment;
        assert_eq!(shipment.shipping_address.is_some(), progress != Progress::Delivered, "{progress:?}");
    }
}
