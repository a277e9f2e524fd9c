//! Sending an order's e-mail once more.

use contracts::{Envelope, EventPayload, events::OrderCompleted};
use lambda_kit::testing::sdk_config;
use wiremock::{Mock, MockServer, ResponseTemplate, matchers::any};

use super::*;
use crate::api::letters::{EmailQueue, routes};

async fn queue(status: u16) -> (MockServer, EmailQueue) {
    let sqs = MockServer::start().await;
    let taken = ResponseTemplate::new(status).set_body_json(serde_json::json!({"MessageId": "m"}));
    Mock::given(any()).respond_with(taken).mount(&sqs).await;
    let queue = EmailQueue::new(&sdk_config(&sqs.uri()).0, format!("{}/1/email", sqs.uri()));
    (sqs, queue)
}

async fn queued(sqs: &MockServer) -> Vec<Envelope> {
    let sent = sqs.received_requests().await.unwrap();
    let bodies = sent.iter().map(|call| serde_json::from_slice::<serde_json::Value>(&call.body).unwrap());
    bodies.map(|body| serde_json::from_str(body["MessageBody"].as_str().unwrap()).unwrap()).collect()
}

#[tokio::test]
async fn the_support_sends_the_newest_email_once_more_each_time() {
    let (api, (sqs, queue)) = (api().await, queue(200).await);
    let id = api.with_order(vec![Command::RecordReservation, complete()]).await;
    let path = format!("/v1/orders/{id}/letters");
    let routes = Limits::new(api.table.clone()).enforce(routes(api.store.clone(), queue));
    let app = App::new(routes, api.tokens.verifier());
    let post = async |token: &str, path: &str| {
        app.call("POST", path, &[("authorization", token)], "").await.status.as_u16()
    };
    for token in [api.tokens.staff(Role::Support), api.tokens.admin()] {
        assert_eq!(post(&token, &path).await, 202);
    }
    for other in [api.anna(), api.tokens.staff(Role::Fulfillment), api.tokens.user(&UserId::generate())] {
        assert_eq!(post(&other, &path).await, 403);
    }
    assert_eq!(post(&api.tokens.admin(), "/v1/orders/ord_1/letters").await, 404);
    let [first, second] = &queued(&sqs).await[..] else { panic!("two events") };
    assert_eq!((first.event_type.as_str(), first.subject.as_str()), (OrderCompleted::TYPE, id.as_str()));
    assert_eq!(first.metadata.user_id.as_ref(), Some(&api.anna));
    let history = api.store.load(&id).await.unwrap().unwrap();
    let stored = &history.events.last().unwrap().envelope;
    assert!(first.event_id != stored.event_id && first.event_id != second.event_id);
}

#[tokio::test]
async fn without_the_queue_the_support_is_asked_to_try_again() {
    let (api, (_sqs, queue)) = (api().await, queue(500).await);
    let id = api.with_order(vec![Command::RecordReservation]).await;
    let routes = Limits::new(api.table.clone()).enforce(routes(api.store.clone(), queue));
    let app = App::new(routes, api.tokens.verifier());
    let token = api.tokens.staff(Role::Support);
    let headers = [("authorization", &*token)];
    let answer = app.call("POST", &format!("/v1/orders/{id}/letters"), &headers, "").await;
    assert_eq!(answer.status.as_u16(), 503);
}
