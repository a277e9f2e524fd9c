//! Who is told what, and how often, on a real table. SES is played by a web server.

use std::sync::{
    Arc,
    atomic::{AtomicI64, Ordering},
};

use contracts::{
    CorrelationId, Currency, Envelope, EventPayload, IdempotencyKey, Money, NewEvent, OrderId, UserId,
    events::{
        NotificationPreferences, OrderCancelled, OrderCompleted, PaymentRefunded, RefundCause, UserRegistered,
    },
};
use jiff::Timestamp;
use lambda_kit::{
    aws::MAX_ATTEMPTS,
    breaker::Breaker,
    command::chain,
    sqs::MessageError,
    testing::{self, Faults},
};
use notifications::{Mailer, Notifier, OwnQueue, Store};
use serde_json::{Value, json};
use wiremock::{
    Mock, MockServer, ResponseTemplate,
    matchers::{any, path},
};

const NOW: i64 = 1_800_000_000;
/// Where SES takes e-mails (SendEmail, API reference).
const SES: &str = "/v2/email/outbound-emails";
const ADDRESS: &str = "anna@example.com";

struct Office {
    provider: MockServer,
    notifier: Notifier,
    faults: Faults,
    /// How far the breaker's clock is after `NOW`, in seconds.
    later: Arc<AtomicI64>,
}

impl Office {
    async fn open() -> Self {
        let provider = MockServer::start().await;
        let answer = ResponseTemplate::new(200).set_body_json(json!({"MessageId": "m-1"}));
        // Last, so that a test can put a fault before it.
        Mock::given(any()).respond_with(answer).with_priority(9).mount(&provider).await;
        let (table, faults) = testing::table(&[]).await;
        let (sdk, _) = testing::sdk_config(&provider.uri());
        let mailer = Mailer::new(&sdk, "shop@example.com".to_owned());
        let later = Arc::new(AtomicI64::new(0));
        let clock = Arc::clone(&later);
        let breaker = Breaker::with_clock(table.clone(), "email", move || {
            Timestamp::from_second(NOW + clock.load(Ordering::SeqCst)).unwrap()
        });
        let queue = OwnQueue::new(&sdk, format!("{}/1/email", provider.uri()));
        let notifier = Notifier::new(Store::new(table), mailer, breaker, queue);
        Self { provider, notifier, faults, later }
    }

    /// With Anna registered.
    async fn with(anna: &UserId) -> Self {
        let office = Self::open().await;
        office.notifier.handle(registered(anna, 1, ADDRESS, true), NOW).await.unwrap();
        office
    }

    /// The next e-mail is answered like this.
    async fn once(&self, answer: ResponseTemplate) {
        self.times(1, answer).await;
    }

    async fn times(&self, count: u64, answer: ResponseTemplate) {
        Mock::given(path(SES)).respond_with(answer).up_to_n_times(count).mount(&self.provider).await;
    }

    fn wait(&self, seconds: i64) {
        self.later.fetch_add(seconds, Ordering::SeqCst);
    }

    /// With SES down and its breaker open.
    async fn with_ses_down(anna: &UserId) -> Self {
        let office = Self::with(anna).await;
        office.times(5, ResponseTemplate::new(503)).await;
        for order in 0..5 {
            office.tell(&completed_as(anna, &format!("down-{order}"))).await.unwrap_err();
        }
        assert_eq!(office.sent().await.len(), 5);
        office
    }

    /// The events that went back into the queue, with their delay in seconds.
    async fn put_back(&self) -> Vec<(Envelope, i64)> {
        let requests = self.provider.received_requests().await.unwrap();
        let sent = requests.iter().filter(|request| request.url.path() != SES);
        sent.map(|request| {
            let body: Value = serde_json::from_slice(&request.body).unwrap();
            let event = serde_json::from_str(body["MessageBody"].as_str().unwrap()).unwrap();
            (event, body["DelaySeconds"].as_i64().unwrap())
        })
        .collect()
    }

    async fn tell(&self, event: &Envelope) -> Result<(), MessageError> {
        self.tell_at(event, NOW).await
    }

    async fn tell_at(&self, event: &Envelope, now: i64) -> Result<(), MessageError> {
        self.notifier.handle(event.clone(), now).await
    }

    async fn sent(&self) -> Vec<Value> {
        let requests = self.provider.received_requests().await.unwrap();
        let emails = requests.iter().filter(|request| request.url.path() == SES);
        emails.map(|request| serde_json::from_slice(&request.body).unwrap()).collect()
    }
}

fn event<P: EventPayload>(subject: &str, user: Option<&UserId>, sequence: u64, payload: &P) -> Envelope {
    let new = NewEvent {
        source: "test",
        subject,
        sequence,
        occurred_at: Timestamp::UNIX_EPOCH,
        correlation_id: &CorrelationId::generate(),
        causation_id: "test",
        user_id: user,
    };
    Envelope::new(new, payload).unwrap()
}

fn registered(user: &UserId, sequence: u64, address: &str, wants_email: bool) -> Envelope {
    let payload = UserRegistered {
        user_id: user.clone(),
        email: address.to_owned(),
        name: "Anna <b>".to_owned(),
        phone: None,
        notification_preferences: NotificationPreferences { email: wants_email, sms: false },
    };
    event(user.as_str(), Some(user), sequence, &payload)
}

fn order_of(user: &UserId) -> OrderId {
    OrderId::derive(user, &IdempotencyKey::try_from("k").unwrap())
}

fn completed(user: &UserId) -> Envelope {
    completed_as(user, "k")
}

fn completed_as(user: &UserId, order: &str) -> Envelope {
    let total = Money::new(4200, Currency::USD);
    let order = OrderId::derive(user, &IdempotencyKey::try_from(order).unwrap());
    event(order.as_str(), Some(user), 6, &OrderCompleted { total, items: vec![] })
}

fn refunded(user: &UserId, cause: RefundCause) -> Envelope {
    let order_id = order_of(user);
    let payload =
        PaymentRefunded { order_id: order_id.clone(), amount: Money::new(4200, Currency::USD), cause };
    event(order_id.as_str(), Some(user), 9, &payload)
}

fn cancelled(user: &UserId) -> Envelope {
    let payload = OrderCancelled { reason: "PaymentDeclined".to_owned(), step: "TakePayment".to_owned() };
    event(order_of(user).as_str(), Some(user), 5, &payload)
}

#[tokio::test]
async fn a_customer_is_told_that_the_order_is_complete() {
    let anna = UserId::generate();
    let office = Office::with(&anna).await;
    office.tell(&completed(&anna)).await.unwrap();
    let [mail] = &office.sent().await[..] else { panic!("one e-mail") };
    assert_eq!(mail["Destination"]["ToAddresses"], json!([ADDRESS]));
    assert_eq!(mail["FromEmailAddress"], "shop@example.com");
    let simple = &mail["Content"]["Simple"];
    assert!(simple["Subject"]["Data"].as_str().unwrap().contains(order_of(&anna).as_str()));
    assert!(simple["Body"]["Text"]["Data"].as_str().unwrap().contains("Hello Anna <b>,"));
    assert!(simple["Body"]["Html"]["Data"].as_str().unwrap().contains("Hello Anna &#60;b&#62;,"));
}

#[tokio::test]
async fn a_customer_is_told_why_the_order_was_cancelled() {
    let anna = UserId::generate();
    let office = Office::with(&anna).await;
    office.tell(&cancelled(&anna)).await.unwrap();
    let text =
        office.sent().await[0]["Content"]["Simple"]["Body"]["Text"]["Data"].as_str().unwrap().to_owned();
    assert!(text.contains("Your payment was declined."), "{text}");
}

#[tokio::test]
async fn money_that_goes_back_is_told_unless_the_cancelled_order_tells_it() {
    let anna = UserId::generate();
    let office = Office::with(&anna).await;
    office.tell(&refunded(&anna, RefundCause::OrderCancelled)).await.unwrap();
    assert!(office.sent().await.is_empty());
    office.tell(&refunded(&anna, RefundCause::LatePayment)).await.unwrap();
    let text = office.sent().await[0]["Content"]["Simple"]["Body"]["Text"]["Data"].to_string();
    assert!(text.contains("42.00 USD") && text.contains("after the order had been cancelled"), "{text}");
}

#[tokio::test]
async fn while_ses_is_down_events_go_back_into_the_queue_and_come_out_when_it_may_be_back() {
    let anna = UserId::generate();
    let office = Office::with_ses_down(&anna).await;
    let waiting = completed(&anna);
    office.tell(&waiting).await.unwrap();
    assert_eq!(office.sent().await.len(), 5, "SES is not called");
    let [(event, delay)] = &office.put_back().await[..] else { panic!("one event") };
    assert_eq!((event, *delay), (&waiting, 60));

    office.wait(60);
    office.tell_at(event, NOW + 60).await.unwrap();
    office.tell_at(event, NOW + 61).await.unwrap();
    assert_eq!(office.sent().await.len(), 6, "once");
}

#[tokio::test]
async fn an_event_whose_probe_is_not_let_through_any_more_comes_back_after_its_own_lease() {
    let anna = UserId::generate();
    let office = Office::with_ses_down(&anna).await;
    office.wait(30);
    // Four at once, for three slots.
    let slow = ResponseTemplate::new(200).set_body_json(json!({"MessageId": "m-2"}));
    office.times(3, slow.set_delay(std::time::Duration::from_millis(300))).await;
    let events: Vec<Envelope> = (0..4).map(|n| completed_as(&anna, &format!("back-{n}"))).collect();
    let told = futures::future::join_all(events.iter().map(|event| office.tell_at(event, NOW + 30))).await;
    assert!(told.iter().all(Result::is_ok), "{told:?}");
    assert_eq!(office.sent().await.len(), 5 + 3);
    let [(event, delay)] = &office.put_back().await[..] else { panic!("one event") };

    office.wait(*delay);
    office.tell_at(event, NOW + 30 + delay).await.unwrap();
    assert_eq!(office.sent().await.len(), 5 + 4);
}

#[tokio::test]
async fn an_event_that_cannot_go_back_comes_again_by_itself() {
    let anna = UserId::generate();
    let office = Office::with_ses_down(&anna).await;
    let refused = ResponseTemplate::new(400).set_body_json(json!({"__type": "AccessDenied"}));
    Mock::given(path("/")).respond_with(refused).with_priority(1).mount(&office.provider).await;
    assert!(office.tell(&completed(&anna)).await.is_err());
}

#[tokio::test]
async fn an_address_that_ses_refuses_does_not_make_it_look_down() {
    let anna = UserId::generate();
    let office = Office::with(&anna).await;
    let refusal = ResponseTemplate::new(400).insert_header("x-amzn-errortype", "MessageRejected");
    office.times(9, refusal).await;
    for order in 0..9 {
        office.tell(&completed_as(&anna, &format!("k-{order}"))).await.unwrap_err();
    }
    assert_eq!(office.sent().await.len(), 9);
    office.tell(&completed(&anna)).await.unwrap();
}

#[tokio::test]
async fn an_event_that_comes_again_is_not_told_again() {
    let anna = UserId::generate();
    let office = Office::with(&anna).await;
    for later in [0, 1, 3600] {
        office.tell_at(&completed(&anna), NOW + later).await.unwrap();
    }
    assert_eq!(office.sent().await.len(), 1);
}

#[tokio::test]
async fn an_order_that_overtook_its_customer_waits_for_him() {
    let (office, anna) = (Office::open().await, UserId::generate());
    office.tell(&completed(&anna)).await.unwrap_err();
    office.tell(&registered(&anna, 1, ADDRESS, true)).await.unwrap();
    office.tell(&completed(&anna)).await.unwrap();
    assert_eq!(office.sent().await.len(), 1);
}

#[tokio::test]
async fn an_email_that_was_refused_is_tried_again_when_its_lease_is_over() {
    let anna = UserId::generate();
    let office = Office::with(&anna).await;
    office.once(ResponseTemplate::new(429)).await;
    office.tell(&completed(&anna)).await.unwrap_err();
    // Whoever comes too early does not know whether the first try is still at it.
    office.tell_at(&completed(&anna), NOW + 59).await.unwrap_err();
    assert_eq!(office.sent().await.len(), 1);
    office.tell_at(&completed(&anna), NOW + 60).await.unwrap();
    assert_eq!(office.sent().await.len(), 2);
}

#[tokio::test]
async fn a_failure_does_not_say_whose_address_it_was() {
    let anna = UserId::generate();
    let office = Office::with(&anna).await;
    let body = json!({"message": format!("Email address is not verified: {ADDRESS}")});
    let refusal = ResponseTemplate::new(400).insert_header("x-amzn-errortype", "MessageRejected");
    office.once(refusal.set_body_json(body)).await;
    let error = office.tell(&completed(&anna)).await.unwrap_err();
    assert_eq!(
        chain(&error),
        "the event cannot be handled: the provider refused the e-mail: MessageRejected"
    );

    let mut unreadable = registered(&anna, 2, ADDRESS, true);
    unreadable.data["notification_preferences"] = json!(ADDRESS);
    let error = office.tell(&unreadable).await.unwrap_err();
    assert!(!chain(&error).contains(ADDRESS));
}

#[tokio::test]
async fn lost_answers_of_the_table_send_no_second_email() {
    let anna = UserId::generate();
    let office = Office::with(&anna).await;
    office.faults.lose_answers("PutItem", 1);
    office.faults.lose_answers("UpdateItem", MAX_ATTEMPTS);
    office.tell(&completed(&anna)).await.unwrap();
    office.tell(&completed(&anna)).await.unwrap();
    assert_eq!(office.sent().await.len(), 1);
}

#[tokio::test]
async fn who_wants_no_email_gets_none() {
    let (office, anna) = (Office::open().await, UserId::generate());
    office.tell(&registered(&anna, 1, ADDRESS, false)).await.unwrap();
    office.tell(&completed(&anna)).await.unwrap();
    assert!(office.sent().await.is_empty());
}

#[tokio::test]
async fn older_contact_data_does_not_replace_newer() {
    let anna = UserId::generate();
    let office = Office::open().await;
    for (sequence, address) in [(2, "new@example.com"), (1, ADDRESS), (2, ADDRESS)] {
        office.tell(&registered(&anna, sequence, address, true)).await.unwrap();
    }
    office.tell(&completed(&anna)).await.unwrap();
    assert_eq!(office.sent().await[0]["Destination"]["ToAddresses"], json!(["new@example.com"]));
}

#[tokio::test]
async fn what_nobody_can_be_told_comes_again() {
    let anna = UserId::generate();
    let office = Office::with(&anna).await;
    let total = Money::new(1, Currency::USD);
    let nobodys = event(order_of(&anna).as_str(), None, 1, &OrderCompleted { total, items: vec![] });
    office.tell(&nobodys).await.unwrap_err();
    let mut other = completed(&anna);
    other.event_type = "order.created".to_owned();
    office.tell(&other).await.unwrap_err();
    assert!(office.sent().await.is_empty());
}
