//! One value of a table: how a person sees it, how a program gets it, how rows are sorted by it.
//!
//! Every kind has one width, whatever the value is: three digits and a unit, so that columns stand still while numbers
//! change.

use std::cmp::Ordering;

use serde_json::{Value, json};

#[derive(Clone, Debug, PartialEq)]
pub enum Cell {
    Text(String),
    /// How many, now or in all.
    Count(f64),
    /// Per second.
    Rate(f64),
    /// Nanoseconds; `None`: nothing was measured.
    Time(Option<f64>),
    Bytes(f64),
    /// Seconds, roughly.
    Age(f64),
    /// Nothing to tell.
    None,
}

impl Cell {
    pub fn text(text: impl Into<String>) -> Cell {
        Cell::Text(text.into())
    }

    pub fn shown(&self) -> String {
        match self {
            Cell::Text(text) => printable(text),
            Cell::Count(n) => count(*n),
            Cell::Rate(n) => rate(*n),
            Cell::Time(Some(ns)) => time(*ns),
            Cell::Bytes(n) => bytes(*n),
            Cell::Age(s) => age(*s),
            Cell::Time(None) | Cell::None => "-".to_owned(),
        }
    }

    /// For `--json`: plain numbers, in the unit that the column's name says.
    pub fn json(&self) -> Value {
        match self {
            Cell::Text(text) => json!(text),
            Cell::Count(n) | Cell::Bytes(n) => json!(*n as u64),
            Cell::Rate(n) | Cell::Age(n) => json!((n * 1e3).round() / 1e3),
            Cell::Time(Some(ns)) => json!(ns.round() as u64),
            Cell::Time(None) | Cell::None => Value::Null,
        }
    }

    /// Texts ascend, numbers descend: what is looked for comes first.
    pub fn order(&self, other: &Cell) -> Ordering {
        match (self, other) {
            (Cell::Text(one), Cell::Text(two)) => one.cmp(two),
            (one, two) => two.number().total_cmp(&one.number()),
        }
    }

    fn number(&self) -> f64 {
        match self {
            Cell::Count(n) | Cell::Rate(n) | Cell::Time(Some(n)) | Cell::Bytes(n) | Cell::Age(n) => *n,
            Cell::Text(_) | Cell::Time(None) | Cell::None => -1.0,
        }
    }
}

/// What a terminal may be sent: upstreams choose names, too.
pub fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_ascii_graphic() || c == ' ' { c } else { '?' }).collect()
}

/// `7`, `842`, `9999`, `10.0k`, `1.25M`: five columns at most, up to 999 G.
fn count(n: f64) -> String {
    match n {
        n if n < 9_999.5 => format!("{n:.0}"),
        n => scaled(n, &["", "k", "M", "G", "T"], 1e3),
    }
}

/// As counts, with a digit after the point of what is small.
fn rate(n: f64) -> String {
    match n {
        n if n < 0.05 => "0".to_owned(),
        n if n < 99.95 => format!("{n:.1}"),
        n => count(n),
    }
}

fn time(ns: f64) -> String {
    match ns {
        ns if ns < 999.5 => format!("{ns:.0} ns"),
        ns if ns < 999.5e9 => scaled(ns / 1e3, &[" us", " ms", " s"], 1e3),
        ns => format!("{:.0} s", ns / 1e9),
    }
}

fn bytes(n: f64) -> String {
    match n {
        n if n < 999.5 => format!("{n:.0} B"),
        n => scaled(n / 1_024.0, &[" KiB", " MiB", " GiB", " TiB"], 1_024.0),
    }
}

fn age(s: f64) -> String {
    let s = s as u64;
    match s {
        0..60 => format!("{s} s"),
        60..3_600 => format!("{} m {:02} s", s / 60, s % 60),
        3_600..86_400 => format!("{} h {:02} m", s / 3_600, s % 3_600 / 60),
        _ => format!("{} d {:02} h", s / 86_400, s % 86_400 / 3_600),
    }
}

/// Three digits, and the unit in which that is enough.
fn scaled(n: f64, units: &[&str], step: f64) -> String {
    let (mut n, mut units) = (n, units.iter());
    let mut unit = units.next();
    while n >= 999.5 {
        let Some(next) = units.next() else { break };
        (n, unit) = (n / step, Some(next));
    }
    let places = if n < 9.995 { 2 } else { usize::from(n < 99.95) };
    format!("{n:.places$}{}", unit.copied().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_three_digits_and_a_unit() {
        let check = |cell: Cell, shown: &str| assert_eq!(cell.shown(), shown, "{cell:?}");
        for (n, shown) in
            [(0.0, "0"), (842.0, "842"), (9_999.0, "9999"), (10_000.0, "10.0k"), (1_250_000.0, "1.25M")]
        {
            check(Cell::Count(n), shown);
        }
        for (n, shown) in [(0.04, "0"), (0.05, "0.1"), (3.25, "3.2"), (99.96, "100"), (13_875.4, "13.9k")] {
            check(Cell::Rate(n), shown);
        }
        for (ns, shown) in [
            (0.0, "0 ns"),
            (128.0, "128 ns"),
            (999.6, "1.00 us"),
            (86_100.0, "86.1 us"),
            (999_600.0, "1.00 ms"),
            (123_456_789.0, "123 ms"),
            (69e9, "69.0 s"),
        ] {
            check(Cell::Time(Some(ns)), shown);
        }
        for (n, shown) in
            [(512.0, "512 B"), (2_048.0, "2.00 KiB"), (1_023.0 * 1_024.0, "1.00 MiB"), (5e7, "47.7 MiB")]
        {
            check(Cell::Bytes(n), shown);
        }
        for (s, shown) in [(59.9, "59 s"), (61.0, "1 m 01 s"), (7_260.0, "2 h 01 m"), (90_000.0, "1 d 01 h")]
        {
            check(Cell::Age(s), shown);
        }
    }

    #[test]
    fn nothing_that_a_terminal_would_obey_is_shown() {
        assert_eq!(Cell::text("a\u{1b}[2Jb\u{202e}ü").shown(), "a?[2Jb??");
    }
}
