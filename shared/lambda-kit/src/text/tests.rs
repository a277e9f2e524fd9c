use rstest::rstest;

use super::*;

#[rstest]
#[case(" Ada\t", "Ada")]
#[case("\u{a0}CODE\u{3000}", "CODE")]
#[case("\u{200b}\u{feff}Ada\u{2060}", "Ada")]
#[case("Ada\r\n", "Ada")]
#[case("Cafe\u{301}", "Café")]
#[case("\u{212b}", "Å")]
#[case("a b", "a b")]
#[case(" ❤\u{fe0f} ", "❤\u{fe0f}")]
fn a_text_is_trimmed_and_composed(#[case] typed: &str, #[case] read: &str) {
    assert_eq!(normalized(typed), read);
}

#[rstest]
#[case("Straße 1", true)]
#[case("👩‍👩‍👧", true)]
#[case("می‌خواهم", true)]
#[case("ääääää ääää", false)]
#[case("", false)]
#[case("   ", false)]
#[case("\t", false)]
#[case("\u{a0}", false)]
#[case("\u{200b}", false)]
#[case("\u{3164}\u{2800}\u{ad}", false)]
#[case("a\r\nb", false)]
#[case("a\nb", false)]
#[case("a\u{2028}b", false)]
#[case("a\u{85}b", false)]
#[case("a\0b", false)]
#[case("abc\u{202e}def", false)]
fn a_line_has_something_to_read_and_one_line_of_it(#[case] text: &str, #[case] good: bool) {
    assert_eq!(check_line(text, 10).is_ok(), good);
}

#[rstest]
#[case("", true)]
#[case("one\n\ttwo", true)]
#[case("a\0b", false)]
#[case("12345678901", false)]
fn a_block_may_be_empty_and_have_lines(#[case] text: &str, #[case] good: bool) {
    assert_eq!(check_block(text, 10).is_ok(), good);
}

#[rstest]
#[case("You won! Claim at https://evil.example/prize now", true)]
#[case("evil.example/prize", true)]
#[case("WWW.EVIL.EXAMPLE", true)]
#[case("see evil.com!", true)]
#[case("tel://1", true)]
#[case("Ada Lovelace", false)]
#[case("J.R.R. Tolkien", false)]
#[case("Dr. Ada St.John", false)]
#[case("Ada / Charles", false)]
#[case("Ph.D. Ada, Jr.", false)]
#[case("O'Néill-Smith", false)]
fn a_link_in_a_text_is_found(#[case] text: &str, #[case] expected: bool) {
    assert_eq!(has_link(text), expected);
}

#[rstest]
#[case("Café", "cafe")]
#[case("CAFE\u{301}", "cafe")]
#[case("ｃａｆé", "cafe")]
#[case("Straße", "strasse")]
#[case("ΌΣΟΣ", "οσοσ")]
#[case("όσος", "οσοσ")]
#[case("İstanbul", "istanbul")]
#[case("ﬁn", "fin")]
#[case("Ångström", "angstrom")]
#[case("ガ", "ガ")]
#[case("한글", "한글")]
#[case("①", "1")]
fn what_looks_alike_is_looked_for_alike(#[case] text: &str, #[case] key: &str) {
    assert_eq!(search_key(text), key);
}

/// RFC 8265 section 4.3, Tables 3 and 4.
#[rstest]
#[case("correct horse battery staple", Some("correct horse battery staple"))]
#[case("Correct Horse Battery Staple", Some("Correct Horse Battery Staple"))]
#[case("πßå", Some("πßå"))]
#[case("Jack of ♦s", Some("Jack of ♦s"))]
#[case("foo\u{1680}bar", Some("foo bar"))]
#[case("", None)]
#[case("my cat is a \tby", None)]
#[case("Cafe\u{301}", Some("Café"))]
fn a_password_is_prepared_as_the_rfc_says(#[case] typed: &str, #[case] compared: Option<&str>) {
    assert_eq!(opaque(typed).as_deref(), compared);
}

mod fields {
    use garde::Validate;
    use rstest::rstest;
    use serde::Deserialize;

    use crate::text::{Block, Code, Line, optional};

    #[derive(Debug, Deserialize, Validate)]
    struct Form {
        #[garde(dive)]
        name: Line<5>,
        #[serde(default, deserialize_with = "optional")]
        #[garde(dive)]
        note: Option<Block<5>>,
        #[serde(default, deserialize_with = "optional")]
        #[garde(dive)]
        country: Option<Code<2>>,
    }

    fn form(json: &str) -> Form {
        serde_json::from_str(json).unwrap()
    }

    #[rstest]
    #[case(r#"{"name": " Ada "}"#)]
    #[case(r#"{"name": "Ada", "note": "", "country": ""}"#)]
    #[case(r#"{"name": "Ada", "note": " \u00a0", "country": null}"#)]
    fn an_empty_optional_field_is_not_there(#[case] json: &str) {
        let form = form(json);
        assert_eq!((form.name.as_str(), &form.note, &form.country), ("Ada", &None, &None));
        assert!(form.validate().is_ok());
    }

    #[test]
    fn a_field_is_read_as_its_kind_and_held_to_its_rules() {
        let read = form(r#"{"name": "Cafe\u0301", "note": "a\r\nb", "country": " de "}"#);
        assert_eq!(read.name.as_str(), "Café");
        assert_eq!(read.note.as_ref().map(Block::as_str), Some("a\nb"));
        assert_eq!(read.country.as_ref().map(Code::as_str), Some("DE"));
        assert!(read.validate().is_ok());
        let report = form(r#"{"name": "a\nb", "note": "123456"}"#).validate().unwrap_err();
        let fields: Vec<String> = report.iter().map(|(path, _)| path.to_string()).collect();
        assert_eq!(fields, ["name", "note"]);
        assert!(serde_json::from_str::<Form>(r#"{"name": "Ada", "note": 5}"#).is_err());
    }
}
