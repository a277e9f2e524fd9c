//! Every event type and its payload. Only `user.*` events carry personal data.

use jiff::civil::Date;
use serde::{Deserialize, Serialize};
use serde_json::Value;

pub use crate::channel::Channel;
use crate::{
    Availability, EventId, EventPayload, Money, OrderDiscount, OrderId, OrderLine, PricedLine, SessionId,
    Sku, UserId, failure::Failure,
};

// `after` names the payload of the version before this one. Its `read` converts all versions that are older
// still, so each version converts only the one before it.
macro_rules! event {
    ($(#[$doc:meta])* $name:ident, $type:literal, v $version:literal $(after $older:ident)? { $($(#[$field_doc:meta])* $field:ident : $field_type:ty),* $(,)? }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
        #[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
        pub struct $name { $($(#[$field_doc])* pub $field: $field_type),* }

        impl EventPayload for $name {
            const TYPE: &'static str = $type;
            const VERSION: u32 = $version;
            $(
                fn upcast(version: u32, data: &Value) -> Result<Self, serde_json::Error> {
                    $older::read(version, data)?.try_into().map_err(serde::de::Error::custom)
                }
            )?
        }
    };
}

// users: subject is the user id.

/// The channels by which a user wants to be notified about orders.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct NotificationPreferences {
    /// By e-mail. Messages about the account itself go out without it.
    pub email: bool,
    /// By SMS. It needs a verified phone number as well.
    pub sms: bool,
}

event!(
    /// A person has an account from now on. Carries personal data.
    UserRegistered, "user.registered", v 1 {
        /// The new user: the event's subject.
        user_id: UserId,
        /// Lower case, with an ASCII domain (IDNA); at most 254 characters.
        email: String,
        /// One line, at most 200 characters.
        name: String,
        /// E.164, such as `+14155550123`.
        phone: Option<String>,
        /// E-mail, and SMS when there is a phone number, until the user changes it.
        notification_preferences: NotificationPreferences,
        /// Whether the user has shown that the address is theirs. `false` in events from before this field.
        #[serde(default)]
        email_verified: bool,
        /// Whether the user has shown that the number is theirs. `false` in events from before this field.
        #[serde(default)]
        phone_verified: bool,
    }
);

event!(
    /// The user's data as it is now, changed or not: it replaces a copy. Carries personal data.
    UserUpdated, "user.updated", v 1 {
        /// The event's subject.
        user_id: UserId,
        /// Lower case, with an ASCII domain (IDNA); at most 254 characters.
        email: String,
        /// One line, at most 200 characters.
        name: String,
        /// E.164. `null` when the user has removed it.
        phone: Option<String>,
        /// As the user chose them last.
        notification_preferences: NotificationPreferences,
        /// Whether the user has shown that the address is theirs. `false` in events from before this field.
        #[serde(default)]
        email_verified: bool,
        /// Whether the user has shown that the number is theirs. `false` in events from before this field.
        #[serde(default)]
        phone_verified: bool,
    }
);

event!(
    /// The user's account was erased. Every consumer erases what else it holds about the person.
    UserDeleted, "user.deleted", v 1 {
        /// The event's subject. It is not used again.
        user_id: UserId,
    }
);

event!(
    /// The shop's staff has suspended the account: it may do nothing until it is restored.
    UserSuspended, "user.suspended", v 1 {
        /// The event's subject.
        user_id: UserId,
    }
);

event!(
    /// The account is no longer suspended.
    UserRestored, "user.restored", v 1 {
        /// The event's subject.
        user_id: UserId,
    }
);

event!(
    /// A login has ended before its time: by the user, by the shop's staff, or because its refresh token was
    /// used twice. The subject is the session's id.
    SessionEnded, "session.ended", v 1 {
        /// The event's subject. It is not used again.
        session_id: SessionId,
        /// The user who had logged in.
        user_id: UserId,
    }
);

// catalog: subject is the SKU, sequence the product's version.

event!(
    /// A product is on sale: a new one, or one that was discontinued before.
    ProductCreated, "product.created", v 1 {
        /// The event's subject.
        sku: Sku,
        /// One line, at most 200 characters.
        name: String,
        /// Free text, at most 100 characters; products with the same text are one category.
        category: String,
        /// For one piece. Orders that are placed from now on cost this.
        price: Money,
    }
);
event!(
    /// A product on sale, as it is after a change.
    ProductUpdated, "product.updated", v 1 {
        /// The event's subject.
        sku: Sku,
        /// One line, at most 200 characters.
        name: String,
        /// Free text, at most 100 characters.
        category: String,
        /// For one piece. Orders that were placed before keep the price that they have.
        price: Money,
    }
);
event!(
    /// A product is no longer sold. Orders that were placed before are delivered.
    ProductDiscontinued, "product.discontinued", v 1 {
        /// The event's subject. `product.created` may put it on sale again.
        sku: Sku,
    }
);

// inventory: subject is the order id.

event!(
    /// The order's lines are held, all of them.
    InventoryReserved, "inventory.reserved", v 1 {
        /// The event's subject.
        order_id: OrderId,
        /// The lines of the order.
        items: Vec<OrderLine>,
    }
);
event!(
    /// Nothing is held: these SKUs have too little stock.
    InventoryNotAvailable, "inventory.not_available", v 1 {
        /// The event's subject.
        order_id: OrderId,
        /// At least one. Other lines of the order may have enough stock.
        skus: Vec<Sku>,
    }
);
event!(
    /// The held stock is sold: the order has completed.
    InventoryCommitted, "inventory.committed", v 1 {
        /// The event's subject.
        order_id: OrderId,
    }
);
event!(
    /// The held stock can be sold again: the order was undone.
    InventoryReleased, "inventory.released", v 1 {
        /// The event's subject.
        order_id: OrderId,
    }
);

// inventory, too: subject is the SKU, sequence counts these events of it.

event!(
    /// The class of what can be sold has changed. No event is published while the class stays the same.
    InventoryStockChanged, "inventory.stock_changed", v 1 {
        /// The event's subject.
        sku: Sku,
        /// The class after the change.
        availability: Availability,
    }
);

// orders: subject is the order id, sequence the order's version.

event!(
    /// A customer placed an order. Its saga starts with this event.
    OrderCreated, "order.created", v 1 {
        /// The order's lines, 1 to 20, each SKU once.
        items: Vec<PricedLine>,
        /// What is to be paid: after the discount.
        total: Money,
        /// Absent when no code was used.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        discount: Option<OrderDiscount>,
    }
);
event!(
    /// The order knows that its stock is held.
    OrderInventoryReserved, "order.inventory_reserved", v 1 {}
);
event!(
    /// The order ends because its stock was not available. `order.cancelled` or `order.compensation_failed` follows in
    /// the same commit.
    OrderInventoryNotAvailable, "order.inventory_not_available", v 1 {}
);
event!(
    /// The order waits for its payment.
    OrderPaymentPending, "order.payment_pending", v 1 {}
);
event!(
    /// The order is paid.
    OrderPaymentSucceeded, "order.payment_succeeded", v 1 {
        /// The order's total.
        amount: Money,
    }
);
event!(
    /// The order ends because it was not paid. `order.cancelled` or `order.compensation_failed` follows in the same
    /// commit.
    OrderPaymentFailed, "order.payment_failed", v 1 {
        /// `PaymentDeclined`, `PaymentTimeout` or another error name of the saga.
        reason: String,
    }
);
event!(
    /// A carrier is booked for the order.
    OrderShipmentScheduled, "order.shipment_scheduled", v 1 {
        /// The carrier's name, as customers read it.
        carrier: String,
        /// The carrier's number of the shipment.
        tracking_number: String,
        /// A day at the place of delivery. An estimate of the carrier.
        estimated_delivery: Date,
    }
);
event!(
    /// The order is paid, and its shipment booked. Final.
    OrderCompleted, "order.completed", v 1 {
        /// What was paid.
        total: Money,
        /// What was bought. Nothing in events from before this field.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        items: Vec<OrderLine>,
    }
);
event!(
    /// The order is to be cancelled. It takes effect at the saga's next step.
    OrderCancelRequested, "order.cancel_requested", v 1 {
        /// Who asked: `customer` or `saga`.
        requested_by: String,
    }
);
event!(
    /// The order's payment was undone.
    OrderPaymentRefunded, "order.payment_refunded", v 1 {
        /// The order's total.
        amount: Money,
        /// How the payment was undone: `refunded` or `voided`.
        outcome: String,
    }
);
event!(
    /// The order's stock was released.
    OrderInventoryReleased, "order.inventory_released", v 1 {}
);
event!(
    /// The order is cancelled, and everything was undone. Final.
    OrderCancelled, "order.cancelled", v 1 {
        /// The error name that ended the order's way forward.
        reason: String,
        /// The saga's step that failed.
        step: String,
    }
);
event!(
    /// An undo failed, so the order needs a person. It can still become cancelled.
    OrderCompensationFailed, "order.compensation_failed", v 1 {
        /// Why the order was undone.
        failure: Failure,
        /// The undos that did not succeed: `shipment`, `payment`, `inventory`.
        failed: Vec<String>,
    }
);

// payments: subject is the order id.

/// Whose move it is while a payment is pending.
#[expect(missing_docs, reason = "a comment on a variant would change the published schemas")]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum WaitsFor {
    #[default]
    // For events from before the field: as `Customer`, they would make notifications ask the customer to act.
    Bank,
    /// The bank asks the customer to confirm it.
    Customer,
}

event!(
    /// The gateway was asked for the money, and has not decided.
    PaymentPending, "payment.pending", v 1 {
        /// The event's subject.
        order_id: OrderId,
        /// The order's total.
        amount: Money,
        /// `bank` in events from before this field.
        #[serde(default)]
        waits_for: WaitsFor,
    }
);
event!(
    /// The money was taken.
    PaymentSucceeded, "payment.succeeded", v 1 {
        /// The event's subject.
        order_id: OrderId,
        /// What was taken: the order's total.
        amount: Money,
    }
);

/// Why a payment failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum PaymentFailure {
    /// By the bank, or given up by the shop's staff.
    Declined,
    /// Customer and bank took too long.
    TimedOut,
    /// The order was undone first.
    OrderCancelled,
}

event!(
    /// No money is taken for the order.
    PaymentFailed, "payment.failed", v 2 after PaymentFailedV1 {
        /// The event's subject.
        order_id: OrderId,
        /// What was to be taken.
        amount: Money,
        /// Why.
        reason: PaymentFailure,
    }
);
event!(
    /// Its reason is one of the saga's error names, which are between the state machine and the functions.
    PaymentFailedV1, "payment.failed", v 1 {
        /// The event's subject.
        order_id: OrderId,
        /// What was to be taken.
        amount: Money,
        /// `PaymentDeclined`, `PaymentTimeout` or `OrderCancelRequested`.
        reason: String,
    }
);

/// A reason that no version 1 of `payment.failed` was published with.
#[derive(Debug, thiserror::Error)]
#[error("`{0}` is no reason for a payment to fail")]
pub struct UnknownReason(String);

impl TryFrom<PaymentFailedV1> for PaymentFailed {
    type Error = UnknownReason;

    fn try_from(
        PaymentFailedV1 { order_id, amount, reason }: PaymentFailedV1,
    ) -> Result<Self, UnknownReason> {
        let reason = match reason.as_str() {
            "PaymentDeclined" => PaymentFailure::Declined,
            "PaymentTimeout" => PaymentFailure::TimedOut,
            "OrderCancelRequested" => PaymentFailure::OrderCancelled,
            _ => return Err(UnknownReason(reason)),
        };
        Ok(Self { order_id, amount, reason })
    }
}

/// Why money went back to the customer.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum RefundCause {
    /// The order was undone, and `order.cancelled` says so.
    #[default]
    OrderCancelled,
    /// It came after the payment had been given up.
    LatePayment,
    /// Staff gave it back, perhaps a part of it: in the gateway's dashboard, or past the gateway.
    ByStaff,
}

event!(
    /// Money went back to the customer.
    PaymentRefunded, "payment.refunded", v 1 {
        /// The event's subject.
        order_id: OrderId,
        /// What went back this time.
        amount: Money,
        /// `order_cancelled` in events from before this field.
        #[serde(default)]
        cause: RefundCause,
    }
);

event!(
    /// Money that had gone back did not reach the customer: the bank returned it. It is owed to the customer again.
    PaymentRefundFailed, "payment.refund_failed", v 1 {
        /// The event's subject.
        order_id: OrderId,
        /// What came back this time.
        amount: Money,
        /// What is with the customer after that.
        refunded: Money,
        /// The gateway's id of the refund that failed.
        refund_id: String,
        /// The gateway's code for why.
        reason: String,
    }
);

// fulfillment: subject is the order id.

event!(
    /// A carrier is booked.
    ShipmentScheduled, "shipment.scheduled", v 1 {
        /// The event's subject.
        order_id: OrderId,
        /// The carrier's name, as customers read it.
        carrier: String,
        /// The carrier's number of the shipment.
        tracking_number: String,
        /// A day at the place of delivery. An estimate of the carrier.
        estimated_delivery: Date,
    }
);
event!(
    /// The booking was undone before the shipment left.
    ShipmentCancelled, "shipment.cancelled", v 1 {
        /// The event's subject.
        order_id: OrderId,
    }
);
event!(
    /// The goods were taken from the shelf.
    ShipmentPicked, "shipment.picked", v 1 {
        /// The event's subject.
        order_id: OrderId,
    }
);
event!(
    /// The goods are packed and wait for the carrier.
    ShipmentPacked, "shipment.packed", v 1 {
        /// The event's subject.
        order_id: OrderId,
    }
);
event!(
    /// The shipment is with the carrier.
    ShipmentShipped, "shipment.shipped", v 1 {
        /// The event's subject.
        order_id: OrderId,
        /// The carrier's name, as customers read it.
        carrier: String,
        /// The carrier's number of the shipment.
        tracking_number: String,
    }
);
event!(
    /// The carrier delivered the shipment.
    ShipmentDelivered, "shipment.delivered", v 1 {
        /// The event's subject.
        order_id: OrderId,
    }
);

// notifications: subject is the notification's own id, which follows from the event that it is about and the channel.

event!(
    /// The provider took the message. It does not report whether the message arrives.
    NotificationSent, "notification.sent", v 1 {
        /// The event that the customer was notified of.
        about: EventId,
        /// The type of that event.
        about_type: String,
        /// The order of that event. `null` for a welcome e-mail, which earlier releases sent as one about `user.registered`.
        order_id: Option<OrderId>,
        /// The channel of the notification.
        channel: Channel,
        /// The way that it went: by e-mail, too, when the channel is SMS and its provider fails.
        sent_by: Channel,
    }
);

/// Why a customer was not notified.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Undelivered {
    /// The provider says that there can be no such address or number.
    InvalidAddress,
    /// An earlier message came back from the address, or its owner complained.
    Suppressed,
    /// The provider did not take it.
    Provider,
    /// It may have been sent twice already. The provider does not say.
    Uncertain,
}

event!(
    /// The customer was not notified.
    NotificationFailed, "notification.failed", v 1 {
        /// The event that the customer should have been notified of.
        about: EventId,
        /// The type of that event.
        about_type: String,
        /// The order of that event. `null` for a welcome e-mail, which earlier releases sent as one about `user.registered`.
        order_id: Option<OrderId>,
        /// The channel of the notification.
        channel: Channel,
        /// Why. `notification.sent` may still follow when the dead letter is redriven.
        reason: Undelivered,
    }
);
