//! Cursors: positions in lists that callers send back to read the next page. A cursor is the position's JSON in
//! base64url (RFC 4648 section 5), opaque to callers.
//!
//! It is neither signed nor secret. It must hold nothing that its caller may not see, and reading it must
//! grant no access: a caller who changes a cursor can only skip or repeat items of their own list.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::{Serialize, de::DeserializeOwned};

/// The text is no cursor, or one of another list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("is not a cursor of this list")]
pub struct InvalidCursor;

/// # Errors
/// When the position has no JSON form.
pub fn encode<T: Serialize>(position: &T) -> Result<String, serde_json::Error> {
    Ok(URL_SAFE_NO_PAD.encode(serde_json::to_vec(position)?))
}

/// # Errors
/// When the text is not a cursor of such a position.
pub fn decode<T: DeserializeOwned>(cursor: &str) -> Result<T, InvalidCursor> {
    let json = URL_SAFE_NO_PAD.decode(cursor).map_err(|_| InvalidCursor)?;
    serde_json::from_slice(&json).map_err(|_| InvalidCursor)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_position_is_read_back_from_its_cursor() {
        let position = ("ORDER#1".to_owned(), 7_u64);
        let cursor = encode(&position).unwrap();
        assert!(cursor.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_')), "{cursor}");
        assert_eq!(decode(&cursor), Ok(position));
    }

    #[test]
    fn other_text_is_refused() {
        for text in ["", "!", "e30", "bm90IEpTT04", "\0"] {
            assert_eq!(decode::<(String, u64)>(text), Err(InvalidCursor), "{text}");
        }
    }
}
