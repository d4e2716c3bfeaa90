//! A key's text: `sk-strait-` and 32 random bytes in URL-safe base64, so that scanners for leaked
//! secrets can tell it from other text. Its digest is keyed with the file's pepper: a stolen file of
//! digests can neither be searched for known keys nor compared with another file.

use std::time::SystemTime;

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};

use super::KeyFileError;

pub const KEY_PREFIX: &str = "sk-strait-";
/// Bytes of a key's text.
pub const KEY_LEN: usize = KEY_PREFIX.len() + 43;

pub fn digest(pepper: &[u8; 32], key: &str) -> blake3::Hash {
    blake3::keyed_hash(pepper, key.as_bytes())
}

pub fn generate() -> Result<String, KeyFileError> {
    Ok(format!("{KEY_PREFIX}{}", URL_SAFE_NO_PAD.encode(random()?)))
}

/// Bytes from the kernel, and an error where it has none to give.
pub fn random() -> Result<[u8; 32], KeyFileError> {
    let mut bytes = [0; 32];
    let got = rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty());
    match got {
        // Up to 256 bytes are given whole or not at all.
        Ok(32) => Ok(bytes),
        Ok(_) => Err(KeyFileError::Refused { why: "the kernel gave too few random bytes".into() }),
        Err(error) => Err(KeyFileError::Io {
            what: "get random bytes from",
            path: "getrandom".into(),
            error: error.into(),
        }),
    }
}

/// `2026-11-21T10:15:00Z`.
pub fn rfc3339(time: SystemTime) -> String {
    let seconds = time.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let (days, second) = (seconds / 86_400, seconds % 86_400);
    let (year, month, day) = civil(days as i64);
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

/// Days since 1970 to a date: Howard Hinnant's `civil_from_days`, for days that are not negative.
fn civil(days: i64) -> (i64, i64, i64) {
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    (era * 400 + year_of_era + i64::from(month <= 2), month, day)
}

/// Could this be a time in RFC 3339? Shape only: what matters is that it is there.
pub fn is_rfc3339(text: &str) -> bool {
    let shape = b"dddd-dd-ddTdd:dd:dd";
    let bytes = text.as_bytes();
    bytes.len() > shape.len()
        && bytes.len() <= 40
        && shape.iter().zip(bytes).all(|(want, byte)| match want {
            b'd' => byte.is_ascii_digit(),
            b'T' => matches!(byte, b'T' | b't' | b' '),
            other => other == byte,
        })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn times_are_written_as_dates() {
        let check = |seconds, expected: &str| {
            let text = rfc3339(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds));
            assert_eq!(text, expected);
            assert!(is_rfc3339(&text));
        };
        check(0, "1970-01-01T00:00:00Z");
        check(951_782_400, "2000-02-29T00:00:00Z");
        check(1_795_256_100, "2026-11-21T10:15:00Z");
        check(4_107_542_399, "2100-02-28T23:59:59Z");
        check(4_107_542_400, "2100-03-01T00:00:00Z");
    }

    #[test]
    fn keys_are_long_and_never_the_same() {
        let (one, two) = (generate().unwrap(), generate().unwrap());
        assert_eq!((one.len(), two.len()), (KEY_LEN, KEY_LEN));
        assert_ne!(one, two);
        assert!(one.starts_with(KEY_PREFIX));
    }
}
