//! What is written as a text and means something else: addresses, moments, patterns of `like`.

use std::net::IpAddr;
use std::ops::Range;

use strait_table::condition::{Network, TextTest, types};

use super::{Both, Read, Reader, Term};
use crate::{
    cedar::{
        syntax::escape,
        token::{Letter, letters},
        tree::{Expr, Kind},
    },
    condition::{
        regex,
        tree::{Asks, Tree, Value},
    },
    diagnostic::codes,
};

/// All of IPv4, as networks are kept.
const V4: Network = Network { address: [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0, 0, 0, 0], bits: 96 };

/// An address, or those that share their first bits. Which family it was written in is part of what it is.
#[derive(Clone, Copy)]
pub(in crate::cedar) struct Addresses {
    pub network: Network,
    v4: bool,
}

impl Reader<'_> {
    /// A function of a constant.
    pub(super) fn constant(&mut self, name: &str, arguments: &[Expr], at: &Range<usize>) -> Read<Term> {
        let text = match arguments {
            [Expr { kind: Kind::Text(text), .. }] => Some(text.as_str()),
            _ => None,
        };
        match (name, text) {
            ("ip", Some(text)) => match addresses(text) {
                Some(addresses) => Ok(Term::Addresses(addresses)),
                None => {
                    let help = "write `ip(\"10.0.0.7\")` or `ip(\"10.0.0.0/8\")`";
                    self.mistyped(at, format!("`{text}` is not an address"), help)
                }
            },
            ("datetime", Some(text)) => match moment(text) {
                Some(moment) => Ok(Term::Moment(moment)),
                None => {
                    let help = "write `datetime(\"2027-01-01\")` or `datetime(\"2027-01-01T06:00:00Z\")`";
                    self.mistyped(at, format!("`{text}` is not a moment"), help)
                }
            },
            ("ip" | "datetime", None) => {
                let help = format!("write `{name}(\"…\")`");
                self.subset(at, format!("`{name}` is only used of a text in quotes"), help)
            }
            ("decimal", _) => {
                let help = "JSON has numbers of its own; a rule in YAML compares them exactly: `when: 'args.amount <= 499.99'`";
                self.subset(at, "no argument is a `decimal`", help)
            }
            ("duration", _) => {
                let help =
                    "compare `context.now` with a `datetime`; hours of a week are for a rule's `during`";
                self.subset(at, "lengths of time cannot be used in a condition", help)
            }
            _ => {
                let help = "there are `ip` and `datetime`";
                self.wrong(&codes::CEDAR_NAME, at, format!("there is no function `{name}`"), help)
            }
        }
    }

    /// Questions about the caller's address; and what is left over of methods.
    pub(super) fn of_address(
        &mut self,
        of: Term,
        name: &str,
        argument: Option<Term>,
        at: &Range<usize>,
    ) -> Read<Both> {
        match (of, name, argument) {
            (Term::Ip, "isInRange", Some(Term::Addresses(addresses))) => Ok(self.in_one_of(&[addresses], at)),
            (Term::Ip, "isInRange", _) => {
                let help = "write `context.ip.isInRange(ip(\"10.0.0.0/8\"))`";
                self.subset(at, "only a network that is written out is looked in", help)
            }
            (Term::Ip, "isIpv4", None) => Ok(self.certain(Asks::Network(vec![V4]), at)),
            (Term::Ip, "isIpv6", None) => Ok(self.certain(Asks::Network(vec![V4]), at).negated()),
            (Term::Ip, "isLoopback", None) => Ok(self.in_named(["127.0.0.0/8", "::1"], at)),
            (Term::Ip, "isMulticast", None) => Ok(self.in_named(["224.0.0.0/4", "ff00::/8"], at)),
            (_, "lessThan" | "lessThanOrEqual" | "greaterThan" | "greaterThanOrEqual", _) => {
                let help = "compare whole numbers by `<=`; a rule in YAML compares any: `when: 'args.amount <= 499.99'`";
                self.subset(at, "no argument is a `decimal`", help)
            }
            (Term::Now | Term::Moment(_), _, _) => {
                let help = "compare it by `<` and `>=`; hours of a week are for a rule's `during`";
                self.subset(at, format!("`{name}` is not asked of a moment"), help)
            }
            (_, "getTag" | "hasTag", _) => {
                self.subset(at, "entities have no tags here", "ask for `principal.claims`")
            }
            (of, _, _) => {
                let help = "there are `contains`, `containsAll`, `containsAny`, `isEmpty` and `isInRange`";
                self.subset(at, format!("`{name}` is not asked of {}", of.said()), help)
            }
        }
    }

    fn in_named(&self, all: [&str; 2], at: &Range<usize>) -> Both {
        let all: Vec<Addresses> = all.into_iter().filter_map(addresses).collect();
        self.in_one_of(&all, at)
    }

    /// An IPv4 address is in no network of IPv6, although both are kept as one.
    pub(super) fn in_one_of(&self, all: &[Addresses], at: &Range<usize>) -> Both {
        let of =
            |v4| -> Vec<Network> { all.iter().filter(|one| one.v4 == v4).map(|one| one.network).collect() };
        let (v4, v6) = (of(true), of(false));
        let mut parts = Vec::new();
        if !v4.is_empty() {
            parts.push(self.ask(Asks::Network(v4), at));
        }
        if !v6.is_empty() {
            let not_v4 = self.ask(Asks::Network(vec![V4]), at).negated();
            parts.push(Tree::and([self.ask(Asks::Network(v6), at), not_v4]));
        }
        Both { certain: true, ..self.leaf(Tree::or(parts)) }
    }

    pub(super) fn like(&mut self, of: &Expr, raw: &str, at: &Range<usize>) -> Read<Both> {
        let value = match self.term(of)? {
            Term::Path(path) if !path.keys.is_empty() => Value::Path(path),
            Term::Fact(fact) => fact,
            Term::Header(name) => Value::Header(name),
            other => {
                let message = format!("{} is no text", other.said());
                return self.mistyped(at, message, "write `context.args.path like \"/srv/*\"`");
            }
        };
        // The pattern is the last thing of it.
        let from = at.end.saturating_sub(raw.len() + 1);
        let pattern = letters(raw, true).map_err(|wrong| escape(raw, wrong, from))?;
        let asks = self.pattern(value.clone(), &pattern, &(from.saturating_sub(1)..at.end))?;
        Ok(match value {
            Value::Path(path) => self.of_type(&path, types::TEXT, asks, at),
            Value::Header(_) => self.question(asks, at),
            _ => self.certain(asks, at),
        })
    }

    fn pattern(&mut self, of: Value, pattern: &[Letter], at: &Range<usize>) -> Read<Asks> {
        let pieces: Vec<String> = pattern
            .split(|(letter, escaped)| *letter == '*' && !escaped)
            .map(|piece| piece.iter().map(|(letter, _)| *letter).collect())
            .collect();
        let text = |test, text: &str| Asks::Text { of: of.clone(), test, text: Value::Text(text.to_owned()) };
        Ok(match pieces.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
            [whole] => Asks::In { of, texts: vec![(*whole).to_owned()], numbers: Vec::new() },
            [begin, ""] => text(TextTest::StartsWith, begin),
            ["", end] => text(TextTest::EndsWith, end),
            ["", inside, ""] => text(TextTest::Contains, inside),
            pieces => {
                let escaped: Vec<String> = pieces.iter().map(|piece| literal(piece)).collect();
                let expression = format!("\\A{}\\z", escaped.join("(?s:.)*"));
                match self.shared.automaton(&expression, regex::automaton) {
                    Ok(automaton) => Asks::Matches { of, automaton },
                    Err(why) => {
                        let help = "write fewer stars, or several patterns joined by `&&`";
                        let message = format!("this pattern cannot be used: {why}");
                        return self.wrong(&codes::CEDAR_LIMIT, at, message, help);
                    }
                }
            }
        })
    }
}

/// A regular expression for a text that stands for itself.
fn literal(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for letter in text.chars() {
        if letter.is_ascii_punctuation() {
            out.push('\\');
        }
        out.push(letter);
    }
    out
}

/// As Cedar's `ip` reads it: host bits may be set, and IPv4 is not written inside IPv6.
fn addresses(text: &str) -> Option<Addresses> {
    let (address, bits) = match text.split_once('/') {
        Some((address, bits)) => (address, Some(bits)),
        None => (text, None),
    };
    if address.contains(':') && address.contains('.') {
        return None;
    }
    let address: IpAddr = address.parse().ok()?;
    let most: u8 = if address.is_ipv4() { 32 } else { 128 };
    let bits = match bits {
        None => most,
        Some(bits) => {
            let plain =
                bits.bytes().all(|byte| byte.is_ascii_digit()) && (bits == "0" || !bits.starts_with('0'));
            bits.parse().ok().filter(|bits| plain && *bits <= most)?
        }
    };
    let v4 = address.is_ipv4();
    let (address, bits) = match address {
        IpAddr::V4(v4) => (v4.to_ipv6_mapped().octets(), bits + 96),
        IpAddr::V6(v6) => (v6.octets(), bits),
    };
    let mask = u128::MAX.checked_shl(128 - u32::from(bits)).unwrap_or(0);
    let address = (u128::from_be_bytes(address) & mask).to_be_bytes();
    Some(Addresses { network: Network { address, bits }, v4 })
}

/// As Cedar's `datetime` reads it: `2027-01-01`, `2027-01-01T06:00:00Z`, with `.123` and with `+0130` in place of `Z`. In
/// milliseconds of Unix time.
fn moment(text: &str) -> Option<i64> {
    let digits = |range: Range<usize>| {
        let part = text.get(range)?;
        part.bytes().all(|byte| byte.is_ascii_digit()).then(|| part.parse::<i64>().ok())?
    };
    let is = |at: usize, sign: &str| text.get(at..at + 1) == Some(sign);
    let (year, month, day) = (digits(0..4)?, digits(5..7)?, digits(8..10)?);
    if !is(4, "-") || !is(7, "-") {
        return None;
    }
    let date = jiff::civil::Date::new(year as i16, month as i8, day as i8).ok()?;
    let days = (date - jiff::civil::date(1970, 1, 1)).get_days();
    let mut moment = i64::from(days) * 86_400_000;
    if text.len() == 10 {
        return Some(moment);
    }
    let (hour, minute, second) = (digits(11..13)?, digits(14..16)?, digits(17..19)?);
    if !is(10, "T") || !is(13, ":") || !is(16, ":") || hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    moment += (hour * 3_600 + minute * 60 + second) * 1_000;
    let mut zone = 19;
    if is(19, ".") {
        moment += digits(20..23)?;
        zone = 23;
    }
    match text.get(zone..)? {
        "Z" => Some(moment),
        offset if offset.len() == 5 && offset.starts_with(['+', '-']) => {
            let (hours, minutes) = (digits(zone + 1..zone + 3)?, digits(zone + 3..zone + 5)?);
            if hours > 23 || minutes > 59 {
                return None;
            }
            let offset_ms = (hours * 60 + minutes) * 60_000;
            Some(if offset.starts_with('+') { moment - offset_ms } else { moment + offset_ms })
        }
        _ => None,
    }
}
