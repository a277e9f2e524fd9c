//! A person's name and contact data. All of it is personal data: `Debug` hides it, and logs never hold it.

use lambda_kit::text;
use serde::{Deserialize, Serialize};

use super::BrokenRule;

macro_rules! personal {
    ($(#[$doc:meta])* $name:ident, $read:expr) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl std::str::FromStr for $name {
            type Err = BrokenRule;
            fn from_str(text: &str) -> Result<Self, BrokenRule> {
                let read: fn(&str) -> Result<String, BrokenRule> = $read;
                read(text).map(Self)
            }
        }

        impl TryFrom<String> for $name {
            type Error = BrokenRule;
            fn try_from(text: String) -> Result<Self, BrokenRule> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(value: $name) -> String {
                value.0
            }
        }

        impl std::fmt::Debug for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(concat!(stringify!($name), "(..)"))
            }
        }
    };
}

personal!(
    /// An e-mail address, so written that one mailbox is one account: trimmed, in lower case, an international domain in
    /// its ASCII form (UTS 46, which also makes one of letters that look alike to a browser, such as `Ｅ` and `e`).
    ///
    /// Letters beyond ASCII are refused before the `@`. Dots and `+` stay.
    // Before the `@`, a mail server may distinguish lower and upper case (RFC 5321 section 2.4), and none that
    // people use does. Letters beyond ASCII are refused because SES delivers to none of these addresses, and
    // because `K`, the Kelvin sign, must not become another user's `k`. Each provider gives dots and `+` its
    // own meaning.
    Email,
    |text| {
        const RULE: BrokenRule = BrokenRule("must be an e-mail address, like `anna@example.com`");
        let (local, domain) = text::trimmed(text).rsplit_once('@').ok_or(RULE)?;
        let domain = idna::domain_to_ascii_strict(domain).map_err(|_| RULE)?;
        let text = format!("{}@{domain}", local.to_ascii_lowercase());
        let fits = text.is_ascii() && text.len() <= Email::MAX && garde::rules::email::parse_email(&text).is_ok();
        // The rule of HTML's e-mail field takes a host alone, which no customer of a shop has.
        if fits && domain.contains('.') { Ok(text) } else { Err(RULE) }
    }
);

personal!(
    /// A person's name: trimmed and composed (NFC), 1 to 200 characters, no control characters. What is read from the
    /// table goes through this, too: what only new names are held to is [`Name::check`].
    Name,
    |text| {
        let text = text::normalized(text);
        let good = (1..=200).contains(&text.chars().count()) && !text.chars().any(char::is_control);
        if good { Ok(text.into_owned()) } else { Err(BrokenRule("must be 1 to 200 characters on one line")) }
    }
);

personal!(
    /// A phone number as ITU-T E.164 writes it: `+`, then at most 15 digits, the first not 0. Fewer than 7 is a
    /// number within a town. It is read with the separators of RFC 3966 section 5.1.1 and with spaces, which mean nothing.
    Phone,
    |text| {
        let is_separator = |c: char| matches!(c, '-' | '.' | '(' | ')') || c.is_whitespace();
        let text: String = text::trimmed(text).chars().filter(|c| !is_separator(*c)).collect();
        let good = text.strip_prefix('+').is_some_and(|digits| {
            (7..=15).contains(&digits.len())
                && digits.bytes().all(|b| b.is_ascii_digit())
                && !digits.starts_with('0')
        });
        if good { Ok(text) } else { Err(BrokenRule("must be in E.164 form, like `+14155550123`")) }
    }
);

impl Email {
    /// Characters, all ASCII: what a mail path leaves for the address (RFC 5321 section 4.5.3.1.3, erratum 1690).
    pub const MAX: usize = 254;
}

impl Name {
    /// The rules for a new name: it must have visible text and no link.
    ///
    /// # Errors
    /// The broken rule.
    pub fn check(&self) -> Result<(), BrokenRule> {
        // E-mails contain the name, and a stranger who registers another person's address could spread a link
        // with them. Stored names are not checked again: they may be older than these rules.
        if text::check_line(&self.0, 200).is_err() {
            Err(BrokenRule("must be 1 to 200 characters on one line"))
        } else if text::has_link(&self.0) {
            Err(BrokenRule("must not have a link"))
        } else {
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case(" Anna.Smith+shop@Example.COM ", Some("anna.smith+shop@example.com"))]
    #[case("\u{200b}anna@example.com\u{feff}", Some("anna@example.com"))]
    #[case("anna@BÜCHER.example", Some("anna@xn--bcher-kva.example"))]
    #[case("anna@xn--bcher-kva.example", Some("anna@xn--bcher-kva.example"))]
    #[case("anna@ＥＸＡＭＰＬＥ.com", Some("anna@example.com"))]
    #[case("ännä@example.com", None)]
    #[case("\u{212a}evin@example.com", None)]
    #[case("anna@example..com", None)]
    #[case("anna@-example.com", None)]
    #[case("anna@exa_mple.com", None)]
    #[case("anna@xn--a.example", None)]
    #[case("anna@example", None)]
    #[case("anna@[127.0.0.1]", None)]
    #[case("anna", None)]
    #[case("anna@@example.com", None)]
    #[case("anna smith@example.com", None)]
    #[case("", None)]
    fn an_email_address_is_trimmed_and_lower_case(#[case] text: &str, #[case] read: Option<&str>) {
        assert_eq!(text.parse::<Email>().ok().as_ref().map(Email::as_str), read);
    }

    #[test]
    fn an_email_address_is_no_longer_than_mail_can_carry() {
        let domain = format!("{}.{}.{}.example", "a".repeat(60), "b".repeat(60), "c".repeat(60));
        assert!(format!("{}@{domain}", "x".repeat(254 - 1 - domain.len())).parse::<Email>().is_ok());
        assert!(format!("{}@{domain}", "x".repeat(255 - 1 - domain.len())).parse::<Email>().is_err());
    }

    #[rstest]
    #[case("  Ánna Ó'Néill  ", true)]
    #[case("   ", false)]
    #[case("a\nb", false)]
    #[case(&"é".repeat(200), true)]
    #[case(&"é".repeat(201), false)]
    fn a_name_is_one_line_of_up_to_200_characters(#[case] text: &str, #[case] good: bool) {
        assert_eq!(text.parse::<Name>().is_ok(), good);
    }

    #[rstest]
    #[case("+14155550123", true)]
    #[case("+123456789012345", true)]
    #[case("+1234567890123456", false)]
    #[case("+123456", false)]
    #[case("+04155550123", false)]
    #[case("14155550123", false)]
    #[case("", false)]
    #[case("+1 415 555 0123 ext. 5", false)]
    fn a_phone_number_is_in_e164_form(#[case] text: &str, #[case] good: bool) {
        assert_eq!(text.parse::<Phone>().is_ok(), good);
    }

    #[rstest]
    #[case("+1 (415) 555-0123")]
    #[case("+1-415-555-0123")]
    #[case("+1.415.555.0123")]
    #[case(" +1\u{a0}415 5550123\t")]
    fn separators_in_a_phone_number_mean_nothing(#[case] text: &str) {
        assert_eq!(text.parse::<Phone>().unwrap().as_str(), "+14155550123");
    }

    #[rstest]
    #[case("Ada Lovelace", true)]
    #[case("\u{200b}\u{ad}", false)]
    #[case("You won! Claim at https://evil.example/prize now", false)]
    #[case("www.evil.example", false)]
    fn a_new_name_can_be_read_and_carries_no_link(#[case] text: &str, #[case] good: bool) {
        assert_eq!(text.parse::<Name>().is_ok_and(|name| name.check().is_ok()), good);
    }

    #[test]
    fn a_name_is_the_same_however_its_letters_are_composed() {
        assert_eq!("A\u{301}nna".parse::<Name>(), "Ánna".parse::<Name>());
    }

    #[test]
    fn personal_data_is_not_shown_by_debug() {
        let shown = format!(
            "{:?} {:?} {:?}",
            "anna@example.com".parse::<Email>(),
            "Anna".parse::<Name>(),
            "+14155550123".parse::<Phone>()
        );
        assert_eq!(shown, "Ok(Email(..)) Ok(Name(..)) Ok(Phone(..))");
    }
}
