//! Moments as records tell them: RFC 3339 in UTC, with milliseconds.

use jiff::Timestamp;

/// `2026-11-22T05:22:01.123Z`.
pub fn text(unix_ms: u64) -> String {
    let moment = i64::try_from(unix_ms).ok().and_then(|ms| Timestamp::from_millisecond(ms).ok());
    format!("{:.3}", moment.unwrap_or(Timestamp::UNIX_EPOCH))
}

/// Milliseconds of Unix time; nothing before 1970.
pub fn parse(text: &str) -> Option<u64> {
    let moment: Timestamp = text.parse().ok()?;
    moment.as_millisecond().try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_told_is_read() {
        assert_eq!(text(1_795_238_521_009), "2026-11-21T05:22:01.009Z");
        assert_eq!(parse("2026-11-21T05:22:01.009Z"), Some(1_795_238_521_009));
        assert_eq!(parse("2026-11-21T06:22:01.009+01:00"), Some(1_795_238_521_009));
        assert_eq!(parse("yesterday"), None);
    }
}
