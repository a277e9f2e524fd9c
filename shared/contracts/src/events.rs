//! Every event type and its payload. Only `user.*` events carry personal data.

use jiff::civil::Date;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{
    Availability, EventId, EventPayload, Money, OrderDiscount, OrderId, OrderLine, PricedLine, Sku, UserId,
    saga::{Failure, ORDER_CANCEL_REQUESTED, PAYMENT_DECLINED, PAYMENT_TIMEOUT},
};

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

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct NotificationPreferences {
    pub email: bool,
    pub sms: bool,
}

event!(UserRegistered, "user.registered", v 1 {
    user_id: UserId,
    email: String,
    name: String,
    phone: Option<String>,
    notification_preferences: NotificationPreferences,
});

event!(
    /// All of it as it is now, changed or not: a copy is replaced by it.
    UserUpdated, "user.updated", v 1 {
        user_id: UserId,
        email: String,
        name: String,
        phone: Option<String>,
        notification_preferences: NotificationPreferences,
    }
);

event!(
    /// Whatever else is held about the person is to be erased.
    UserDeleted, "user.deleted", v 1 { user_id: UserId }
);

// catalog: subject is the SKU, sequence the product's version.

event!(ProductCreated, "product.created", v 1 { sku: Sku, name: String, category: String, price: Money });
event!(ProductUpdated, "product.updated", v 1 { sku: Sku, name: String, category: String, price: Money });
event!(ProductDiscontinued, "product.discontinued", v 1 { sku: Sku });

// inventory: subject is the order id.

event!(
    /// The order's lines are held, all of them.
    InventoryReserved, "inventory.reserved", v 1 { order_id: OrderId, items: Vec<OrderLine> }
);
event!(
    /// Nothing is held: these SKUs have too little stock.
    InventoryNotAvailable, "inventory.not_available", v 1 { order_id: OrderId, skus: Vec<Sku> }
);
event!(InventoryCommitted, "inventory.committed", v 1 { order_id: OrderId });
event!(InventoryReleased, "inventory.released", v 1 { order_id: OrderId });

// inventory, too: subject is the SKU, sequence counts these events of it.

event!(
    /// The class of what can be sold has changed; nothing is said as long as it stays the same.
    InventoryStockChanged, "inventory.stock_changed", v 1 { sku: Sku, availability: Availability }
);

// orders: subject is the order id, sequence the order's version.

event!(OrderCreated, "order.created", v 1 {
    items: Vec<PricedLine>,
    /// What is to be paid: after the discount.
    total: Money,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    discount: Option<OrderDiscount>,
});
event!(OrderInventoryReserved, "order.inventory_reserved", v 1 {});
event!(OrderInventoryNotAvailable, "order.inventory_not_available", v 1 {});
event!(OrderPaymentPending, "order.payment_pending", v 1 {});
event!(OrderPaymentSucceeded, "order.payment_succeeded", v 1 { amount: Money });
event!(OrderPaymentFailed, "order.payment_failed", v 1 {
    /// `PaymentDeclined`, `PaymentTimeout` or another error name of the saga.
    reason: String,
});
event!(OrderShipmentScheduled, "order.shipment_scheduled", v 1 {
    carrier: String,
    tracking_number: String,
    estimated_delivery: Date,
});
event!(OrderCompleted, "order.completed", v 1 {
    total: Money,
    /// What was bought. Nothing in events from before this field.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    items: Vec<OrderLine>,
});
event!(OrderCancelRequested, "order.cancel_requested", v 1 {
    /// Who asked: `customer` or `saga`.
    requested_by: String,
});
event!(OrderPaymentRefunded, "order.payment_refunded", v 1 {
    amount: Money,
    /// How the payment was undone: `refunded` or `voided`.
    outcome: String,
});
event!(OrderInventoryReleased, "order.inventory_released", v 1 {});
event!(OrderCancelled, "order.cancelled", v 1 {
    /// The error name that ended the order's way forward.
    reason: String,
    /// The saga's step that failed.
    step: String,
});
event!(OrderCompensationFailed, "order.compensation_failed", v 1 {
    failure: Failure,
    /// The undos that did not succeed: `shipment`, `payment`, `inventory`.
    failed: Vec<String>,
});

// payments: subject is the order id.

/// Whose move it is while a payment is pending.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum WaitsFor {
    #[default]
    Bank,
    /// The bank asks the customer to confirm it.
    Customer,
}

event!(PaymentPending, "payment.pending", v 1 {
    order_id: OrderId,
    amount: Money,
    #[serde(default)]
    waits_for: WaitsFor,
});
event!(PaymentSucceeded, "payment.succeeded", v 1 { order_id: OrderId, amount: Money });

/// Why a payment failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum PaymentFailure {
    /// By the bank, or given up by the shop's staff.
    Declined,
    /// Customer and bank took too long.
    TimedOut,
    /// The order was taken back first.
    OrderCancelled,
}

event!(PaymentFailed, "payment.failed", v 2 after PaymentFailedV1 {
    order_id: OrderId,
    amount: Money,
    reason: PaymentFailure,
});
event!(
    /// Told the reason by the saga's error names, which are between the state machine and the functions.
    PaymentFailedV1, "payment.failed", v 1 { order_id: OrderId, amount: Money, reason: String }
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
            PAYMENT_DECLINED => PaymentFailure::Declined,
            PAYMENT_TIMEOUT => PaymentFailure::TimedOut,
            ORDER_CANCEL_REQUESTED => PaymentFailure::OrderCancelled,
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
    /// The order was taken back, and `order.cancelled` says so.
    #[default]
    OrderCancelled,
    /// It came after the payment had been given up.
    LatePayment,
    /// Staff gave it back, perhaps a part of it: in the gateway's dashboard, or past the gateway.
    ByStaff,
}

event!(PaymentRefunded, "payment.refunded", v 1 {
    order_id: OrderId,
    /// What went back this time.
    amount: Money,
    #[serde(default)]
    cause: RefundCause,
});

event!(
    /// Money that had gone back did not reach the customer: the bank returned it. It is owed to the customer again.
    PaymentRefundFailed, "payment.refund_failed", v 1 {
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

event!(ShipmentScheduled, "shipment.scheduled", v 1 {
    order_id: OrderId,
    carrier: String,
    tracking_number: String,
    estimated_delivery: Date,
});
event!(ShipmentCancelled, "shipment.cancelled", v 1 { order_id: OrderId });
event!(ShipmentPicked, "shipment.picked", v 1 { order_id: OrderId });
event!(ShipmentPacked, "shipment.packed", v 1 { order_id: OrderId });
event!(
    /// The parcel is with the carrier.
    ShipmentShipped, "shipment.shipped", v 1 { order_id: OrderId, carrier: String, tracking_number: String }
);
event!(ShipmentDelivered, "shipment.delivered", v 1 { order_id: OrderId });

// notifications: subject is the notification's own id, which follows from the event that it tells of and the channel.

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Channel {
    Email,
    Sms,
}

impl Channel {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Email => "email",
            Self::Sms => "sms",
        }
    }
}

event!(
    /// The provider took the message. It does not report whether the message arrives.
    NotificationSent, "notification.sent", v 1 {
        /// What it tells of.
        about: EventId,
        about_type: String,
        order_id: Option<OrderId>,
        channel: Channel,
        /// The way that it went: by e-mail, too, when the channel is SMS and its provider fails.
        sent_by: Channel,
    }
);

/// Why a customer was not told.
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

event!(NotificationFailed, "notification.failed", v 1 {
    about: EventId,
    about_type: String,
    order_id: Option<OrderId>,
    channel: Channel,
    reason: Undelivered,
});
