//! Feature switches: parts of the platform that an operator turns off and on without a deployment.

use std::{fmt, str::FromStr};

/// A part of the platform with a switch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Switch {
    /// Taking payments.
    Payments,
    /// Accepting new orders.
    Orders,
    /// Discount codes in new orders and quotes.
    Discounts,
    /// Sending SMS.
    Sms,
    /// Showing the last known stock while the current one cannot be read.
    LimitedStock,
}

/// The position of a switch. A switch that was never set is on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Position {
    /// The platform works as usual.
    On,
    /// The part is turned off.
    Off,
}

/// A text that is no switch.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no switch. There are: {names}.", names = Switch::ALL.map(Switch::name).join(", "))]
pub struct UnknownSwitch(String);

/// A text that is no position.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no position of a switch: it is `on` or `off`")]
pub struct UnknownPosition(String);

impl Switch {
    /// All switches.
    pub const ALL: [Self; 5] = [Self::Payments, Self::Orders, Self::Discounts, Self::Sms, Self::LimitedStock];

    /// As operators write it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Payments => "payments",
            Self::Orders => "orders",
            Self::Discounts => "discounts",
            Self::Sms => "sms",
            Self::LimitedStock => "limited-stock",
        }
    }

    /// What is different while it is off.
    pub const fn when_off(self) -> &'static str {
        match self {
            Self::Payments => "no payment is started: orders wait, until their payment deadline",
            Self::Orders => "new orders are refused with 503",
            Self::Discounts => "discount codes are refused in new orders and quotes",
            Self::Sms => "no SMS are sent: e-mails replace those about orders",
            Self::LimitedStock => "stock that cannot be read is shown as unknown",
        }
    }

    /// The context whose table has the switch's audit trail.
    pub const fn context(self) -> &'static str {
        match self {
            Self::Payments => "payments",
            Self::Orders | Self::Discounts => "orders",
            Self::Sms => "notifications",
            Self::LimitedStock => "inventory",
        }
    }

    /// The subject of its entries in the audit trail. No SKU, discount code or id contains a slash.
    pub fn subject(self) -> String {
        format!("switch/{self}")
    }

    /// The SSM parameter of a stage that holds its position.
    pub fn parameter(self, stage: &str) -> String {
        format!("/ordersaga/{stage}/switches/{self}")
    }
}

impl fmt::Display for Switch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Switch {
    type Err = UnknownSwitch;

    fn from_str(text: &str) -> Result<Self, UnknownSwitch> {
        let found = Self::ALL.into_iter().find(|switch| switch.name() == text);
        found.ok_or_else(|| UnknownSwitch(text.to_owned()))
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::On => "on",
            Self::Off => "off",
        })
    }
}

impl FromStr for Position {
    type Err = UnknownPosition;

    fn from_str(text: &str) -> Result<Self, UnknownPosition> {
        match text {
            "on" => Ok(Self::On),
            "off" => Ok(Self::Off),
            _ => Err(UnknownPosition(text.to_owned())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_switch_and_its_position_are_read_as_they_are_written() {
        for switch in Switch::ALL {
            assert_eq!(switch.to_string().parse(), Ok(switch));
        }
        for position in [Position::On, Position::Off] {
            assert_eq!(position.to_string().parse(), Ok(position));
        }
        let unknown = "payment".parse::<Switch>().unwrap_err().to_string();
        assert_eq!(
            unknown,
            "`payment` is no switch. There are: payments, orders, discounts, sms, limited-stock."
        );
        assert!("true".parse::<Position>().is_err());
    }

    #[test]
    fn the_parameter_of_a_switch_is_below_the_path_of_its_stage() {
        assert_eq!(Switch::LimitedStock.parameter("dev"), "/ordersaga/dev/switches/limited-stock");
    }
}
