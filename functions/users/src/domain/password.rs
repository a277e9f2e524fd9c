//! Password rules and hashing.

use std::cell::RefCell;

use argon2::{
    Algorithm, Argon2, Block, Params, Version,
    password_hash::{Error, phc},
};
use aws_lc_rs::digest::{SHA256, digest};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use lambda_kit::text::opaque;
use serde::{Deserialize, Serialize};

use super::{BrokenRule, Secret};

/// Argon2id with 19 MiB, 2 passes, 1 lane: OWASP's Password Storage Cheat Sheet, its first choice for servers
/// that cannot give more memory. A hash takes 24 ms of a full core.
const MEMORY_KIB: u32 = 19 * 1024;
const PASSES: u32 = 2;
const LANES: u32 = 1;
const HASH_BYTES: usize = 32;

/// RFC 9106 section 3.1 recommends 16 bytes for hashing passwords.
pub const SALT_BYTES: usize = 16;

/// The passwords that an attacker tries first, if they are long enough, in lower case and sorted: those of
/// Django's 20,000 most common ones (`common-passwords.txt.gz` of Django 5.2, by Royce Williams from leaked
/// passwords; BSD-3-Clause, Copyright (c) Django Software Foundation and individual contributors), and a few
/// more.
// With 5 guesses in a quarter of an hour, an attacker does not reach rarer ones.
const COMMON: &str = include_str!("common-passwords.txt");

fn is_common(password: &str) -> bool {
    let password = password.to_lowercase();
    let (mut from, mut to) = (0, COMMON.len());
    // By bisection over the text itself: a list of its lines would be made at every start, for nothing at most of them.
    while from < to {
        let middle = usize::midpoint(from, to);
        let start =
            COMMON.as_bytes()[..middle].iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
        let line = COMMON[start..].lines().next().unwrap_or_default();
        match line.cmp(&password) {
            std::cmp::Ordering::Equal => return true,
            std::cmp::Ordering::Less => from = start + line.len() + 1,
            std::cmp::Ordering::Greater => to = start,
        }
    }
    false
}

/// A password good enough to be kept, as RFC 8265 compares it.
#[derive(Debug, Clone)]
pub struct Password(Secret);

impl TryFrom<&Secret> for Password {
    type Error = BrokenRule;

    fn try_from(text: &Secret) -> Result<Self, BrokenRule> {
        let text =
            opaque(text.expose()).ok_or(BrokenRule("must be 8 to 128 characters, no control characters"))?;
        if !(Self::MIN..=Self::MAX).contains(&text.chars().count()) {
            return Err(BrokenRule("must be 8 to 128 characters long"));
        }
        if is_common(&text) {
            return Err(BrokenRule("is among those that are guessed first: choose another"));
        }
        Ok(Self(Secret::from(text)))
    }
}

impl Password {
    /// Characters. NIST SP 800-63B section 5.1.1.2: at least 8, and 64 must be accepted.
    pub const MIN: usize = 8;
    /// Characters.
    // No person types more.
    pub const MAX: usize = 128;

    /// Takes 24 ms of a full core, on the thread that calls it.
    ///
    /// # Errors
    /// When Argon2 has no memory.
    pub fn hash(&self, salt: &[u8; SALT_BYTES]) -> Result<PasswordHash, Error> {
        PasswordHash::of(&self.0, salt)
    }
}

/// A salted Argon2id hash in PHC form. `Debug` hides it: it can be attacked offline.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PasswordHash(String);

/// Tells the hash of one password from that of another, and of the same one with another salt.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PasswordFingerprint(String);

impl PasswordFingerprint {
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A hash with the usual parameters that no known password has: its output is all zeros.
const DUMMY_HASH: &str =
    "$argon2id$v=19$m=19456,t=2,p=1$AAAAAAAAAAAAAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

impl PasswordHash {
    /// The hash of a secret, whatever its form.
    pub(super) fn of(secret: &Secret, salt: &[u8; SALT_BYTES]) -> Result<Self, Error> {
        // It needs no thread of its own: a Lambda instance serves one request at a time, and `block_in_place`
        // would panic on its single-threaded runtime.
        let (argon2, salt) = (argon2(), phc::Salt::new(salt)?);
        let output = output(&argon2, secret.expose(), &salt, HASH_BYTES)?;
        let hash = phc::PasswordHash {
            algorithm: Algorithm::Argon2id.ident(),
            version: Some(Version::V0x13.into()),
            params: argon2.params().try_into()?,
            salt: Some(salt),
            hash: Some(output),
        };
        Ok(Self(hash.to_string()))
    }

    /// A hash that no password matches.
    // A login for an unknown e-mail address is checked against it, so that it takes as long as one for a known
    // address.
    pub fn dummy() -> Self {
        Self(DUMMY_HASH.to_owned())
    }

    /// Whether the hash is of this password, in any Unicode spelling (RFC 8265). Takes as long as hashing,
    /// and twice as long for another spelling.
    ///
    /// # Errors
    /// When this is not an Argon2 hash, or Argon2 has no memory.
    pub fn matches(&self, password: &Secret) -> Result<bool, Error> {
        let prepared = opaque(password.expose());
        if let Some(prepared) = &prepared
            && self.is_of(prepared)?
        {
            return Ok(true);
        }
        // Hashes may be older than this normalisation, so one may be of the password as it was typed.
        if prepared.as_deref() == Some(password.expose()) { Ok(false) } else { self.is_of(password.expose()) }
    }

    /// What stands for this hash in other items.
    // A copy of the hash itself would be one more place where it can be attacked.
    pub fn fingerprint(&self) -> PasswordFingerprint {
        PasswordFingerprint(URL_SAFE_NO_PAD.encode(digest(&SHA256, self.0.as_bytes())))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    fn is_of(&self, password: &str) -> Result<bool, Error> {
        let hash = phc::PasswordHash::new(&self.0)?;
        let (Some(salt), Some(expected)) = (&hash.salt, &hash.hash) else {
            return Err(Error::EncodingInvalid);
        };
        let version = hash.version.map_or(Ok(Version::V0x13), Version::try_from)?;
        // The parameters are the hash's own, so that hashes made with older ones stay good.
        let argon2 =
            Argon2::new(Algorithm::try_from(hash.algorithm.as_str())?, version, Params::try_from(&hash)?);
        // Outputs are compared in constant time.
        Ok(output(&argon2, password, salt, expected.len())? == *expected)
    }
}

impl std::fmt::Debug for PasswordHash {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("PasswordHash(..)")
    }
}

/// Hashes in memory that the next hash of this thread uses again.
fn output(argon2: &Argon2<'_>, password: &str, salt: &phc::Salt, bytes: usize) -> Result<phc::Output, Error> {
    thread_local! {
        // Freed memory would be lost. The allocator of glibc before 2.38 does not reuse it for the next aligned
        // allocation of the same size (glibc bug 14581), so each hash took another 19 MiB from the function.
        static MEMORY: RefCell<Vec<Block>> = const { RefCell::new(Vec::new()) };
    }
    MEMORY.with_borrow_mut(|memory| {
        let missing = argon2.params().block_count().saturating_sub(memory.len());
        memory.try_reserve_exact(missing).map_err(|_| Error::OutOfMemory)?;
        memory.resize(memory.len() + missing, Block::new());
        let mut output = [0; phc::Output::MAX_LENGTH];
        let output = output.get_mut(..bytes).ok_or(Error::OutputSize)?;
        argon2.hash_password_into_with_memory(password.as_bytes(), salt, output, memory)?;
        Ok(phc::Output::new(output)?)
    })
}

fn argon2() -> Argon2<'static> {
    const PARAMS: Params = match Params::new(MEMORY_KIB, PASSES, LANES, Some(HASH_BYTES)) {
        Ok(params) => params,
        // Met by the compiler or never.
        Err(_) => panic!("Argon2 refuses these parameters"),
    };
    Argon2::new(Algorithm::Argon2id, Version::V0x13, PARAMS)
}

#[cfg(test)]
mod tests {
    use argon2::PasswordHasher;
    use rstest::rstest;

    use super::*;

    fn secret(text: &str) -> Secret {
        Secret::from(text.to_owned())
    }

    #[rstest]
    #[case("1234567", false)]
    #[case("blue-mug", true)]
    #[case("Password123", false)]
    #[case("QWERTYUIOP", false)]
    #[case("ünïcödé!", true)]
    #[case(&"x".repeat(128), true)]
    #[case(&"x".repeat(129), false)]
    fn a_password_is_long_enough_and_not_among_the_common_ones(#[case] text: &str, #[case] good: bool) {
        assert_eq!(Password::try_from(&secret(text)).is_ok(), good);
    }

    #[test]
    fn the_common_ones_are_what_the_length_lets_through_in_order_and_lower_case() {
        let lines: Vec<&str> = COMMON.lines().collect();
        assert!(lines.len() > 8000 && lines.is_sorted_by(|a, b| a < b));
        assert!(lines.iter().all(|line| (Password::MIN..=Password::MAX).contains(&line.chars().count())
            && *line == line.to_lowercase()));
    }

    #[test]
    fn each_common_one_is_found_and_no_part_of_one() {
        assert!(COMMON.lines().all(is_common));
        for rare in ["", "password\n", "passwordpasswor", "zzzzzzzzzzzz", "!!!!!!!!!!!!", "\u{10ffff}"] {
            assert!(!is_common(rare), "{rare:?}");
        }
    }

    #[test]
    fn the_dummy_hash_has_the_parameters_of_every_hash() {
        let hash = Password::try_from(&secret("blue mug 42")).unwrap().hash(&[7; SALT_BYTES]).unwrap();
        let parameters = "$argon2id$v=19$m=19456,t=2,p=1$";
        let lengths = |hash: &str| hash.split('$').map(str::len).collect::<Vec<_>>();
        assert!(hash.0.starts_with(parameters) && DUMMY_HASH.starts_with(parameters));
        assert_eq!(lengths(&hash.0), lengths(DUMMY_HASH));
    }

    #[test]
    fn a_hash_is_that_of_the_library() {
        let of_library: phc::PasswordHash =
            argon2().hash_password_with_salt(b"blue mug 42", &[7; SALT_BYTES]).unwrap();
        let hash = Password::try_from(&secret("blue mug 42")).unwrap().hash(&[7; SALT_BYTES]).unwrap();
        assert_eq!(hash.0, of_library.to_string());
    }

    #[test]
    fn a_hash_matches_its_own_password_only() {
        let hash = Password::try_from(&secret("blue mug 42")).unwrap().hash(&[7; SALT_BYTES]).unwrap();
        assert!(hash.matches(&secret("blue mug 42")).unwrap());
        assert!(!hash.matches(&secret("blue mug 43")).unwrap());
        assert!(!hash.matches(&secret("")).unwrap());
        assert!(!PasswordHash::dummy().matches(&secret("blue mug 42")).unwrap());
        assert!(PasswordHash("nonsense".to_owned()).matches(&secret("blue mug 42")).is_err());
    }

    #[test]
    fn a_password_is_the_same_however_its_letters_are_composed() {
        let hash = Password::try_from(&secret("cafe\u{301} noir")).unwrap().hash(&[7; SALT_BYTES]).unwrap();
        assert!(hash.matches(&secret("café noir")).unwrap());
        assert!(hash.matches(&secret("café\u{a0}noir")).unwrap());
        assert!(!hash.matches(&secret("cafe noir")).unwrap());
        assert!(Password::try_from(&secret("my cat is a \tby")).is_err());
    }

    #[test]
    fn a_hash_from_before_passwords_were_prepared_stays_good() {
        let as_typed = "cafe\u{301} noir";
        let old: phc::PasswordHash =
            argon2().hash_password_with_salt(as_typed.as_bytes(), &[7; SALT_BYTES]).unwrap();
        let old = PasswordHash(old.to_string());
        assert!(old.matches(&secret(as_typed)).unwrap());
        assert!(!old.matches(&secret("cafe noir")).unwrap());
    }

    #[test]
    fn two_salts_make_two_hashes_of_one_password() {
        let password = Password::try_from(&secret("blue mug 42")).unwrap();
        assert_ne!(password.hash(&[1; SALT_BYTES]).unwrap(), password.hash(&[2; SALT_BYTES]).unwrap());
    }

    #[test]
    fn a_fingerprint_is_of_one_hash_and_does_not_hold_it() {
        let password = Password::try_from(&secret("blue mug 42")).unwrap();
        let (first, second) =
            (password.hash(&[1; SALT_BYTES]).unwrap(), password.hash(&[2; SALT_BYTES]).unwrap());
        assert_eq!(first.fingerprint(), first.clone().fingerprint());
        assert_ne!(first.fingerprint(), second.fingerprint());
        assert_eq!(first.fingerprint().as_str().len(), 43);
    }

    #[test]
    fn passwords_are_not_shown_by_debug() {
        let password = Password::try_from(&secret("blue mug 42")).unwrap();
        let shown = format!("{:?} {password:?} {:?}", secret("blue mug 42"), PasswordHash::dummy());
        assert_eq!(shown, "Secret(..) Password(Secret(..)) PasswordHash(..)");
    }
}
