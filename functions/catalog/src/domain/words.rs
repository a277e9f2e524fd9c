//! How products are found by text: by the beginning of any word of their name, and what follows it.

use lambda_kit::text::search_key;

/// A name is found by the beginnings of so many of its words, the first ones: each is an item of the table, and a change
/// of a name writes all of them in one transaction.
const WORDS: usize = 20;

/// A text as it is compared: its words without case, diacritics and compatibility forms, one space between them.
pub fn normalize(text: &str) -> String {
    words(text).join(" ")
}

/// A name from each of its words on, normalized: what it is found by begins one of them.
pub fn phrases(name: &str) -> Vec<String> {
    let words = words(name);
    (0..words.len().min(WORDS)).map(|from| words[from..].join(" ")).collect()
}

/// Which of a name's phrases is the first that begins with a normalized text.
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
