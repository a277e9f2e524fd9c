//! The countries to which SMS are sent.

use std::str::FromStr;

/// The beginnings of the phone numbers to which SMS are sent, such as `+1,+49`. None is no number at all.
// Each SMS costs money, and to some countries a hundred times as much as to others. Who has a share in what the
// networks there earn makes a shop send there, if it can.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SmsCountries(Vec<String>);

/// A list that is not of beginnings of numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("must be beginnings of numbers in E.164 form with commas between them, such as `+1,+49`")]
pub struct InvalidSmsCountries;

impl SmsCountries {
    /// Whether SMS are sent to this number, which is in E.164 form.
    pub fn include(&self, number: &str) -> bool {
        self.0.iter().any(|beginning| number.starts_with(beginning))
    }
}

impl FromStr for SmsCountries {
    type Err = InvalidSmsCountries;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let is_beginning = |text: &str| {
            text.strip_prefix('+').is_some_and(|digits| {
                !digits.is_empty()
                    && !digits.starts_with('0')
                    && digits.bytes().all(|byte| byte.is_ascii_digit())
            })
        };
        let beginnings = text.split(',').map(str::trim).filter(|text| !text.is_empty());
        beginnings
            .map(|text| is_beginning(text).then(|| text.to_owned()).ok_or(InvalidSmsCountries))
            .collect::<Result<_, _>>()
            .map(Self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_reached_when_it_begins_as_one_of_the_list() {
        let countries: SmsCountries = "+1, +49".parse().unwrap();
        assert!(countries.include("+14155550123") && countries.include("+4915112345678"));
        assert!(!countries.include("+447700900123") && !SmsCountries::default().include("+14155550123"));
    }

    #[test]
    fn a_list_without_plus_signs_is_refused() {
        for wrong in ["1", "+", "+0", "US", "+1;+49"] {
            assert_eq!(wrong.parse::<SmsCountries>(), Err(InvalidSmsCountries), "{wrong}");
        }
        assert_eq!("".parse(), Ok(SmsCountries::default()));
    }
}
