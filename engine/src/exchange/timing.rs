//! `Server-Timing`: an answer that says how long its parts took, for whoever configured that or asks for it.
//!
//! The head of an answer leaves before its last byte, so it tells what has passed until then: our parts, the wait for the upstream's
//! first event, and `gateway`, all of it that was ours. There is no header of any standard by which a client asks; ours is
//! `Strait-Server-Timing`, with any value but `?0`.

use std::io::Write;

use strait_protocol::http1::write::Head;

use super::Incoming;
use super::record::{PHASES, Phase, Record};
use crate::core::Adopted;
use crate::trace::Timing;

const ASKS: &str = "Strait-Server-Timing";
/// Six parts of at most thirty bytes each.
const BYTES_MAX: usize = 192;

/// Whether the answer to this request says so.
pub fn is_wanted(adopted: &Adopted, incoming: &Incoming<'_>) -> bool {
    match adopted.watching.timing {
        Timing::Never => false,
        Timing::Always => true,
        Timing::Asked => {
            let mut headers = incoming.head.headers(incoming.bytes);
            headers.any(|(name, value)| name.eq_ignore_ascii_case(ASKS.as_bytes()) && value != b"?0")
        }
    }
}

/// The same head, with the times of its exchange where they are wanted.
pub fn shown<'h>(head: Head<'h>, record: &Record) -> Head<'h> {
    if !record.is_timed {
        return head;
    }
    let mut text = [0; BYTES_MAX];
    let mut left = text.as_mut_slice();
    let mut part = |word: &str, ns: u64, first: bool| {
        let us = ns / 1_000;
        let comma = if first { "" } else { ", " };
        // What does not fit is left out; it does.
        let _ = write!(left, "{comma}{word};dur={}.{:03}", us / 1_000, us % 1_000);
    };
    let times = record.times();
    let ours = times.iter().sum::<u64>().saturating_sub(record.waited_ns());
    part("gateway", ours, true);
    for (phase, word) in PHASES {
        match phase {
            Phase::Upstream => part(word, record.waited_ns(), false),
            // It has only begun.
            Phase::Respond => {}
            Phase::Identify | Phase::Decode | Phase::Policy => part(word, times[phase as usize], false),
        }
    }
    let unused = left.len();
    head.header("Server-Timing", text.get(..BYTES_MAX - unused).unwrap_or_default())
}
