use super::*;

fn source(name: &str) -> Source {
    let (url, arn) = (format!("https://sqs/1/{name}"), format!("arn:{name}"));
    Source { name: name.to_owned(), url, arn, tries: 5, visibility_seconds: 180 }
}

fn queue(sources: &[&str]) -> DeadLetters {
    let sources = sources.iter().map(|name| source(name)).collect();
    DeadLetters { name: "a-dlq".to_owned(), url: String::new(), visible: 1, in_flight: 0, sources }
}

fn received(id: &str, body: &str) -> Value {
    json!({
        "MessageId": id, "ReceiptHandle": format!("h-{id}"), "Body": body,
        "Attributes": {
            "MessageGroupId": "ord_1", "MessageDeduplicationId": "evt_1", "DeadLetterQueueSourceArn": "arn:b",
            "AWSTraceHeader": "Root=1",
        },
        "MessageAttributes": {"event_type": {"DataType": "String", "StringValue": "order.placed"}},
    })
}

#[test]
fn a_message_is_sent_again_as_it_was_and_counts_its_redrives() {
    let first = entry(0, &received("m-1", "{}"), false);
    assert_eq!((&first["MessageBody"], &first["Id"]), (&json!("{}"), &json!("0")));
    assert_eq!(first["MessageAttributes"]["event_type"]["StringValue"], "order.placed");
    assert_eq!(first["MessageAttributes"][REDRIVEN]["StringValue"], "1");
    assert_eq!(first["MessageSystemAttributes"]["AWSTraceHeader"]["StringValue"], "Root=1");
    assert_eq!(first["MessageGroupId"], Value::Null, "a standard queue takes none");

    let mut back = received("m-2", "{}");
    back["MessageAttributes"] = first["MessageAttributes"].clone();
    assert_eq!(entry(0, &back, false)["MessageAttributes"][REDRIVEN]["StringValue"], "2");
}

#[test]
fn a_message_that_has_all_the_attributes_it_may_have_gets_no_other() {
    let mut message = received("m-1", "{}");
    for place in 1..MOST_ATTRIBUTES {
        message["MessageAttributes"][format!("a{place}")] = json!({"DataType": "String", "StringValue": "x"});
    }
    assert_eq!(entry(0, &message, false)["MessageAttributes"], message["MessageAttributes"]);
}

#[test]
fn in_a_fifo_queue_it_keeps_its_group_and_is_not_taken_for_the_first_one() {
    let again = entry(0, &received("m-1", "{}"), true);
    assert_eq!(again["MessageGroupId"], "ord_1");
    assert_eq!(again["MessageDeduplicationId"], "redrive-m-1");
}

#[test]
fn a_message_goes_where_it_came_from() {
    let message = received("m-1", "{}");
    assert_eq!(destination(&queue(&["a"]), &message).unwrap().name, "a", "the only one there is");
    assert_eq!(destination(&queue(&["a", "b"]), &message).unwrap().name, "b", "the one it names");
    assert!(destination(&queue(&["a", "c"]), &message).unwrap_err().contains("a, c"));
    assert!(destination(&queue(&[]), &message).is_err());
}

#[test]
fn a_binary_attribute_is_not_moved() {
    let mut message = received("m-1", "{}");
    message["MessageAttributes"]["raw"] = json!({"DataType": "Binary.gzip", "BinaryValue": "b'..'"});
    assert!(destination(&queue(&["a"]), &message).unwrap_err().contains("raw"));
}

#[test]
fn parts_keep_to_what_sqs_takes_at_once() {
    let (a, b) = (source("a"), source("b"));
    let sizes = |messages: Vec<(&Source, Value)>| -> Vec<usize> {
        parts(messages).iter().map(|(_, part)| part.len()).collect()
    };
    let small = || received("m", "{}");
    assert_eq!(sizes((0..12).map(|_| (&a, small())).collect()), [10, 2]);
    assert_eq!(sizes(vec![(&a, small()), (&b, small()), (&b, small())]), [1, 2]);
    let large = || received("m", &"x".repeat(BATCH_BYTES / 2));
    assert_eq!(sizes(vec![(&a, large()), (&a, large()), (&a, small())]), [1, 2]);
}
