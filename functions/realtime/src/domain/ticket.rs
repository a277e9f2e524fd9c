//! Tickets, which admit a client to the WebSocket.

use aws_lc_rs::digest::{SHA256, digest};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use contracts::{SessionId, UserId};
use serde::{Deserialize, Serialize};

/// A ticket's random bytes.
// A ticket is found by its hash alone, so guessing one must be hopeless. Then one pass of SHA-256 without salt is
// enough to store it.
pub const TICKET_BYTES: usize = 32;

/// Seconds that a ticket lives. A client uses it at once.
pub const TICKET_SECONDS: i64 = 60;

/// A ticket as the client holds it: 32 random bytes. `Debug` hides it.
#[derive(Clone)]
pub struct Ticket([u8; TICKET_BYTES]);

impl Ticket {
    pub const fn new(random: [u8; TICKET_BYTES]) -> Self {
        Self(random)
    }

    /// Nothing when the text does not have the form of a ticket.
    pub fn parse(text: &str) -> Option<Self> {
        URL_SAFE_NO_PAD.decode(text).ok()?.try_into().ok().map(Self)
    }

    /// The text for the client: 43 characters of base64url.
    pub fn expose(&self) -> String {
        URL_SAFE_NO_PAD.encode(self.0)
    }

    pub fn hash(&self) -> TicketHash {
        TicketHash(URL_SAFE_NO_PAD.encode(digest(&SHA256, &self.0)))
    }
}

impl std::fmt::Debug for Ticket {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Ticket(..)")
    }
}

/// SHA-256 of a ticket: all that is stored of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TicketHash(String);

impl TicketHash {
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The user whom a ticket admits.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TicketHolder {
    pub user_id: UserId,
    /// The login with which the ticket was requested. The connection is closed when it ends.
    pub session_id: SessionId,
    /// Whether the user may watch every order.
    pub admin: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ticket_is_43_characters_that_a_url_takes_and_reads_back_as_itself() {
        let ticket = Ticket::new([0xfb; TICKET_BYTES]);
        let text = ticket.expose();
        assert_eq!(text.len(), 43);
        assert!(text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_'), "{text}");
        assert_eq!(Ticket::parse(&text).unwrap().hash(), ticket.hash());
        assert_ne!(Ticket::new([1; TICKET_BYTES]).hash(), ticket.hash());
    }

    #[test]
    fn another_text_is_no_ticket() {
        let long = "A".repeat(44);
        for text in ["", "ticket", &long[..42], &long, "eyJhbGciOiJFUzI1NiJ9.e30.c2ln"] {
            assert!(Ticket::parse(text).is_none(), "{text}");
        }
    }

    #[test]
    fn neither_a_ticket_nor_its_hash_shows_it() {
        let ticket = Ticket::new([7; TICKET_BYTES]);
        let text = ticket.expose();
        assert!(!format!("{ticket:?} {:?}", ticket.hash()).contains(&text));
    }
}
