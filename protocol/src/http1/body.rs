//! One reader for every way a body can be delimited, so that the loop which moves bytes is written once. HOT.

use std::ops::Range;

use super::{ChunkFault, Chunked, Framing, ReplyFraming};

/// A body being read.
#[derive(Clone, Copy, Debug)]
pub enum Body {
    Length { left: u64 },
    Chunked(Chunked),
    UntilClose,
}

/// What one piece of input meant.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct BodyStep {
    /// Bytes of the input that are dealt with.
    pub consumed: usize,
    /// The part of the input that is payload; it ends at `consumed` and may be empty.
    pub data: Range<usize>,
    /// The body is complete. What follows `consumed` belongs to the next message.
    pub done: bool,
}

impl Body {
    pub const fn of_request(framing: Framing) -> Body {
        match framing {
            Framing::None => Body::Length { left: 0 },
            Framing::Length(left) => Body::Length { left },
            Framing::Chunked => Body::Chunked(Chunked::new()),
        }
    }

    pub const fn of_reply(framing: ReplyFraming) -> Body {
        match framing {
            ReplyFraming::None => Body::Length { left: 0 },
            ReplyFraming::Length(left) => Body::Length { left },
            ReplyFraming::Chunked => Body::Chunked(Chunked::new()),
            ReplyFraming::UntilClose => Body::UntilClose,
        }
    }

    /// The payload still to come, when that is known.
    pub const fn left(&self) -> Option<u64> {
        match self {
            Body::Length { left } => Some(*left),
            Body::Chunked(_) | Body::UntilClose => None,
        }
    }

    pub fn is_done(&self) -> bool {
        match self {
            Body::Length { left } => *left == 0,
            Body::Chunked(chunked) => chunked.is_done(),
            Body::UntilClose => false,
        }
    }

    /// Whether a connection that closes here cut nothing off.
    pub fn may_end_here(&self) -> bool {
        matches!(self, Body::UntilClose) || self.is_done()
    }

    /// Takes framing and at most one run of payload from the front of `input`.
    pub fn next(&mut self, input: &[u8]) -> Result<BodyStep, ChunkFault> {
        match self {
            Body::Length { left } => {
                let run = usize::try_from(*left).unwrap_or(usize::MAX).min(input.len());
                *left -= run as u64;
                Ok(BodyStep { consumed: run, data: 0..run, done: *left == 0 })
            }
            Body::Chunked(chunked) => chunked.next(input),
            Body::UntilClose => Ok(BodyStep { consumed: input.len(), data: 0..input.len(), done: false }),
        }
    }
}
