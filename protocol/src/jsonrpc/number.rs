//! JSON numbers compared as the decimals that are written, never as floating point: `500.00000000000000001` is more than
//! `500`, and 2^53 + 1 is not 2^53. HOT.

use std::cmp::Ordering;

/// Exponents beyond this are not followed: no budget or quantity is that large, and the arithmetic stays in range.
pub const EXPONENT_MAX: i64 = 1 << 20;

/// How two JSON numbers compare. None when one is no number, or its exponent is beyond [`EXPONENT_MAX`].
pub fn compare_numbers(one: &[u8], other: &[u8]) -> Option<Ordering> {
    if let (Some(one), Some(other)) = (small(one), small(other)) {
        return Some(one.cmp(&other));
    }
    let (one, other) = (Decimal::of(one)?, Decimal::of(other)?);
    Some(match (one.sign(), other.sign()) {
        (Ordering::Less, Ordering::Less) => other.magnitude(&one),
        (Ordering::Greater, Ordering::Greater) => one.magnitude(&other),
        (one, other) => one.cmp(&other),
    })
}

/// Whether the text is written as a whole number: no fraction, no exponent.
pub fn is_integer(number: &[u8]) -> bool {
    let digits = number.strip_prefix(b"-").unwrap_or(number);
    !digits.is_empty() && digits.iter().all(u8::is_ascii_digit)
}

/// A whole number of at most 18 digits: nearly all of them.
#[inline]
fn small(text: &[u8]) -> Option<i64> {
    let (negative, digits) = match text.strip_prefix(b"-") {
        Some(digits) => (true, digits),
        None => (false, text),
    };
    if digits.is_empty() || digits.len() > 18 {
        return None;
    }
    let mut value = 0i64;
    for byte in digits {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 {
            return None;
        }
        value = value * 10 + i64::from(digit);
    }
    Some(if negative { -value } else { value })
}

/// A number taken apart: `0.d1 d2 d3 …` times ten to the power of `point`, where `d1` is not zero.
struct Decimal<'t> {
    negative: bool,
    whole: &'t [u8],
    fraction: &'t [u8],
    /// Zeros that stand before the first digit that counts.
    leading: usize,
    point: i64,
    zero: bool,
}

impl<'t> Decimal<'t> {
    fn of(text: &'t [u8]) -> Option<Decimal<'t>> {
        let (negative, rest) = match text.strip_prefix(b"-") {
            Some(rest) => (true, rest),
            None => (false, text),
        };
        let whole_len = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
        let (whole, rest) = rest.split_at(whole_len);
        let (fraction, rest) = match rest.strip_prefix(b".") {
            Some(rest) => {
                let len = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
                let (fraction, rest) = rest.split_at(len);
                if fraction.is_empty() {
                    return None;
                }
                (fraction, rest)
            }
            None => (&b""[..], rest),
        };
        if whole.is_empty() {
            return None;
        }
        let mut digits = whole.iter().chain(fraction);
        let leading = digits.position(|digit| *digit != b'0');
        let exponent = match rest {
            [] => 0,
            [b'e' | b'E', exponent @ ..] => read_exponent(exponent)?,
            _ => return None,
        };
        let zero = leading.is_none();
        // Of zero the exponent says nothing.
        if !zero && exponent.abs() > EXPONENT_MAX {
            return None;
        }
        let leading = leading.unwrap_or(0);
        let point = (whole.len() as i64) - (leading as i64) + exponent;
        Some(Decimal { negative, whole, fraction, leading, point, zero })
    }

    fn sign(&self) -> Ordering {
        match (self.zero, self.negative) {
            (true, _) => Ordering::Equal,
            (_, true) => Ordering::Less,
            _ => Ordering::Greater,
        }
    }

    fn digits(&self) -> impl Iterator<Item = u8> + 't {
        self.whole.iter().chain(self.fraction).skip(self.leading).copied()
    }

    fn magnitude(&self, other: &Decimal<'_>) -> Ordering {
        self.point.cmp(&other.point).then_with(|| {
            let (mut one, mut other) = (self.digits(), other.digits());
            loop {
                match (one.next(), other.next()) {
                    (None, None) => return Ordering::Equal,
                    (one, other) => match one.unwrap_or(b'0').cmp(&other.unwrap_or(b'0')) {
                        Ordering::Equal => {}
                        unequal => return unequal,
                    },
                }
            }
        })
    }
}

fn read_exponent(text: &[u8]) -> Option<i64> {
    let (negative, digits) = match text {
        [b'-', digits @ ..] => (true, digits),
        [b'+', digits @ ..] => (false, digits),
        digits => (false, digits),
    };
    if digits.is_empty() {
        return None;
    }
    let mut value = 0i64;
    for byte in digits {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 {
            return None;
        }
        // Stays beyond the bound once it is there.
        value = (value * 10 + i64::from(digit)).min(EXPONENT_MAX * 2);
    }
    Some(if negative { -value } else { value })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[track_caller]
    fn check(one: &str, expected: Ordering, other: &str) {
        assert_eq!(compare_numbers(one.as_bytes(), other.as_bytes()), Some(expected), "{one} to {other}");
        let reverse = compare_numbers(other.as_bytes(), one.as_bytes());
        assert_eq!(reverse, Some(expected.reverse()), "{other} to {one}");
    }

    #[test]
    fn numbers_compare_as_they_are_written() {
        use Ordering::*;
        check("500", Equal, "500.0");
        check("500", Less, "500.00000000000000001");
        check("5e2", Equal, "500");
        check("0.5E3", Equal, "500");
        check("0.0005e6", Equal, "500");
        check("9007199254740992", Less, "9007199254740993");
        check("18446744073709551615", Less, "18446744073709551616");
        check("-0", Equal, "0");
        check("-0.0e9", Equal, "0");
        check("-1", Less, "1");
        check("-2", Less, "-1");
        check("-1.5", Less, "-1.25");
        check("1e400", Greater, "1e399");
        check("1e-400", Greater, "0");
        check("0e99999999999999999999", Equal, "0");
        check("0.1", Less, "0.10000000000000000001");
        check("100", Greater, "99.999999999999999999");
        check("10", Greater, "9");
    }

    #[test]
    fn what_cannot_be_compared_is_not() {
        for text in [
            "",
            "-",
            "1.",
            ".5",
            "+1",
            "1e",
            "1e+",
            "0x1",
            "1e1048577",
            "1e99999999999999999999",
            "NaN",
            "1 ",
        ] {
            assert_eq!(compare_numbers(text.as_bytes(), b"1.5"), None, "{text:?}");
        }
    }

    proptest! {
        /// Where floating point is exact, it says the same.
        #[test]
        fn it_agrees_with_floating_point(one in -1_000_000i64..1_000_000, other in -1_000_000i64..1_000_000, places in 0usize..4) {
            let scale = 10f64.powi(places as i32);
            let write = |n: i64| format!("{:.*}", places, n as f64 / scale);
            let expected = one.cmp(&other);
            prop_assert_eq!(compare_numbers(write(one).as_bytes(), write(other).as_bytes()), Some(expected));
            let scientific = format!("{one}e-{places}");
            prop_assert_eq!(compare_numbers(scientific.as_bytes(), write(other).as_bytes()), Some(expected));
        }
    }
}
