//! Compares the event types that each consumer handles with the filter policy of its subscription.

use std::{collections::BTreeSet, fs, path::Path};

use yaml_serde::Value;

/// The filter policies of a template, by the logical id of the subscription: each type, and of each prefix the prefix.
fn filters(context: &str) -> Vec<(String, BTreeSet<String>)> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../../infra/{context}.yaml"));
    let template: Value =
        yaml_serde::from_str(&fs::read_to_string(path).expect("a template")).expect("it is YAML");
    let resources = template["Resources"].as_mapping().expect("resources");
    let policies = resources.iter().map(|(id, resource)| (id, &resource["Properties"]["FilterPolicy"]));
    policies
        .filter(|(_, policy)| !policy.is_null())
        .map(|(id, policy)| {
            let types = policy["event_type"].as_sequence().expect("a filter by type").iter().map(|entry| {
                entry.as_str().or_else(|| entry["prefix"].as_str()).expect("a type or a prefix").to_owned()
            });
            (id.as_str().expect("an id").to_owned(), types.collect())
        })
        .collect()
}

#[test]
fn each_consumer_handles_the_event_types_that_its_filter_policy_names() {
    let consumers = [
        (
            "catalog",
            vec![
                ("ConsumerSubscription", catalog::STOCK_EVENT_TYPES),
                ("TogetherSubscription", catalog::ORDER_EVENT_TYPES),
            ],
        ),
        ("fulfillment", vec![("ConsumerSubscription", fulfillment::EVENT_TYPES)]),
        ("inventory", vec![("ConsumerSubscription", inventory::EVENT_TYPES)]),
        (
            "notifications",
            vec![
                ("EmailSubscription", notifications::EMAIL_EVENT_TYPES),
                ("SmsSubscription", notifications::SMS_EVENT_TYPES),
            ],
        ),
        ("orders", vec![("ConsumerSubscription", orders::EVENT_TYPES)]),
        ("payments", vec![("EventsSubscription", payments::EVENT_TYPES)]),
        ("realtime", vec![("LineSubscription", realtime::EVENT_TYPES)]),
    ];
    for (context, declared) in consumers {
        let declared: Vec<(String, BTreeSet<String>)> = declared
            .into_iter()
            .map(|(id, types)| (id.to_owned(), types.iter().map(|each| (*each).to_owned()).collect()))
            .collect();
        assert_eq!(filters(context), declared, "infra/{context}.yaml");
    }
    for context in ["users", "storefront", "platform"] {
        assert_eq!(filters(context), [], "a subscription whose consumer this test does not know");
    }
}
