//! The wall clock as RFC 3339 in UTC, for logs and the sample's `now`.

use std::time::{SystemTime, UNIX_EPOCH};

/// `2026-11-21T05:22:01.123Z`.
pub fn now() -> String {
    text(SystemTime::now())
}

/// The second of Unix time.
pub fn unix_s() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs() as i64)
}

/// A second of Unix time as RFC 3339.
pub fn rfc3339(second: i64) -> String {
    let since = std::time::Duration::from_secs(second.max(0) as u64);
    strait_config_compiler::keys::rfc3339(UNIX_EPOCH + since)
}

/// A moment as RFC 3339, with its milliseconds.
pub fn text(time: SystemTime) -> String {
    let seconds = strait_config_compiler::keys::rfc3339(time);
    let ms = time.duration_since(UNIX_EPOCH).map_or(0, |since| since.subsec_millis());
    format!("{}.{ms:03}Z", seconds.trim_end_matches('Z'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn milliseconds_are_shown() {
        let time = UNIX_EPOCH + Duration::from_millis(1_795_238_521_009);
        assert_eq!(text(time), "2026-11-21T05:22:01.009Z");
    }
}
