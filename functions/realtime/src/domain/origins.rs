//! The web pages that may open the WebSocket.

use std::{convert::Infallible, str::FromStr};

/// The origins whose pages may connect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origins(Vec<String>);

impl FromStr for Origins {
    type Err = Infallible;

    /// Origins with commas between them, such as `https://shop.example.com`. `*` is every origin, and an empty text
    /// is, too.
    fn from_str(text: &str) -> Result<Self, Infallible> {
        let origins = text.split(',').map(str::trim).filter(|origin| !origin.is_empty());
        Ok(Self(origins.map(str::to_ascii_lowercase).collect()))
    }
}

impl Origins {
    /// Whether a client may connect that sends this `Origin`.
    // Browsers send the header, and no page can change it (Fetch standard, forbidden request-headers). A client that
    // sends none is no browser: it could as well send one that is allowed.
    pub fn allow(&self, origin: Option<&str>) -> bool {
        let Some(origin) = origin else { return true };
        self.0.is_empty() || self.0.iter().any(|known| known == "*" || known.eq_ignore_ascii_case(origin))
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case::the_shops_page("https://shop.example.com", true)]
    #[case::another_of_the_list("https://admin.example.com", true)]
    #[case::in_other_letters("https://Shop.Example.com", true)]
    #[case::another_site("https://evil.example", false)]
    #[case::a_longer_name("https://shop.example.com.evil.example", false)]
    #[case::another_scheme("http://shop.example.com", false)]
    #[case::another_port("https://shop.example.com:8443", false)]
    #[case::a_file_or_a_sandbox("null", false)]
    #[case::empty("", false)]
    fn only_pages_of_listed_origins_may_connect(#[case] origin: &str, #[case] allowed: bool) {
        let Ok(origins) = "https://shop.example.com, https://Admin.example.com,".parse::<Origins>();
        assert_eq!(origins.allow(Some(origin)), allowed);
    }

    #[test]
    fn a_client_without_an_origin_is_no_browser() {
        let Ok(origins) = "https://shop.example.com".parse::<Origins>();
        assert!(origins.allow(None));
    }

    #[test]
    fn without_a_list_or_with_an_asterisk_every_page_may_connect() {
        for list in ["", " ", "*", "https://shop.example.com,*"] {
            let Ok(origins) = list.parse::<Origins>();
            assert!(origins.allow(Some("https://evil.example")), "{list:?}");
        }
    }
}
