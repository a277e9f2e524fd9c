//! Hides contact data in texts. Logs and events have none, so this is a second line of defence: a provider's
//! error may repeat an address, and a page may be passed on.

/// The text with e-mail addresses and phone numbers (E.164) hidden.
pub fn masked(text: &str) -> String {
    let is_part = |c: char| c.is_alphanumeric() || "._%+-@".contains(c);
    let mut result = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = rest.find(is_part) {
        result.push_str(&rest[..start]);
        rest = &rest[start..];
        let end = rest.find(|c| !is_part(c)).unwrap_or(rest.len());
        result.push_str(&word(&rest[..end]));
        rest = &rest[end..];
    }
    result.push_str(rest);
    result
}

fn word(word: &str) -> String {
    if let Some((local, domain)) = word.split_once('@')
        && !local.is_empty()
        && domain.contains('.')
    {
        let first = local.chars().next().unwrap_or_default();
        return format!("{first}…@…");
    }
    // E.164: a plus sign and 7 to 15 digits.
    if let Some(digits) = word.strip_prefix('+')
        && (7..=15).contains(&digits.len())
        && digits.bytes().all(|byte| byte.is_ascii_digit())
    {
        return format!("+…{}", &digits[digits.len() - 2..]);
    }
    word.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_and_numbers_are_hidden_and_ids_and_times_stay() {
        let said =
            "refused: <anna.b@example.com>, +4915112345678; ord_0123 at 2026-11-29T20:44:01+00:00 (a@b)";
        assert_eq!(masked(said), "refused: <a…@…>, +…78; ord_0123 at 2026-11-29T20:44:01+00:00 (a@b)");
        assert_eq!(masked("é@bücher.example"), "é…@…");
        assert_eq!(masked(""), "");
    }
}
