//! The carrier that takes the shipments.

use contracts::{OrderId, ShippingAddress, saga::Booking};
use jiff::{ToSpan, civil::Date};

/// Days from booking to the estimated delivery.
const DELIVERY_DAYS: i64 = 5;

/// The countries that the carrier delivers to.
// All assigned ISO 3166-1 alpha-2 codes except `AQ`: no carrier delivers to Antarctica. `XK`, a user-assigned
// code, is Kosovo in the EU, in CLDR and at carriers.
const SERVED: &[&str] = &[
    "AD", "AE", "AF", "AG", "AI", "AL", "AM", "AO", "AR", "AS", "AT", "AU", "AW", "AX", "AZ", "BA", "BB",
    "BD", "BE", "BF", "BG", "BH", "BI", "BJ", "BL", "BM", "BN", "BO", "BQ", "BR", "BS", "BT", "BV", "BW",
    "BY", "BZ", "CA", "CC", "CD", "CF", "CG", "CH", "CI", "CK", "CL", "CM", "CN", "CO", "CR", "CU", "CV",
    "CW", "CX", "CY", "CZ", "DE", "DJ", "DK", "DM", "DO", "DZ", "EC", "EE", "EG", "EH", "ER", "ES", "ET",
    "FI", "FJ", "FK", "FM", "FO", "FR", "GA", "GB", "GD", "GE", "GF", "GG", "GH", "GI", "GL", "GM", "GN",
    "GP", "GQ", "GR", "GS", "GT", "GU", "GW", "GY", "HK", "HM", "HN", "HR", "HT", "HU", "ID", "IE", "IL",
    "IM", "IN", "IO", "IQ", "IR", "IS", "IT", "JE", "JM", "JO", "JP", "KE", "KG", "KH", "KI", "KM", "KN",
    "KP", "KR", "KW", "KY", "KZ", "LA", "LB", "LC", "LI", "LK", "LR", "LS", "LT", "LU", "LV", "LY", "MA",
    "MC", "MD", "ME", "MF", "MG", "MH", "MK", "ML", "MM", "MN", "MO", "MP", "MQ", "MR", "MS", "MT", "MU",
    "MV", "MW", "MX", "MY", "MZ", "NA", "NC", "NE", "NF", "NG", "NI", "NL", "NO", "NP", "NR", "NU", "NZ",
    "OM", "PA", "PE", "PF", "PG", "PH", "PK", "PL", "PM", "PN", "PR", "PS", "PT", "PW", "PY", "QA", "RE",
    "RO", "RS", "RU", "RW", "SA", "SB", "SC", "SD", "SE", "SG", "SH", "SI", "SJ", "SK", "SL", "SM", "SN",
    "SO", "SR", "SS", "ST", "SV", "SX", "SY", "SZ", "TC", "TD", "TF", "TG", "TH", "TJ", "TK", "TL", "TM",
    "TN", "TO", "TR", "TT", "TV", "TW", "TZ", "UA", "UG", "UM", "US", "UY", "UZ", "VA", "VC", "VE", "VG",
    "VI", "VN", "VU", "WF", "WS", "XK", "YE", "YT", "ZA", "ZM", "ZW",
];

/// Books shipments. Booking is idempotent: the same order gets the same shipment on any day.
pub trait Carrier {
    /// Whether the carrier delivers to this country (ISO 3166-1 alpha-2).
    fn serves(&self, country: &str) -> bool;

    /// Books the order's shipment to this address, on `today`.
    ///
    /// # Errors
    /// When this carrier does not serve the address.
    fn book(&self, order: &OrderId, to: &ShippingAddress, today: Date) -> Result<Booking, NotServed>;
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotServed {
    #[error("no carrier delivers to {0}")]
    Country(String),
    /// The date is out of the calendar's range; nothing was booked.
    #[error("there is no delivery date {DELIVERY_DAYS} days after {0}")]
    Calendar(Date),
}

/// The shop's own carrier: a list of countries, with no outside system behind it. Staff hand over the shipments
/// and report their progress.
#[derive(Debug, Clone, Copy, Default)]
pub struct HouseCarrier;

impl Carrier for HouseCarrier {
    fn serves(&self, country: &str) -> bool {
        SERVED.contains(&country)
    }

    fn book(&self, order: &OrderId, to: &ShippingAddress, today: Date) -> Result<Booking, NotServed> {
        if !self.serves(&to.country) {
            return Err(NotServed::Country(to.country.clone()));
        }
        let estimated_delivery =
            today.checked_add(DELIVERY_DAYS.days()).map_err(|_| NotServed::Calendar(today))?;
        // Both numbers follow from the order's id. So a repeat books the same shipment, and no counter has to
        // be stored.
        let digits = order.as_str().trim_start_matches("ord_");
        Ok(Booking {
            shipment_id: format!("shp_{digits}"),
            carrier: "Ordersaga Parcel".to_owned(),
            tracking_number: format!("OP{}", digits.to_uppercase()),
            estimated_delivery,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TODAY: Date = jiff::civil::date(2026, 12, 29);

    fn order(digit: char) -> OrderId {
        OrderId::try_from(format!("ord_{}", digit.to_string().repeat(32))).unwrap()
    }

    fn to(country: &str) -> ShippingAddress {
        ShippingAddress {
            name: "Ada".to_owned(),
            line1: "1 Street".to_owned(),
            line2: None,
            city: "Town".to_owned(),
            postal_code: "12345".to_owned(),
            country: country.to_owned(),
        }
    }

    #[test]
    fn an_order_has_one_shipment_and_each_its_own() {
        let book = |digit| HouseCarrier.book(&order(digit), &to("DE"), TODAY).unwrap();
        assert_eq!(book('a'), book('a'));
        assert_ne!(book('a').tracking_number, book('b').tracking_number);
        assert_eq!(book('a').shipment_id, format!("shp_{}", "a".repeat(32)));
        assert_eq!(book('a').estimated_delivery.to_string(), "2027-01-03");
    }

    #[test]
    fn every_country_is_served_but_antarctica_and_what_is_none() {
        for served in ["US", "DE", "JP", "BR", "NZ", "XK"] {
            assert!(HouseCarrier.book(&order('a'), &to(served), TODAY).is_ok(), "{served}");
        }
        for other in ["AQ", "XX", "", "de", "USA"] {
            let refused = HouseCarrier.book(&order('a'), &to(other), TODAY);
            assert_eq!(refused, Err(NotServed::Country(other.to_owned())));
            assert!(!HouseCarrier.serves(other));
        }
        // 249 codes are assigned (ISO 3166-1, 2026), one of them is Antarctica's, and Kosovo's is not among them.
        assert_eq!(SERVED.len(), 249);
        assert!(SERVED.is_sorted_by(|a, b| a < b), "each once");
    }

    #[test]
    fn a_day_after_which_the_calendar_ends_is_refused() {
        assert_eq!(HouseCarrier.book(&order('a'), &to("DE"), Date::MAX), Err(NotServed::Calendar(Date::MAX)));
    }
}
