//! Codes that prove that a person reads the messages to an address or a number.

use contracts::events::Channel;
use serde::{Deserialize, Serialize};

use super::{PasswordHash, SALT_BYTES, Secret};

/// The random part of a code.
pub const CODE_BYTES: usize = 8;

/// Codes that a channel sends within [`SENDS_WITHIN`].
const SENDS: u32 = 3;
/// In seconds: an hour.
const SENDS_WITHIN: i64 = 60 * 60;
/// Wrong codes, after which the right one is refused, too.
// An attacker has 15 guesses an hour, of 100 million e-mail codes or a million SMS codes.
const TRIES: u32 = 5;

/// A code as its recipient has it. `Debug` hides it.
#[derive(Debug, Clone)]
pub struct Code(Secret);

/// How long a channel's code is good, in seconds.
pub const fn lifetime(channel: Channel) -> i64 {
    match channel {
        // Spam filters hold mail back for minutes.
        Channel::Email => 30 * 60,
        Channel::Sms => 10 * 60,
    }
}

/// Digits of a channel's code.
const fn digits(channel: Channel) -> usize {
    match channel {
        Channel::Email => 8,
        Channel::Sms => 6,
    }
}

impl Code {
    pub fn new(channel: Channel, random: [u8; CODE_BYTES]) -> Self {
        let digits = digits(channel);
        // 64 random bits: no code is likelier than another by more than one in 100 billion.
        let number = u64::from_le_bytes(random) % 10_u64.pow(u32::try_from(digits).unwrap_or(0));
        Self(Secret::from(format!("{number:0digits$}")))
    }

    /// Nothing when the text does not have the form of this channel's codes. Spaces mean nothing.
    pub fn parse(channel: Channel, text: &Secret) -> Option<Self> {
        let text: String = text.expose().chars().filter(|c| !c.is_whitespace()).collect();
        let good = text.len() == digits(channel) && text.bytes().all(|byte| byte.is_ascii_digit());
        good.then(|| Self(Secret::from(text)))
    }

    /// The text for the recipient.
    pub fn expose(&self) -> &str {
        self.0.expose()
    }

    /// The hash to store. It takes as long as that of a password.
    ///
    /// # Errors
    /// When Argon2 has no memory.
    // A fast hash would hide nothing: all codes can be hashed in a second.
    pub fn hash(&self, salt: &[u8; SALT_BYTES]) -> Result<PasswordHash, argon2::password_hash::Error> {
        PasswordHash::of(&self.0, salt)
    }

    /// Whether the hash is of this code.
    ///
    /// # Errors
    /// When it is not an Argon2 hash, or Argon2 has no memory.
    pub fn has(&self, hash: &PasswordHash) -> Result<bool, argon2::password_hash::Error> {
        hash.matches(&self.0)
    }
}

/// The code of a channel that waits for its confirmation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PendingCode {
    pub hash: PasswordHash,
    /// The address or number that it was sent to.
    pub to: String,
    /// Unix seconds.
    pub valid_until: i64,
    /// Confirmations that were tried with it.
    pub tries: u32,
}

/// The stored state of a channel's codes.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verification {
    /// The newest code, until it was used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pending: Option<PendingCode>,
    /// Codes that were sent since the count began.
    pub sent: u32,
    /// When the count is over, and the item expires. Unix seconds.
    pub expires_at: i64,
    /// Counts the writes of the item, from 1.
    pub version: u64,
}

/// Why a code cannot be confirmed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NotConfirmable {
    /// No code was sent, it was used, or its time is over.
    NoCode,
    /// There were too many wrong ones.
    TooMany {
        /// Seconds until the code is void.
        wait: i64,
    },
}

impl std::fmt::Debug for Verification {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Verification {{ sent: {}, version: {}, .. }}", self.sent, self.version)
    }
}

impl Verification {
    /// The state after a code is sent, which replaces the one before. `counted` is whether the code counts as one of
    /// those that a user may ask for.
    ///
    /// # Errors
    /// The seconds to wait, when too many were sent.
    pub fn send(stored: Option<&Self>, code: PendingCode, counted: bool, now: i64) -> Result<Self, i64> {
        // DynamoDB deletes late.
        let current = stored.filter(|stored| stored.expires_at > now);
        let (sent, expires_at) =
            current.map_or((0, now + SENDS_WITHIN), |current| (current.sent, current.expires_at));
        if counted && sent >= SENDS {
            return Err(expires_at - now);
        }
        Ok(Self {
            // A code that is sent at the end of the hour outlives the count.
            expires_at: expires_at.max(code.valid_until),
            pending: Some(code),
            sent: sent + u32::from(counted),
            version: stored.map_or(0, |stored| stored.version) + 1,
        })
    }

    /// The state in which one more try is counted, and the code to compare with.
    ///
    /// # Errors
    /// When there is no code to compare with.
    pub fn attempt(&self, now: i64) -> Result<(Self, PendingCode), NotConfirmable> {
        let pending = self.pending.as_ref().filter(|code| code.valid_until > now);
        let pending = pending.ok_or(NotConfirmable::NoCode)?;
        if pending.tries >= TRIES {
            return Err(NotConfirmable::TooMany { wait: pending.valid_until - now });
        }
        let pending = PendingCode { tries: pending.tries + 1, ..pending.clone() };
        let counted = Self { pending: Some(pending.clone()), version: self.version + 1, ..self.clone() };
        Ok((counted, pending))
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    const NOW: i64 = 1_800_000_000;

    fn code(to: &str, now: i64) -> PendingCode {
        let hash = PasswordHash::dummy();
        PendingCode { hash, to: to.to_owned(), valid_until: now + lifetime(Channel::Email), tries: 0 }
    }

    fn sent(stored: Option<&Verification>, now: i64) -> Result<Verification, i64> {
        Verification::send(stored, code("anna@example.com", now), true, now)
    }

    #[rstest]
    #[case(Channel::Email, 8)]
    #[case(Channel::Sms, 6)]
    fn a_code_has_as_many_digits_as_its_channel_asks_for(#[case] channel: Channel, #[case] digits: usize) {
        for random in [[0; CODE_BYTES], [7; CODE_BYTES], [255; CODE_BYTES]] {
            let code = Code::new(channel, random);
            assert!(code.expose().len() == digits && code.expose().bytes().all(|b| b.is_ascii_digit()));
        }
    }

    #[test]
    fn a_code_is_read_with_spaces_and_nothing_else_is_one() {
        let read = |text: &str| Code::parse(Channel::Email, &Secret::from(text.to_owned()));
        assert_eq!(read(" 1234 5678\n").unwrap().expose(), "12345678");
        for wrong in ["", "1234567", "123456789", "1234567a", "１２３４５６７８", "123456"] {
            assert!(read(wrong).is_none(), "{wrong}");
        }
    }

    #[test]
    fn a_hash_is_of_its_code_only() {
        let (one, other) = (Code::new(Channel::Sms, [1; 8]), Code::new(Channel::Sms, [2; 8]));
        let hash = one.hash(&[3; SALT_BYTES]).unwrap();
        assert!(one.has(&hash).unwrap() && !other.has(&hash).unwrap());
    }

    #[test]
    fn a_fourth_code_within_an_hour_is_not_sent_and_the_hour_counts_from_the_first() {
        let mut stored = None;
        for minute in [0, 10, 20] {
            stored = Some(sent(stored.as_ref(), NOW + minute * 60).unwrap());
        }
        let stored = stored.unwrap();
        assert_eq!((stored.sent, stored.version), (3, 3));
        assert_eq!(sent(Some(&stored), NOW + 3500), Err(100));
        let next = sent(Some(&stored), NOW + 3600).unwrap();
        assert_eq!((next.sent, next.version), (1, 4));
    }

    #[test]
    fn the_code_of_a_registration_is_not_among_the_three() {
        let mut stored = Verification::send(None, code("anna@example.com", NOW), false, NOW).unwrap();
        for _ in 0..3 {
            stored = sent(Some(&stored), NOW).unwrap();
        }
        assert!(sent(Some(&stored), NOW).is_err());
    }

    #[test]
    fn the_count_is_kept_as_long_as_its_last_code_is_good() {
        let first = sent(None, NOW).unwrap();
        let second = sent(Some(&first), NOW + 3599).unwrap();
        assert_eq!(second.expires_at, NOW + 3599 + 30 * 60);
    }

    #[test]
    fn after_five_tries_a_code_is_not_compared_until_another_one_is_sent() {
        let mut stored = sent(None, NOW).unwrap();
        for tries in 1..=5 {
            let (counted, pending) = stored.attempt(NOW).unwrap();
            assert_eq!((pending.tries, counted.version), (tries, stored.version + 1));
            stored = counted;
        }
        assert_eq!(stored.attempt(NOW + 60), Err(NotConfirmable::TooMany { wait: 29 * 60 }));
        assert!(sent(Some(&stored), NOW).unwrap().attempt(NOW).is_ok());
    }

    #[test]
    fn a_code_is_good_for_half_an_hour_by_mail_and_for_ten_minutes_by_sms() {
        assert_eq!((lifetime(Channel::Email), lifetime(Channel::Sms)), (1800, 600));
    }

    #[test]
    fn a_code_is_good_until_its_time_is_over_or_it_was_used() {
        let stored = sent(None, NOW).unwrap();
        assert!(stored.attempt(NOW + 1799).is_ok());
        assert_eq!(stored.attempt(NOW + 1800), Err(NotConfirmable::NoCode));
        let used = Verification { pending: None, ..stored };
        assert_eq!(used.attempt(NOW), Err(NotConfirmable::NoCode));
    }
}
