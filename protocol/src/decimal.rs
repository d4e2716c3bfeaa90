//! Integers as text, both ways, without allocation and without `core::fmt`. HOT: lengths, ids and chunk sizes.

/// Appends `value` in decimal.
#[inline]
pub fn append(out: &mut Vec<u8>, value: u64) {
    let mut digits = [0u8; 20];
    out.extend_from_slice(write(&mut digits, value));
}

/// Appends `value` in decimal, with its sign when negative.
#[inline]
pub fn append_signed(out: &mut Vec<u8>, value: i64) {
    if value < 0 {
        out.push(b'-');
    }
    append(out, value.unsigned_abs());
}

/// Appends `value` in lower-case hex without leading zeros, as a chunk size is written.
pub fn append_hex(out: &mut Vec<u8>, value: u64) {
    let digits = (u64::BITS - (value | 1).leading_zeros()).div_ceil(4);
    for place in (0..digits).rev() {
        let digit = (value >> (place * 4)) as u8 & 15;
        out.push(if digit < 10 { b'0' + digit } else { b'a' + digit - 10 });
    }
}

/// The number written in `digits`: nothing but ASCII digits, at least one, no overflow.
#[inline]
pub fn parse(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() {
        return None;
    }
    digits.iter().try_fold(0u64, |value, byte| {
        let digit = byte.checked_sub(b'0').filter(|digit| *digit <= 9)?;
        value.checked_mul(10)?.checked_add(u64::from(digit))
    })
}

/// As [`parse`], with an optional leading `-`.
#[inline]
pub fn parse_signed(text: &[u8]) -> Option<i64> {
    match text.strip_prefix(b"-") {
        Some(digits) => 0i64.checked_sub_unsigned(parse(digits)?),
        None => i64::try_from(parse(text)?).ok(),
    }
}

fn write(digits: &mut [u8; 20], mut value: u64) -> &[u8] {
    let mut length = 0;
    for place in digits.iter_mut().rev() {
        *place = b'0' + (value % 10) as u8;
        value /= 10;
        length += 1;
        if value == 0 {
            break;
        }
    }
    &digits[20 - length..]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_as_the_standard_library_writes_them() {
        for value in [0, 1, 9, 10, 255, 256, 65_535, 1 << 32, u64::MAX - 1, u64::MAX] {
            let (mut decimal, mut hex) = (Vec::new(), Vec::new());
            append(&mut decimal, value);
            append_hex(&mut hex, value);
            assert_eq!(decimal, value.to_string().into_bytes());
            assert_eq!(hex, format!("{value:x}").into_bytes());
            assert_eq!(parse(&decimal), Some(value));
        }
        for value in [0, -1, 7, i64::MIN, i64::MAX] {
            let mut text = Vec::new();
            append_signed(&mut text, value);
            assert_eq!(text, value.to_string().into_bytes());
            assert_eq!(parse_signed(&text), Some(value));
        }
    }

    #[test]
    fn what_is_not_plain_digits_is_no_number() {
        for text in ["", "+1", " 1", "1 ", "0x1", "1e3", "18446744073709551616", "\u{661}"] {
            assert_eq!(parse(text.as_bytes()), None, "{text:?}");
        }
        for text in ["-", "--1", "9223372036854775808", "-9223372036854775809"] {
            assert_eq!(parse_signed(text.as_bytes()), None, "{text:?}");
        }
    }
}
