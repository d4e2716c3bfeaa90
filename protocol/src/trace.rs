//! W3C Trace Context: the two headers, which MCP also has as members of `_meta`. HOT, and without allocation.
//!
//! <https://www.w3.org/TR/trace-context/>. What is malformed is as if it were not there: a header of which half is right would join
//! traces that do not belong together, and is never passed on. What is well-formed is passed on byte for byte.

/// Bytes of a `traceparent` of version 00.
pub const TRACEPARENT_BYTES: usize = 55;
/// Vendors should pass on so many at least; what is longer is dropped whole, since entries cannot be told apart by weight.
pub const TRACESTATE_BYTES_MAX: usize = 512;
/// Entries of a list, as the specification bounds them.
const ENTRIES_MAX: usize = 32;
const KEY_BYTES_MAX: usize = 256;
const VALUE_BYTES_MAX: usize = 256;

/// A span of somebody else: where it is in which trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Parent {
    pub trace: [u8; 16],
    pub span: [u8; 8],
    /// Whoever began the trace, or a later one, keeps what it says of it.
    pub sampled: bool,
}

impl Parent {
    /// What a `traceparent` says. Versions after 00 may be longer, and are read as 00 is; `ff` is none.
    pub fn parse(text: &[u8]) -> Option<Parent> {
        let (head, rest) = text.split_at_checked(TRACEPARENT_BYTES)?;
        let is_divided = [2, 35, 52].iter().all(|at| head.get(*at) == Some(&b'-'));
        let version = hex::<1>(head.get(..2)?)?[0];
        let is_whole = match version {
            0 => rest.is_empty(),
            0xff => false,
            _ => rest.is_empty() || rest.starts_with(b"-"),
        };
        if !is_divided || !is_whole {
            return None;
        }
        let (trace, span) = (hex::<16>(head.get(3..35)?)?, hex::<8>(head.get(36..52)?)?);
        let flags = hex::<1>(head.get(53..55)?)?[0];
        let is_one = trace != [0; 16] && span != [0; 8];
        is_one.then_some(Parent { trace, span, sampled: flags & 1 != 0 })
    }

    /// Its trace alone, in hex.
    pub fn written_trace(&self) -> [u8; 32] {
        let written = self.written();
        let (_, trace) = written.split_at(3);
        trace.first_chunk().copied().unwrap_or([b'0'; 32])
    }

    /// As version 00 writes it.
    pub fn written(&self) -> [u8; TRACEPARENT_BYTES] {
        let mut out = *b"00-00000000000000000000000000000000-0000000000000000-00";
        let mut put = |from: usize, bytes: &[u8]| {
            let places = out.get_mut(from..).unwrap_or_default().chunks_exact_mut(2);
            for (pair, byte) in places.zip(bytes) {
                pair.copy_from_slice(&[digit(byte >> 4), digit(byte & 15)]);
            }
        };
        put(3, &self.trace);
        put(36, &self.span);
        put(53, &[u8::from(self.sampled)]);
        out
    }
}

/// Lower case alone: the specification forbids the other.
fn hex<const N: usize>(text: &[u8]) -> Option<[u8; N]> {
    let mut bytes = [0; N];
    if text.len() != 2 * N {
        return None;
    }
    for (byte, pair) in bytes.iter_mut().zip(text.chunks_exact(2)) {
        *byte = nibble(*pair.first()?)? << 4 | nibble(*pair.last()?)?;
    }
    Some(bytes)
}

fn nibble(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    }
}

fn digit(nibble: u8) -> u8 {
    match nibble {
        0..=9 => b'0' + nibble,
        _ => b'a' + nibble - 10,
    }
}

/// A `tracestate` that may be passed on, however many headers it was in.
#[derive(Clone, Copy)]
pub struct State {
    bytes: [u8; TRACESTATE_BYTES_MAX],
    len: u16,
}

impl Default for State {
    fn default() -> State {
        State { bytes: [0; TRACESTATE_BYTES_MAX], len: 0 }
    }
}

impl std::fmt::Debug for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} bytes of tracestate", self.len)
    }
}

impl State {
    /// What these values say together, in their order. One that is malformed, or too long, makes all of it nothing.
    pub fn gather<'v>(values: impl IntoIterator<Item = &'v [u8]>) -> State {
        let mut all = State::default();
        for value in values {
            let apart: &[u8] = if all.len == 0 || value.is_empty() { b"" } else { b"," };
            if !all.push(apart) || !all.push(value) {
                return State::default();
            }
        }
        if is_list(all.as_bytes()) { all } else { State::default() }
    }

    /// Empty: there is none.
    pub fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..usize::from(self.len)).unwrap_or_default()
    }

    fn push(&mut self, bytes: &[u8]) -> bool {
        let from = usize::from(self.len);
        let Some(room) = self.bytes.get_mut(from..from + bytes.len()) else { return false };
        room.copy_from_slice(bytes);
        self.len += bytes.len() as u16;
        true
    }
}

/// Entries `key=value` between commas, no key twice; entries of nothing are allowed.
fn is_list(text: &[u8]) -> bool {
    let mut keys: [&[u8]; ENTRIES_MAX] = [&[]; ENTRIES_MAX];
    let entries = text.split(|byte| *byte == b',').map(<[u8]>::trim_ascii);
    for (at, entry) in entries.filter(|entry| !entry.is_empty()).enumerate() {
        let Some(equals) = memchr::memchr(b'=', entry) else { return false };
        let (key, value) =
            (entry.get(..equals).unwrap_or_default(), entry.get(equals + 1..).unwrap_or_default());
        let is_new = !keys.contains(&key);
        let Some(place) = keys.get_mut(at).filter(|_| is_new && is_key(key) && is_value(value)) else {
            return false;
        };
        *place = key;
    }
    true
}

fn is_key(key: &[u8]) -> bool {
    let legal = |byte: &u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_' | b'-' | b'*' | b'/' | b'@');
    (1..=KEY_BYTES_MAX).contains(&key.len())
        && matches!(key.first(), Some(b'a'..=b'z' | b'0'..=b'9'))
        && key.iter().all(legal)
        && key.iter().filter(|byte| **byte == b'@').count() <= 1
}

/// Printable, without comma and equals sign, and with no space at its end.
fn is_value(value: &[u8]) -> bool {
    let legal = |byte: &u8| matches!(byte, 0x20..=0x7e) && !matches!(byte, b',' | b'=');
    (1..=VALUE_BYTES_MAX).contains(&value.len()) && value.iter().all(legal) && !value.ends_with(b" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn a_traceparent_is_read_and_written_alike() {
        let parent = Parent::parse(GOOD.as_bytes()).unwrap();
        assert_eq!(
            (parent.trace[0], parent.trace[15], parent.span[7], parent.sampled),
            (0x4b, 0x36, 0xb7, true)
        );
        assert_eq!(parent.written(), GOOD.as_bytes());
        assert!(!Parent { sampled: false, ..parent }.written().ends_with(b"1"));
        // Flags that nobody knows yet are not passed on; a later version's are read as this one's.
        let later = "cc-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-03-what-will-be";
        assert_eq!(Parent::parse(later.as_bytes()), Some(parent));
    }

    #[test]
    fn what_is_malformed_is_nothing() {
        for text in [
            "",
            "00",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01 ",
            "cc-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01x",
            "00_4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e473g-00f067aa0ba902b7-01",
            "0x-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-1",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-0A",
        ] {
            assert_eq!(Parent::parse(text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn a_tracestate_passes_whole_or_not_at_all() {
        let passed = |values: &[&str]| {
            String::from_utf8(State::gather(values.iter().map(|value| value.as_bytes())).as_bytes().to_vec())
                .unwrap()
        };
        for good in ["rojo=00f067aa0ba902b7,congo=t61rcWkgMzE", "a=1, b=2", "t@v=x y", "a=1,,b=2", ""] {
            assert_eq!(passed(&[good]), good);
        }
        assert_eq!(passed(&["a=1", "b=2", "", "c=3"]), "a=1,b=2,c=3");
        let many: Vec<String> = (0..33).map(|n| format!("k{n}=v")).collect();
        assert_eq!(passed(&[&many[..32].join(",")]), many[..32].join(","));
        let (long, most) =
            (format!("a={}", "x".repeat(257)), format!("a={},b={}", "x".repeat(256), "x".repeat(251)));
        assert_eq!(passed(&[&most]), most);
        for bad in [
            "a",
            "=1",
            "a=",
            "A=1",
            "a=1,a=2",
            "a=1;b=\u{1}",
            "a=b=c",
            "a@b@c=1",
            "_a=1",
            &many.join(","),
            &long,
            &format!("{most}x"),
            "a=caf\u{e9}",
        ] {
            assert_eq!(passed(&[bad]), "", "{bad}");
        }
        assert_eq!(passed(&["a=1", "a=2"]), "", "one key twice");
    }
}
