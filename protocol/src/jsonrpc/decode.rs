//! The strict reading of one client message. HOT: a parser's buffers, a tape, a scratch copy and a list of keys, all
//! reused from message to message, and no allocation once they have grown.
//!
//! The decision: simd-json validates a *copy* and tells what is where; every answer is a span of the original, which
//! is what the upstream will get. What is refused here is refused because some server might read it differently from
//! us (`decode_fault` lists the causes). The message itself is read in `reading`.

use simd_json::{Buffers, Tape};

use super::diagnose::diagnose;
use super::guard::{Guard, Only};
use super::pick::guarded;
use super::reading::Reading;
use super::walk::Walk;
use super::{DecodeCause, DecodeFault, Message, Text};
use crate::Span;
use crate::copy;
use crate::limits::{DECODER_RETAIN_BYTES, DEPTH_MAX, MESSAGE_BYTES_MAX};

/// One per worker.
pub struct Decoder {
    buffers: Buffers,
    /// Empty between messages; only its allocation is kept.
    tape: Tape<'static>,
    scratch: Vec<u8>,
    guard: Guard,
    /// The one read last.
    message: Message,
    /// The largest message since the last `trim`.
    largest_bytes: usize,
}

impl Default for Decoder {
    fn default() -> Self {
        Decoder::new()
    }
}

impl Decoder {
    pub fn new() -> Decoder {
        Decoder {
            buffers: Buffers::with_max_depth(DECODER_RETAIN_BYTES, DEPTH_MAX),
            tape: Tape(Vec::new()),
            scratch: Vec::with_capacity(DECODER_RETAIN_BYTES),
            guard: Guard::default(),
            message: Message::new(0),
            largest_bytes: 0,
        }
    }

    /// Reads one message. `body` is all of it; white space around it is allowed, anything else is not.
    pub fn decode(&mut self, body: &[u8]) -> Result<&Message, DecodeFault> {
        if body.len() > MESSAGE_BYTES_MAX {
            return Err(DecodeFault { cause: DecodeCause::TooLarge, at: MESSAGE_BYTES_MAX as u32, id: None });
        }
        self.largest_bytes = self.largest_bytes.max(body.len());
        self.scratch.clear();
        copy::append(&mut self.scratch, body);
        let base = self.scratch.as_ptr() as usize;
        let mut tape = std::mem::replace(&mut self.tape, Tape(Vec::new())).reset();
        let outcome = match simd_json::fill_tape(&mut self.scratch, &mut self.buffers, &mut tape) {
            Ok(()) => {
                let walk = Walk { nodes: &tape.0, original: body, base };
                Reading::run(walk, &mut self.guard, &mut self.message)
            }
            Err(error) => Err(diagnose(body, &error)),
        };
        self.tape = tape.reset();
        outcome.map(|()| &self.message)
    }

    /// What a string of the *last decoded* message says. For a message that was decoded earlier use [`Text::read`].
    pub fn text(&self, text: Text) -> &[u8] {
        Span { start: text.inner().start, len: text.plain_bytes }.of(&self.scratch)
    }

    /// The member `wanted` of an object in a body that was accepted, for conditions, defaults and detectors. The object
    /// is guarded first, as the message was: a repeated key, a case variant of `wanted`, a NUL in a key are refused.
    pub fn member(&mut self, body: &[u8], object: Span, wanted: &str) -> Result<Option<Span>, DecodeFault> {
        let mut found = None;
        guarded(&mut self.guard, body, object, &Only::of(wanted), |_, value, _| found = Some(value))?;
        Ok(found)
    }

    /// Gives back what an outsized message made the buffers grow by. Cheap when there was none.
    pub fn trim(&mut self) {
        if self.largest_bytes > DECODER_RETAIN_BYTES || self.guard.capacity() > DECODER_RETAIN_BYTES {
            *self = Decoder::new();
        }
    }
}
