//! The request that places an order.

use std::str::FromStr;

use contracts::{OrderLine, ShippingAddress, Sku};
use garde::{Path, Report, Validate};
use iso_currency::Country;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::{
    domain::{DiscountCode, check_lines},
    relay::Private,
};

/// Beyond the longest name, street or town that carriers print on a label.
const TEXT_MAX: usize = 100;
/// The longest postal codes in use have ten characters; some write a space or a country's prefix with them.
const POSTAL_CODE_MAX: usize = 16;
/// What may follow `pm_`, far above what Stripe uses (its ids may have up to 255 characters).
const PAYMENT_METHOD_MAX: usize = 250;

#[derive(Deserialize, Serialize, Validate)]
#[cfg_attr(feature = "openapi", derive(schemars::JsonSchema))]
pub(super) struct PlaceOrder {
    #[garde(dive)]
    items: Items,
    #[garde(custom(is_payment_method))]
    payment_method: String,
    #[garde(dive)]
    shipping_address: Address,
    // Left out of the hash where there is none: orders had no such field once, and are asked for again.
    #[garde(skip)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    discount_code: Option<DiscountCode>,
}

impl PlaceOrder {
    pub fn lines(&self) -> &[OrderLine] {
        &self.items.0
    }

    pub fn discount_code(&self) -> Option<&DiscountCode> {
        self.discount_code.as_ref()
    }

    pub fn skus(&self) -> Vec<&Sku> {
        self.items.0.iter().map(|line| &line.sku).collect()
    }

    /// Tells this request from another one: SHA-256 over what was understood of it, in one spelling, so that neither
    /// spaces nor the order of fields matter.
    ///
    /// # Errors
    /// When it has no JSON form.
    pub fn hash(&self) -> Result<String, serde_json::Error> {
        let digest = Sha256::digest(serde_json::to_vec(self)?);
        Ok(digest.iter().map(|byte| format!("{byte:02x}")).collect())
    }

    /// What the saga needs to know and no event may tell.
    ///
    /// # Errors
    /// When it has no JSON form.
    pub fn private(&self) -> Result<String, serde_json::Error> {
        serde_json::to_string(&Private {
            shipping_address: self.shipping_address.0.clone(),
            payment_method: self.payment_method.clone(),
        })
    }
}

#[derive(Deserialize, Serialize)]
#[cfg_attr(feature = "openapi", derive(schemars::JsonSchema))]
#[serde(transparent)]
struct Items(#[cfg_attr(feature = "openapi", schemars(length(min = 1, max = 20)))] Vec<OrderLine>);

impl Validate for Items {
    type Context = ();

    fn validate_into(&self, (): &(), parent: &mut dyn FnMut() -> Path, report: &mut Report) {
        for error in check_lines(self.0.iter().map(|line| (&line.sku, line.quantity))) {
            let path = match error.line() {
                Some((index, part)) => parent().join(index).join(part),
                None => parent(),
            };
            report.append(path, garde::Error::new(error));
        }
    }
}

#[derive(Deserialize, Serialize)]
#[cfg_attr(feature = "openapi", derive(schemars::JsonSchema))]
#[serde(transparent)]
struct Address(ShippingAddress);

impl Validate for Address {
    type Context = ();

    fn validate_into(&self, (): &(), parent: &mut dyn FnMut() -> Path, report: &mut Report) {
        let ShippingAddress { name, line1, line2, city, postal_code, country } = &self.0;
        let texts = [
            ("name", Some(name), TEXT_MAX),
            ("line1", Some(line1), TEXT_MAX),
            ("line2", line2.as_ref(), TEXT_MAX),
            ("city", Some(city), TEXT_MAX),
            ("postal_code", Some(postal_code), POSTAL_CODE_MAX),
        ];
        for (field, value, max) in texts {
            if let Some(message) = value.and_then(|value| check_text(value, max)) {
                report.append(parent().join(field), garde::Error::new(message));
            }
        }
        if !is_country(country) {
            let message = "must be a country's two upper-case letters (ISO 3166-1 alpha-2)";
            report.append(parent().join("country"), garde::Error::new(message));
        }
    }
}

/// What is wrong with a text that is to be printed on a label.
fn check_text(value: &str, max: usize) -> Option<String> {
    if value.trim().is_empty() {
        Some("must not be blank".to_owned())
    } else if value.chars().count() > max {
        Some(format!("must have at most {max} characters"))
    } else if value.chars().any(char::is_control) {
        Some("must not have control characters".to_owned())
    } else {
        None
    }
}

fn is_country(code: &str) -> bool {
    // The table also knows a code for "unspecified", which is not of this form.
    code.len() == 2
        && code.bytes().all(|b| b.is_ascii_uppercase())
        && Country::from_str(code).is_ok_and(|country| country != Country::Unspecified)
}

fn is_payment_method(value: &str, (): &()) -> garde::Result {
    let id = value.strip_prefix("pm_").unwrap_or_default();
    let is_id = (1..=PAYMENT_METHOD_MAX).contains(&id.len())
        && id.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    if is_id {
        Ok(())
    } else {
        Err(garde::Error::new("must be the payment gateway's id of a payment method: `pm_…`"))
    }
}

#[cfg(test)]
mod tests {
    use axum::{extract::FromRequest, http::Request};
    use lambda_kit::{http::Body, testing::mutated};
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("DE", true)]
    #[case("US", true)]
    #[case::antarctica("AQ", true)]
    #[case::kosovo_has_no_code("XK", false)]
    #[case::unspecified("ZZ", false)]
    #[case::lower_case("de", false)]
    #[case::alpha_3("DEU", false)]
    #[case::nothing("", false)]
    fn countries_are_those_of_iso_3166(#[case] code: &str, #[case] expected: bool) {
        assert_eq!(is_country(code), expected);
    }

    #[rstest]
    #[case("pm_card_visa", true)]
    #[case("pm_1", true)]
    #[case("pm_", false)]
    #[case("card_1", false)]
    #[case("pm_a b", false)]
    #[case("pm_a/../x", false)]
    fn payment_methods_have_the_gateways_form(#[case] id: &str, #[case] expected: bool) {
        assert_eq!(is_payment_method(id, &()).is_ok(), expected);
    }

    #[test]
    fn payment_methods_have_a_longest_id() {
        assert!(is_payment_method(&format!("pm_{}", "x".repeat(250)), &()).is_ok());
        assert!(is_payment_method(&format!("pm_{}", "x".repeat(251)), &()).is_err());
    }

    #[rstest]
    #[case("Straße 1", None)]
    #[case(" ", Some("must not be blank"))]
    #[case("a\nb", Some("must not have control characters"))]
    #[case("ääääää", Some("must have at most 5 characters"))]
    fn texts_are_short_and_printable(#[case] text: &str, #[case] expected: Option<&str>) {
        let max = if text.starts_with('ä') { 5 } else { 100 };
        assert_eq!(check_text(text, max).as_deref(), expected);
    }

    const SEED: &str = r#"{
        "items": [{"sku": "MUG-BLUE", "quantity": 2}], "payment_method": "pm_card_visa", "discount_code": null,
        "shipping_address": {"name": "Ada", "line1": "1 Main St", "line2": "left", "city": "Springfield",
                             "postal_code": "12345", "country": "US"}
    }"#;

    #[test]
    fn an_order_is_understood_or_refused_whatever_it_is() {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        bolero::check!().with_type::<Vec<u8>>().for_each(|entropy| {
            let request = Request::post("/v1/orders").header("content-type", "application/json");
            let request = request.body(axum::body::Body::from(mutated(SEED, entropy))).unwrap();
            match runtime.block_on(Body::<PlaceOrder>::from_request(request, &())) {
                Ok(Body(order)) => {
                    assert!((1..=20).contains(&order.lines().len()));
                    assert_eq!(order.hash().unwrap().len(), 64);
                    order.private().unwrap();
                }
                Err(problem) => assert!(matches!(problem.status().as_u16(), 400 | 413 | 422), "{problem:?}"),
            }
        });
    }
}
