use std::collections::BTreeSet;

use lambda_kit::{
    dynamodb,
    testing::{sdk_config, table},
};
use serde_json::{Value, json};
use wiremock::{
    Mock, MockServer, ResponseTemplate,
    matchers::{header, method},
};

use super::*;
use crate::testing::{commits, order_id, place, user_id};

const PRIVATE_JSON: &str = r#"{"payment_method":"pm_card_visa","shipping_address":{"name":"Anna","line1":"Hauptstr. 1","city":"Berlin","postal_code":"10115","country":"DE"}}"#;

/// Step Functions that answers every start with this.
async fn step_functions(status: u16, body: Value) -> (MockServer, Starter) {
    let server = MockServer::start().await;
    Mock::given(method("POST"))
        .and(header("x-amz-target", "AWSStepFunctions.StartExecution"))
        .respond_with(ResponseTemplate::new(status).set_body_json(body))
        .mount(&server)
        .await;
    let client = aws_sdk_sfn::Client::new(&sdk_config(&server.uri()).0);
    let arn = "arn:aws:states:us-east-1:1:stateMachine:saga".to_owned();
    let starter = Starter::new(client, arn, table(&[]).await.0, Starter::PER_SECOND);
    (server, starter)
}

fn started() -> Value {
    json!({"executionArn": "arn:aws:states:us-east-1:1:execution:saga:x", "startDate": 1})
}

/// The image of an order's commit, as the stream shows it.
fn image(commit: usize, checkout_details: Option<&str>) -> Value {
    let all = commits(vec![place(), crate::domain::Command::RecordReservation]);
    let outbox = dynamodb::outbox(&all[commit].events).unwrap();
    let entries: Vec<Value> =
        outbox.as_l().unwrap().iter().map(|event| json!({"S": event.as_s().unwrap()})).collect();
    let mut image = json!({"pk": {"S": "ORDER"}, "first_version": {"N": "1"}, "outbox": {"L": entries}});
    if let Some(checkout_details) = checkout_details {
        image["private"] = json!({"S": checkout_details});
    }
    image
}

fn batch(records: Vec<(&str, Value)>) -> StreamEvent {
    let records: Vec<Value> = (1..)
        .zip(records)
        .map(|(n, (name, images))| {
            let mut change = json!({"SequenceNumber": n.to_string()});
            change.as_object_mut().unwrap().extend(images.as_object().unwrap().clone());
            json!({"eventName": name, "dynamodb": change})
        })
        .collect();
    serde_json::from_value(json!({"Records": records})).unwrap()
}

fn new_order() -> StreamEvent {
    batch(vec![("INSERT", json!({"NewImage": image(0, Some(PRIVATE_JSON))}))])
}

#[tokio::test]
async fn a_new_order_starts_its_saga_under_its_own_name() {
    let (server, starter) = step_functions(200, started()).await;
    assert!(starter.start_all(&new_order()).await == Handled::default());
    let requests = server.received_requests().await.unwrap();
    assert_eq!(requests.len(), 1);
    let request: Value = requests[0].body_json().unwrap();
    assert_eq!(request["name"], order_id().as_str());
    assert_eq!(request["stateMachineArn"], "arn:aws:states:us-east-1:1:stateMachine:saga");
    let input: Value = serde_json::from_str(request["input"].as_str().unwrap()).unwrap();
    assert_eq!(
        input,
        json!({
            "order_id": order_id(),
            "user_id": user_id(),
            "correlation_id": "cor_test",
            "items": [{"sku": "MUG", "quantity": 2}],
            "total": {"amount": 8400, "currency": "USD"},
            "payment_method": "pm_card_visa",
            "shipping_address": {
                "name": "Anna", "line1": "Hauptstr. 1", "city": "Berlin", "postal_code": "10115", "country": "DE"
            },
        })
    );
}

#[tokio::test]
async fn a_saga_that_was_started_before_is_a_success() {
    let body = json!({"__type": "ExecutionAlreadyExists", "message": "Execution Already Exists"});
    let (_server, starter) = step_functions(400, body).await;
    assert!(starter.start_all(&new_order()).await == Handled::default());
}

#[tokio::test]
async fn an_order_whose_saga_did_not_start_is_delivered_again() {
    let body = json!({"__type": "StateMachineDoesNotExist", "message": "no"});
    let (_server, starter) = step_functions(400, body).await;
    assert_eq!(starter.start_all(&new_order()).await, BTreeSet::from(["1".to_owned()]).into());
}

#[tokio::test]
async fn an_order_whose_private_part_cannot_be_read_is_parked() {
    let (server, starter) = step_functions(200, started()).await;
    let broken = batch(vec![("INSERT", json!({"NewImage": image(0, Some("{}"))}))]);
    let handled = starter.start_all(&broken).await;
    assert_eq!((handled.failed.len(), handled.unprocessable), (0, BTreeSet::from(["1".to_owned()])));
    assert!(server.received_requests().await.unwrap().is_empty());
}

#[tokio::test]
async fn only_new_orders_that_can_be_shipped_start_a_saga() {
    let (server, starter) = step_functions(200, started()).await;
    let first = image(0, Some(PRIVATE_JSON));
    let records = batch(vec![
        // A later commit, an erased address (before and after it was seen), a deletion, and a price.
        ("INSERT", json!({"NewImage": image(1, None)})),
        ("INSERT", json!({"NewImage": image(0, None)})),
        ("MODIFY", json!({"OldImage": first, "NewImage": image(0, None)})),
        ("REMOVE", json!({"OldImage": first})),
        ("INSERT", json!({"NewImage": {"pk": {"S": "PRICE#MUG"}, "amount": {"N": "1"}}})),
    ]);
    assert!(starter.start_all(&records).await == Handled::default());
    assert!(server.received_requests().await.unwrap().is_empty());
}

#[tokio::test]
async fn the_saga_of_an_order_in_a_sampled_trace_is_in_it() {
    let (server, starter) = step_functions(200, started()).await;
    let created = creation(&new_order().records[0]).unwrap().1.event;
    let placed = "00-5759e988bd862e3fe1be46a994272793-53995c3f42cd8ad8-01";
    let created = Envelope { traceparent: Some(placed.to_owned()), ..created };
    starter.start(&created, Some(PRIVATE_JSON)).await.unwrap();
    let request = &server.received_requests().await.unwrap()[0];
    let header = request.headers["x-amzn-trace-id"].to_str().unwrap();
    assert!(header.starts_with("Root=1-5759e988-bd862e3fe1be46a994272793;Parent="), "{header}");
    let input: Value = request.body_json().unwrap();
    let input: SagaInput = serde_json::from_str(input["input"].as_str().unwrap()).unwrap();
    // Below the relay's span, and not the request's.
    let traceparent = input.traceparent.unwrap();
    assert!(traceparent.starts_with(&placed[..36]) && traceparent != placed, "{traceparent}");
}

#[tokio::test]
async fn a_saga_that_was_started_is_not_called_again_when_its_record_is() {
    let (server, starter) = step_functions(200, started()).await;
    for _ in 0..2 {
        assert!(starter.start_all(&new_order()).await == Handled::default());
    }
    assert_eq!(server.received_requests().await.unwrap().len(), 1);
}

#[tokio::test]
async fn an_order_that_step_functions_refuses_for_ever_is_parked() {
    for name in ["InvalidExecutionInput", "InvalidName", "ValidationException"] {
        let (_server, starter) = step_functions(400, json!({"__type": name, "message": "no"})).await;
        let handled = starter.start_all(&new_order()).await;
        assert_eq!(handled.unprocessable, BTreeSet::from(["1".to_owned()]), "{name}");
    }
}

#[tokio::test]
async fn a_throttled_start_is_delivered_again() {
    let body = json!({"__type": "ThrottlingException", "message": "Rate exceeded"});
    let (_server, starter) = step_functions(400, body).await;
    assert_eq!(starter.start_all(&new_order()).await, BTreeSet::from(["1".to_owned()]).into());
}

#[tokio::test]
async fn sagas_are_started_at_the_pace_of_all_who_start_them() {
    let (server, _) = step_functions(200, started()).await;
    let client = aws_sdk_sfn::Client::new(&sdk_config(&server.uri()).0);
    let (table, _) = table(&[]).await;
    let two = NonZeroU32::new(2).unwrap();
    let relay = Starter::new(client.clone(), "arn:saga".to_owned(), table.clone(), two);
    let reconciler = Starter::new(client, "arn:saga".to_owned(), table, two);
    let began = Instant::now();
    let created = creation(&new_order().records[0]).unwrap().1.event;
    for starter in [&relay, &reconciler, &relay, &reconciler] {
        starter.start(&created, Some(PRIVATE_JSON)).await.unwrap();
    }
    // Two at once, and two a second after them.
    assert!(began.elapsed() >= Duration::from_millis(900), "{:?}", began.elapsed());
}
