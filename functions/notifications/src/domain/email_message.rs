//! The e-mails, rendered from their templates.

use askama::Template;
use contracts::{
    Money, OrderId,
    events::RefundCause,
    saga::{reasons, steps::MONEY_RETURNED},
};

use super::OrderUpdate;

/// An e-mail without its address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EmailMessage {
    pub subject: String,
    pub text: String,
    pub html: String,
}

/// The data of one e-mail, and its two templates.
macro_rules! email {
    ($view:ident { $($field:ident: $kind:ty),* $(,)? }, $html:ident($html_path:tt), $text:ident($text_path:tt)) => {
        pub(super) struct $view<'a> { pub(super) name: &'a str, $(pub(super) $field: $kind),* }

        #[derive(Template)]
        #[template(path = $html_path)]
        struct $html<'a>(&'a $view<'a>);

        #[derive(Template)]
        #[template(path = $text_path)]
        struct $text<'a>(&'a $view<'a>);

        impl $view<'_> {
            pub(super) fn render_email(&self, subject: String) -> Result<EmailMessage, askama::Error> {
                Ok(EmailMessage { subject, text: $text(self).render()?, html: $html(self).render()? })
            }
        }
    };
}

email!(
    AccountView {
        title: &'static str, intro: &'static str, code: &'a str, link: &'a str, end: &'static str, why: &'static str,
    },
    AccountHtml("account.html"), AccountText("account.txt")
);
email!(
    Received { order_id: &'a OrderId, total: Money },
    ReceivedHtml("received.html"), ReceivedText("received.txt")
);
email!(
    ActionNeeded { order_id: &'a OrderId, amount: Money },
    ActionNeededHtml("action.html"), ActionNeededText("action.txt")
);
email!(
    Completed { order_id: &'a OrderId, total: Money },
    CompletedHtml("completed.html"), CompletedText("completed.txt")
);
email!(
    Cancelled { order_id: &'a OrderId, why: &'static str, money: &'static str },
    CancelledHtml("cancelled.html"), CancelledText("cancelled.txt")
);
email!(
    Returned { order_id: &'a OrderId, amount: Money, why: &'static str },
    ReturnedHtml("returned.html"), ReturnedText("returned.txt")
);
email!(
    Shipped { order_id: &'a OrderId, carrier: &'a str, tracking_number: &'a str },
    ShippedHtml("shipped.html"), ShippedText("shipped.txt")
);
email!(
    Delivered { order_id: &'a OrderId },
    DeliveredHtml("delivered.html"), DeliveredText("delivered.txt")
);
email!(Status { text: &'a str }, StatusHtml("status.html"), StatusText("status.txt"));

/// The e-mail about an order. `name` is empty when nothing that the customer typed may be in it. The subject holds nothing that a customer has typed.
///
/// # Errors
/// When a template cannot be rendered, which does not happen with these.
pub fn order_email(
    name: &str,
    order_id: &OrderId,
    update: &OrderUpdate,
) -> Result<EmailMessage, askama::Error> {
    match update {
        OrderUpdate::Received { total } => Received { name, order_id, total: *total }
            .render_email(format!("We have received your order {order_id}")),
        OrderUpdate::ActionNeeded { amount } => ActionNeeded { name, order_id, amount: *amount }
            .render_email(format!("Please confirm the payment of your order {order_id}")),
        OrderUpdate::Completed { total } => Completed { name, order_id, total: *total }
            .render_email(format!("Your order {order_id} is complete")),
        OrderUpdate::Cancelled { reason } => {
            let (why, money) = explain(reason);
            Cancelled { name, order_id, why, money }
                .render_email(format!("Your order {order_id} was cancelled"))
        }
        OrderUpdate::Refunded { amount, cause } => {
            Returned { name, order_id, amount: *amount, why: refund(*cause) }
                .render_email(format!("Your money for order {order_id} is on its way back"))
        }
        OrderUpdate::Shipped { carrier, tracking_number } => {
            Shipped { name, order_id, carrier, tracking_number }
                .render_email(format!("Your order {order_id} is on its way"))
        }
        OrderUpdate::Delivered => {
            Delivered { name, order_id }.render_email(format!("Your order {order_id} was delivered"))
        }
    }
}

/// The e-mail with the content of an SMS.
///
/// # Errors
/// When a template cannot be rendered, which does not happen with these.
pub fn status_email(name: &str, order_id: &OrderId, text: &str) -> Result<EmailMessage, askama::Error> {
    Status { name, text }.render_email(format!("News of your order {order_id}"))
}

/// Explains to the customer why an order was cancelled, and what happens to the money.
fn explain(reason: &str) -> (&'static str, &'static str) {
    let explained = reasons().find(|known| known.name == reason).and_then(|known| known.explanation.as_ref());
    // A fault of ours has no text of its own, and neither has a reason that a later release added.
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

    fn shipped() -> OrderUpdate {
        OrderUpdate::Shipped { carrier: "Paper Post".to_owned(), tracking_number: "TRACK-1".to_owned() }
    }

    #[rstest]
    #[case(OrderUpdate::Received { total: AMOUNT }, "received", &["42.00 USD"])]
    #[case(OrderUpdate::ActionNeeded { amount: AMOUNT }, "confirm", &["42.00 USD", "open the order in the shop"])]
    #[case(OrderUpdate::Completed { total: AMOUNT }, "is complete", &["42.00 USD"])]
    #[case(OrderUpdate::Refunded { amount: AMOUNT, cause: RefundCause::LatePayment }, "on its way back", &["42.00 USD", "after the order had been cancelled"])]
    #[case(OrderUpdate::Refunded { amount: AMOUNT, cause: RefundCause::ByStaff }, "on its way back", &["42.00 USD", "Our staff"])]
    #[case(OrderUpdate::Refunded { amount: AMOUNT, cause: RefundCause::OrderCancelled }, "on its way back", &["42.00 USD", "cancelled"])]
    #[case(shipped(), "on its way", &["Paper Post", "TRACK-1"])]
    #[case(OrderUpdate::Delivered, "was delivered", &[])]
    fn an_email_names_the_order_and_its_details(
        #[case] update: OrderUpdate,
        #[case] subject: &str,
        #[case] said: &[&str],
    ) {
        let email = order_email("Anna", &order(), &update).unwrap();
        assert!(email.subject.contains(subject) && email.subject.contains(order().as_str()), "{email:?}");
        for body in [&email.text, &email.html] {
            assert!(body.contains("Hello Anna,") && body.contains(order().as_str()), "{body}");
            assert!(said.iter().all(|said| body.contains(said)), "{body}");
            assert!(body.contains("because you ordered from us."), "{body}");
        }
        assert!(email.html.starts_with("<!doctype html>") && !email.text.contains('<'), "{email:?}");
    }

    #[test]
    fn without_a_name_an_email_has_nothing_that_the_customer_typed() {
        let email = order_email("", &order(), &OrderUpdate::Delivered).unwrap();
        assert!(email.text.starts_with("Hello,") && email.html.contains("<p>Hello,</p>"), "{email:?}");
    }

    #[test]
    fn an_email_that_replaces_an_sms_has_the_same_text() {
        let text = super::super::text(&order(), &shipped()).unwrap();
        let email = status_email("Anna", &order(), &text).unwrap();
        assert!(email.text.contains(&text) && email.html.contains(&text), "{email:?}");
    }

    #[test]
    fn a_name_cannot_put_markup_into_a_page_or_anything_into_a_subject() {
        let name = "<img src=x onerror=alert(1)> & \"Co\"\r\nBcc: x@y.z";
        let email = order_email(name, &order(), &OrderUpdate::Completed { total: AMOUNT }).unwrap();
        assert!(!email.html.contains("<img"), "{}", email.html);
        assert!(email.html.contains("&#60;img src=x"), "{}", email.html);
        assert!(email.text.contains("<img src=x"), "a text is no markup");
        assert!(!email.subject.contains("Bcc"));
    }

    #[rstest]
    #[case("InventoryNotAvailable", "enough of what you ordered", "not been charged")]
    #[case("PaymentDeclined", "declined", "not been charged")]
    #[case("PaymentTimeout", "in time", "returned by itself")]
    #[case("ShipmentRejected", "your address", "on its way back")]
    #[case("OrderCancelRequested", "You asked", "on its way back")]
    #[case("ServiceUnavailable", "out of order for so long", "on its way back")]
    #[case("States.Timeout", "our side", "on its way back")]
    fn the_email_about_a_cancelled_order_gives_the_reason_in_plain_words(
        #[case] reason: &str,
        #[case] why: &str,
        #[case] money: &str,
    ) {
        let email =
            order_email("Anna", &order(), &OrderUpdate::Cancelled { reason: reason.to_owned() }).unwrap();
        assert_eq!(email.subject, format!("Your order {} was cancelled", order()));
        for body in [&email.text, &email.html] {
            assert!(body.contains(why) && body.contains(money) && body.contains(order().as_str()), "{body}");
            assert!(!body.contains(reason), "an error's name is not for customers");
        }
    }
}
