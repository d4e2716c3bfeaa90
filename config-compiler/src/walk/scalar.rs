//! Readers for single values: words, numbers, durations, sizes, addresses, URLs, names. Each states
//! what it expected and what it found, with the remedy where one is known.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    ops::RangeInclusive,
};

use strait_table::rules::Endpoint;

use super::{Walk, suggest};
use crate::{
    diagnostic::{Code, Finding, codes},
    limits::NAME_BYTES_MAX,
    source::{Kind, Node, Span},
};

impl Walk<'_> {
    /// One of a few words.
    pub fn word<T: Copy>(&mut self, node: &Node, words: &[(&'static str, T)]) -> Option<T> {
        let names: Vec<&str> = words.iter().map(|(name, _)| *name).collect();
        let scalar = self.scalar(node, &format!("one of {}", suggest::listed(&names)))?;
        if let Some((_, value)) = words.iter().find(|(name, _)| *name == scalar.text) {
            return Some(*value);
        }
        let quoted = self.quote(node.span.file, &scalar.text);
        let message = format!("{quoted} is not one of {}", suggest::listed(&names));
        let meant = suggest::nearest(&scalar.text, names.iter().copied());
        self.report(Finding::new(&codes::UNKNOWN_WORD, node.span, message).meant(meant));
        None
    }

    pub fn integer(&mut self, node: &Node, range: RangeInclusive<u64>) -> Option<u64> {
        let scalar = self.scalar(node, "a whole number")?;
        let Some(value) = plain_integer(&scalar.text).filter(|_| scalar.kind() == Kind::Number) else {
            let finding = self.wrong_type(node, "a whole number");
            self.report(finding);
            return None;
        };
        if range.contains(&value) {
            return Some(value);
        }
        let (low, high) = range.into_inner();
        let message = format!("`{value}` is not between {low} and {high}");
        self.report(Finding::new(&codes::OUT_OF_RANGE, node.span, message));
        None
    }

    /// A share between 0 and 1, in millionths; `1%` is one in a hundred.
    pub fn share_ppm(&mut self, node: &Node) -> Option<u32> {
        const WORD: &str = "a number from 0 to 1, or a share like `1%`";
        let scalar = self.scalar(node, WORD)?;
        let percent =
            scalar.text.strip_suffix('%').filter(|text| text.starts_with(|c: char| c.is_ascii_digit()));
        let percent = percent.and_then(|text| text.parse::<f64>().ok());
        if scalar.kind() != Kind::Number && percent.is_none() {
            let finding = self.wrong_type(node, WORD);
            self.report(finding);
            return None;
        }
        let written = || scalar.text.parse().unwrap_or(f64::NAN);
        let share: f64 = percent.map_or_else(written, |percent| percent / 100.0);
        if (0.0..=1.0).contains(&share) {
            return Some((share * 1e6).round() as u32);
        }
        let message = format!("`{}` is not between 0 and 1", scalar.text);
        let finding = Finding::new(&codes::OUT_OF_RANGE, node.span, message)
            .help("1 keeps every one, 0.01 or `1%` one in a hundred");
        self.report(finding);
        None
    }

    /// In milliseconds.
    pub fn duration(&mut self, node: &Node, range: RangeInclusive<u64>) -> Option<u64> {
        const WORD: &str = "a duration like `500ms`, `10s`, `1m` or `1h`";
        let scalar = self.scalar(node, WORD)?;
        let units = [("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000)];
        let Some(ms) = with_unit(&scalar.text, &units) else {
            let help = match scalar.kind() {
                Kind::Number => format!("write the unit: `{}s`", scalar.text),
                _ => "units are ms, s, m, h and d".to_owned(),
            };
            self.malformed(&codes::DURATION, node, &scalar.text, WORD, &help);
            return None;
        };
        self.bounded(node, ms, range, &format!("`{}`", scalar.text), "ms")
    }

    pub fn size(&mut self, node: &Node, range: RangeInclusive<u64>) -> Option<u64> {
        const WORD: &str = "a size like `64KiB` or `4MiB`";
        let scalar = self.scalar(node, WORD)?;
        let units = [("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30), ("B", 1)];
        let Some(bytes) = with_unit(&scalar.text, &units) else {
            self.malformed(&codes::SIZE, node, &scalar.text, WORD, "units are B, KiB, MiB and GiB");
            return None;
        };
        self.bounded(node, bytes, range, &format!("`{}`", scalar.text), "bytes")
    }

    fn bounded(
        &mut self,
        node: &Node,
        value: u64,
        range: RangeInclusive<u64>,
        written: &str,
        unit: &str,
    ) -> Option<u64> {
        if range.contains(&value) {
            return Some(value);
        }
        let (low, high) = range.into_inner();
        let message = format!("{written} is not between {low} and {high} {unit}");
        self.report(Finding::new(&codes::OUT_OF_RANGE, node.span, message));
        None
    }

    fn malformed(&mut self, code: &'static Code, node: &Node, text: &str, expected: &str, help: &str) {
        let quoted = self.quote(node.span.file, text);
        self.report(Finding::new(code, node.span, format!("{quoted} is not {expected}")).help(help));
    }

    /// `ip:port`; `localhost` stands for 127.0.0.1.
    pub fn address(&mut self, node: &Node) -> Option<SocketAddr> {
        const WORD: &str = "an address like `127.0.0.1:8080`";
        let text = self.text(node)?;
        if let Some(address) = socket_address(&text) {
            return Some(address);
        }
        let help = match text.rsplit_once(':') {
            None if text.parse::<u16>().is_ok() => format!("write `127.0.0.1:{text}`"),
            None => format!("write the port too: `{text}:8080`"),
            Some(("", port)) => format!("write `0.0.0.0:{port}` to listen on every address"),
            Some((_, port)) if port.parse::<u16>().is_err() => {
                "a port is a number from 0 to 65535".to_owned()
            }
            Some((host, _)) if host.contains(':') => {
                "write an IPv6 address in brackets: `[::1]:8080`".to_owned()
            }
            _ => "write the address in numbers: a gateway does not look up its own name".to_owned(),
        };
        self.malformed(&codes::ADDRESS, node, &text, WORD, &help);
        None
    }

    /// An upstream's `http://` or `https://` URL, taken apart.
    pub fn endpoint(&mut self, node: &Node) -> Option<Endpoint> {
        let text = self.text(node)?;
        self.endpoint_of(node, &text)
    }

    /// The same of a text that was already read from `node`.
    pub fn endpoint_of(&mut self, node: &Node, text: &str) -> Option<Endpoint> {
        let split = match (text.strip_prefix("http://"), text.strip_prefix("https://")) {
            (Some(rest), _) => split_url(rest, false),
            (_, Some(rest)) => split_url(rest, true),
            _ => Err("it begins with neither `http://` nor `https://`".to_owned()),
        };
        match split {
            Ok(endpoint) => Some(endpoint),
            Err(why) => {
                self.bad_url(node, text, &why);
                None
            }
        }
    }

    pub fn bad_url(&mut self, node: &Node, text: &str, why: &str) {
        // A URL may carry a password.
        let quoted = if text.contains('@') {
            self.secrets.push(node.span);
            "this".to_owned()
        } else {
            self.quote(node.span.file, text)
        };
        let finding =
            Finding::new(&codes::URL, node.span, format!("{quoted} is not a URL Strait can use: {why}"));
        self.report(finding);
    }

    /// A declared name: letters, digits, `_`, `-`, and for most things `.`.
    pub fn name(&mut self, name: &str, span: Span, what: &str, dots: bool) -> bool {
        let legal = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-' || (dots && c == '.');
        let why = if name.is_empty() {
            "it is empty".to_owned()
        } else if name.len() > NAME_BYTES_MAX {
            format!("it is longer than {NAME_BYTES_MAX} characters")
        } else if let Some(c) = name.chars().find(|c| !legal(*c)) {
            match c {
                '.' => "a dot separates an upstream from its tools".to_owned(),
                ' ' => "it holds a space".to_owned(),
                c => format!("it holds `{c}`"),
            }
        } else if !dots && name.contains("__") {
            "`__` separates an upstream from its tools in exposed names".to_owned()
        } else {
            return true;
        };
        let quoted = self.quote(span.file, name);
        let allowed = if dots { "letters, digits, `_`, `-` and `.`" } else { "letters, digits, `_` and `-`" };
        let finding = Finding::new(&codes::NAME, span, format!("{quoted} cannot name {what}: {why}"))
            .help(format!("names are made of {allowed}"));
        self.report(finding);
        false
    }
}

fn plain_integer(text: &str) -> Option<u64> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok())?
}

/// `12` and one of the units, nothing between them.
fn with_unit(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let (_, factor) = units.iter().find(|(name, _)| *name == unit)?;
    number.parse::<u64>().ok()?.checked_mul(*factor)
}

pub fn socket_address(text: &str) -> Option<SocketAddr> {
    if let Some(port) = text.strip_prefix("localhost:") {
        return port.parse().ok().map(|port| SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port));
    }
    text.parse().ok()
}

/// What follows `http://`: host without brackets, port, path with query.
pub fn split_url(rest: &str, https: bool) -> Result<Endpoint, String> {
    if rest.chars().any(|c| c.is_ascii_control() || c == ' ' || !c.is_ascii()) {
        return Err("it holds a character that must be percent-encoded".into());
    }
    if rest.contains('#') {
        return Err("a fragment (`#…`) is never sent".into());
    }
    let cut = rest.find(['/', '?']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(cut);
    if authority.contains('@') {
        return Err("a user name or password does not belong in a URL; use `credential: { basic: … }`".into());
    }
    let (host, port) = split_authority(authority)?;
    let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
    Ok(Endpoint { host, port: port.unwrap_or(if https { 443 } else { 80 }), path, https })
}

/// Host in lower case and without brackets, and the port if written.
pub fn split_authority(authority: &str) -> Result<(String, Option<u16>), String> {
    let (host, port) = match authority.strip_prefix('[') {
        Some(rest) => {
            let (host, after) = rest.split_once(']').ok_or("the bracket of its IPv6 address never closes")?;
            host.parse::<std::net::Ipv6Addr>().map_err(|_| "its IPv6 address is malformed")?;
            (host, after.strip_prefix(':').or(if after.is_empty() { None } else { Some("?") }))
        }
        None => match authority.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (authority, None),
        },
    };
    let port = match port {
        None => None,
        Some(digits) => Some(
            Some(digits)
                .filter(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()))
                .and_then(|digits| digits.parse::<u16>().ok())
                .filter(|port| *port > 0)
                .ok_or("a port is a number from 1 to 65535")?,
        ),
    };
    let legal = |c: char| c.is_ascii_alphanumeric() || "-._:".contains(c);
    if host.is_empty() || host.len() > 253 || !host.chars().all(legal) {
        return Err("it has no valid host name".into());
    }
    Ok((host.to_ascii_lowercase(), port))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_multiply_and_nothing_else_passes() {
        let units = [("ms", 1), ("s", 1_000)];
        let check = |text, expected| assert_eq!(with_unit(text, &units), expected, "{text}");
        check("500ms", Some(500));
        check("10s", Some(10_000));
        check("10", None);
        check("s", None);
        check("1.5s", None);
        check("-1s", None);
        check("10 s", None);
        check("99999999999999999999s", None);
        check("18446744073709551615s", None);
    }

    #[test]
    fn urls_are_taken_apart() {
        let check = |url: &str, host: &str, port: u16, path: &str| {
            let endpoint = split_url(url, false).unwrap();
            assert_eq!(
                (endpoint.host.as_str(), endpoint.port, endpoint.path.as_str()),
                (host, port, path),
                "{url}"
            );
        };
        check("Example.com", "example.com", 80, "/");
        check("a:9000/mcp?x=1", "a", 9000, "/mcp?x=1");
        check("a?x", "a", 80, "/?x");
        check("[::1]:81/mcp", "::1", 81, "/mcp");
        for bad in [
            "", ":80/", "a:0", "a:70000", "a:8a", "u:p@h/", "a b", "a/#f", "[::1", "[x]:1", "[::1]x",
            "h\u{e9}",
        ] {
            assert!(split_url(bad, false).is_err(), "{bad}");
        }
    }
}
