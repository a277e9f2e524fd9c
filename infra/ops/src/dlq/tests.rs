use serde_json::Value;

use super::queues::Source;
use super::*;

fn queue(name: &str, visible: usize) -> DeadLetters {
    let source = Source {
        name: "orders-events".to_owned(),
        url: "https://sqs/1/ordersaga-dev-orders-events".to_owned(),
        arn: "arn:orders-events".to_owned(),
        tries: 5,
        visibility_seconds: 180,
    };
    DeadLetters {
        name: name.to_owned(),
        url: format!("https://sqs/1/ordersaga-dev-{name}"),
        visible,
        in_flight: 0,
        sources: vec![source],
    }
}

fn received(body: &Value) -> Value {
    json!({
        "MessageId": "m-1", "ReceiptHandle": "h", "Body": body.to_string(),
        "Attributes": {"SentTimestamp": "1763640000000", "ApproximateReceiveCount": "6"},
        "MessageAttributes": {
            "redriven": {"DataType": "Number", "StringValue": "2"},
            "event_type": {"DataType": "String", "StringValue": "product.changed"},
        },
    })
}

/// All that can be printed of a message.
fn printed(body: &Value) -> String {
    let summary = message::describe(&received(body));
    format!("{}{}", summary.lines(), as_json(&summary).unwrap())
}

#[test]
fn an_event_is_described_without_its_data() {
    let text = printed(&json!({
        "event_id": "evt_1", "event_type": "user.registered", "event_version": 1, "sequence": 1,
        "occurred_at": "2026-11-20T12:00:00.000Z", "source": "users", "subject": "usr_1",
        "correlation_id": "cor-1", "causation_id": "req", "metadata": {"user_id": "usr_1"},
        "data": {"email": "ada@example.com", "name": "Ada Lovelace", "phone": "+4915112345678"},
    }));
    for shown in ["user.registered", "usr_1", "evt_1", "cor-1", "2025-11-20T12:00:00Z", "6×", "redriven 2×"]
    {
        assert!(text.contains(shown), "{shown}: {text}");
    }
    for secret in ["ada@", "example.com", "Ada", "Lovelace", "49151"] {
        assert!(!text.contains(secret), "{secret}: {text}");
    }
}

#[test]
fn a_command_is_described_without_card_and_token() {
    let text = printed(&json!({
        "action": "TakePayment", "order_id": "ord_1", "user_id": "usr_1", "correlation_id": "cor-1",
        "amount": {"amount": 1250, "currency": "USD"}, "payment_method": "pm_card_visa", "task_token": "AAAAKgAAAAIA",
        "shipping_address": {"line1": "1 Test Street"},
    }));
    assert!(text.contains("action TakePayment  order_id ord_1  correlation_id cor-1"), "{text}");
    for secret in ["pm_card", "AAAA", "Test Street"] {
        assert!(!text.contains(secret), "{secret}: {text}");
    }
}

#[test]
fn what_does_not_look_like_an_id_is_not_shown_even_where_one_belongs() {
    let token = "A".repeat(300);
    let text = printed(&json!({"subject": "ada@example.com", "order_id": token, "action": "1 Test Street"}));
    assert!(!text.contains("ada") && !text.contains("AAAA") && !text.contains("Street"), "{text}");
}

#[test]
fn a_body_that_cannot_be_read_is_known_by_its_attribute_and_size() {
    let mut message = received(&Value::Null);
    message["Body"] = json!("card 4242424242424242 {");
    let summary = message::describe(&message);
    assert!(summary.lines().ends_with("    event_type product.changed\n"), "{}", summary.lines());
    message["MessageAttributes"] = Value::Null;
    let text = message::describe(&message).lines();
    assert!(text.ends_with("neither an event nor a command, 23 bytes\n") && !text.contains("4242"), "{text}");
}

#[test]
fn a_list_shows_empty_queues_and_what_to_do_about_the_others() {
    let text = list(&[queue("a-dlq", 0), queue("b-dlq", 3)], " --stage dev");
    assert!(text.contains("a-dlq         0          0  orders-events\n"), "{text}");
    assert!(text.contains("1 of 2 not empty. Next: cargo ops dlq show b-dlq --stage dev\n"), "{text}");
    assert!(!list(&[queue("a-dlq", 0)], "").contains("Next"));
}

#[test]
fn a_show_says_what_it_left_out_and_what_comes_next() {
    let one = [message::describe(&received(&json!({"action": "TakePayment"})))];
    let text = show(&queue("a-dlq", 4), &one, "");
    assert!(text.contains("and 3 more: --max") && text.contains("cargo ops dlq redrive a-dlq\n"), "{text}");
    assert_eq!(show(&queue("a-dlq", 0), &[], ""), "a-dlq is empty\n");
    assert!(show(&DeadLetters { in_flight: 2, ..queue("a-dlq", 0) }, &[], "").contains("all 2 are held"));
}

#[test]
fn a_redrive_says_what_came_back() {
    let back = ["m-9".to_owned()].into();
    let tally = Tally { moved: 3, again: 2, back, left: vec!["m-4: it is odd".to_owned()] };
    let text = redriven(&queue("a-dlq", 4), &tally, "");
    for said in [
        "3 moved to orders-events",
        "2 of them",
        "m-4: it is odd",
        "1 came back already",
        "within about 15 min",
    ] {
        assert!(text.contains(said), "{said}: {text}");
    }
    assert_eq!(redriven(&queue("a-dlq", 0), &Tally::default(), ""), "nothing was moved from a-dlq\n");
}
