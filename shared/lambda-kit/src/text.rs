//! Texts that people type: each field of the API is one of the kinds here, which say how it is read and what it may hold.
//!
//! | kind | is read | may hold |
//! |---|---|---|
//! | [`Line`] | trimmed, NFC | one line: 1 to `MAX` characters, one of them visible |
//! | [`Block`] | trimmed, NFC, line ends as `\n` | several lines, or nothing: at most `MAX` characters |
//! | [`Code`] | trimmed, upper case | what its field says: codes are ASCII |
//! | [`optional`] | empty or blank: as if the field were not there | what its kind may hold |
//! | [`search_key`] | NFKC, case folded, without diacritics | what is compared, and never shown |
//! | [`opaque`] | as RFC 8265 section 4.2 prepares a password | what that allows |
//!
//! The API's description has the same kinds: a field whose type is the context's own names its kind in its schema
//! (`OptionalLine`, `Address`, `Opaque`).

use std::borrow::Cow;

use unicode_normalization::{
    IsNormalized, UnicodeNormalization, char::canonical_combining_class, is_nfc_quick,
};

/// Trimmed of what means nothing at a text's ends, spaces of every kind among them, and composed (NFC, UAX 15).
pub fn normalized(text: &str) -> Cow<'_, str> {
    let text = trimmed(text);
    match is_nfc_quick(text.chars()) {
        IsNormalized::Yes => Cow::Borrowed(text),
        IsNormalized::No | IsNormalized::Maybe => Cow::Owned(text.nfc().collect()),
    }
}

/// Without white space at both ends, including characters of no width. Joiners and variation selectors stay:
/// they belong to the character before them.
pub fn trimmed(text: &str) -> &str {
    let is_space =
        |c: char| c.is_whitespace() || c.is_control() || matches!(c, '\u{200b}' | '\u{2060}' | '\u{feff}');
    text.trim_matches(is_space)
}

fn is_invisible(c: char) -> bool {
    // The braille pattern without dots is no space, and shows nothing.
    c.is_control() || c == '\u{2800}' || is_ignorable(c)
}

/// Default_Ignorable_Code_Point of Unicode 17 (DerivedCoreProperties.txt): zero-width spaces, joiners, fillers, variation
/// selectors, tags. No crate of the functions has this property.
fn is_ignorable(c: char) -> bool {
    matches!(
        c,
        '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}'..='\u{1160}' | '\u{17b4}'..='\u{17b5}'
            | '\u{180b}'..='\u{180f}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{3164}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{ffa0}'
            | '\u{fff0}'..='\u{fff8}' | '\u{1bca0}'..='\u{1bca3}' | '\u{1d173}'..='\u{1d17a}'
            | '\u{e0000}'..='\u{e0fff}'
    )
}

/// Ends a line (UAX 14) or changes the reading direction (UAX 9): a label would not show what was typed.
fn is_layout(c: char) -> bool {
    matches!(c, '\u{2028}' | '\u{2029}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Checks a text that must be one line of 1 to `max` characters.
pub fn check_line(text: &str, max: usize) -> Result<(), String> {
    if text.chars().all(|c| c.is_whitespace() || is_invisible(c)) {
        Err("must not be blank".to_owned())
    } else if text.chars().count() > max {
        Err(format!("must have at most {max} characters"))
    } else if text.chars().any(|c| c.is_control() || is_layout(c)) {
        Err("must be one line without control characters".to_owned())
    } else {
        Ok(())
    }
}

/// Checks a text of any number of lines and at most `max` characters.
pub fn check_block(text: &str, max: usize) -> Result<(), String> {
    if text.chars().count() > max {
        Err(format!("must have at most {max} characters"))
    } else if text.chars().any(|c| (c.is_control() && !matches!(c, '\n' | '\t')) || is_layout(c)) {
        Err("must not have control characters".to_owned())
    } else {
        Ok(())
    }
}

/// Whether a mail program or a browser would turn a part of this text into a link.
pub fn has_link(text: &str) -> bool {
    text.contains("://") || text.split_whitespace().any(is_link)
}

/// An address such as `www.example`, `shop.example/x` or `example.com`. `St.John` and `J.R.R.` are names.
fn is_link(word: &str) -> bool {
    let word = word.trim_matches(|c: char| !c.is_alphanumeric());
    let host = word.split(['/', '?', '#', ':']).next().unwrap_or_default();
    let Some((before, last)) = host.rsplit_once('.') else { return false };
    let is_top = last.chars().count() >= 2 && last.chars().all(char::is_lowercase);
    let is_path = host.len() < word.len() && last.chars().count() >= 2;
    word.get(..4).is_some_and(|start| start.eq_ignore_ascii_case("www."))
        || is_path
        || (is_top && before.rsplit('.').next().is_some_and(|label| label.chars().count() >= 2))
}

/// A key under which texts match that differ only in compatibility forms (NFKC), case, or diacritics: `Café`,
/// `CAFE` and `ｃａｆé` have the same one.
pub fn search_key(text: &str) -> String {
    let plain = |text: &str| -> String { text.nfkd().filter(|c| !is_diacritic(*c)).collect() };
    // Full case folding: to upper case first, so that `ß` is `ss` and a final sigma is a sigma.
    let folded: String =
        plain(text).chars().flat_map(char::to_uppercase).flat_map(char::to_lowercase).collect();
    // Composed again: a syllable or a voiced letter is one letter of its word.
    plain(&folded).nfc().collect()
}

/// Marks above, below and through a letter, and the points of Hebrew and Arabic (UAX 44, Canonical_Combining_Class).
/// Not those that make another letter: the voicing marks of Kana, and the signs of Indic scripts.
fn is_diacritic(c: char) -> bool {
    matches!(canonical_combining_class(c), 10..=36 | 200..=240)
}

/// Normalises a password for comparison (RFC 8265 section 4.2, OpaqueString): maps all spaces to ASCII space
/// and applies NFC. `None` when it is empty or holds a control character, which that profile forbids.
pub fn opaque(password: &str) -> Option<String> {
    // Excludes NEL and the line and paragraph separators: they are white space, but not of the category Zs.
    let is_space = |c: char| c.is_whitespace() && !c.is_control() && !matches!(c, '\u{2028}' | '\u{2029}');
    if password.is_empty() || password.chars().any(char::is_control) {
        return None;
    }
    let spaced: String = password.chars().map(|c| if is_space(c) { ' ' } else { c }).collect();
    Some(spaced.nfc().collect())
}

#[cfg(feature = "http")]
#[cfg(feature = "openapi")]
pub use fields::{Address, Opaque, OptionalLine};
pub use fields::{Block, Code, Line, optional};

#[cfg(feature = "http")]
mod fields {
    use garde::{Path, Report, Validate};
    use serde::{Deserialize, Deserializer, Serialize, de::IntoDeserializer};

    use super::{check_block, check_line, normalized, trimmed};

    macro_rules! text {
        ($(#[$doc:meta])* $name:ident, $read:expr, $check:expr, $schema:expr) => {
            $(#[$doc])*
            #[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
            #[serde(transparent)]
            pub struct $name<const MAX: usize>(String);

            impl<const MAX: usize> $name<MAX> {
                /// The text as it is stored.
                pub fn as_str(&self) -> &str {
                    &self.0
                }
            }

            impl<const MAX: usize> From<$name<MAX>> for String {
                fn from(text: $name<MAX>) -> Self {
                    text.0
                }
            }

            impl<'de, const MAX: usize> Deserialize<'de> for $name<MAX> {
                fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                    let read: fn(&str) -> String = $read;
                    String::deserialize(deserializer).map(|text| Self(read(&text)))
                }
            }

            impl<const MAX: usize> Validate for $name<MAX> {
                type Context = ();

                fn validate_into(&self, (): &(), parent: &mut dyn FnMut() -> Path, report: &mut Report) {
                    let check: fn(&str, usize) -> Result<(), String> = $check;
                    if let Err(message) = check(&self.0, MAX) {
                        report.append(parent(), garde::Error::new(message));
                    }
                }
            }

            #[cfg(feature = "openapi")]
            impl<const MAX: usize> schemars::JsonSchema for $name<MAX> {
                fn inline_schema() -> bool {
                    true
                }

                fn schema_name() -> std::borrow::Cow<'static, str> {
                    format!("{}{MAX}", stringify!($name)).into()
                }

                fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
                    let schema: fn(usize) -> schemars::Schema = $schema;
                    schema(MAX)
                }
            }
        };
    }

    text!(
        /// One line that says something.
        Line,
        |text| normalized(text).into_owned(),
        check_line,
        |max| schemars::json_schema!({
            "type": "string", "minLength": 1, "maxLength": max, "pattern": "\\S",
            "description": "One line with something to read: trimmed, and composed (NFC)."
        })
    );

    text!(
        /// Some lines, or nothing.
        Block,
        |text| normalized(&text.replace("\r\n", "\n").replace('\r', "\n")).into_owned(),
        check_block,
        |max| schemars::json_schema!({
            "type": "string", "maxLength": max,
            "description": "Any number of lines: trimmed, and composed (NFC)."
        })
    );

    text!(
        /// A code of ASCII letters, of which case means nothing. Its field checks it.
        Code,
        |text| trimmed(text).to_ascii_uppercase(),
        |_, _| Ok(()),
        |max| schemars::json_schema!({
            "type": "string", "minLength": 1, "maxLength": max,
            "description": "Trimmed; lower and upper case are the same."
        })
    );

    #[cfg(feature = "openapi")]
    macro_rules! described {
        ($(#[$doc:meta])* $name:ident<$($length:ident),+>, $schema:tt) => {
            $(#[$doc])*
            pub struct $name<$(const $length: usize),+>;

            impl<$(const $length: usize),+> schemars::JsonSchema for $name<$($length),+> {
                fn inline_schema() -> bool {
                    true
                }

                fn schema_name() -> std::borrow::Cow<'static, str> {
                    [stringify!($name).to_owned(), $($length.to_string()),+].concat().into()
                }

                fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
                    schemars::json_schema!($schema)
                }
            }
        };
    }

    #[cfg(feature = "openapi")]
    described!(
        /// The schema of an optional [`Line`]: a blank one counts as absent, and is no error.
        OptionalLine<MAX>, {
            "type": ["string", "null"], "maxLength": MAX,
            "description": "One line: trimmed, and composed (NFC). An empty or blank one counts as absent."
        }
    );

    #[cfg(feature = "openapi")]
    described!(
        /// The schema of an e-mail address.
        Address<MAX>, {
            "type": "string", "maxLength": MAX,
            "description": "An e-mail address: trimmed; lower and upper case are the same, and so are an \
                            international domain and its ASCII form (UTS 46)."
        }
    );

    #[cfg(feature = "openapi")]
    described!(
        /// The schema of a password, read by [`super::opaque`].
        Opaque<MIN, MAX>, {
            "type": "string", "minLength": MIN, "maxLength": MAX,
            "description": "Not trimmed. Compared as RFC 8265 section 4.2 says: every space is U+0020, composed \
                            (NFC), no control characters."
        }
    );

    /// Reads an optional field: a text that is empty or blank, as a form sends it, is a field that is not there.
    ///
    /// # Errors
    /// When there is something, and it is not of its kind.
    pub fn optional<'de, D, T>(deserializer: D) -> Result<Option<T>, D::Error>
    where
        D: Deserializer<'de>,
        T: for<'text> Deserialize<'text>,
    {
        let text = Option::<String>::deserialize(deserializer)?;
        match text.as_deref().map(trimmed) {
            None | Some("") => Ok(None),
            Some(text) => T::deserialize(text.into_deserializer()).map(Some),
        }
    }
}

#[cfg(test)]
mod tests;
