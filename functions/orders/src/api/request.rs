//! The request body of orders and quotes.

use std::str::FromStr;

use contracts::{Money, OrderLine, ShippingAddress, Sku};
use garde::{Path, Report, Validate};
use iso_currency::Country;
use lambda_kit::text::{self, Code, Line};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::domain::{CheckoutDetails, DiscountCode, check_lines};

/// The longest name, street or town.
// More than carriers print on a label.
const TEXT_MAX: usize = 100;
/// The longest postal code.
// The longest ones in use have ten characters. Some customers write a space or a country's prefix with them.
const POSTAL_CODE_MAX: usize = 16;
/// The most characters after `pm_`.
// Stripe's ids may have up to 255 characters, and use far fewer.
const PAYMENT_METHOD_MAX: usize = 250;
/// Countries and territories without postal codes (Universal Postal Union, "Postal addressing systems"; those
/// whose address format in libaddressinput has no `%Z`).
const WITHOUT_POSTAL_CODES: &[&str] = &[
    "AE", "AG", "AO", "AW", "BF", "BI", "BJ", "BO", "BQ", "BS", "BW", "BZ", "CD", "CF", "CG", "CI", "CK",
    "CM", "CW", "DJ", "DM", "ER", "FJ", "GA", "GD", "GH", "GM", "GQ", "GY", "HK", "JM", "KI", "KM", "KN",
    "KP", "LC", "LY", "ML", "MO", "MR", "MS", "MW", "NR", "NU", "PA", "QA", "RW", "SB", "SC", "SL", "SR",
    "SS", "ST", "SX", "SY", "TD", "TF", "TG", "TK", "TL", "TO", "TT", "TV", "TZ", "UG", "VU", "YE", "ZW",
];

#[derive(Deserialize, Serialize, Validate)]
#[cfg_attr(feature = "openapi", derive(schemars::JsonSchema))]
pub(super) struct PlaceOrder {
    #[garde(dive)]
    items: Items,
    #[garde(dive)]
    payment_method: PaymentMethod,
    #[garde(dive)]
    shipping_address: AddressBody,
    // Left out of the hash when absent, so that requests from before this field keep their hash.
    #[garde(skip)]
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "text::optional")]
    discount_code: Option<DiscountCode>,
    /// What the customer was shown: an order with another total is not placed.
    // No part of what is ordered, and so not of the hash: an order that was placed is the same, whatever is expected now.
    #[garde(skip)]
    #[serde(default, skip_serializing)]
    expected_total: Option<Money>,
}

impl PlaceOrder {
    /// The example in openapi.json.
    #[cfg(feature = "openapi")]
    pub fn example() -> serde_json::Value {
        serde_json::json!({
            "items": [{"sku": "MUG-BLUE", "quantity": 2}],
            "payment_method": "pm_card_visa",
            "shipping_address": {
                "name": "Ada Lovelace", "line1": "1 Main St", "city": "Springfield", "postal_code": "12345",
                "country": "US"
            }
        })
    }

    pub fn lines(&self) -> &[OrderLine] {
        &self.items.0
    }

    pub fn discount_code(&self) -> Option<&DiscountCode> {
        self.discount_code.as_ref()
    }

    pub fn expected_total(&self) -> Option<Money> {
        self.expected_total
    }

    pub fn country(&self) -> &str {
        self.shipping_address.country.as_str()
    }

    pub fn skus(&self) -> Vec<&Sku> {
        self.items.0.iter().map(|line| &line.sku).collect()
    }

    /// Distinguishes this request from another one: SHA-256 over its parsed fields. Neither spaces nor the order of
    /// fields in the request matter.
    ///
    /// # Errors
    /// When it has no JSON form.
    pub fn hash(&self) -> Result<String, serde_json::Error> {
        // The JSON has the fields in the order of the struct. A change of their order would give an order
        // that is repeated after a deployment another hash, and the repeat would be refused.
        let digest = Sha256::digest(serde_json::to_vec(self)?);
        Ok(digest.iter().map(|byte| format!("{byte:02x}")).collect())
    }

    /// The checkout details as JSON: the saga needs them, and no event may contain them.
    ///
    /// # Errors
    /// When it has no JSON form.
    pub fn checkout_details(&self) -> Result<String, serde_json::Error> {
        serde_json::to_string(&CheckoutDetails {
            shipping_address: self.shipping_address.clone().into(),
            payment_method: self.payment_method.0.clone(),
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

/// Where an order goes. Written as [`ShippingAddress`] is, so that the hash of an order stays what it was.
#[derive(Clone, Deserialize, Serialize, Validate)]
#[cfg_attr(feature = "openapi", derive(schemars::JsonSchema))]
struct AddressBody {
    #[garde(dive)]
    name: Line<TEXT_MAX>,
    #[garde(dive)]
    line1: Line<TEXT_MAX>,
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "text::optional")]
    #[garde(dive)]
    #[cfg_attr(feature = "openapi", schemars(with = "lambda_kit::text::OptionalLine<TEXT_MAX>"))]
    line2: Option<Line<TEXT_MAX>>,
    #[garde(dive)]
    city: Line<TEXT_MAX>,
    /// May be left out where the country has none.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "text::optional")]
    #[garde(dive, custom(is_given_where_used(&self.country)))]
    #[cfg_attr(feature = "openapi", schemars(with = "lambda_kit::text::OptionalLine<POSTAL_CODE_MAX>"))]
    postal_code: Option<Line<POSTAL_CODE_MAX>>,
    /// ISO 3166-1 alpha-2, or `XK` for Kosovo.
    #[garde(custom(is_country))]
    country: Code<2>,
}

impl From<AddressBody> for ShippingAddress {
    fn from(AddressBody { name, line1, line2, city, postal_code, country }: AddressBody) -> Self {
        Self {
            name: name.into(),
            line1: line1.into(),
            line2: line2.map(Into::into),
            city: city.into(),
            postal_code: postal_code.map(Into::into).unwrap_or_default(),
            country: country.into(),
        }
    }
}

fn is_given_where_used<const MAX: usize>(
    country: &Code<2>,
) -> impl FnOnce(&Option<Line<MAX>>, &()) -> garde::Result {
    let is_used = !WITHOUT_POSTAL_CODES.contains(&country.as_str());
    move |postal_code: &Option<Line<MAX>>, (): &()| {
        if postal_code.is_none() && is_used {
            return Err(garde::Error::new("must be given: the country has postal codes"));
        }
        Ok(())
    }
}

fn is_country(code: &Code<2>, (): &()) -> garde::Result {
    let code = code.as_str();
    // The crate also has a code for "unspecified", which does not have this form.
    let is_assigned = code.len() == 2
        && code.bytes().all(|b| b.is_ascii_uppercase())
        && Country::from_str(code).is_ok_and(|country| country != Country::Unspecified);
    // ISO leaves it to its users: it is Kosovo in the EU, in CLDR, at Stripe and at carriers.
    if is_assigned || code == "XK" {
        Ok(())
    } else {
        Err(garde::Error::new("must be a country's two letters (ISO 3166-1 alpha-2)"))
    }
}

/// The payment gateway's id of a payment method, trimmed.
#[derive(Clone, Deserialize, Serialize)]
#[cfg_attr(feature = "openapi", derive(schemars::JsonSchema))]
#[serde(from = "String", into = "String")]
struct PaymentMethod(String);

impl From<String> for PaymentMethod {
    fn from(id: String) -> Self {
        Self(text::trimmed(&id).to_owned())
    }
}

impl From<PaymentMethod> for String {
    fn from(id: PaymentMethod) -> Self {
        id.0
    }
}

impl Validate for PaymentMethod {
    type Context = ();

    fn validate_into(&self, (): &(), parent: &mut dyn FnMut() -> Path, report: &mut Report) {
        let id = self.0.strip_prefix("pm_").unwrap_or_default();
        let is_id = (1..=PAYMENT_METHOD_MAX).contains(&id.len())
            && id.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
        if !is_id {
            let message = "must be the payment gateway's id of a payment method: `pm_…`";
            report.append(parent(), garde::Error::new(message));
        }
    }
}

#[cfg(test)]
mod tests {
    use axum::{extract::FromRequest, http::Request};
    use lambda_kit::{http::Body, testing::mutated};
    use rstest::rstest;
    use serde_json::{Value, json};

    use super::*;

    #[rstest]
    #[case("DE", true)]
    #[case("US", true)]
    #[case::antarctica("AQ", true)]
    #[case::kosovo("XK", true)]
    #[case::unspecified("ZZ", false)]
    #[case::lower_case("de", true)]
    #[case::with_spaces(" de\u{a0}", true)]
    #[case::alpha_3("DEU", false)]
    #[case::nothing("", false)]
    fn countries_are_those_of_iso_3166_and_kosovo(#[case] code: &str, #[case] expected: bool) {
        let code = serde_json::from_value(json!(code)).unwrap();
        assert_eq!(is_country(&code, &()).is_ok(), expected);
    }

    #[rstest]
    #[case("pm_card_visa", true)]
    #[case("pm_1", true)]
    #[case(" pm_1\t", true)]
    #[case("pm_", false)]
    #[case("card_1", false)]
    #[case("pm_a b", false)]
    #[case("pm_a/../x", false)]
    #[case(&format!("pm_{}", "x".repeat(250)), true)]
    #[case(&format!("pm_{}", "x".repeat(251)), false)]
    fn payment_methods_have_the_gateways_form(#[case] id: &str, #[case] expected: bool) {
        assert_eq!(PaymentMethod::from(id.to_owned()).validate().is_ok(), expected);
    }

    fn order() -> Value {
        serde_json::from_str(SEED).unwrap()
    }

    /// The order with another value at this place.
    fn with(pointer: &str, value: Value) -> PlaceOrder {
        let mut order = order();
        *order.pointer_mut(pointer).unwrap() = value;
        serde_json::from_value(order).unwrap()
    }

    fn fields(order: &PlaceOrder) -> Vec<String> {
        match order.validate() {
            Ok(()) => vec![],
            Err(report) => report.iter().map(|(path, _)| path.to_string()).collect(),
        }
    }

    #[rstest]
    #[case::needed("US", "", &["shipping_address.postal_code"])]
    #[case::there("US", "12345", &[])]
    #[case::not_used("HK", "", &[])]
    #[case::not_used_and_there("HK", "000", &[])]
    #[case::in_lower_case("ae", " ", &[])]
    fn a_postal_code_is_required_where_one_exists(
        #[case] country: &str,
        #[case] postal_code: &str,
        #[case] expected: &[&str],
    ) {
        let mut order = order();
        order["shipping_address"]["country"] = json!(country);
        order["shipping_address"]["postal_code"] = json!(postal_code);
        let order: PlaceOrder = serde_json::from_value(order).unwrap();
        assert_eq!(fields(&order), expected);
    }

    #[test]
    fn the_same_order_in_another_spelling_has_the_same_hash() {
        let hash = |order: PlaceOrder| order.hash().unwrap();
        let first = hash(serde_json::from_value(order()).unwrap());
        assert_eq!(hash(with("/shipping_address/name", json!(" Ada\u{a0}"))), first);
        assert_eq!(hash(with("/shipping_address/country", json!("us"))), first);
        assert_eq!(hash(with("/discount_code", json!(""))), first);
        assert_ne!(hash(with("/discount_code", json!("TEN"))), first);
        assert_eq!(hash(with("/discount_code", json!("\tTEN "))), hash(with("/discount_code", json!("TEN"))));
    }

    #[test]
    fn the_hash_of_an_order_is_what_it_was() {
        let as_it_was = json!({
            "items": [{"sku": "MUG-BLUE", "quantity": 2}], "payment_method": "pm_card_visa",
            "shipping_address": ShippingAddress {
                name: "Ada".into(), line1: "1 Main St".into(), line2: Some("left".into()),
                city: "Springfield".into(), postal_code: "12345".into(), country: "US".into(),
            },
        });
        // Both orders of fields are those of the types.
        let order: PlaceOrder = serde_json::from_value(order()).unwrap();
        assert_eq!(serde_json::to_value(&order).unwrap(), as_it_was);
        assert!(serde_json::to_string(&order).unwrap().contains(r#""shipping_address":{"name":"Ada","line1":"1 Main St","line2":"left","city":"Springfield","postal_code":"12345","country":"US"}"#));
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
                    order.checkout_details().unwrap();
                }
                Err(problem) => assert!(matches!(problem.status().as_u16(), 400 | 413 | 422), "{problem:?}"),
            }
        });
    }
}
