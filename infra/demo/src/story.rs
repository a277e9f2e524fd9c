//! The five orders, and how each should end.

use contracts::OrderStatus;
use contracts::saga;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Story {
    Completes,
    OutOfStock,
    CardDeclined,
    PaysLate,
    CannotBeShipped,
}

/// The actual or expected end of an order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ending {
    pub status: OrderStatus,
    /// Why it was cancelled: the saga's name of the error.
    pub reason: Option<String>,
}

/// What happens to the customer's money.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Money {
    Taken,
    NeverTaken,
    GivenBack,
}

impl Story {
    pub const ALL: [Self; 5] =
        [Self::Completes, Self::OutOfStock, Self::CardDeclined, Self::PaysLate, Self::CannotBeShipped];

    pub const fn title(self) -> &'static str {
        match self {
            Self::Completes => "an order that completes",
            Self::OutOfStock => "more than there is in stock",
            Self::CardDeclined => "a card that is declined",
            Self::PaysLate => "a payment that comes late",
            Self::CannotBeShipped => "a country that is not served",
        }
    }

    /// The story in one sentence.
    pub const fn about(self) -> &'static str {
        match self {
            Self::Completes => "Stock is reserved, the card charged, a shipment booked.",
            Self::OutOfStock => "Nothing can be reserved, and no money is asked for.",
            Self::CardDeclined => "The reservation is undone: the stock comes back.",
            Self::PaysLate => {
                "The bank asks the customer first (3-D Secure); the order waits for the gateway's webhook."
            }
            Self::CannotBeShipped => "Payment and reservation are undone: the money and the stock come back.",
        }
    }

    pub fn ending(self) -> Ending {
        let cancelled =
            |reason: &str| Ending { status: OrderStatus::OrderCancelled, reason: Some(reason.to_owned()) };
        match self {
            Self::Completes | Self::PaysLate => Ending { status: OrderStatus::OrderCompleted, reason: None },
            Self::OutOfStock => cancelled(saga::INVENTORY_NOT_AVAILABLE),
            Self::CardDeclined => cancelled(saga::PAYMENT_DECLINED),
            Self::CannotBeShipped => cancelled(saga::SHIPMENT_REJECTED),
        }
    }

    pub const fn money(self) -> Money {
        match self {
            Self::Completes | Self::PaysLate => Money::Taken,
            Self::OutOfStock | Self::CardDeclined => Money::NeverTaken,
            Self::CannotBeShipped => Money::GivenBack,
        }
    }

    pub const fn card(self) -> &'static str {
        match self {
            Self::CardDeclined => "a card that will be declined",
            Self::PaysLate => "a card whose bank asks first",
            _ => "a good card",
        }
    }

    /// Antarctica has no carrier.
    pub const fn country(self) -> &'static str {
        match self {
            Self::CannotBeShipped => "AQ",
            _ => "DE",
        }
    }
}

impl std::fmt::Display for Ending {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.reason {
            Some(reason) => write!(f, "{} ({reason})", self.status),
            None => write!(f, "{}", self.status),
        }
    }
}
