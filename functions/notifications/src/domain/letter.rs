use askama::Template;
use contracts::{
    Money, OrderId,
    events::RefundCause,
    saga::{reasons, steps::MONEY_RETURNED},
};

use super::News;

/// An e-mail without its address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Letter {
    pub subject: String,
    pub text: String,
    pub html: String,
}

/// The data of one e-mail, and its two templates.
macro_rules! letter {
    ($view:ident { $($field:ident: $kind:ty),* $(,)? }, $html:ident($html_path:tt), $text:ident($text_path:tt)) => {
        struct $view<'a> { name: &'a str, $($field: $kind),* }

        #[derive(Template)]
        #[template(path = $html_path)]
        struct $html<'a>(&'a $view<'a>);

        #[derive(Template)]
        #[template(path = $text_path)]
        struct $text<'a>(&'a $view<'a>);

        impl $view<'_> {
            fn letter(&self, subject: String) -> Result<Letter, askama::Error> {
                Ok(Letter { subject, text: $text(self).render()?, html: $html(self).render()? })
            }
        }
    };
}

letter!(Welcome {}, WelcomeHtml("welcome.html"), WelcomeText("welcome.txt"));
letter!(
    Received { order_id: &'a OrderId, total: Money },
    ReceivedHtml("received.html"), ReceivedText("received.txt")
);
letter!(
    ActionNeeded { order_id: &'a OrderId, amount: Money },
    ActionNeededHtml("action.html"), ActionNeededText("action.txt")
);
letter!(
    Completed { order_id: &'a OrderId, total: Money },
    CompletedHtml("completed.html"), CompletedText("completed.txt")
);
letter!(
    Cancelled { order_id: &'a OrderId, why: &'static str, money: &'static str },
    CancelledHtml("cancelled.html"), CancelledText("cancelled.txt")
);
letter!(
    Returned { order_id: &'a OrderId, amount: Money, why: &'static str },
    ReturnedHtml("returned.html"), ReturnedText("returned.txt")
);
letter!(
    Shipped { order_id: &'a OrderId, carrier: &'a str, tracking_number: &'a str },
    ShippedHtml("shipped.html"), ShippedText("shipped.txt")
);
letter!(
    Delivered { order_id: &'a OrderId },
    DeliveredHtml("delivered.html"), DeliveredText("delivered.txt")
);
letter!(Status { text: &'a str }, StatusHtml("status.html"), StatusText("status.txt"));

/// Writes to a user who has registered. The address may be another person's, so the e-mail holds nothing that
/// the user typed.
///
/// # Errors
/// When a template cannot be rendered, which does not happen with these.
pub fn welcome() -> Result<Letter, askama::Error> {
    Welcome { name: "" }.letter("Welcome".to_owned())
}

/// Writes the e-mail about an order. The subject holds nothing that a customer has typed.
///
/// # Errors
/// When a template cannot be rendered, which does not happen with these.
pub fn compose(name: &str, order_id: &OrderId, news: &News) -> Result<Letter, askama::Error> {
    match news {
        News::Received { total } => Received { name, order_id, total: *total }
            .letter(format!("We have received your order {order_id}")),
        News::ActionNeeded { amount } => ActionNeeded { name, order_id, amount: *amount }
            .letter(format!("Please confirm the payment of your order {order_id}")),
        News::Completed { total } => {
            Completed { name, order_id, total: *total }.letter(format!("Your order {order_id} is complete"))
        }
        News::Cancelled { reason } => {
            let (why, money) = explain(reason);
            Cancelled { name, order_id, why, money }.letter(format!("Your order {order_id} was cancelled"))
        }
        News::Refunded { amount, cause } => Returned { name, order_id, amount: *amount, why: refund(*cause) }
            .letter(format!("Your money for order {order_id} is on its way back")),
        News::Shipped { carrier, tracking_number } => Shipped { name, order_id, carrier, tracking_number }
            .letter(format!("Your order {order_id} is on its way")),
        News::Delivered => {
            Delivered { name, order_id }.letter(format!("Your order {order_id} was delivered"))
        }
    }
}

/// Writes an e-mail with the content of a text message.
///
/// # Errors
/// When a template cannot be rendered, which does not happen with these.
pub fn status_letter(name: &str, order_id: &OrderId, text: &str) -> Result<Letter, askama::Error> {
    Status { name, text }.letter(format!("News of your order {order_id}"))
}

/// Explains to the customer why an order was cancelled, and what happens to the money.
fn explain(reason: &str) -> (&'static str, &'static str) {
    let explained = reasons().find(|known| known.name == reason).and_then(|known| known.explanation.as_ref());
    explained.map_or(("Something went wrong on our side.", MONEY_RETURNED), |text| (text.email, text.money))
}

const fn refund(cause: RefundCause) -> &'static str {
    match cause {
        RefundCause::OrderCancelled => "The order is cancelled, and you do not owe anything for it.",
        RefundCause::LatePayment => "Your payment came after the order had been cancelled.",
        RefundCause::ByStaff => "Our staff has returned it.",
    }
}

#[cfg(test)]
mod tests {
    use contracts::{Currency, IdempotencyKey, UserId};
    use rstest::rstest;

    use super::*;

    const AMOUNT: Money = Money::new(4200, Currency::USD);

    fn order() -> OrderId {
        let user = UserId::try_from(format!("usr_{}", "0".repeat(32))).unwrap();
        OrderId::derive(&user, &IdempotencyKey::try_from("k").unwrap())
    }

    fn shipped() -> News {
        News::Shipped { carrier: "Paper Post".to_owned(), tracking_number: "TRACK-1".to_owned() }
    }

    #[rstest]
    #[case(News::Received { total: AMOUNT }, "received", &["42.00 USD"])]
    #[case(News::ActionNeeded { amount: AMOUNT }, "confirm", &["42.00 USD", "open the order in the shop"])]
    #[case(News::Completed { total: AMOUNT }, "is complete", &["42.00 USD"])]
    #[case(News::Refunded { amount: AMOUNT, cause: RefundCause::LatePayment }, "on its way back", &["42.00 USD", "after the order had been cancelled"])]
    #[case(News::Refunded { amount: AMOUNT, cause: RefundCause::ByStaff }, "on its way back", &["42.00 USD", "Our staff"])]
    #[case(News::Refunded { amount: AMOUNT, cause: RefundCause::OrderCancelled }, "on its way back", &["42.00 USD", "cancelled"])]
    #[case(shipped(), "on its way", &["Paper Post", "TRACK-1"])]
    #[case(News::Delivered, "was delivered", &[])]
    fn a_letter_names_the_order_and_says_what_there_is_to_know(
        #[case] news: News,
        #[case] subject: &str,
        #[case] said: &[&str],
    ) {
        let letter = compose("Anna", &order(), &news).unwrap();
        assert!(letter.subject.contains(subject) && letter.subject.contains(order().as_str()), "{letter:?}");
        for body in [&letter.text, &letter.html] {
            assert!(body.contains("Hello Anna,") && body.contains(order().as_str()), "{body}");
            assert!(said.iter().all(|said| body.contains(said)), "{body}");
            assert!(body.contains("because you ordered from us."), "{body}");
        }
        assert!(letter.html.starts_with("<!doctype html>") && !letter.text.contains('<'), "{letter:?}");
    }

    #[test]
    fn who_registered_is_welcome_and_is_told_why_there_is_an_email() {
        let letter = welcome().unwrap();
        assert_eq!(letter.subject, "Welcome");
        for body in [&letter.text, &letter.html] {
            assert!(body.contains("Hello,") && body.contains("because you registered with us."), "{body}");
        }
    }

    #[test]
    fn a_letter_in_the_place_of_a_text_message_says_the_same() {
        let text = super::super::text(&order(), &shipped()).unwrap();
        let letter = status_letter("Anna", &order(), &text).unwrap();
        assert!(letter.text.contains(&text) && letter.html.contains(&text), "{letter:?}");
    }

    #[test]
    fn a_name_cannot_put_markup_into_a_page_or_anything_into_a_subject() {
        let name = "<img src=x onerror=alert(1)> & \"Co\"\r\nBcc: x@y.z";
        let letter = compose(name, &order(), &News::Completed { total: AMOUNT }).unwrap();
        assert!(!letter.html.contains("<img"), "{}", letter.html);
        assert!(letter.html.contains("&#60;img src=x"), "{}", letter.html);
        assert!(letter.text.contains("<img src=x"), "a text is no markup");
        assert!(!letter.subject.contains("Bcc"));
    }

    #[rstest]
    #[case("InventoryNotAvailable", "enough of what you ordered", "not been charged")]
    #[case("PaymentDeclined", "declined", "not been charged")]
    #[case("PaymentTimeout", "in time", "returned by itself")]
    #[case("ShipmentRejected", "your address", "on its way back")]
    #[case("OrderCancelRequested", "You asked", "on its way back")]
    #[case("ServiceUnavailable", "out of order for so long", "on its way back")]
    #[case("States.Timeout", "our side", "on its way back")]
    fn a_cancelled_order_is_told_with_the_reason_in_plain_words(
        #[case] reason: &str,
        #[case] why: &str,
        #[case] money: &str,
    ) {
        let letter = compose("Anna", &order(), &News::Cancelled { reason: reason.to_owned() }).unwrap();
        assert_eq!(letter.subject, format!("Your order {} was cancelled", order()));
        for body in [&letter.text, &letter.html] {
            assert!(body.contains(why) && body.contains(money) && body.contains(order().as_str()), "{body}");
            assert!(!body.contains(reason), "an error's name is not for customers");
        }
    }
}
