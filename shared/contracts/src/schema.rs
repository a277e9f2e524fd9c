//! The published versions of all event types: for each, its JSON Schema and an example event.

use jiff::{Timestamp, civil::Date};
use schemars::{JsonSchema, generate::SchemaSettings};
use serde_json::{Value, json};

use crate::{
    Availability, CorrelationId, Currency, Envelope, EventId, EventPayload, Money, NewEvent, NotificationId,
    OrderDiscount, OrderId, OrderLine, PricedLine, SessionId, Sku, UserId,
    events::*,
    saga::{Failure, PAYMENT_DECLINED},
};

/// One version of an event type.
#[derive(Debug)]
pub struct EventVersion {
    /// [`EventPayload::TYPE`].
    pub event_type: &'static str,
    /// [`EventPayload::VERSION`].
    pub version: u32,
    /// Of the whole envelope, draft 2020-12. It describes what a reader accepts, so events from before a
    /// field was added are valid.
    pub schema: Value,
    /// A golden event of this version, which every later release must be able to read.
    pub example: Envelope,
    /// Whether this code can read it, directly or through its upcaster.
    pub reads: fn(&Envelope) -> bool,
}

/// All versions of all event types, by context.
// Old versions stay for ever, because such events remain in stores, queues and archives.
pub fn event_versions() -> Vec<EventVersion> {
    let (usd, order_id, sku) = (|amount| Money::new(amount, Currency::USD), order_id, sku);
    let user_id = user_id();
    let preferences = NotificationPreferences { email: true, sms: false };
    let (carrier, tracking_number) = ("standard".to_owned(), "1Z0000000000000001".to_owned());
    let estimated_delivery = Date::constant(2026, 11, 24);
    let line = OrderLine { sku: sku(), quantity: 2 };
    let priced = PricedLine { sku: sku(), quantity: 2, unit_price: usd(2100) };
    let reason = PAYMENT_DECLINED.to_owned();
    let step = "TakePayment".to_owned();
    let failure =
        Failure { step: step.clone(), error: reason.clone(), cause: "The card was declined.".to_owned() };
    let (name, category) = ("Blue mug".to_owned(), "kitchen".to_owned());

    let users = About { source: "users", subject: user_id.as_str() };
    let session_id = SessionId::try_from("ses_0123456789abcdef0123456789abcdef").expect("a session id");
    let session = About { source: "users", subject: session_id.as_str() };
    let catalog = About { source: "catalog", subject: "MUG-BLUE" };
    let stock = About { source: "inventory", subject: "MUG-BLUE" };
    let about = EventId::derive("orders", order_id().as_str(), 6);
    let notification = NotificationId::derive(&about, Channel::Sms);
    let notifications = About { source: "notifications", subject: notification.as_str() };
    let order = order_id();
    let [inventory, orders, payments, fulfillment] = ["inventory", "orders", "payments", "fulfillment"]
        .map(|source| About { source, subject: order.as_str() });

    vec![
        users.tells(UserRegistered {
            user_id: user_id.clone(),
            email: "ada@example.com".to_owned(),
            name: "Ada Lovelace".to_owned(),
            phone: Some("+14155550123".to_owned()),
            notification_preferences: preferences,
            email_verified: true,
            phone_verified: false,
        }),
        users.tells(UserUpdated {
            user_id: user_id.clone(),
            email: "ada@example.com".to_owned(),
            name: "Ada Lovelace".to_owned(),
            phone: Some("+14155550123".to_owned()),
            notification_preferences: preferences,
            email_verified: true,
            phone_verified: false,
        }),
        users.tells(UserDeleted { user_id: user_id.clone() }),
        users.tells(UserSuspended { user_id: user_id.clone() }),
        users.tells(UserRestored { user_id: user_id.clone() }),
        session.tells(SessionEnded { session_id: session_id.clone(), user_id: user_id.clone() }),
        catalog.tells(ProductCreated {
            sku: sku(),
            name: name.clone(),
            category: category.clone(),
            price: usd(2100),
        }),
        catalog.tells(ProductUpdated { sku: sku(), name, category, price: usd(1900) }),
        catalog.tells(ProductDiscontinued { sku: sku() }),
        inventory.tells(InventoryReserved { order_id: order_id(), items: vec![line.clone()] }),
        inventory.tells(InventoryNotAvailable { order_id: order_id(), skus: vec![sku()] }),
        inventory.tells(InventoryCommitted { order_id: order_id() }),
        inventory.tells(InventoryReleased { order_id: order_id() }),
        stock.tells(InventoryStockChanged { sku: sku(), availability: Availability::LowStock }),
        orders.tells(OrderCreated {
            items: vec![priced],
            total: usd(3780),
            discount: Some(OrderDiscount { code: "AUTUMN10".to_owned(), amount: usd(420) }),
        }),
        orders.tells(OrderInventoryReserved {}),
        orders.tells(OrderInventoryNotAvailable {}),
        orders.tells(OrderPaymentPending {}),
        orders.tells(OrderPaymentSucceeded { amount: usd(4200) }),
        orders.tells(OrderPaymentFailed { reason: reason.clone() }),
        orders.tells(OrderShipmentScheduled {
            carrier: carrier.clone(),
            tracking_number: tracking_number.clone(),
            estimated_delivery,
        }),
        orders.tells(OrderCompleted { total: usd(4200), items: vec![line.clone()] }),
        orders.tells(OrderCancelRequested { requested_by: "customer".to_owned() }),
        orders.tells(OrderPaymentRefunded { amount: usd(4200), outcome: "refunded".to_owned() }),
        orders.tells(OrderInventoryReleased {}),
        orders.tells(OrderCancelled { reason: reason.clone(), step }),
        orders.tells(OrderCompensationFailed { failure, failed: vec!["payment".to_owned()] }),
        payments.tells(PaymentPending {
            order_id: order_id(),
            amount: usd(4200),
            waits_for: WaitsFor::Customer,
        }),
        payments.tells(PaymentSucceeded { order_id: order_id(), amount: usd(4200) }),
        payments.told::<_, PaymentFailed>(PaymentFailedV1 {
            order_id: order_id(),
            amount: usd(4200),
            reason,
        }),
        payments.tells(PaymentFailed {
            order_id: order_id(),
            amount: usd(4200),
            reason: PaymentFailure::Declined,
        }),
        payments.tells(PaymentRefunded {
            order_id: order_id(),
            amount: usd(4200),
            cause: RefundCause::OrderCancelled,
        }),
        payments.tells(PaymentRefundFailed {
            order_id: order_id(),
            amount: usd(4200),
            refunded: usd(0),
            refund_id: "re_3MVFb2LkdIwHu7ix".to_owned(),
            reason: "expired_or_canceled_card".to_owned(),
        }),
        fulfillment.tells(ShipmentScheduled {
            order_id: order_id(),
            carrier: carrier.clone(),
            tracking_number: tracking_number.clone(),
            estimated_delivery,
        }),
        fulfillment.tells(ShipmentCancelled { order_id: order_id() }),
        fulfillment.tells(ShipmentPicked { order_id: order_id() }),
        fulfillment.tells(ShipmentPacked { order_id: order_id() }),
        fulfillment.tells(ShipmentShipped { order_id: order_id(), carrier, tracking_number }),
        fulfillment.tells(ShipmentDelivered { order_id: order_id() }),
        notifications.tells(NotificationSent {
            about: about.clone(),
            about_type: OrderCompleted::TYPE.to_owned(),
            order_id: Some(order_id()),
            channel: Channel::Sms,
            sent_by: Channel::Email,
        }),
        notifications.tells(NotificationFailed {
            about,
            about_type: OrderCompleted::TYPE.to_owned(),
            order_id: Some(order_id()),
            channel: Channel::Email,
            reason: Undelivered::InvalidAddress,
        }),
    ]
}

/// The source and the subject of an example event.
#[derive(Clone, Copy)]
struct About<'a> {
    source: &'a str,
    subject: &'a str,
}

impl About<'_> {
    /// The current version of an event type.
    fn tells<P: EventPayload + JsonSchema>(self, payload: P) -> EventVersion {
        self.told::<P, P>(payload)
    }

    /// A version `P` of an event type that is read as `Today`.
    fn told<P: EventPayload + JsonSchema, Today: EventPayload>(self, payload: P) -> EventVersion {
        let new = NewEvent {
            source: self.source,
            subject: self.subject,
            sequence: 1,
            occurred_at: Timestamp::constant(1_795_262_400, 0),
            correlation_id: &correlation_id(),
            causation_id: "example",
            user_id: Some(&user_id()),
        };
        EventVersion {
            event_type: P::TYPE,
            version: P::VERSION,
            schema: envelope_of::<P>(),
            example: Envelope::new(new, &payload).expect("a payload has string keys only"),
            reads: |event| event.decode::<Today>().is_ok(),
        }
    }
}

/// The schema of an envelope that holds a `P`.
fn envelope_of<P: EventPayload + JsonSchema>() -> Value {
    let mut generator = SchemaSettings::draft2020_12().into_generator();
    let payload = generator.subschema_for::<P>();
    let mut schema = generator.into_root_schema_for::<Envelope>().to_value();
    schema["title"] = json!(format!("{} version {}", P::TYPE, P::VERSION));
    // These are constants, so that a validator does not take an event of another type or version for this one.
    schema["properties"]["event_type"] = json!({"const": P::TYPE});
    schema["properties"]["event_version"] = json!({"const": P::VERSION});
    schema["properties"]["data"] = payload.to_value();
    schema
}

fn order_id() -> OrderId {
    "ord_0123456789abcdef0123456789abcdef".parse().expect("an order id")
}

fn user_id() -> UserId {
    "usr_0123456789abcdef0123456789abcdef".parse().expect("a user id")
}

fn sku() -> Sku {
    "MUG-BLUE".parse().expect("a SKU")
}

fn correlation_id() -> CorrelationId {
    "cor_0123456789abcdef0123456789abcdef".parse().expect("a correlation id")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_event_type_in_every_version_is_here() {
        let source = include_str!("events.rs").replace(['\n', ' '], "");
        let declared: Vec<String> = source
            .match_indices("\",v")
            .map(|(at, _)| {
                let event_type = source[..at].rsplit('"').next().unwrap();
                let version: String = source[at + 3..].chars().take_while(char::is_ascii_digit).collect();
                format!("{event_type} {version}")
            })
            .collect();
        let mut here: Vec<String> =
            event_versions().iter().map(|event| format!("{} {}", event.event_type, event.version)).collect();
        let mut declared = declared;
        declared.sort();
        here.sort();
        assert_eq!(here, declared);
    }

    #[test]
    fn an_event_of_an_older_version_is_read_in_todays_words() {
        let all = event_versions();
        let old =
            all.iter().find(|event| (event.event_type, event.version) == ("payment.failed", 1)).unwrap();
        assert_eq!(old.example.data["reason"], PAYMENT_DECLINED);
        let PaymentFailed { reason, .. } = old.example.decode().unwrap();
        assert_eq!(reason, PaymentFailure::Declined);

        let newer = Envelope { event_version: 3, ..old.example.clone() };
        assert!(newer.decode::<PaymentFailed>().is_err());
        let never = Envelope { event_version: 0, ..old.example.clone() };
        assert!(never.decode::<PaymentFailed>().is_err());
        let mut unknown = old.example.clone();
        unknown.data["reason"] = json!("Whim");
        assert!(unknown.decode::<PaymentFailed>().is_err());
    }
}
