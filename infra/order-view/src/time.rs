//! Times as AWS's APIs and boto3 write them, and durations as people read them.

use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

/// A time of an answer: seconds since 1970 as a number, or a text (RFC 3339, or Python's form with a space).
pub fn read_time(value: &Value) -> Option<Timestamp> {
    match value {
        Value::String(text) => text.parse().ok(),
        // Taken from the digits, because a fraction of a second does not survive in a float.
        Value::Number(number) => {
            let text = number.to_string();
            let (seconds, fraction) = text.split_once('.').unwrap_or((&text, ""));
            let nanoseconds = format!("{fraction:0<9}").get(..9)?.parse().ok()?;
            Timestamp::new(seconds.parse().ok()?, nanoseconds).ok()
        }
        _ => None,
    }
}

/// A duration with two units at most: `45 ms`, `12.3 s`, `4 min 5 s`, `3 h 20 min`.
pub fn spoken(duration: SignedDuration) -> String {
    let milliseconds = duration.as_millis().max(0);
    let (seconds, minutes, hours) = (milliseconds / 1_000, milliseconds / 60_000, milliseconds / 3_600_000);
    match () {
        () if milliseconds < 1_000 => format!("{milliseconds} ms"),
        () if seconds < 60 => format!("{seconds}.{} s", milliseconds % 1_000 / 100),
        () if minutes < 60 => format!("{minutes} min {} s", seconds % 60),
        () if hours < 48 => format!("{hours} h {} min", minutes % 60),
        () => format!("{} d {} h", hours / 24, hours % 24),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn times_of_aws_of_boto3_and_of_the_emulator_are_read() {
        let expected: Timestamp = "2026-11-29T20:44:01.123Z".parse().unwrap();
        assert_eq!(read_time(&json!("2026-11-29T20:44:01.123Z")), Some(expected));
        assert_eq!(read_time(&json!("2026-11-29 20:44:01.123000+00:00")), Some(expected));
        assert_eq!(read_time(&json!(1_795_985_041.123)), Some(expected));
        assert_eq!(read_time(&json!(1_795_985_041)), Some("2026-11-29T20:44:01Z".parse().unwrap()));
        assert_eq!(read_time(&Value::Null), None);
    }

    #[test]
    fn a_duration_is_said_in_two_units_at_most() {
        let said = |milliseconds| spoken(SignedDuration::from_millis(milliseconds));
        assert_eq!(
            [said(45), said(12_345), said(245_000), said(12_000_000), said(200_000_000)],
            ["45 ms", "12.3 s", "4 min 5 s", "3 h 20 min", "2 d 7 h"]
        );
    }
}
