//! How values of options are read, where they are more than a word or a number.

use strait_loadgen::load::plan::Length;
use strait_loadgen::load::record::HIGHEST_NS;
use strait_loadgen::target::ARGUMENT_BYTES_MAX;
use strait_loadgen::words;

pub(super) fn duration(text: &str) -> Result<u64, String> {
    match words::duration_ns(text)? {
        0 => Err(format!("`{text}` is no time at all")),
        ns => Ok(ns),
    }
}

/// No longer than what a histogram can hold: the percentiles would not show it.
pub(super) fn timeout(text: &str) -> Result<u64, String> {
    match duration(text)? {
        ns if ns <= HIGHEST_NS => Ok(ns),
        _ => {
            Err(format!("`{text}` is more than the {} a histogram holds", words::shown_ns(HIGHEST_NS as f64)))
        }
    }
}

/// Bytes of padding in a call's arguments.
pub fn padding(text: &str) -> Result<usize, String> {
    match words::bytes(text)? {
        bytes if bytes <= ARGUMENT_BYTES_MAX => Ok(bytes),
        _ => Err(format!("`{text}` is more than {} MiB", ARGUMENT_BYTES_MAX >> 20)),
    }
}

/// How long a warm-up waits for a steady target.
const STEADY_NS: u64 = 30_000_000_000;

pub(super) fn warmup(text: &str) -> Result<Length, String> {
    if text == "steady" {
        return Ok(Length::Steady { within_ns: STEADY_NS });
    }
    if let Some(within) = text.strip_prefix("steady:") {
        return Ok(Length::Steady { within_ns: duration(within)? });
    }
    match text.parse::<u64>() {
        Ok(requests) => Ok(Length::Requests(requests)),
        Err(_) => match words::duration_ns(text) {
            Ok(ns) => Ok(Length::Time { ns }),
            Err(_) => {
                Err(format!("`{text}` is no warm-up: expected requests, a time with its unit, or `steady`"))
            }
        },
    }
}
