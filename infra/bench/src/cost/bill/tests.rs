use std::collections::BTreeMap;
use std::time::Duration;

use super::*;
use crate::cost::topology::{Function, Subscription};

fn topology() -> Topology {
    let function = |memory_mb| Function { memory_mb, ..Function::default() };
    let functions = BTreeMap::from([
        ("shop-api".to_owned(), Function { answers_rest: true, begins_traces: true, ..function(256) }),
        (
            "payments".to_owned(),
            Function { polls: Some(Queue::Standard), is_logged_by_lambda: true, ..function(512) },
        ),
        ("sweeper".to_owned(), Function { is_scheduled: true, ..function(256) }),
    ]);
    let filter = serde_json::json!({"event_type": [{"prefix": "order."}]});
    Topology {
        names: BTreeMap::from([
            ("ASIA1".to_owned(), "shop-api".to_owned()),
            ("ASIA2".to_owned(), "sweeper".to_owned()),
        ]),
        functions,
        subscriptions: vec![
            Subscription::new("q.fifo", filter).unwrap(),
            Subscription::new("q", serde_json::json!({"event_type": ["order.completed"]})).unwrap(),
        ],
        polled: vec![Queue::Standard],
        state_machine: String::new(),
        tasks: BTreeMap::from([("Refund".to_owned(), "payments".to_owned())]),
    }
}

fn call(signer: &str, service: &str, operation: &str) -> Call {
    Call { signer: signer.into(), service: service.into(), operation: operation.into() }
}

fn runs(invocations: u64, milliseconds: u64) -> Runs {
    Runs { invocations, milliseconds, log_bytes: 100, platform_log_bytes: 50 }
}

#[test]
fn a_bill_holds_what_was_counted_and_what_follows_from_it() {
    let topology = topology();
    let event = |kind: &str| Published {
        attributes: BTreeMap::from([("event_type".to_owned(), kind.to_owned())]),
        bytes: 50,
    };
    let units = Units { writes: 3, half_reads: 5 };
    let once = || Count { calls: 1, ..Count::default() };
    let tally = Tally {
        calls: BTreeMap::from([
            (call("ASIA1", "dynamodb", "PutItem"), Count { units, ..once() }),
            (call("ASIA1", "ses", "SendEmail"), once()),
            (call("ASIA1", "sqs", "SendMessage"), Count { sqs_fifo: 1, ..once() }),
            (call("ASIA1", "kms", "GetPublicKey"), once()),
            (call("ASIA1", "kms", "Sign"), once()),
            (call("ASIA1", "sts", "GetCallerIdentity"), once()),
            // By the clock: none of the order's.
            (call("ASIA2", "dynamodb", "Query"), Count { units, ..once() }),
        ]),
        published: vec![event("order.created"), event("order.completed"), event("payment.failed")],
        invoked: BTreeMap::from([("shop-api".to_owned(), 1)]),
        delayed: BTreeMap::from([("ASIA1".to_owned(), Duration::from_millis(4))]),
        unweighed: Vec::new(),
    };
    let all = BTreeMap::from([
        ("shop-api".to_owned(), runs(2, 10)),
        ("payments".to_owned(), runs(3, 20)),
        ("sweeper".to_owned(), runs(7, 700)),
    ]);
    let saga = Saga {
        has_ended: true,
        entered: vec!["Take".into(), "Refund".into()],
        retries: 1,
        attempts: BTreeMap::from([("Take".into(), 1), ("Refund".into(), 2)]),
        messages: 1,
    };
    let counted = Counted::new(tally, all, saga, &topology);
    let bill = counted.bill(&topology);
    let quantity = |price: &Price| bill.iter().find(|line| line.price == price).unwrap().quantity;

    assert_eq!(quantity(&prices::TRANSITION), 3);
    assert_eq!(quantity(&prices::INVOCATION), 5);
    assert_eq!(quantity(&prices::MEMORY_TIME), (10 - 4) * 256 + 20 * 512, "without the proxy's own time");
    assert_eq!((quantity(&prices::WRITE_UNIT), quantity(&prices::HALF_READ_UNIT)), (3, 5));
    assert_eq!((quantity(&prices::FIFO_PUBLISH), quantity(&prices::FIFO_PUBLISH_BYTE)), (3, 150));
    // Two order events to the line, one of them to the other queue.
    assert_eq!((quantity(&prices::FIFO_DELIVERY), quantity(&prices::FIFO_DELIVERY_BYTE)), (3, 150));
    // The saga's message, the topic's one, and of payments' three invocations the one that the saga did not make.
    assert_eq!(quantity(&prices::QUEUE_REQUEST), 1 + 1 + 2);
    // The function's own, and the topic's two. No function polls it here.
    assert_eq!(quantity(&prices::FIFO_QUEUE_REQUEST), 1 + 2);
    assert_eq!(quantity(&prices::HTTP_REQUEST), 1, "the other invocation is another function's");
    assert_eq!(quantity(&prices::EMAIL), 1);
    assert_eq!(quantity(&prices::LOG_BYTE), 250);
    assert_eq!((quantity(&prices::SIGNATURE), quantity(&prices::TRACE)), (1, 2));
    assert_eq!(counted.pushed_frames(&topology), 2);

    assert_eq!(total(&bill), bill.iter().map(|line| line.cost).sum());
    let unpriced: Vec<_> = counted.unpriced().map(|(call, _)| call.operation.as_str()).collect();
    assert_eq!(unpriced, ["GetCallerIdentity"]);
    assert_eq!(by_service(&bill).first().unwrap().0, "SES");
}
