//! Text search: a query matches a name when it is a prefix of the name from the beginning of any word.

use lambda_kit::text::search_key;

/// The words of a name that can be searched: the first ones.
// Each word is an item of the table, and a change of a name writes all of them in one transaction.
const WORDS: usize = 20;

/// Normalises a text for comparison: its words without case, diacritics and compatibility forms, joined by
/// single spaces.
pub fn normalize(text: &str) -> String {
    words(text).join(" ")
}

/// The phrases of a name: its normalized text from each of its words on. A query matches as a prefix of one
/// of them.
pub fn phrases(name: &str) -> Vec<String> {
    let words = words(name);
    (0..words.len().min(WORDS)).map(|from| words[from..].join(" ")).collect()
}

/// The index of the first phrase of the name that begins with a normalized text.
pub fn first_match(name: &str, text: &str) -> Option<usize> {
    phrases(name).iter().position(|phrase| phrase.starts_with(text))
}

fn words(text: &str) -> Vec<String> {
    search_key(text)
        .split(|c: char| !c.is_alphanumeric())
        .filter(|word| !word.is_empty())
        .map(str::to_owned)
        .collect()
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[test]
    fn case_and_what_stands_between_words_do_not_matter() {
        assert_eq!(normalize("  Stoneware-MUG,  Größe 2 "), "stoneware mug grosse 2");
        assert_eq!(normalize("CAFE\u{301}"), normalize("Café"));
        assert_eq!(normalize("Café"), "cafe");
        assert_eq!(normalize("!?"), "");
    }

    #[test]
    fn a_name_is_known_from_each_of_its_first_words_on() {
        assert_eq!(phrases("Big blue mug"), ["big blue mug", "blue mug", "mug"]);
        assert_eq!(phrases(&"a ".repeat(100)).len(), WORDS);
        assert!(phrases("...").is_empty());
    }

    #[rstest]
    #[case("big", Some(0))]
    #[case("blue m", Some(1))]
    #[case("mug", Some(2))]
    #[case("ug", None)]
    #[case("big mug", None)]
    fn a_text_matches_the_beginning_of_a_word_and_what_follows(
        #[case] text: &str,
        #[case] at: Option<usize>,
    ) {
        assert_eq!(first_match("Big blue mug", text), at);
    }
}
