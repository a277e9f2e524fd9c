//! Random bytes for secrets: tickets, tokens, codes and salts.

use aws_lc_rs::error::Unspecified;

/// Fills `bytes` with random ones that no one can guess: from AWS-LC's generator, which the operating system seeds.
///
/// # Errors
/// When the generator fails.
pub fn fill(bytes: &mut [u8]) -> Result<(), Unspecified> {
    #[cfg(feature = "simulation")]
    if let Some(instance) = crate::simulation::instance() {
        instance.fill(bytes);
        return Ok(());
    }
    aws_lc_rs::rand::fill(bytes)
}
