//! How durations, rates and sizes are written on a command line, and read out again for a person. One
//! place, so that `5ms` means the same in `--latency`, `--duration` and `--assert`.

const UNITS: [(&str, f64); 5] = [("ns", 1.0), ("us", 1e3), ("ms", 1e6), ("s", 1e9), ("m", 60e9)];

/// `250us`, `1.5ms`, `10s`, `2m` as nanoseconds.
pub fn duration_ns(text: &str) -> Result<u64, String> {
    let text = text.trim();
    let digits = text.find(|c: char| c.is_ascii_alphabetic() || c == 'µ').unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let unit = if unit == "µs" { "us" } else { unit };
    let factor = UNITS.iter().find(|(name, _)| *name == unit).map(|(_, factor)| *factor);
    match (number.trim().parse::<f64>(), factor) {
        (Ok(number), Some(factor)) if number >= 0.0 && number * factor < 1e18 => {
            Ok((number * factor).round() as u64)
        }
        (Ok(_), None) if text != "0" => {
            Err(format!("`{text}` has no unit: expected a number and ns, us, ms, s or m"))
        }
        (Ok(_), None) => Ok(0),
        _ => Err(format!("`{text}` is no duration: expected a number and ns, us, ms, s or m")),
    }
}

/// More than one generator thread can send.
const RATE_MAX: f64 = 10_000_000.0;

/// `100`, `2.5`, `2000/s` as requests per second.
pub fn rate(text: &str) -> Result<f64, String> {
    let number = text.trim().strip_suffix("/s").unwrap_or(text.trim());
    match number.trim().parse::<f64>() {
        Ok(rate) if rate > 0.0 && rate <= RATE_MAX => Ok(rate),
        _ => Err(format!(
            "`{text}` is no rate: expected requests per second, such as 100 or 2000/s, above 0 and up to {RATE_MAX}"
        )),
    }
}

/// `400`, `16KiB`, `1MiB`, `1GiB` as bytes.
pub fn bytes(text: &str) -> Result<usize, String> {
    let text = text.trim();
    let units = [("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30)];
    let with = units.into_iter().find_map(|(unit, factor)| Some((text.strip_suffix(unit)?, factor)));
    let (number, factor) = with.unwrap_or((text, 1));
    let parsed = number.trim().parse::<usize>().ok().and_then(|number| number.checked_mul(factor));
    parsed.ok_or_else(|| format!("`{text}` is no size: expected bytes, such as 400, 16KiB or 1MiB"))
}

/// Words of a peer on one line of a terminal: what would move its cursor, or turn text around, is spelt out.
pub fn printable(text: &str) -> String {
    let is_hostile =
        |c: char| c.is_control() || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match is_hostile(c) {
            true => out.extend(c.escape_default()),
            false => out.push(c),
        }
    }
    out
}

/// Nanoseconds with three digits and the unit that suits them.
pub fn shown_ns(ns: f64) -> String {
    let (unit, factor) = match ns.abs() {
        value if value < 1e3 => ("ns", 1.0),
        value if value < 1e6 => ("us", 1e3),
        value if value < 1e9 => ("ms", 1e6),
        _ => ("s", 1e9),
    };
    let value = ns / factor;
    let digits = if value < 9.995 { 2 } else { usize::from(value < 99.95) };
    format!("{value:.digits$} {unit}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_rates_and_sizes_are_read() {
        let durations = [
            ("5ms", Some(5_000_000)),
            ("250us", Some(250_000)),
            ("250µs", Some(250_000)),
            ("1.5s", Some(1_500_000_000)),
            ("2m", Some(120_000_000_000)),
            ("0", Some(0)),
            ("10", None),
            ("-1s", None),
            ("s", None),
            ("1h", None),
            ("nans", None),
        ];
        for (text, expected) in durations {
            assert_eq!(duration_ns(text).ok(), expected, "{text}");
        }
        for (text, expected) in
            [("100", Some(100.0)), ("2000/s", Some(2000.0)), ("0", None), ("x", None), ("inf", None)]
        {
            assert_eq!(rate(text).ok(), expected, "{text}");
        }
        for (text, expected) in [
            ("400", Some(400)),
            ("16KiB", Some(16384)),
            ("1MiB", Some(1 << 20)),
            ("1GiB", Some(1 << 30)),
            ("1k", None),
        ] {
            assert_eq!(bytes(text).ok(), expected, "{text}");
        }
    }

    #[test]
    fn nothing_of_a_peer_moves_the_cursor() {
        assert_eq!(printable("a\u{1b}[2J\n\u{9b}\u{202e}é"), r"a\u{1b}[2J\n\u{9b}\u{202e}é");
    }

    #[test]
    fn a_time_is_shown_with_its_unit() {
        let cases = [
            (0.0, "0.00 ns"),
            (999.0, "999 ns"),
            (1_234.0, "1.23 us"),
            (56_700_000.0, "56.7 ms"),
            (2e9, "2.00 s"),
        ];
        for (ns, expected) in cases {
            assert_eq!(shown_ns(ns), expected);
        }
    }
}
