//! What control is told of an exchange that is traced: of a fixed size, without a word of what was asked or answered.

use std::sync::Arc;

use strait_policy::Verdict;
use strait_protocol::http1;
use strait_protocol::mcp::{Method, Revision};
use strait_protocol::trace::Parent;
use strait_table::{Kind, Snapshot};

use crate::exchange::record::PHASES;
use crate::figures::labels::{Layer, MethodClass, Outcome};

/// An exchange that is over.
#[derive(Clone, Debug)]
pub struct Traced {
    pub own: Parent,
    pub parent: Option<[u8; 8]>,
    pub link: Option<Parent>,
    /// The span around asking the upstream.
    pub asks: [u8; 8],
    pub began_unix_ns: u64,
    pub total_ns: u64,
    /// Of [`PHASES`], in order.
    pub phases: [u64; PHASES.len()],
    /// Of those, what was spent waiting for the upstream.
    pub waited_ns: u64,
    /// What the numbers below are numbers in.
    pub snapshot: Arc<Snapshot>,
    pub worker: u32,
    pub server: Option<usize>,
    pub item: Option<(Kind, usize)>,
    /// Who was asked.
    pub upstream: Option<usize>,
    pub verdict: Option<Verdict>,
    pub limit: Option<usize>,
    pub method: Method,
    pub http: http1::Method,
    pub class: MethodClass,
    pub outcome: Outcome,
    /// The word of the access line.
    pub refusal: Option<&'static str>,
    pub layer: Option<Layer>,
    pub revision: Option<Revision>,
    /// A digest of the session, which lets nobody into it.
    pub session: Option<u64>,
    pub id: Short,
    pub status: u16,
    pub bytes_in: u64,
    pub bytes_out: u64,
}

const SHORT_BYTES: usize = 48;

/// A request's id, if it is short; a longer one is left out.
#[derive(Clone, Copy, Debug)]
pub struct Short {
    bytes: [u8; SHORT_BYTES],
    len: u8,
}

impl Default for Short {
    fn default() -> Short {
        Short { bytes: [0; SHORT_BYTES], len: 0 }
    }
}

impl Short {
    /// As written in the message, without the quotes. One with escapes is left out: nothing here reads JSON.
    pub fn of_id(raw: &[u8]) -> Short {
        let text = raw.strip_prefix(b"\"").and_then(|text| text.strip_suffix(b"\"")).unwrap_or(raw);
        let mut short = Short::default();
        if text.contains(&b'\\') {
            return short;
        }
        if let Some(place) = short.bytes.get_mut(..text.len()) {
            place.copy_from_slice(text);
            short.len = text.len() as u8;
        }
        short
    }

    /// Empty: there is none.
    pub fn as_str(&self) -> &str {
        let bytes = self.bytes.get(..usize::from(self.len)).unwrap_or_default();
        std::str::from_utf8(bytes).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_told_as_it_is_or_not_at_all() {
        for (raw, told) in [
            ("7", "7"),
            ("\"a-b\"", "a-b"),
            ("\"\"", ""),
            ("\"a\\nb\"", ""),
            (&*"9".repeat(48), &*"9".repeat(48)),
            (&*"9".repeat(49), ""),
        ] {
            assert_eq!(Short::of_id(raw.as_bytes()).as_str(), told);
        }
    }

    #[test]
    fn a_channel_of_them_has_a_size_that_is_known() {
        assert!(size_of::<Traced>() <= 512, "{}", size_of::<Traced>());
    }
}
