//! Reports and views with a real table and a fake orders function.

use std::sync::{Arc, Mutex};

use axum::http::StatusCode;
use contracts::{
    CorrelationId, IdempotencyKey, OrderLine, OrderStatus, ShippingAddress, Sku, UserId, saga::*,
};
use lambda_kit::testing::{self, App, Faults, Response, Tokens, sdk_config};
use rstest::rstest;
use serde_json::{Value, json};
use wiremock::{Mock, MockServer, ResponseTemplate, matchers::method};

use super::*;
use crate::{carrier::HouseCarrier, commands::handle};

struct TestApi {
    state: Api,
    faults: Faults,
    tokens: Tokens,
    user: UserId,
    order: OrderId,
    status: Arc<Mutex<Option<OrderStatus>>>,
    _orders: MockServer,
}

impl TestApi {
    async fn open() -> Self {
        let (table, faults) = testing::table(&[]).await;
        let user = UserId::try_from("usr_0123456789abcdef0123456789abcdef").unwrap();
        let order = OrderId::derive(&user, &IdempotencyKey::try_from("order").unwrap());
        let status = Arc::new(Mutex::new(Some(OrderStatus::OrderCompleted)));
        let (lambda, shared, asked) = (MockServer::start().await, Arc::clone(&status), order.clone());
        Mock::given(method("POST"))
            .respond_with(move |_: &wiremock::Request| {
                let standing = shared.lock().unwrap().map(|status| {
                    json!({"order_id": asked, "status": status, "version": 1, "updated_at": "2026-11-20T12:00:00Z"})
                });
                let orders: Vec<Value> = standing.into_iter().collect();
                ResponseTemplate::new(200).set_body_json(json!({"orders": orders}))
            })
            .mount(&lambda)
            .await;
        let (sdk, _) = sdk_config(&lambda.uri());
        let orders = OrdersClient::new(&(&sdk).into(), "test".to_owned());
        let state = Api { store: Store::new(table), orders };
        Self { state, faults, tokens: Tokens::new(), user, order, status, _orders: lambda }
    }

    async fn scheduled() -> Self {
        let api = Self::open().await;
        api.command(FulfillmentCommand::ScheduleShipment {
            context: api.context(),
            user_id: api.user.clone(),
            items: vec![OrderLine { sku: Sku::try_from("MUG").unwrap(), quantity: 1 }],
            shipping_address: ShippingAddress {
                name: "Ada".to_owned(),
                line1: "1 Street".to_owned(),
                line2: None,
                city: "Town".to_owned(),
                postal_code: "12345".to_owned(),
                country: "DE".to_owned(),
            },
        })
        .await
        .unwrap();
        api
    }

    fn context(&self) -> CommandContext {
        let correlation_id = CorrelationId::try_from("cor").unwrap();
        CommandContext::new(self.order.clone(), correlation_id)
    }

    async fn command(&self, command: FulfillmentCommand) -> Result<(), String> {
        let now = "2026-11-20T12:00:00Z".parse().unwrap();
        handle(&self.state.store, &HouseCarrier, command, now).await.map(|_| ()).map_err(|e| e.to_string())
    }

    fn app(&self) -> App {
        App::new(routes(self.state.clone()), self.tokens.verifier())
    }

    async fn seen_by(&self, bearer: &str) -> (StatusCode, Value) {
        let Response { status, body, .. } =
            self.app().get(&format!("/v1/shipments/{}", self.order), bearer).await;
        (status, body)
    }

    async fn report_as(&self, bearer: &str, body: Value) -> (StatusCode, Value) {
        let path = format!("/v1/shipments/{}/events", self.order);
        let headers = [("authorization", bearer), ("content-type", "application/json")];
        let Response { status, body, .. } = self.app().call("POST", &path, &headers, body.to_string()).await;
        (status, body)
    }

    async fn report(&self, status: &str) -> StatusCode {
        self.report_as(&self.tokens.admin(), json!({"status": status})).await.0
    }

    async fn last_event(&self) -> (String, u64) {
        let shipment = self.state.store.shipment(&self.order).await.unwrap().unwrap();
        (format!("{:?}", shipment.status).to_lowercase(), shipment.version)
    }
}

#[tokio::test]
async fn a_shipment_goes_its_way_and_its_customer_sees_where_it_is() {
    let api = TestApi::scheduled().await;
    let mine = api.tokens.user(&api.user);
    let (_, booked) = api.seen_by(&mine).await;
    assert_eq!((&booked["status"], &booked["carrier"]), (&json!("scheduled"), &json!("Ordersaga Parcel")));

    assert!(booked.get("shipping_address").is_none());
    let with_address = format!("/v1/shipments/{}?include=address", api.order);
    let shown = api.app().get(&with_address, &mine).await;
    assert_eq!(shown.body["shipping_address"]["line1"], "1 Street");

    for status in ["picked", "packed"] {
        assert_eq!(api.report(status).await, StatusCode::OK);
    }
    let shipped = json!({"status": "shipped", "tracking_number": "1Z999"});
    let (status, answer) = api.report_as(&api.tokens.admin(), shipped.clone()).await;
    assert_eq!((status, &answer["tracking_number"]), (StatusCode::OK, &json!("1Z999")));
    assert_eq!(api.report_as(&api.tokens.admin(), shipped).await, (StatusCode::OK, answer), "a repeat");
    assert_eq!(api.report("delivered").await, StatusCode::OK);
    assert_eq!(api.last_event().await, ("delivered".to_owned(), 5), "each was written once");
    let (_, seen) = api.seen_by(&mine).await;
    assert_eq!((&seen["status"], &seen["tracking_number"]), (&json!("delivered"), &json!("1Z999")));
    let shipment = api.state.store.shipment(&api.order).await.unwrap().unwrap();
    assert_eq!(shipment.shipping_address, None, "there is nothing left to send");
}

#[rstest]
#[case::skipped("packed")]
#[case::skipped_more("delivered")]
#[tokio::test]
async fn a_report_out_of_order_is_refused(#[case] status: &str) {
    let api = TestApi::scheduled().await;
    let (code, problem) = api.report_as(&api.tokens.admin(), json!({"status": status})).await;
    assert_eq!(code, StatusCode::CONFLICT);
    assert!(problem["detail"].as_str().unwrap().starts_with("The shipment is scheduled."), "{problem}");
    assert_eq!(api.last_event().await, ("scheduled".to_owned(), 1));
}

#[tokio::test]
async fn an_order_that_has_not_completed_is_not_sent() {
    let api = TestApi::scheduled().await;
    *api.status.lock().unwrap() = Some(OrderStatus::PaymentPending);
    assert_eq!(api.report("picked").await, StatusCode::CONFLICT);
    assert_eq!(api.last_event().await, ("scheduled".to_owned(), 1));

    let unbooked = TestApi::open().await;
    *unbooked.status.lock().unwrap() = Some(OrderStatus::OrderCreated);
    assert_eq!(unbooked.report("picked").await, StatusCode::CONFLICT);
    *unbooked.status.lock().unwrap() = None;
    assert_eq!(unbooked.report("picked").await, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn a_cancelled_shipment_is_not_sent_and_one_that_is_sent_cannot_be_cancelled() {
    let cancel = |api: &TestApi| FulfillmentCommand::CancelShipment {
        context: api.context(),
        user_id: api.user.clone(),
    };
    let api = TestApi::scheduled().await;
    api.command(cancel(&api)).await.unwrap();
    assert_eq!(api.report("picked").await, StatusCode::CONFLICT);

    let api = TestApi::scheduled().await;
    api.report("picked").await;
    assert_eq!(api.command(cancel(&api)).await.unwrap_err(), "the order's shipment is being sent");
    assert_eq!(api.last_event().await, ("picked".to_owned(), 2));
}

#[tokio::test]
async fn a_report_whose_write_loses_its_answer_is_recorded_once() {
    let api = TestApi::scheduled().await;
    api.faults.lose_answers("PutItem", 1);
    assert_eq!(api.report("picked").await, StatusCode::OK);
    assert_eq!(api.last_event().await, ("picked".to_owned(), 2));
}

#[tokio::test]
async fn while_orders_does_not_answer_nothing_is_picked() {
    let api = TestApi::scheduled().await;
    let silent = MockServer::start().await;
    let (sdk, _) = sdk_config(&silent.uri());
    let orders = OrdersClient::new(&(&sdk).into(), "test".to_owned());
    let api = TestApi { state: Api { orders, ..api.state.clone() }, ..api };
    assert_eq!(api.report("picked").await, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(api.last_event().await, ("scheduled".to_owned(), 1));
}

#[tokio::test]
async fn a_shipment_is_its_customers_and_the_staffs() {
    let api = TestApi::scheduled().await;
    let stranger = UserId::try_from("usr_ffffffffffffffffffffffffffffffff").unwrap();
    assert_eq!(api.seen_by(&api.tokens.user(&stranger)).await.0, StatusCode::NOT_FOUND);
    for staff in [Role::Admin, Role::Fulfillment, Role::Support] {
        assert_eq!(api.seen_by(&api.tokens.staff(staff)).await.0, StatusCode::OK);
    }
    let picked = json!({"status": "picked"});
    for other in [api.tokens.user(&api.user), api.tokens.staff(Role::Support)] {
        assert_eq!(api.report_as(&other, picked.clone()).await.0, StatusCode::FORBIDDEN);
    }
    let warehouse = api.tokens.staff(Role::Fulfillment);
    assert_eq!(api.report_as(&warehouse, picked).await.0, StatusCode::OK);
    let empty = TestApi::open().await;
    assert_eq!(empty.seen_by(&empty.tokens.admin()).await.0, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn an_empty_tracking_number_leaves_the_one_that_was_booked() {
    let api = TestApi::scheduled().await;
    let booked = api.seen_by(&api.tokens.admin()).await.1;
    let report = json!({"status": "picked", "tracking_number": " "});
    let (status, picked) = api.report_as(&api.tokens.admin(), report).await;
    assert_eq!((status, &picked["tracking_number"]), (StatusCode::OK, &booked["tracking_number"]));
}

#[rstest]
#[case::unknown_status(json!({"status": "lost"}), "status")]
#[case::no_status(json!({}), "status")]
#[case::odd_number(json!({"status": "picked", "tracking_number": "1Z\n9"}), "tracking_number")]
#[case::other_field(json!({"status": "picked", "carrier": "x"}), "carrier")]
#[tokio::test]
async fn a_report_that_cannot_be_read_is_refused(#[case] body: Value, #[case] field: &str) {
    let api = TestApi::scheduled().await;
    let (status, problem) = api.report_as(&api.tokens.admin(), body).await;
    assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY, "{problem}");
    assert!(problem["errors"][0]["field"].as_str().unwrap().contains(field), "{problem}");
}
