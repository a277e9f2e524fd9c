//! The notifier with its dependencies, and the events that it receives.

use std::{
    num::NonZeroU32,
    sync::{
        Arc, Mutex,
        atomic::{AtomicI64, Ordering},
    },
};

use aws_lambda_events::sqs::SqsMessage;
use aws_sdk_dynamodb::types::AttributeValue;
use contracts::{
    AccountContent, AccountMessage, CorrelationId, Currency, Envelope, EventId, EventPayload, IdempotencyKey,
    MessageId, Money, NewEvent, OrderId, Position, Recipient, Switch, UserId,
    events::{
        Channel, NotificationPreferences, OrderCancelled, OrderCompleted, OrderCreated, PaymentRefunded,
        RefundCause, UserDeleted, UserRegistered, UserUpdated,
    },
};
use jiff::{SignedDuration, Timestamp};
use lambda_kit::{
    breaker::Breaker,
    bucket::Bucket,
    dynamodb::{Item, Table},
    limits::{RateLimit, SEND, SEND_BY_SMTP},
    sqs::MessageError,
    switch::FeatureSwitch,
    testing::{self, Faults},
};
use lettre::transport::smtp::client::Certificate;
use notifications::{
    EmailGate, EmailSender, Guarded, Notifier, ProviderGuard, Queues, RecipientBudget, SmsSender, SmtpSender,
    Store,
};
use serde_json::{Value, json};
use wiremock::{
    Mock, MockServer, Request, Respond, ResponseTemplate,
    matchers::{any, body_string_contains, header, header_exists, path},
};

pub const NOW: i64 = 1_800_000_000;
/// In seconds.
pub const CONFIRMATION_DELAY: i64 = 60;
/// The path of SES's SendEmail (API reference).
const SES: &str = "/v2/email/outbound-emails";
/// Text that only SNS's Publish requests contain (API reference).
const SNS: &str = "Action=Publish";
pub const SENDER: &str = "shop@example.com";
pub const SMTP_USER: &str = "ordersaga";
pub const SMTP_PASSWORD: &str = "a secret";
pub const ADDRESS: &str = "anna@example.com";
pub const PHONE: &str = "+14155550123";
pub const CODE: &str = "12345678";
const NAME: &str = "Anna <b>";
pub const AMOUNT: Money = Money::new(4200, Currency::USD);

#[derive(Clone)]
pub struct Fixture {
    provider: Arc<MockServer>,
    pub notifier: Arc<Notifier>,
    pub table: Table,
    pub faults: Faults,
    /// Faults of the calls to the providers.
    pub provider_faults: Faults,
    /// The breaker's clock, in seconds after `NOW`.
    later: Arc<AtomicI64>,
    smtp: Option<SmtpAt>,
    smtp_secret: Secret,
}

/// A secret of Secrets Manager.
#[derive(Clone, Default)]
struct Secret(Arc<Mutex<String>>);

impl Secret {
    fn store(&self, secret: &Value) {
        *self.0.lock().unwrap() = secret.to_string();
    }
}

impl Respond for Secret {
    fn respond(&self, _: &Request) -> ResponseTemplate {
        ResponseTemplate::new(200).set_body_json(json!({"SecretString": *self.0.lock().unwrap()}))
    }
}

/// The second provider of e-mail.
#[derive(Clone)]
pub struct SmtpAt {
    pub url: String,
    /// Trusted in addition to Mozilla's.
    pub roots: Vec<Certificate>,
}

impl Fixture {
    pub async fn open() -> Self {
        // A rate that no test reaches.
        Self::at_rate(1000).await
    }

    pub async fn at_rate(per_second: u32) -> Self {
        Self::build(per_second, None).await
    }

    async fn build(per_second: u32, smtp: Option<SmtpAt>) -> Self {
        let provider = MockServer::start().await;
        // Last, so that a test's faults take precedence.
        let mail = ResponseTemplate::new(200).set_body_json(json!({"MessageId": "m-1"}));
        Mock::given(any()).respond_with(mail).with_priority(9).mount(&provider).await;
        let text = ResponseTemplate::new(200).set_body_string(
            "<PublishResponse xmlns=\"http://sns.amazonaws.com/doc/2010-03-31/\"><PublishResult>\
             <MessageId>t-1</MessageId></PublishResult></PublishResponse>",
        );
        Mock::given(body_string_contains(SNS)).respond_with(text).with_priority(8).mount(&provider).await;
        let smtp_secret = Secret::default();
        let read = Mock::given(header("x-amz-target", "secretsmanager.GetSecretValue"));
        read.respond_with(smtp_secret.clone()).with_priority(8).mount(&provider).await;
        let (table, faults) = testing::table(&[]).await;
        let later = Arc::new(AtomicI64::new(0));
        let (notifier, provider_faults) =
            notifier(&provider.uri(), &table, &later, per_second, smtp.as_ref());
        Self {
            provider: Arc::new(provider),
            notifier: Arc::new(notifier),
            table,
            faults,
            provider_faults,
            later,
            smtp,
            smtp_secret,
        }
    }

    /// Another instance of the function.
    pub fn another_instance(&self, per_second: u32) -> Self {
        let (notifier, provider_faults) =
            notifier(&self.provider.uri(), &self.table, &self.later, per_second, self.smtp.as_ref());
        Self { notifier: Arc::new(notifier), provider_faults, ..self.clone() }
    }

    /// With Anna registered. She gets no welcome message in these tests, since her first event is an update.
    pub async fn with(anna: &UserId, wants: NotificationPreferences) -> Self {
        let fixture = Self::open().await;
        fixture.receive(&updated(anna, 1, ADDRESS, wants)).await.unwrap();
        fixture
    }

    /// As `with`, and with a second provider of e-mail, whose secret is filled in.
    pub async fn with_smtp(anna: &UserId, wants: NotificationPreferences, smtp: SmtpAt) -> Self {
        let fixture = Self::build(1000, Some(smtp)).await;
        fixture.store_smtp_secret(&json!({"user": SMTP_USER, "password": SMTP_PASSWORD}));
        fixture.receive(&updated(anna, 1, ADDRESS, wants)).await.unwrap();
        fixture
    }

    /// Stores the secret of the SMTP server.
    pub fn store_smtp_secret(&self, secret: &Value) {
        self.smtp_secret.store(secret);
    }

    /// Switches a breaker, as `cargo ops breaker set` does, and waits until instances read it.
    pub async fn switch_breaker(&self, dependency: &str, mode: &str) {
        let table = &self.table;
        let update = table.client.update_item().table_name(&table.name);
        let update = update
            .key("pk", AttributeValue::S(format!("BREAKER#{dependency}")))
            .key("sk", AttributeValue::S("BREAKER".to_owned()))
            .update_expression("SET #mode = :mode ADD version :one")
            .expression_attribute_names("#mode", "mode")
            .expression_attribute_values(":mode", AttributeValue::S(mode.to_owned()))
            .expression_attribute_values(":one", AttributeValue::N("1".to_owned()));
        update.send().await.unwrap();
        self.wait(2);
    }

    /// Sets the response to the next `count` e-mails.
    pub async fn ses(&self, count: u64, answer: ResponseTemplate) {
        Mock::given(path(SES)).respond_with(answer).up_to_n_times(count).mount(&self.provider).await;
    }

    /// Sets the response to all e-mails.
    pub async fn ses_by(&self, answers: impl wiremock::Respond + 'static) {
        Mock::given(path(SES)).respond_with(answers).mount(&self.provider).await;
    }

    /// Sets the response to the next e-mail.
    pub async fn ses_once_by(&self, answer: impl wiremock::Respond + 'static) {
        Mock::given(path(SES)).respond_with(answer).up_to_n_times(1).mount(&self.provider).await;
    }

    /// Sets the response to the next `count` SMS messages.
    pub async fn sns(&self, count: u64, answer: ResponseTemplate) {
        let publish = Mock::given(body_string_contains(SNS)).respond_with(answer);
        publish.up_to_n_times(count).mount(&self.provider).await;
    }

    /// Sets the response to calls of SQS.
    pub async fn sqs(&self, answer: ResponseTemplate) {
        let all = Mock::given(header_exists("x-amz-target")).respond_with(answer);
        all.with_priority(1).mount(&self.provider).await;
    }

    pub fn wait(&self, seconds: i64) {
        self.later.fetch_add(seconds, Ordering::SeqCst);
    }

    /// Delivers an event through the e-mail queue, at `NOW`.
    pub async fn receive(&self, event: &Envelope) -> Result<(), MessageError> {
        self.receive_at(event, NOW).await
    }

    pub async fn receive_at(&self, event: &Envelope, now: i64) -> Result<(), MessageError> {
        self.deliver(Channel::Email, event, now, 1).await
    }

    /// Delivers an event through the queue for SMS messages, at `NOW`.
    pub async fn receive_sms(&self, event: &Envelope) -> Result<(), MessageError> {
        self.deliver(Channel::Sms, event, NOW, 1).await
    }

    /// Delivers an event through both queues.
    pub async fn receive_on_both(&self, event: &Envelope) {
        self.receive(event).await.unwrap();
        self.receive_sms(event).await.unwrap();
    }

    /// Delivers an event through a queue, with this receive count.
    pub async fn deliver(
        &self,
        channel: Channel,
        event: &Envelope,
        now: i64,
        receives: u32,
    ) -> Result<(), MessageError> {
        let queue = format!("notifications-{}", channel.as_str());
        let body = serde_json::to_string(event).unwrap();
        self.message(&queue, &body, now, receives).await
    }

    /// Delivers a message about an account, at `NOW`.
    pub async fn receive_account(&self, message: &AccountMessage) -> Result<(), MessageError> {
        self.receive_account_at(message, NOW).await
    }

    pub async fn receive_account_at(&self, message: &AccountMessage, now: i64) -> Result<(), MessageError> {
        self.message("notifications-codes", &serde_json::to_string(message).unwrap(), now, 1).await
    }

    pub async fn message(
        &self,
        queue: &str,
        body: &str,
        now: i64,
        receives: u32,
    ) -> Result<(), MessageError> {
        self.message_with(queue, body, now, receives, &json!({})).await
    }

    /// Delivers a message with these message attributes.
    pub async fn message_with(
        &self,
        queue: &str,
        body: &str,
        now: i64,
        receives: u32,
        attributes: &Value,
    ) -> Result<(), MessageError> {
        let message: SqsMessage = serde_json::from_value(json!({
            "messageId": "m", "receiptHandle": "handle", "body": body,
            "attributes": {"ApproximateReceiveCount": receives.to_string()}, "messageAttributes": attributes,
            "eventSourceARN": format!("arn:aws:sqs:us-east-1:1:ordersaga-local-{queue}"),
        }))
        .unwrap();
        self.notifier.message(message, Timestamp::from_second(now).unwrap()).await
    }

    async fn requests(&self) -> Vec<Request> {
        self.provider.received_requests().await.unwrap()
    }

    /// The calls of SES.
    pub async fn sent_emails(&self) -> Vec<Value> {
        let requests = self.requests().await;
        let mails = requests.iter().filter(|request| request.url.path() == SES);
        mails.map(|request| serde_json::from_slice(&request.body).unwrap()).collect()
    }

    /// The calls of SNS, as raw request bodies.
    pub async fn sent_sms(&self) -> Vec<String> {
        let requests = self.requests().await;
        let bodies = requests.iter().map(|request| String::from_utf8_lossy(&request.body).into_owned());
        bodies.filter(|body| body.contains(SNS)).collect()
    }

    /// The calls of SQS with their operation.
    pub async fn queued(&self, operation: &str) -> Vec<Value> {
        let requests = self.requests().await;
        let is = |request: &&Request| {
            request.headers.get("x-amz-target").is_some_and(|t| t.as_bytes().ends_with(operation.as_bytes()))
        };
        requests.iter().filter(is).map(|request| serde_json::from_slice(&request.body).unwrap()).collect()
    }

    /// The events that went back into their queue, with their delay in seconds.
    pub async fn requeued(&self) -> Vec<(Envelope, i64)> {
        let sent = self.queued("SendMessage").await;
        let event = |body: &Value| serde_json::from_str(body["MessageBody"].as_str().unwrap()).unwrap();
        sent.iter().map(|body| (event(body), body["DelaySeconds"].as_i64().unwrap())).collect()
    }

    /// The visibility timeouts of failed messages, in seconds.
    pub async fn hidden(&self) -> Vec<i64> {
        let hidden = self.queued("ChangeMessageVisibility").await;
        hidden.iter().map(|body| body["VisibilityTimeout"].as_i64().unwrap()).collect()
    }

    pub async fn items(&self) -> Vec<Item> {
        let scan = self.table.client.scan().table_name(&self.table.name).consistent_read(true);
        scan.send().await.unwrap().items.unwrap()
    }

    /// The events in the outboxes of the table.
    pub async fn published(&self) -> Vec<Envelope> {
        let items = self.items().await;
        let outboxes = items.iter().filter_map(|item| item.get("outbox")).flat_map(|o| o.as_l().unwrap());
        outboxes.map(|event| serde_json::from_str(event.as_s().unwrap()).unwrap()).collect()
    }
}

fn notifier(
    url: &str,
    table: &Table,
    later: &Arc<AtomicI64>,
    per_second: u32,
    smtp: Option<&SmtpAt>,
) -> (Notifier, Faults) {
    let (sdk, provider_faults) = testing::sdk_config(url);
    let rate = RateLimit::per_second(1, NonZeroU32::new(per_second).unwrap());
    let guard = |name, policy| {
        let clock = Arc::clone(later);
        let breaker = Breaker::with_clock(table.clone(), name, move || {
            Timestamp::from_second(NOW + clock.load(Ordering::SeqCst)).unwrap()
        });
        ProviderGuard::new(breaker, Bucket::new(table.clone(), name, rate), policy)
    };
    let ses = EmailSender::new(&sdk, SENDER.to_owned(), Some("settings".to_owned()));
    let smtp = smtp.map(|SmtpAt { url, roots }| {
        let sender = SmtpSender::new(&sdk, url, SENDER, "secret".to_owned(), roots).unwrap();
        Guarded { sender, guard: guard("smtp", SEND_BY_SMTP) }
    });
    let notifier = Notifier {
        email: EmailGate { ses: Guarded { sender: ses, guard: guard("email", SEND) }, smtp },
        sms_guard: guard("sms", SEND),
        sms_sender: SmsSender::new(&sdk),
        sms_switch: FeatureSwitch::fixed(Switch::Sms, Position::On),
        queues: Queues::new(&sdk, format!("{url}/1/email"), format!("{url}/1/sms"), format!("{url}/1/codes")),
        sms_countries: "+1".parse().unwrap(),
        recipients: RecipientBudget::new(table.clone()),
        confirmation_delay: SignedDuration::from_secs(CONFIRMATION_DELAY),
        shop_url: Some("https://shop.example".to_owned()),
        store: Store::new(table.clone()),
    };
    (notifier, provider_faults)
}

pub const EMAIL: NotificationPreferences = NotificationPreferences { email: true, sms: false };
pub const SMS: NotificationPreferences = NotificationPreferences { email: false, sms: true };
pub const BOTH: NotificationPreferences = NotificationPreferences { email: true, sms: true };
pub const NONE: NotificationPreferences = NotificationPreferences { email: false, sms: false };

pub fn event<P: EventPayload>(subject: &str, user: Option<&UserId>, sequence: u64, payload: &P) -> Envelope {
    let new = NewEvent {
        source: "test",
        subject,
        sequence,
        occurred_at: Timestamp::from_second(NOW).unwrap(),
        correlation_id: &CorrelationId::generate(),
        causation_id: "test",
        user_id: user,
    };
    Envelope::new(new, payload).unwrap()
}

/// A code for an address that is not verified.
pub fn code_to(user: &UserId, recipient: Recipient) -> AccountMessage {
    let content = match recipient {
        Recipient::Email(_) => AccountContent::VerifyEmail { code: CODE.to_owned() },
        Recipient::Sms(_) => AccountContent::VerifyPhone { code: CODE.to_owned() },
    };
    AccountMessage {
        message_id: MessageId::generate(),
        user_id: user.clone(),
        recipient: Some(recipient),
        verified: false,
        content,
        expires_at: Timestamp::from_second(NOW + 600).unwrap(),
        correlation_id: CorrelationId::generate(),
    }
}

/// As `event`, an event about a user whose address and number are not verified.
pub fn unverified(mut event: Envelope) -> Envelope {
    event.data["email_verified"] = json!(false);
    event.data["phone_verified"] = json!(false);
    event
}

pub fn registered(user: &UserId, wants: NotificationPreferences) -> Envelope {
    let payload = UserRegistered {
        user_id: user.clone(),
        email: ADDRESS.to_owned(),
        name: NAME.to_owned(),
        phone: Some(PHONE.to_owned()),
        notification_preferences: wants,
        email_verified: true,
        phone_verified: true,
    };
    event(user.as_str(), Some(user), 1, &payload)
}

pub fn updated(user: &UserId, sequence: u64, address: &str, wants: NotificationPreferences) -> Envelope {
    let payload = UserUpdated {
        user_id: user.clone(),
        email: address.to_owned(),
        name: NAME.to_owned(),
        phone: Some(PHONE.to_owned()),
        notification_preferences: wants,
        email_verified: true,
        phone_verified: true,
    };
    event(user.as_str(), Some(user), sequence, &payload)
}

pub fn deleted(user: &UserId, sequence: u64) -> Envelope {
    event(user.as_str(), Some(user), sequence, &UserDeleted { user_id: user.clone() })
}

pub fn order_of(user: &UserId) -> OrderId {
    order_named(user, "k")
}

fn order_named(user: &UserId, key: &str) -> OrderId {
    OrderId::derive(user, &IdempotencyKey::try_from(key).unwrap())
}

pub fn created(user: &UserId) -> Envelope {
    let order = order_of(user);
    let mut event =
        event(order.as_str(), Some(user), 1, &OrderCreated { items: vec![], total: AMOUNT, discount: None });
    // An order's end is known to supersede this event by its id.
    event.source = "orders".to_owned();
    event.event_id = EventId::derive("orders", order.as_str(), 1);
    event
}

pub fn completed(user: &UserId) -> Envelope {
    completed_as(user, "k")
}

pub fn completed_as(user: &UserId, order: &str) -> Envelope {
    event(order_named(user, order).as_str(), Some(user), 6, &OrderCompleted { total: AMOUNT, items: vec![] })
}

pub fn refunded(user: &UserId, cause: RefundCause) -> Envelope {
    let order_id = order_of(user);
    let payload = PaymentRefunded { order_id: order_id.clone(), amount: AMOUNT, cause };
    event(order_id.as_str(), Some(user), 9, &payload)
}

pub fn cancelled(user: &UserId) -> Envelope {
    let payload = OrderCancelled { reason: "PaymentDeclined".to_owned(), step: "TakePayment".to_owned() };
    event(order_of(user).as_str(), Some(user), 5, &payload)
}

pub fn down() -> ResponseTemplate {
    ResponseTemplate::new(503)
}

/// A refusal by SES.
pub fn ses_refusal(code: &str) -> ResponseTemplate {
    ResponseTemplate::new(400).insert_header("x-amzn-errortype", code)
}

/// A refusal by SNS.
pub fn sns_refusal(code: &str) -> ResponseTemplate {
    ResponseTemplate::new(400).set_body_string(format!(
        "<ErrorResponse xmlns=\"http://sns.amazonaws.com/doc/2010-03-31/\"><Error><Type>Sender</Type>\
         <Code>{code}</Code><Message>{PHONE}</Message></Error></ErrorResponse>"
    ))
}
