//! Stripe's objects, with the fields that are read.

use contracts::{Currency, Money, OrderId};
use serde::Deserialize;

use crate::domain::{FailedRefund, GatewayIntent, IntentState, NextAction, Secret};

/// An amount of one of Stripe's objects in minor units (ISO 4217). `currency` is the object's, in lower case.
pub fn in_minor_units(amount: i64, currency: Option<&str>) -> i64 {
    let currency = currency.and_then(|code| Currency::from_code(&code.to_ascii_uppercase()));
    currency.map_or(amount, |currency| Money::from_gateway(amount, currency).amount)
}

/// A payment intent, in an answer or a webhook.
#[derive(Debug, Clone, Deserialize)]
pub struct IntentObject {
    pub id: String,
    status: IntentStatus,
    #[serde(default)]
    amount: i64,
    #[serde(default)]
    currency: Option<String>,
    #[serde(default)]
    client_secret: Option<Secret>,
    #[serde(default)]
    next_action: Option<Action>,
    #[serde(default)]
    last_payment_error: Option<PaymentError>,
    #[serde(default)]
    metadata: Metadata,
    /// An id unless it is expanded.
    #[serde(default)]
    latest_charge: Option<LatestCharge>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum IntentStatus {
    RequiresPaymentMethod,
    RequiresConfirmation,
    RequiresAction,
    RequiresCapture,
    Processing,
    Succeeded,
    Canceled,
    /// One that Stripe has added since: nothing final, so it is waited for.
    #[serde(other)]
    Unknown,
}

#[derive(Debug, Clone, Deserialize)]
struct Action {
    #[serde(rename = "type")]
    kind: String,
}

#[derive(Debug, Clone, Deserialize)]
struct PaymentError {
    #[serde(default)]
    code: Option<String>,
    #[serde(default)]
    decline_code: Option<String>,
}

#[derive(Debug, Clone, Default, Deserialize)]
struct Metadata {
    #[serde(default)]
    order_id: Option<String>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(untagged)]
enum LatestCharge {
    Expanded {
        amount_refunded: i64,
        #[serde(default)]
        currency: Option<String>,
    },
    Id(serde::de::IgnoredAny),
}

impl IntentObject {
    /// The meaning of the intent's status for a payment.
    pub fn state(&self) -> IntentState {
        match self.status {
            IntentStatus::RequiresConfirmation => IntentState::Unconfirmed,
            // We never request manual capture. Neither state is final, and a cancel returns the money.
            IntentStatus::Processing | IntentStatus::RequiresCapture | IntentStatus::Unknown => {
                IntentState::Processing
            }
            IntentStatus::RequiresAction => IntentState::RequiresAction(NextAction {
                kind: self
                    .next_action
                    .as_ref()
                    .map_or_else(|| "unknown".to_owned(), |action| action.kind.clone()),
                payment_intent: self.id.clone(),
                client_secret: self.client_secret.clone(),
            }),
            IntentStatus::Succeeded => IntentState::Succeeded,
            IntentStatus::Canceled => IntentState::Canceled,
            // An intent is made with a payment method. It lacks one only after that was refused.
            IntentStatus::RequiresPaymentMethod => {
                let error = self.last_payment_error.as_ref();
                let code = error.and_then(|error| error.decline_code.clone().or_else(|| error.code.clone()));
                IntentState::Declined { code: code.unwrap_or_else(|| "unknown".to_owned()) }
            }
        }
    }

    /// The record that is compared with the payment. It is complete only for an intent that was retrieved or
    /// listed.
    pub fn gateway_intent(&self) -> GatewayIntent {
        let taken = self.status == IntentStatus::Succeeded;
        let amount = in_minor_units(self.amount, self.currency.as_deref());
        GatewayIntent { intent_id: self.id.clone(), taken, amount, refunded: self.refunded() }
    }

    /// The order that we made it for.
    pub fn order_id(&self) -> Option<OrderId> {
        OrderId::try_from(self.metadata.order_id.as_deref()?).ok()
    }

    /// The refunded amount in minor units. Only known for a retrieved intent.
    pub fn refunded(&self) -> i64 {
        match &self.latest_charge {
            Some(LatestCharge::Expanded { amount_refunded, currency }) => {
                in_minor_units(*amount_refunded, currency.as_deref())
            }
            Some(LatestCharge::Id(_)) | None => 0,
        }
    }
}

/// <https://docs.stripe.com/api/refunds/object>
#[derive(Debug, Clone, Deserialize)]
pub struct RefundObject {
    id: String,
    #[serde(default)]
    amount: i64,
    #[serde(default)]
    currency: Option<String>,
    /// `None` for a refund of a charge that has no such state.
    #[serde(default)]
    status: Option<RefundState>,
    #[serde(default)]
    pub payment_intent: Option<String>,
    #[serde(default)]
    failure_reason: Option<String>,
}

impl RefundObject {
    pub fn state(&self) -> RefundState {
        self.status.unwrap_or(RefundState::Unknown)
    }

    /// In minor units.
    fn amount(&self) -> i64 {
        in_minor_units(self.amount, self.currency.as_deref())
    }

    /// The failed refund to record, if the money came back to us.
    pub fn failed(&self) -> Option<FailedRefund> {
        matches!(self.state(), RefundState::Failed | RefundState::Canceled).then(|| FailedRefund {
            id: self.id.clone(),
            amount: self.amount(),
            reason: self.failure_reason.clone().unwrap_or_else(|| "unknown".to_owned()),
        })
    }
}

/// A page of intents (<https://docs.stripe.com/api/payment_intents/list>).
#[derive(Debug, Clone, Deserialize)]
pub struct Intents {
    pub data: Vec<IntentObject>,
    pub has_more: bool,
}

/// All refunds of an intent (<https://docs.stripe.com/api/refunds/list>).
#[derive(Debug, Clone, Deserialize)]
pub struct Refunds {
    data: Vec<RefundObject>,
}

impl Refunds {
    /// The amount of refunds that the customer has or that are on their way, in minor units. `failed`:
    /// refunds that are known to have failed, whatever their status is here.
    pub fn accepted(&self, failed: &[FailedRefund]) -> i64 {
        let accepted = self.data.iter().filter(|refund| {
            refund.state().is_accepted() && failed.iter().all(|failed| failed.id != refund.id)
        });
        accepted.map(RefundObject::amount).sum()
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RefundState {
    Succeeded,
    /// Accepted, and on its way to the bank.
    Pending,
    RequiresAction,
    Failed,
    Canceled,
    #[serde(other)]
    Unknown,
}

impl RefundState {
    /// Whether the money is refunded without further action.
    pub const fn is_accepted(self) -> bool {
        matches!(self, Self::Succeeded | Self::Pending)
    }
}
