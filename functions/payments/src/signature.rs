//! Stripe's signature of a webhook: <https://docs.stripe.com/webhooks#verify-manually>.

use aws_lc_rs::hmac;
use jiff::Timestamp;

use crate::domain::Secret;

/// The tolerance for a webhook's timestamp, in both directions.
// Stripe's own libraries use five minutes, too.
const TOLERANCE_SECONDS: u64 = 5 * 60;

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SignatureError {
    #[error("The header Stripe-Signature is missing, or is not of the form t=…,v1=….")]
    Malformed,
    #[error("The webhook was signed more than five minutes ago, or in the future.")]
    Stale,
    #[error("The signature is not one of ours for this body.")]
    Forged,
}

/// Checks `header` (`t=<unix seconds>,v1=<hex>`, perhaps several `v1`, other schemes ignored) for the raw
/// `body` with any of the `secrets`.
///
/// # Errors
/// `Malformed`; `Forged` when no signature fits any secret; `Stale` when one does, but at another time.
pub fn verify(
    header: Option<&str>,
    body: &[u8],
    secrets: &[Secret],
    now: Timestamp,
) -> Result<(), SignatureError> {
    let header = header.ok_or(SignatureError::Malformed)?;
    let parts = || header.split(',').filter_map(|part| part.trim().split_once('='));
    let signed_at = parts().find(|(name, _)| *name == "t").map(|(_, value)| value);
    let signed_at = signed_at.ok_or(SignatureError::Malformed)?;
    let seconds: i64 = signed_at.parse().map_err(|_| SignatureError::Malformed)?;
    let signatures: Vec<Vec<u8>> =
        parts().filter(|(name, _)| *name == "v1").filter_map(|(_, value)| unhex(value)).collect();
    if signatures.is_empty() {
        return Err(SignatureError::Malformed);
    }
    let signed = [signed_at.as_bytes(), b".", body].concat();
    // An empty secret is left out. It would accept what anyone can sign.
    let fits = secrets.iter().filter(|secret| !secret.is_empty()).any(|secret| {
        let key = hmac::Key::new(hmac::HMAC_SHA256, secret.expose().as_bytes());
        // Compares in constant time.
        signatures.iter().any(|signature| hmac::verify(&key, &signed, signature).is_ok())
    });
    if !fits {
        return Err(SignatureError::Forged);
    }
    // After the signature. Before, the time could be anything that the sender wrote.
    if now.as_second().abs_diff(seconds) > TOLERANCE_SECONDS {
        return Err(SignatureError::Stale);
    }
    Ok(())
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    fn digit(byte: u8) -> Option<u8> {
        char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok())
    }
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    if !rest.is_empty() {
        return None;
    }
    pairs.iter().map(|[high, low]| Some(digit(*high)? << 4 | digit(*low)?)).collect()
}

#[cfg(test)]
mod tests;
