//! Constants with a form of their own: moments, which make windows, and networks.

use std::ops::Range;

use cel::common::ast::IdedExpr;
use strait_table::condition::{Comparison, Network};

use super::{Read, Reader, Term};
use crate::condition::{
    during,
    tree::{Asks, Tree, Value},
};

impl Reader<'_, '_> {
    pub(super) fn window(&mut self, by: Comparison, second: i64, past: bool, at: Range<usize>) -> Read<Term> {
        let text = self.parsed.text.get(at.clone()).unwrap_or_default().to_owned();
        // Moments are known to the second: what is past its beginning begins with the next.
        let whole = second.saturating_add(i64::from(past));
        let after = second.saturating_add(1);
        let window = match by {
            Comparison::Less => during::between(text, i64::MIN, whole),
            Comparison::LessOrEqual => during::between(text, i64::MIN, after),
            Comparison::More => during::between(text, after, i64::MAX),
            Comparison::MoreOrEqual => during::between(text, whole, i64::MAX),
            Comparison::Equal | Comparison::NotEqual => {
                return self.subset(at, "`now` is never exactly a moment", "write `<` or `>=`");
            }
        };
        let window = self.shared.window(window);
        Ok(Term::Tree(Tree::ask(Asks::Window(window), at)))
    }

    pub(super) fn moment(&mut self, text: &IdedExpr, at: Range<usize>) -> Read<Term> {
        match self.term(text)? {
            Term::Value(Value::Text(text)) => match during::moment(&text) {
                Some((second, past)) => Ok(Term::Moment(second, past)),
                None => self.mistyped(
                    at,
                    format!("`{text}` is not a moment"),
                    "write `timestamp(\"2027-01-01T00:00:00Z\")`",
                ),
            },
            _ => self.subset(
                at,
                "only a text in quotes can be a moment here",
                "write `timestamp(\"2027-01-01T00:00:00Z\")`",
            ),
        }
    }

    pub(super) fn network(&mut self, text: &IdedExpr) -> Read<Term> {
        let at = self.place(text);
        match self.term(text)? {
            Term::Value(Value::Text(text)) => match network(&text) {
                Ok(network) => Ok(Term::Network(network)),
                Err(why) => self.mistyped(
                    at,
                    format!("`{text}` is not a network: {why}"),
                    "write `cidr(\"10.0.0.0/8\")`",
                ),
            },
            _ => self.subset(at, "only a text in quotes can be a network", "write `cidr(\"10.0.0.0/8\")`"),
        }
    }

    pub(super) fn in_network(&mut self, network: &IdedExpr, ip: &IdedExpr, at: Range<usize>) -> Read<Term> {
        match (self.term(network)?, self.term(ip)?) {
            (Term::Network(network), Term::Ip) => Ok(Term::Tree(Tree::ask(Asks::Network(vec![network]), at))),
            _ => self.subset(
                at,
                "only the address of the request is looked for in a network",
                "write `cidr(\"10.0.0.0/8\").containsIP(request.ip)`",
            ),
        }
    }
}

/// One address as a network of its own.
pub(super) fn address(text: &str) -> Option<Network> {
    let ip: std::net::IpAddr = text.parse().ok()?;
    Some(mapped(ip, if ip.is_ipv4() { 32 } else { 128 }))
}

pub(super) fn network(text: &str) -> Result<Network, &'static str> {
    let (ip, bits) = text.split_once('/').ok_or("it has no `/`")?;
    let ip: std::net::IpAddr = ip.parse().map_err(|_| "what stands before `/` is not an address")?;
    let most = if ip.is_ipv4() { 32 } else { 128 };
    let bits: u8 = bits
        .parse()
        .ok()
        .filter(|bits| *bits <= most)
        .ok_or("what stands after `/` is not a number of its bits")?;
    let network = mapped(ip, bits);
    let value = u128::from_be_bytes(network.address);
    match value.checked_shl(u32::from(network.bits)).unwrap_or(0) {
        0 => Ok(network),
        _ => Err("bits after the prefix are set"),
    }
}

pub(super) fn mapped(ip: std::net::IpAddr, bits: u8) -> Network {
    match ip {
        std::net::IpAddr::V4(v4) => Network { address: v4.to_ipv6_mapped().octets(), bits: bits + 96 },
        std::net::IpAddr::V6(v6) => Network { address: v6.octets(), bits },
    }
}
