//! The SMS messages, rendered from their template.

use askama::Template;
use contracts::OrderId;

use super::OrderUpdate;

/// The data of an SMS.
// An SMS is not confidential, so it holds the order's reference and status and nothing else.
#[derive(Template)]
#[template(path = "sms/status.txt")]
struct Status<'a> {
    reference: &'a OrderId,
    status: &'static str,
}

/// The SMS about an order.
///
/// # Errors
/// When the template cannot be rendered, which does not happen.
pub fn text(reference: &OrderId, update: &OrderUpdate) -> Result<String, askama::Error> {
    Status { reference, status: status(update) }.render()
}

const fn status(update: &OrderUpdate) -> &'static str {
    match update {
        OrderUpdate::Received { .. } => "has been received",
        OrderUpdate::ActionNeeded { .. } => "waits for you to confirm the payment in the shop",
        OrderUpdate::Completed { .. } => "is complete",
        OrderUpdate::Cancelled { .. } => "was cancelled",
        OrderUpdate::Refunded { .. } => "is being refunded",
        OrderUpdate::Shipped { .. } => "has been shipped",
        OrderUpdate::Delivered => "was delivered",
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, path::Path};

    use contracts::{Currency, IdempotencyKey, Money, UserId, events::RefundCause};

    use super::*;

    fn every_update() -> [OrderUpdate; 7] {
        let (amount, total) = (Money::new(4200, Currency::USD), Money::new(4200, Currency::USD));
        [
            OrderUpdate::Received { total },
            OrderUpdate::ActionNeeded { amount },
            OrderUpdate::Completed { total },
            OrderUpdate::Cancelled { reason: "PaymentDeclined".to_owned() },
            OrderUpdate::Refunded { amount, cause: RefundCause::ByStaff },
            OrderUpdate::Shipped { carrier: "Paper Post".to_owned(), tracking_number: "TRACK-1".to_owned() },
            OrderUpdate::Delivered,
        ]
    }

    #[test]
    fn every_sms_template_holds_only_reference_and_status() {
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
    fn an_sms_gives_order_and_status_in_one_message() {
        let user = UserId::generate();
        let order = OrderId::derive(&user, &IdempotencyKey::try_from("k").unwrap());
        let mut said = std::collections::BTreeSet::new();
        for update in every_update() {
            let text = text(&order, &update).unwrap();
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
        assert_eq!(said.len(), every_update().len(), "no two are the same");
    }
}
