//! How figures are written.

/// A number of hundredths, with two digits after the point: `123` is `1.23`.
pub fn hundredths(value: u128) -> String {
    format!("{}.{:02}", value / 100, value % 100)
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
