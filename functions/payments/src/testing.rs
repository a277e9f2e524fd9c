//! Gateway and AWS as this crate's tests see them: a Stripe and an AWS endpoint in this process, a DynamoDB table,
//! and a payment to take.

mod aws;
mod stripe;

use std::{
    num::NonZeroU32,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use contracts::{
    CorrelationId, Currency, Envelope, IdempotencyKey, Money, OrderId, Position, Switch, UserId,
    saga::{CommandContext, TakePayment, Undone},
};
use jiff::{SignedDuration, Timestamp};
use lambda_kit::{
    breaker::Breaker,
    dynamodb::Table,
    switch::FeatureSwitch,
    testing::{self, Faults},
};

pub use aws::FakeAws;
pub use stripe::{FakeStripe, Fault};

use crate::{
    api::Api,
    commands::{Invocation, Payments, PaymentsError},
    domain::{EventContext, Payment, Status},
    gateway::{Gateway, GatewayLimits, Timeouts},
    queue::{CheckPayment, Queue},
    recorder::InputRecorder,
    secrets::Secrets,
    store::Store,
    task_tokens::TaskTokens,
};

pub const DEADLINE: i64 = 900;
/// Calls of the gateway a second: no test waits for its turn unless it is about that.
pub const FAST: NonZeroU32 = NonZeroU32::new(10_000).unwrap();
/// The gateway's timeout in tests. A request that is to time out is answered much later.
pub const CALL: Duration = Duration::from_millis(1500);

/// A payments context of its own for a test.
#[derive(Clone)]
pub struct Fixture {
    pub payments: Payments,
    pub stripe: FakeStripe,
    pub aws: FakeAws,
    pub table: Table,
    /// Faults of the table.
    pub faults: Faults,
    /// Faults of Step Functions, SQS and Secrets Manager.
    pub aws_faults: Faults,
    pub secrets: Arc<Secrets>,
    pub order: OrderId,
    pub user: UserId,
    /// When the test's first command comes.
    pub start: Timestamp,
    /// The offset of the breaker's clock, in seconds.
    later: Arc<AtomicI64>,
}

impl Fixture {
    pub async fn new() -> Self {
        Self::with_calls_of(CALL).await
    }

    /// Like `new`, with this timeout for the gateway.
    pub async fn with_calls_of(call: Duration) -> Self {
        let (table, faults) = testing::table(&[]).await;
        let aws = FakeAws::start().await;
        let stripe = FakeStripe::start().await;
        let (sdk, aws_faults) = testing::sdk_config(&aws.url());
        let secrets =
            Arc::new(Secrets::new(aws_sdk_secretsmanager::Client::new(&sdk), "arn:stripe".to_owned()));
        let later = Arc::new(AtomicI64::new(0));
        let timeouts = Timeouts { connect: call, call };
        let payments = Payments {
            recorder: InputRecorder {
                store: Store::new(table.clone()),
                task_tokens: TaskTokens::new(aws_sdk_sfn::Client::new(&sdk)),
                queue: Queue::new(aws_sdk_sqs::Client::new(&sdk), format!("{}/1/payments", aws.url())),
            },
            gateway: Gateway::new(
                &stripe.url(),
                timeouts,
                Arc::clone(&secrets),
                breaker(&table, &later),
                GatewayLimits::new(&table, FAST),
            ),
            deadline_seconds: DEADLINE,
            switch: FeatureSwitch::fixed(Switch::Payments, Position::On),
        };
        let user = UserId::generate();
        let order = order_of(&user);
        Self {
            payments,
            stripe,
            aws,
            table,
            faults,
            aws_faults,
            secrets,
            order,
            user,
            start: Timestamp::now(),
            later,
        }
    }

    /// Another order of the same customer, at the same gateway and on the same table.
    pub fn another_order(&self) -> Self {
        let key = IdempotencyKey::try_from(format!("order-{}", fastrand::u64(..))).unwrap();
        Self { order: OrderId::derive(&self.user, &key), ..self.clone() }
    }

    /// The gateway with this rate limit for each endpoint.
    pub fn gateway_at_most(&self, per_second: u32) -> Gateway {
        let timeouts = Timeouts { connect: CALL, call: CALL };
        let limits = self.limits(NonZeroU32::new(per_second).unwrap());
        Gateway::new(&self.stripe.url(), timeouts, Arc::clone(&self.secrets), self.breaker(), limits)
    }

    pub fn api(&self) -> Api {
        Api { recorder: self.recorder(), secrets: Arc::clone(&self.secrets) }
    }

    pub fn recorder(&self) -> InputRecorder {
        self.payments.recorder.clone()
    }

    /// Another instance's breaker of the same gateway.
    pub fn breaker(&self) -> Breaker {
        breaker(&self.table, &self.later)
    }

    /// The rate limits for a gateway that allows this many calls a second.
    pub fn limits(&self, per_second: NonZeroU32) -> GatewayLimits {
        GatewayLimits::new(&self.table, per_second)
    }

    /// Lets the breaker's time pass.
    pub fn wait(&self, seconds: i64) {
        self.later.fetch_add(seconds, Ordering::SeqCst);
    }

    pub fn take_of(&self, method: &str, token: &str) -> TakePayment {
        TakePayment {
            context: self.context(),
            user_id: self.user.clone(),
            amount: Money::new(4200, Currency::USD),
            payment_method: method.to_owned(),
            task_token: token.to_owned(),
            entered_at: Some(self.start),
        }
    }

    pub fn context(&self) -> CommandContext {
        CommandContext::new(self.order.clone(), correlation())
    }

    /// An invocation `seconds` after the first, with time enough.
    pub fn at(&self, seconds: i64) -> Invocation {
        let mut invocation = Invocation::lasting(Duration::from_secs(300));
        invocation.now = self.start + SignedDuration::from_secs(seconds);
        invocation
    }

    pub async fn take(&self, method: &str, token: &str) -> Result<(), PaymentsError> {
        self.payments.take(self.take_of(method, token), self.at(0)).await
    }

    pub async fn check_at(&self, seconds: i64) -> Result<(), PaymentsError> {
        let check = CheckPayment { order_id: self.order.clone(), correlation_id: correlation(), attempt: 0 };
        self.payments.check(check, self.at(seconds)).await
    }

    pub async fn undo(&self) -> Result<Undone, PaymentsError> {
        self.payments.undo(self.context(), self.user.clone(), self.at(1)).await
    }

    pub fn event_context(&self) -> EventContext<'static> {
        EventContext { now: self.start, causation_id: "test" }
    }

    pub async fn payment(&self) -> Payment {
        self.payments.recorder.store.get(&self.order).await.unwrap().expect("there is a payment")
    }

    pub async fn status(&self) -> Status {
        self.payment().await.status
    }

    /// The event of the payment's last write, if it has one.
    pub async fn last_event(&self) -> Option<Envelope> {
        let key = lambda_kit::dynamodb::key(format!("PAYMENT#{}", self.order), "PAYMENT");
        let read = self.table.client.get_item().table_name(&self.table.name).set_key(Some(key));
        let item = read.consistent_read(true).send().await.unwrap().item.unwrap();
        let outbox = item.get("outbox")?.as_l().unwrap();
        assert_eq!(outbox.len(), 1, "one write, one event: their ids come from its version");
        Some(serde_json::from_str(outbox[0].as_s().unwrap()).unwrap())
    }
}

fn breaker(table: &Table, later: &Arc<AtomicI64>) -> Breaker {
    let later = Arc::clone(later);
    let clock = move || Timestamp::now() + SignedDuration::from_secs(later.load(Ordering::SeqCst));
    Breaker::with_clock(table.clone(), "gateway", clock)
}

pub fn order_of(user: &UserId) -> OrderId {
    OrderId::derive(user, &IdempotencyKey::try_from("order").unwrap())
}

pub fn correlation() -> CorrelationId {
    CorrelationId::try_from("cor_test").unwrap()
}

/// The header that Stripe signs a webhook with.
pub fn sign(secret: &str, seconds: i64, body: &[u8]) -> String {
    use aws_lc_rs::hmac;
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes());
    let signed = [seconds.to_string().as_bytes(), b".", body].concat();
    let hex: String = hmac::sign(&key, &signed).as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    format!("t={seconds},v1={hex}")
}
