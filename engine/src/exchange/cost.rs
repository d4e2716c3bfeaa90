//! What a call costs: its price, what its result weighs, and what its server says that it cost, in micro-USD.
//!
//! What is known only afterwards is bounded by the table (`up_to`). So much is set aside of every budget that concerns the call before
//! it is made, and what it did not cost goes back when its record is written, or dropped: a budget is never overdrawn, and comes to what
//! was really spent on every exit. What a server says in a way that nobody can read costs the most that the call may.

use std::cell::Cell;
use std::rc::Rc;

use strait_policy::Principal;
use strait_protocol::Span;
use strait_protocol::jsonrpc::{Envelope, Members};
use strait_table::Kind;
use strait_table::limit::ArchivedPrice;

use crate::allowance::Held;
use crate::core::{Adopted, Core};
use crate::figures::costs::By;
use crate::upstream::Event;

/// Of one call that was let through.
pub struct Cost {
    core: Rc<Core>,
    /// Which price of the table.
    price: usize,
    tariff: Tariff,
    /// What the answer has brought so far.
    heard_bytes: Cell<u64>,
    told_micro_usd: Cell<u64>,
    /// The last event was there.
    is_whole: Cell<bool>,
    /// What was set aside, by budget.
    aside: Held,
}

/// A price as a call is charged by it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tariff {
    micro_usd: u64,
    kib_micro_usd: u64,
    /// Its server is to say what it cost.
    is_told: bool,
    /// `None`: all is known before the call.
    up_to_micro_usd: Option<u64>,
}

impl Tariff {
    pub fn of(price: &ArchivedPrice) -> Tariff {
        Tariff {
            micro_usd: price.micro_usd.to_native(),
            kib_micro_usd: price.kib_micro_usd.to_native(),
            is_told: price.told.is_some(),
            up_to_micro_usd: price.up_to_micro_usd.as_ref().map(|most| most.to_native()),
        }
    }

    /// The most that a call may cost.
    pub fn most(self) -> u64 {
        self.up_to_micro_usd.unwrap_or(self.micro_usd)
    }

    /// Whether some of it is known only afterwards.
    pub fn settles(self) -> bool {
        self.up_to_micro_usd.is_some()
    }

    /// What a call cost whose answer had so many bytes, and whose server said so much.
    fn spent(self, bytes: u64, told_micro_usd: u64) -> u64 {
        let size = self.kib_micro_usd.saturating_mul(bytes.div_ceil(1_024));
        self.micro_usd.saturating_add(size).saturating_add(told_micro_usd).min(self.most())
    }
}

impl Cost {
    pub fn new(core: &Rc<Core>, price: usize, tariff: Tariff) -> Cost {
        Cost {
            core: core.clone(),
            price,
            tariff,
            heard_bytes: Cell::new(0),
            told_micro_usd: Cell::new(0),
            is_whole: Cell::new(false),
            aside: Held::default(),
        }
    }

    pub fn aside(&mut self) -> &mut Held {
        &mut self.aside
    }

    /// A limit stands against the call: it costs nothing.
    pub fn nothing(mut self) {
        self.tariff = Tariff { micro_usd: 0, kib_micro_usd: 0, is_told: false, up_to_micro_usd: None };
    }

    /// An event of the answer.
    pub fn hear(&self, adopted: &Adopted, event: &Event) {
        if !self.tariff.settles() {
            return;
        }
        let bytes = event.bytes();
        self.heard_bytes.set(self.heard_bytes.get().saturating_add(bytes.len() as u64));
        self.is_whole.set(event.is_last());
        let price = adopted.snapshot.rules().prices.get(self.price);
        let Some(member) = price.and_then(|price| price.told.as_ref()) else { return };
        let told = match event {
            Event::Message { envelope, last: true, .. } => said(bytes, envelope, member),
            Event::Ready { last: true, .. } => match crate::upstream::reply::scan(&self.core, bytes) {
                Ok(envelope) => said(bytes, &envelope, member),
                Err(_) => u64::MAX,
            },
            // Nobody holds all of it.
            Event::Fragment { last: true, .. } => u64::MAX,
            _ => return,
        };
        self.told_micro_usd.set(told);
    }

    /// Its client left, so nobody heard what its server would have said of it.
    pub fn left(&self) {
        if !self.is_whole.get() && self.tariff.is_told {
            self.told_micro_usd.set(u64::MAX);
        }
    }

    /// Counts it for whom and for what it was. Rare beside calls without a price, and a look at 256 names each.
    pub fn put_down(
        &self,
        adopted: &Adopted,
        principal: Option<u32>,
        item: Option<((Kind, usize, u16), usize)>,
    ) {
        let (costs, micro_usd) = (&self.core.figures.costs, self.micro_usd());
        if let Some(Principal { id, agent, user, tenant, .. }) =
            principal.and_then(|number| adopted.principal(number))
        {
            costs.add(By::Principal, id, micro_usd);
            costs.add(By::Agent, agent, micro_usd);
            costs.add(By::User, user, micro_usd);
            costs.add(By::Tenant, tenant, micro_usd);
        }
        let Some(((kind, index, upstream), server)) = item else { return };
        let upstream = adopted.snapshot.rules().upstreams.get(usize::from(upstream));
        let item = adopted.shelf(server, kind).and_then(|shelf| shelf.items.get(index));
        if let (Some(upstream), Some(item)) = (upstream, item) {
            costs.add_joined(By::Tool, (&upstream.name, &item.bare), micro_usd);
        }
    }

    pub fn micro_usd(&self) -> u64 {
        self.tariff.spent(self.heard_bytes.get(), self.told_micro_usd.get())
    }
}

impl Drop for Cost {
    fn drop(&mut self) {
        let spent = self.micro_usd();
        self.core.allowances.settle(&self.core.clock, &mut self.aside, spent);
    }
}

/// What `result._meta` of an answer says under this name, in micro-USD: nothing where it is not there.
fn said(message: &[u8], envelope: &Envelope, member: &str) -> u64 {
    let Some(meta) = envelope.result_meta else { return 0 };
    told_in(message, meta, member)
}

/// Said twice is said in no way that everybody reads alike.
fn told_in(message: &[u8], meta: Span, member: &str) -> u64 {
    let mut found = None;
    for one in Members::of(message, meta) {
        let Ok(one) = one else { return u64::MAX };
        if one.key_is(message, member) && found.replace(one.value).is_some() {
            return u64::MAX;
        }
    }
    found.map_or(0, |value| micro_usd(value.of(message)).unwrap_or(u64::MAX))
}

/// A JSON number of US dollars, rounded up to whole millionths; more than can be written is the most that can. `None`: it is no number,
/// or a negative one.
fn micro_usd(number: &[u8]) -> Option<u64> {
    let (mantissa, exponent) = match number.iter().position(|byte| matches!(byte, b'e' | b'E')) {
        Some(at) => (number.get(..at)?, exponent(number.get(at + 1..)?)?),
        None => (number, 0),
    };
    let (is_negative, mantissa) = match mantissa.split_first()? {
        (b'-', rest) => (true, rest),
        _ => (false, mantissa),
    };
    let point = mantissa.iter().position(|byte| *byte == b'.');
    let fraction = point.map_or(0, |at| mantissa.len() - at - 1) as i64;
    let digits = || mantissa.iter().filter(|byte| **byte != b'.').map(|byte| byte.wrapping_sub(b'0'));
    if digits().next().is_none() || digits().any(|digit| digit > 9) {
        return None;
    }
    let significant = digits().skip_while(|digit| *digit == 0).count() as i64;
    if significant == 0 {
        return Some(0);
    }
    if is_negative {
        return None;
    }
    // So many digits of the millionths are whole ones.
    let whole = significant.saturating_add(exponent.saturating_sub(fraction).saturating_add(6));
    if whole > 20 {
        return Some(u64::MAX);
    }
    let (mut value, mut rest) = (0u128, false);
    for (at, digit) in digits().skip_while(|digit| *digit == 0).enumerate() {
        match (at as i64) < whole {
            true => value = value * 10 + u128::from(digit),
            false => rest |= digit > 0,
        }
    }
    for _ in significant..whole {
        value *= 10;
    }
    Some(u64::try_from(value).unwrap_or(u64::MAX).saturating_add(u64::from(rest)))
}

/// Of a number: one that is absurd is as absurd as can be counted.
fn exponent(text: &[u8]) -> Option<i64> {
    let (sign, digits) = match text.split_first()? {
        (b'-', digits) => (-1, digits),
        (b'+', digits) => (1, digits),
        _ => (1, text),
    };
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let sum = |sum: i64, digit: &u8| sum.saturating_mul(10).saturating_add(i64::from(digit - b'0'));
    Some(sign * digits.iter().fold(0, sum).min(1 << 40))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dollars_are_read_exactly_and_rounded_up() {
        for (text, expected) in [
            ("0", Some(0)),
            ("-0", Some(0)),
            ("0.000", Some(0)),
            ("0e999999999999999999999", Some(0)),
            ("0.012", Some(12_000)),
            ("1", Some(1_000_000)),
            ("25.000001", Some(25_000_001)),
            ("25.0000010", Some(25_000_001)),
            ("25.0000011", Some(25_000_002)),
            ("0.0000001", Some(1)),
            ("1e-7", Some(1)),
            ("1e-400", Some(1)),
            ("1e-99999999999999999999999", Some(1)),
            ("12e-6", Some(12)),
            ("1.5E+2", Some(150_000_000)),
            ("1e13", Some(10_000_000_000_000_000_000)),
            ("18446744073709.551615", Some(u64::MAX)),
            ("18446744073709.551616", Some(u64::MAX)),
            ("99999999999999.999999", Some(u64::MAX)),
            ("1e400", Some(u64::MAX)),
            ("1e99999999999999999999999", Some(u64::MAX)),
            ("-1", None),
            ("-1e-400", None),
            ("", None),
            ("-", None),
            (".", None),
            ("1e", None),
            ("NaN", None),
            ("Infinity", None),
            ("\"1\"", None),
            ("null", None),
            ("true", None),
            ("[1]", None),
            ("{\"usd\":1}", None),
        ] {
            assert_eq!(micro_usd(text.as_bytes()), expected, "{text}");
        }
        let long = format!("0.{}1", "0".repeat(100_000));
        assert_eq!(micro_usd(long.as_bytes()), Some(1));
    }

    #[test]
    fn what_is_said_in_no_readable_way_is_the_most() {
        let told = |meta: &str| told_in(meta.as_bytes(), Span::between(0, meta.len()), "usageTotalUsd");
        assert_eq!(told(r#"{"usageTotalUsd":0.25,"usageUsd":{"X":9}}"#), 250_000);
        assert_eq!(told(r#"{"\u0075sageTotalUsd":0.25}"#), 250_000);
        assert_eq!(told(r#"{"usage":1}"#), 0);
        assert_eq!(told("{}"), 0);
        for bad in [
            r#"{"usageTotalUsd":-0.01}"#,
            r#"{"usageTotalUsd":"0.25"}"#,
            r#"{"usageTotalUsd":null}"#,
            r#"{"usageTotalUsd":1e400}"#,
            r#"{"usageTotalUsd":{}}"#,
            r#"{"usageTotalUsd":0,"usageTotalUsd":0}"#,
            r#"[0]"#,
        ] {
            assert_eq!(told(bad), u64::MAX, "{bad}");
        }
    }

    #[test]
    fn a_call_costs_its_parts_and_never_more_than_it_may() {
        let fixed = Tariff { micro_usd: 7, kib_micro_usd: 0, is_told: false, up_to_micro_usd: None };
        assert_eq!((fixed.spent(u64::MAX, 0), fixed.most(), fixed.settles()), (7, 7, false));
        let open = Tariff { micro_usd: 100, kib_micro_usd: 10, is_told: true, up_to_micro_usd: Some(1_000) };
        for (bytes, told, expected) in [
            (0, 0, 100),
            (1, 0, 110),
            (1_024, 0, 110),
            (1_025, 0, 120),
            (0, 900, 1_000),
            (0, 901, 1_000),
            (u64::MAX, u64::MAX, 1_000),
        ] {
            assert_eq!(open.spent(bytes, told), expected, "{bytes} {told}");
        }
    }
}
