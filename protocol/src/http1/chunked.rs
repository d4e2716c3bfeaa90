//! The chunked coding, taken off incrementally. HOT: the decoder is 32 bytes of state and copies nothing; it tells
//! which part of the input is payload.
//!
//! The decision: nothing optional is honoured. Extensions and trailers are bounded, checked for syntax and dropped,
//! and every CRLF must be exactly that, since a lenient reader in front of a strict one is how requests are smuggled.

use super::BodyStep;
use crate::limits::{CHUNK_EXTENSION_BYTES_MAX, CHUNK_SIZE_DIGITS_MAX, TRAILER_BYTES_MAX};

/// A decoder for one body.
#[derive(Clone, Copy, Debug)]
pub struct Chunked {
    state: State,
    trailer_bytes: u32,
}

/// What the next byte must be part of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Size { digits: u32, value: u64 },
    Extension { bytes: u32, value: u64 },
    SizeLf { value: u64 },
    Data { left: u64 },
    DataCr,
    DataLf,
    TrailerStart,
    TrailerName,
    TrailerValue,
    TrailerLf,
    FinalLf,
    Done,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ChunkFault {
    SizeInvalid,
    SizeTooLong,
    ExtensionInvalid,
    ExtensionTooLong,
    LineEndInvalid,
    DataEndInvalid,
    TrailerInvalid,
    TrailerTooLong,
}

impl ChunkFault {
    pub const fn label(self) -> &'static str {
        self.facts().0
    }

    pub const fn message(self) -> &'static str {
        self.facts().1
    }

    /// Every one of them is a malformed request.
    pub const fn status(self) -> u16 {
        400
    }

    const fn facts(self) -> (&'static str, &'static str) {
        match self {
            ChunkFault::SizeInvalid => {
                ("chunk_size_invalid", "expected a chunk size in hex digits, found another byte")
            }
            ChunkFault::SizeTooLong => {
                ("chunk_size_too_long", "expected a chunk size of at most 16 digits, found more")
            }
            ChunkFault::ExtensionInvalid => (
                "chunk_extension_invalid",
                "expected printable characters in a chunk extension, found a control character",
            ),
            ChunkFault::ExtensionTooLong => (
                "chunk_extension_too_long",
                "expected a chunk extension of at most 256 bytes, found a longer one",
            ),
            ChunkFault::LineEndInvalid => {
                ("chunk_line_end_invalid", "expected LF after CR, found another byte")
            }
            ChunkFault::DataEndInvalid => (
                "chunk_data_end_invalid",
                "expected CRLF after the announced bytes of a chunk, found another byte",
            ),
            ChunkFault::TrailerInvalid => {
                ("trailer_invalid", "expected `name: value` in a trailer, found something else")
            }
            ChunkFault::TrailerTooLong => {
                ("trailer_too_long", "expected at most 4 KiB of trailers, found more")
            }
        }
    }
}

impl std::fmt::Display for ChunkFault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.message())
    }
}

impl std::error::Error for ChunkFault {}

impl Default for Chunked {
    fn default() -> Self {
        Chunked::new()
    }
}

impl Chunked {
    pub const fn new() -> Chunked {
        Chunked { state: State::Size { digits: 0, value: 0 }, trailer_bytes: 0 }
    }

    pub fn is_done(&self) -> bool {
        self.state == State::Done
    }

    /// Reads framing up to and including the next run of payload, or all of `input`. Call again with what was not
    /// consumed until everything is, or `done`; bytes after the last chunk belong to the next message.
    pub fn next(&mut self, input: &[u8]) -> Result<BodyStep, ChunkFault> {
        let mut consumed = 0;
        while self.state != State::Done {
            if let State::Data { left } = self.state {
                let run = usize::try_from(left).unwrap_or(usize::MAX).min(input.len() - consumed);
                if run == 0 {
                    break;
                }
                let left = left - run as u64;
                self.state = if left == 0 { State::DataCr } else { State::Data { left } };
                return Ok(BodyStep {
                    consumed: consumed + run,
                    data: consumed..consumed + run,
                    done: false,
                });
            }
            let Some(&byte) = input.get(consumed) else { break };
            consumed += 1;
            self.state = self.framing_byte(byte)?;
        }
        Ok(BodyStep { consumed, data: consumed..consumed, done: self.is_done() })
    }

    fn framing_byte(&mut self, byte: u8) -> Result<State, ChunkFault> {
        Ok(match self.state {
            State::Size { digits, value } => match (hex_digit(byte), byte) {
                (Some(_), _) if digits == CHUNK_SIZE_DIGITS_MAX => return Err(ChunkFault::SizeTooLong),
                (Some(digit), _) => State::Size { digits: digits + 1, value: value << 4 | digit },
                (None, b'\r') if digits > 0 => State::SizeLf { value },
                (None, b';') if digits > 0 => State::Extension { bytes: 1, value },
                (None, _) => return Err(ChunkFault::SizeInvalid),
            },
            State::Extension { bytes, value } => match byte {
                b'\r' => State::SizeLf { value },
                _ if !is_field_byte(byte) => return Err(ChunkFault::ExtensionInvalid),
                _ if bytes == CHUNK_EXTENSION_BYTES_MAX => return Err(ChunkFault::ExtensionTooLong),
                _ => State::Extension { bytes: bytes + 1, value },
            },
            State::SizeLf { value } => match (byte, value) {
                (b'\n', 0) => State::TrailerStart,
                (b'\n', left) => State::Data { left },
                _ => return Err(ChunkFault::LineEndInvalid),
            },
            State::DataCr if byte == b'\r' => State::DataLf,
            State::DataLf if byte == b'\n' => State::Size { digits: 0, value: 0 },
            State::DataCr | State::DataLf => return Err(ChunkFault::DataEndInvalid),
            State::TrailerStart if byte == b'\r' => State::FinalLf,
            State::TrailerStart | State::TrailerName | State::TrailerValue | State::TrailerLf => {
                self.trailer_byte(byte)?
            }
            State::FinalLf if byte == b'\n' => State::Done,
            State::FinalLf => return Err(ChunkFault::LineEndInvalid),
            // `next` handles these two itself and never asks about them.
            State::Data { .. } | State::Done => self.state,
        })
    }

    fn trailer_byte(&mut self, byte: u8) -> Result<State, ChunkFault> {
        self.trailer_bytes += 1;
        if self.trailer_bytes > TRAILER_BYTES_MAX {
            return Err(ChunkFault::TrailerTooLong);
        }
        match (self.state, byte) {
            (State::TrailerName, b':') => Ok(State::TrailerValue),
            (State::TrailerStart | State::TrailerName, _) if is_token_byte(byte) => Ok(State::TrailerName),
            (State::TrailerValue, b'\r') => Ok(State::TrailerLf),
            (State::TrailerValue, _) if is_field_byte(byte) => Ok(State::TrailerValue),
            (State::TrailerLf, b'\n') => Ok(State::TrailerStart),
            _ => Err(ChunkFault::TrailerInvalid),
        }
    }
}

fn hex_digit(byte: u8) -> Option<u64> {
    match byte {
        b'0'..=b'9' => Some(u64::from(byte - b'0')),
        b'a'..=b'f' => Some(u64::from(byte - b'a') + 10),
        b'A'..=b'F' => Some(u64::from(byte - b'A') + 10),
        _ => None,
    }
}

/// RFC 9110 field content: printable, HTAB, obs-text.
#[inline]
pub(super) fn is_field_byte(byte: u8) -> bool {
    (byte == b'\t') | ((byte >= b' ') & (byte != 0x7f))
}

/// RFC 9110 `tchar`.
#[inline]
pub(super) fn is_token_byte(byte: u8) -> bool {
    TOKEN_BYTES[byte as usize]
}

/// A load per byte: every header name that is written or walked over asks.
static TOKEN_BYTES: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0;
    while byte < 256 {
        table[byte] = (byte as u8).is_ascii_alphanumeric();
        byte += 1;
    }
    let marks = b"!#$%&'*+-.^_`|~";
    let mut mark = 0;
    while mark < marks.len() {
        table[marks[mark] as usize] = true;
        mark += 1;
    }
    table
};
