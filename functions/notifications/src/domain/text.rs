use askama::Template;
use contracts::OrderId;

use super::News;

/// A text message is not confidential, so it holds the order's reference and status and nothing else.
#[derive(Template)]
#[template(path = "sms/status.txt")]
struct Status<'a> {
    reference: &'a OrderId,
    status: &'static str,
}

/// The text message about an order.
///
/// # Errors
/// When the template cannot be rendered, which does not happen.
pub fn text(reference: &OrderId, news: &News) -> Result<String, askama::Error> {
    Status { reference, status: status(news) }.render()
}

const fn status(news: &News) -> &'static str {
    match news {
        News::Received { .. } => "has been received",
        News::ActionNeeded { .. } => "waits for you to confirm the payment in the shop",
        News::Completed { .. } => "is complete",
        News::Cancelled { .. } => "was cancelled",
        News::Refunded { .. } => "is being refunded",
        News::Shipped { .. } => "has been shipped",
        News::Delivered => "was delivered",
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, path::Path};

    use contracts::{Currency, IdempotencyKey, Money, UserId, events::RefundCause};

    use super::*;

    fn every_news() -> [News; 7] {
        let (amount, total) = (Money::new(4200, Currency::USD), Money::new(4200, Currency::USD));
        [
            News::Received { total },
            News::ActionNeeded { amount },
            News::Completed { total },
            News::Cancelled { reason: "PaymentDeclined".to_owned() },
            News::Refunded { amount, cause: RefundCause::ByStaff },
            News::Shipped { carrier: "Paper Post".to_owned(), tracking_number: "TRACK-1".to_owned() },
            News::Delivered,
        ]
    }

    #[test]
    fn every_template_of_a_text_message_has_room_for_reference_and_status_only() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("templates/sms");
        let mut seen = 0;
        for file in fs::read_dir(folder).unwrap() {
            let template = fs::read_to_string(file.unwrap().path()).unwrap();
            let filled: Vec<&str> =
                template.split("{{").skip(1).map(|rest| rest.split("}}").next().unwrap().trim()).collect();
            assert_eq!(filled, ["reference", "status"], "{template}");
            assert!(!template.contains("{%"), "{template}");
            seen += 1;
        }
        assert!(seen > 0);
    }

    #[test]
    fn a_text_message_says_what_became_of_which_order_and_fits_into_one() {
        let user = UserId::generate();
        let order = OrderId::derive(&user, &IdempotencyKey::try_from("k").unwrap());
        let mut said = std::collections::BTreeSet::new();
        for news in every_news() {
            let text = text(&order, &news).unwrap();
            let rest = text.replace(order.as_str(), "");
            assert!(rest.len() + order.as_str().len() == text.len(), "{text}");
            // Letters and spaces alone leave no room for an amount, tracking number, address or name.
            assert!(rest.chars().all(|c| c.is_ascii_alphabetic() || c == ' ' || c == '.'), "{text}");
            for secret in ["42", "USD", "Declined", "declined", "Paper", "TRACK"] {
                assert!(!rest.contains(secret), "{text}");
            }
            // One message holds 160 characters (GSM 03.38); two cost twice.
            assert!(text.len() <= 160, "{text}");
            said.insert(rest);
        }
        assert_eq!(said.len(), every_news().len(), "no two are the same");
    }
}
