//! How figures are written.

/// A number of hundredths, with two digits after the point: `123` is `1.23`.
pub fn hundredths(value: u128) -> String {
    format!("{}.{:02}", value / 100, value % 100)
}

/// The smallest that `percent` of all do not exceed (nearest rank); zero when there are none.
pub fn percentile<T: Copy + Default + Ord>(values: &[T], percent: usize) -> T {
    let mut sorted = values.to_vec();
    sorted.sort_unstable();
    let rank = (sorted.len() * percent).div_ceil(100).max(1);
    sorted.get(rank - 1).copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hundredths_are_written_with_a_point() {
        assert_eq!(hundredths(5), "0.05");
        assert_eq!(hundredths(1234), "12.34");
    }
}
