//! Entity tags in `If-None-Match` and `If-Match` (RFC 9110 sections 8.8.3 and 13.1).

use axum::http::{HeaderMap, HeaderName};

/// The value of `If-Match` or `If-None-Match`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EntityTags {
    /// `*`: any version that there is.
    Any,
    /// Those that have the form of a tag.
    These(Vec<EntityTag>),
}

/// A tag, with its quotes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EntityTag {
    /// Whether it begins with `W/`.
    pub weak: bool,
    /// With its quotes, and without `W/`.
    pub opaque: String,
}

impl EntityTags {
    /// The tags from all lines of the header. `None` when it was not sent.
    pub fn read(headers: &HeaderMap, name: &HeaderName) -> Option<Self> {
        let lines: Vec<&str> =
            headers.get_all(name).iter().map(|line| line.to_str().unwrap_or_default()).collect();
        if lines.is_empty() {
            return None;
        }
        let text = lines.join(",");
        Some(if text.trim() == "*" { Self::Any } else { Self::These(parse(&text)) })
    }

    /// Weak comparison (RFC 9110 section 8.8.3.2), which `If-None-Match` requires.
    pub fn has_weakly(&self, etag: &str) -> bool {
        let etag = etag.strip_prefix("W/").unwrap_or(etag);
        match self {
            Self::Any => true,
            Self::These(tags) => tags.iter().any(|tag| tag.opaque == etag),
        }
    }

    /// The strong tags, since `If-Match` requires strong comparison. `None` for `*`.
    pub fn strong(&self) -> Option<impl Iterator<Item = &str>> {
        match self {
            Self::Any => None,
            Self::These(tags) => Some(tags.iter().filter(|tag| !tag.weak).map(|tag| &*tag.opaque)),
        }
    }
}

/// A tag may contain a comma, so tags are parsed one after the other; malformed ones are skipped.
fn parse(mut text: &str) -> Vec<EntityTag> {
    let mut tags = Vec::new();
    loop {
        text = text.trim_start_matches([' ', '\t', ',']);
        if text.is_empty() {
            return tags;
        }
        let (weak, rest) = match text.strip_prefix("W/") {
            Some(rest) => (true, rest),
            None => (false, text),
        };
        let end = rest.strip_prefix('"').and_then(|rest| rest.find('"'));
        match end.map(|end| rest.split_at(end + 2)) {
            Some((opaque, rest)) => {
                tags.push(EntityTag { weak, opaque: opaque.to_owned() });
                text = rest;
            }
            None => text = text.split_once(',').map_or("", |(_, rest)| rest),
        }
    }
}

#[cfg(test)]
mod tests {
    use axum::http::header::{IF_MATCH, IF_NONE_MATCH};
    use rstest::rstest;

    use super::*;

    fn sent(lines: &[&str]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(IF_NONE_MATCH, line.parse().unwrap());
            headers.append(IF_MATCH, line.parse().unwrap());
        }
        headers
    }

    /// RFC 9110 section 8.8.3.2, Table 3.
    #[rstest]
    #[case(r#"W/"1""#, r#"W/"1""#, false, true)]
    #[case(r#"W/"1""#, r#"W/"2""#, false, false)]
    #[case(r#"W/"1""#, r#""1""#, false, true)]
    #[case(r#""1""#, r#""1""#, true, true)]
    fn tags_are_compared_as_the_rfc_says(
        #[case] known: &str,
        #[case] current: &str,
        #[case] strongly: bool,
        #[case] weakly: bool,
    ) {
        let tags = EntityTags::read(&sent(&[known]), &IF_NONE_MATCH).unwrap();
        assert_eq!(tags.has_weakly(current), weakly);
        let is_strong = !current.starts_with("W/");
        assert_eq!(is_strong && tags.strong().unwrap().any(|tag| tag == current), strongly);
    }

    /// The examples of RFC 9110 sections 13.1.1 and 13.1.2.
    #[rstest]
    #[case(&[r#""xyzzy""#], true)]
    #[case(&[r#"W/"xyzzy""#], true)]
    #[case(&[r#""r2d2xxxx", "xyzzy", "c3piozzzz""#], true)]
    #[case(&[r#"W/"r2d2xxxx",W/"xyzzy" , W/"c3piozzzz""#], true)]
    #[case(&[r#""a""#, r#""xyzzy""#], true)]
    #[case(&[r#""a,b", , "xyzzy""#], true)]
    #[case(&["*"], true)]
    #[case(&[" * "], true)]
    #[case(&[r#""r2d2xxxx""#], false)]
    #[case(&["xyzzy"], false)]
    #[case(&[r#""xyzzy"#], false)]
    #[case(&[r#""a,"xyzzy,""#], false)]
    #[case(&[""], false)]
    fn a_list_of_tags_is_read_as_the_rfc_writes_it(#[case] lines: &[&str], #[case] expected: bool) {
        let tags = EntityTags::read(&sent(lines), &IF_NONE_MATCH).unwrap();
        assert_eq!(tags.has_weakly(r#""xyzzy""#), expected);
    }

    #[test]
    fn a_header_that_was_not_sent_says_nothing() {
        assert_eq!(EntityTags::read(&HeaderMap::new(), &IF_MATCH), None);
    }
}
