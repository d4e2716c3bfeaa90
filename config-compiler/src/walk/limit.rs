//! Readers for what limits are made of: `20/s`, `10000/day`, `0.002 usd`, `25 usd/day`. Money is read as an exact
//! decimal of at most six places and is micro-USD from then on; no float ever holds it.

use strait_table::limit::Unit;

use super::Walk;
use crate::{
    diagnostic::{Finding, codes},
    limits::{LIMIT_CALLS_MAX, MONEY_MICRO_USD_MAX},
    source::{Node, Span, Style},
};

/// An amount in each unit of time.
pub struct Per {
    pub amount: u64,
    pub unit: Unit,
}

type Units = [(&'static str, Unit)];

impl Walk<'_> {
    /// Calls per time.
    pub fn calls_per(&mut self, node: &Node, units: &Units) -> Option<Per> {
        let text = self.scalar(node, "calls per time like `20/min`")?.text.clone();
        let parsed = text.split_once('/').and_then(|(count, unit)| {
            let digits = !count.is_empty() && count.bytes().all(|byte| byte.is_ascii_digit());
            digits.then_some((count, unit))
        });
        let Some((count, unit)) = parsed else {
            return self.malformed_limit(node, &text, "calls per time like `20/min`", units);
        };
        let unit = self.unit(node, &text, unit, "calls per time like `20/min`", units)?;
        let count = count.parse().unwrap_or(u64::MAX);
        self.within_limits(node, count, 1..=LIMIT_CALLS_MAX, &format!("1 and {LIMIT_CALLS_MAX} calls"))?;
        Some(Per { amount: count, unit })
    }

    /// Money per time.
    pub fn money_per(&mut self, node: &Node, units: &Units) -> Option<Per> {
        const WORD: &str = "money per time like `25 usd/day`";
        let text = self.scalar(node, WORD)?.text.clone();
        let Some((amount, unit)) =
            text.split_once('/').and_then(|(money, unit)| Some((micro_usd(money)?, unit)))
        else {
            return self.malformed_limit(node, &text, WORD, units);
        };
        let unit = self.unit(node, &text, unit, WORD, units)?;
        self.in_money(node, amount)?;
        Some(Per { amount, unit })
    }

    /// Money, in micro-USD.
    pub fn money(&mut self, node: &Node) -> Option<u64> {
        const WORD: &str = "an amount like `0.002 usd`";
        let text = self.scalar(node, WORD)?.text.clone();
        match micro_usd(&text) {
            Some(amount) => self.in_money(node, amount),
            None => self.malformed_limit(node, &text, WORD, &[]),
        }
    }

    fn in_money(&mut self, node: &Node, amount: u64) -> Option<u64> {
        self.within_limits(node, amount, 1..=MONEY_MICRO_USD_MAX, "0.000001 and 999999.999999 usd")
    }

    fn within_limits(
        &mut self,
        node: &Node,
        amount: u64,
        range: std::ops::RangeInclusive<u64>,
        bounds: &str,
    ) -> Option<u64> {
        if range.contains(&amount) {
            return Some(amount);
        }
        let text = self.scalar(node, "text")?.text.clone();
        let quoted = self.quote(node.span.file, &text);
        let message = format!("{quoted} is not between {bounds}");
        self.report(Finding::new(&codes::OUT_OF_RANGE, node.span, message));
        None
    }

    fn unit(&mut self, node: &Node, text: &str, unit: &str, expected: &str, units: &Units) -> Option<Unit> {
        if let Some((_, unit)) = units.iter().find(|(name, _)| *name == unit) {
            return Some(*unit);
        }
        self.malformed_limit(node, text, expected, units)
    }

    fn malformed_limit<T>(&mut self, node: &Node, text: &str, expected: &str, units: &Units) -> Option<T> {
        let quoted = self.quote(node.span.file, text);
        let finding = Finding::new(&codes::LIMIT, node.span, format!("{quoted} is not {expected}"));
        let names: Vec<&str> = units.iter().map(|(name, _)| *name).collect();
        self.report(match names.as_slice() {
            [] => finding.help("write the number, a space and `usd`; a millionth is the smallest part"),
            names => finding.help(format!("units are {}", super::suggest::listed(names))),
        });
        None
    }

    /// How a key is written: the tree keeps only its text.
    pub fn style_of(&self, key: Span) -> Style {
        match self.files.slice(key).as_bytes().first() {
            Some(b'"') => Style::DoubleQuoted,
            Some(b'\'') => Style::SingleQuoted,
            _ => Style::Plain,
        }
    }
}

/// `0.002 usd`; `None` when it is not that. Too much is the largest number.
fn micro_usd(text: &str) -> Option<u64> {
    let number = text.strip_suffix(" usd")?;
    let (whole, fraction) = number.split_once('.').unwrap_or((number, "0"));
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if !digits(whole) || !digits(fraction) || fraction.len() > 6 {
        return None;
    }
    let millionths: u64 = format!("{fraction:0<6}").parse().ok()?;
    let whole: u64 = whole.parse().unwrap_or(u64::MAX);
    Some(whole.saturating_mul(1_000_000).saturating_add(millionths))
}

#[cfg(test)]
mod tests {
    use super::micro_usd;

    #[test]
    fn money_is_exact() {
        let check = |text, expected| assert_eq!(micro_usd(text), expected, "{text}");
        check("25 usd", Some(25_000_000));
        check("0.002 usd", Some(2_000));
        check("0.000001 usd", Some(1));
        check("0.1 usd", Some(100_000));
        check("500.000000 usd", Some(500_000_000));
        check("99999999999999999999 usd", Some(u64::MAX));
        for no in [
            "25",
            "25usd",
            "25 eur",
            ".5 usd",
            "1. usd",
            "-1 usd",
            "1e3 usd",
            "0.0000001 usd",
            "1,5 usd",
            " usd",
        ] {
            check(no, None);
        }
    }
}
