//! Pure: what a message says.

use askama::Template;
use contracts::{
    Money, OrderId,
    events::UserRegistered,
    saga::{
        INVENTORY_NOT_AVAILABLE, ORDER_CANCEL_REQUESTED, PAYMENT_DECLINED, PAYMENT_TIMEOUT, SHIPMENT_REJECTED,
    },
};
use serde::{Deserialize, Serialize};

/// How a customer is reached. Personal data: not for logs, and `Debug` does not show it.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Contact {
    pub email: String,
    pub name: String,
    /// Whether the customer wants e-mail.
    pub wants_email: bool,
    /// The number of the user's event that this was copied from.
    pub sequence: u64,
}

impl std::fmt::Debug for Contact {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Contact {{ sequence: {}, .. }}", self.sequence)
    }
}

impl Contact {
    pub fn of(user: UserRegistered, sequence: u64) -> Self {
        Self {
            email: user.email,
            name: user.name,
            wants_email: user.notification_preferences.email,
            sequence,
        }
    }
}

/// What there is to tell about an order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum News {
    Completed {
        total: Money,
    },
    Cancelled {
        /// The saga's name for what went wrong.
        reason: String,
    },
    /// Money came after the order had been cancelled for want of it.
    LatePaymentReturned {
        amount: Money,
    },
    /// Staff gave money back.
    Returned {
        amount: Money,
    },
}

/// An e-mail without its address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    pub subject: String,
    pub text: String,
    pub html: String,
}

#[derive(Template)]
#[template(path = "completed.html")]
struct CompletedHtml<'a>(&'a Completed<'a>);

#[derive(Template)]
#[template(path = "completed.txt")]
struct CompletedText<'a>(&'a Completed<'a>);

struct Completed<'a> {
    name: &'a str,
    order_id: &'a OrderId,
    total: Money,
}

#[derive(Template)]
#[template(path = "cancelled.html")]
struct CancelledHtml<'a>(&'a Cancelled<'a>);

#[derive(Template)]
#[template(path = "cancelled.txt")]
struct CancelledText<'a>(&'a Cancelled<'a>);

struct Cancelled<'a> {
    name: &'a str,
    order_id: &'a OrderId,
    why: &'static str,
    money: &'static str,
}

#[derive(Template)]
#[template(path = "returned.html")]
struct ReturnedHtml<'a>(&'a Returned<'a>);

#[derive(Template)]
#[template(path = "returned.txt")]
struct ReturnedText<'a>(&'a Returned<'a>);

struct Returned<'a> {
    name: &'a str,
    order_id: &'a OrderId,
    amount: Money,
    why: &'static str,
}

/// Writes the e-mail. The subject holds nothing that a customer has typed.
///
/// # Errors
/// When a template cannot be filled in, which these can.
pub fn compose(name: &str, order_id: &OrderId, news: &News) -> Result<Message, askama::Error> {
    match news {
        News::Completed { total } => {
            let view = Completed { name, order_id, total: *total };
            Ok(Message {
                subject: format!("Your order {order_id} is complete"),
                text: CompletedText(&view).render()?,
                html: CompletedHtml(&view).render()?,
            })
        }
        News::LatePaymentReturned { amount } => {
            returned(name, order_id, *amount, "Your payment came after the order had been cancelled.")
        }
        News::Returned { amount } => returned(name, order_id, *amount, "Our staff has returned it."),
        News::Cancelled { reason } => {
            let (why, money) = explain(reason);
            let view = Cancelled { name, order_id, why, money };
            Ok(Message {
                subject: format!("Your order {order_id} was cancelled"),
                text: CancelledText(&view).render()?,
                html: CancelledHtml(&view).render()?,
            })
        }
    }
}

fn returned(
    name: &str,
    order_id: &OrderId,
    amount: Money,
    why: &'static str,
) -> Result<Message, askama::Error> {
    let view = Returned { name, order_id, amount, why };
    Ok(Message {
        subject: format!("Your money for order {order_id} is on its way back"),
        text: ReturnedText(&view).render()?,
        html: ReturnedHtml(&view).render()?,
    })
}

/// Why an order was cancelled, and what that means for the customer's money. An order is only `cancelled` once all that
/// had been done for it was undone.
fn explain(reason: &str) -> (&'static str, &'static str) {
    const NOT_CHARGED: &str = "You have not been charged.";
    const GIVEN_BACK: &str = "If you had paid already, your money is on its way back to you.";
    match reason {
        INVENTORY_NOT_AVAILABLE => ("We do not have enough of what you ordered.", NOT_CHARGED),
        PAYMENT_DECLINED => ("Your payment was declined.", NOT_CHARGED),
        PAYMENT_TIMEOUT => (
            "Your payment was not completed in time.",
            "Should it go through later after all, your money is returned by itself.",
        ),
        SHIPMENT_REJECTED => ("We cannot deliver to your address.", GIVEN_BACK),
        ORDER_CANCEL_REQUESTED => ("You asked us to cancel it.", GIVEN_BACK),
        _ => ("Something went wrong on our side.", GIVEN_BACK),
    }
}

#[cfg(test)]
mod tests {
    use contracts::{Currency, IdempotencyKey, UserId};
    use rstest::rstest;

    use super::*;

    fn order() -> OrderId {
        let user = UserId::try_from(format!("usr_{}", "0".repeat(32))).unwrap();
        OrderId::derive(&user, &IdempotencyKey::try_from("k").unwrap())
    }

    fn completed(name: &str) -> Message {
        compose(name, &order(), &News::Completed { total: Money::new(4200, Currency::USD) }).unwrap()
    }

    #[test]
    fn a_completed_order_is_told_with_its_number_and_its_total() {
        let message = completed("Anna");
        assert_eq!(message.subject, format!("Your order {} is complete", order()));
        for body in [&message.text, &message.html] {
            assert!(body.contains("Hello Anna,"), "{body}");
            assert!(body.contains(order().as_str()) && body.contains("42.00 USD"), "{body}");
        }
        assert!(!message.text.contains('<'));
    }

    #[test]
    fn a_name_cannot_put_markup_into_a_page_or_anything_into_a_subject() {
        let message = completed("<img src=x onerror=alert(1)> & \"Co\"\r\nBcc: x@y.z");
        assert!(!message.html.contains("<img"), "{}", message.html);
        assert!(message.html.contains("&#60;img src=x"), "{}", message.html);
        assert!(message.text.contains("<img src=x"), "a text is no markup");
        assert!(!message.subject.contains("Bcc"));
    }

    #[rstest]
    #[case("InventoryNotAvailable", "enough of what you ordered", "not been charged")]
    #[case("PaymentDeclined", "declined", "not been charged")]
    #[case("PaymentTimeout", "in time", "returned by itself")]
    #[case("ShipmentRejected", "your address", "on its way back")]
    #[case("OrderCancelRequested", "You asked", "on its way back")]
    #[case("States.Timeout", "our side", "on its way back")]
    fn a_cancelled_order_is_told_with_the_reason_in_plain_words(
        #[case] reason: &str,
        #[case] why: &str,
        #[case] money: &str,
    ) {
        let message = compose("Anna", &order(), &News::Cancelled { reason: reason.to_owned() }).unwrap();
        assert_eq!(message.subject, format!("Your order {} was cancelled", order()));
        for body in [&message.text, &message.html] {
            assert!(body.contains(why) && body.contains(money) && body.contains(order().as_str()), "{body}");
            assert!(!body.contains(reason), "an error's name is not for customers");
        }
    }

    #[rstest]
    #[case(News::LatePaymentReturned { amount: Money::new(4200, Currency::USD) }, "after the order had been cancelled")]
    #[case(News::Returned { amount: Money::new(4200, Currency::USD) }, "Our staff")]
    fn money_that_goes_back_is_told_with_the_amount_and_the_reason(#[case] news: News, #[case] why: &str) {
        let message = compose("Anna", &order(), &news).unwrap();
        assert!(message.subject.contains("on its way back"));
        for body in [&message.text, &message.html] {
            assert!(
                body.contains(why) && body.contains("42.00 USD") && body.contains(order().as_str()),
                "{body}"
            );
        }
    }

    #[test]
    fn contact_data_does_not_show_in_logs() {
        let contact = Contact {
            email: "anna@example.com".to_owned(),
            name: "Anna".to_owned(),
            wants_email: true,
            sequence: 1,
        };
        assert_eq!(format!("{contact:?}"), "Contact { sequence: 1, .. }");
    }
}
