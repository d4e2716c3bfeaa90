//! The part of a message that lies deeper than any fact: read token by token, without telling anybody. HOT: of a large
//! answer it is nearly all.
//!
//! The decision: only whole tokens are read here. One that the piece cuts, and one that is not as it should be, is left
//! where it begins for the scanner, which goes on byte by byte and names the fault. So what is a message is said in one
//! place, and a test holds any way of cutting one against reading it byte by byte, which never comes here.

use super::scanner::{Levels, State, is_number_byte};
use super::text::{skip_blanks, string_end};

/// What is read next.
#[derive(Clone, Copy)]
enum Step {
    /// A member of an object, or an element of an array.
    Item,
    /// A value, be it a member's or an element.
    Value,
    /// What follows a value: a comma, or the end of the container.
    After,
}

/// Reads on from `at`, no further than to the bracket that leads up to `floor` levels. Says how far it came; `state` and `levels` are
/// then as the scanner would have left them.
pub(super) fn skim(bytes: &[u8], mut at: usize, floor: u32, state: &mut State, levels: &mut Levels) -> usize {
    let mut step = match *state {
        State::Key | State::KeyOrEnd | State::ValueOrEnd => Step::Item,
        State::Value => Step::Value,
        State::CommaOrEnd => Step::After,
        _ => return at,
    };
    let mut object = levels.in_object();
    loop {
        let start = skip_blanks(bytes, at);
        let Some(&byte) = bytes.get(start) else { return at };
        at = start;
        (step, *state, at) = match step {
            Step::Item if object => {
                let Some(end) = (byte == b'"').then(|| string_end(bytes, at + 1)).flatten() else {
                    return at;
                };
                if bytes.get(end + 1) != Some(&b':') {
                    *state = State::Colon;
                    return end + 1;
                }
                (Step::Value, State::Value, end + 2)
            }
            Step::Item | Step::Value => match byte {
                b'"' => {
                    let Some(end) = string_end(bytes, at + 1) else { return at };
                    (Step::After, State::CommaOrEnd, end + 1)
                }
                b'{' | b'[' => {
                    if !levels.enter(byte == b'{') {
                        return at;
                    }
                    object = byte == b'{';
                    let close = if object { b'}' } else { b']' };
                    let begun = if object { State::KeyOrEnd } else { State::ValueOrEnd };
                    let step = if bytes.get(at + 1) == Some(&close) { Step::After } else { Step::Item };
                    (step, begun, at + 1)
                }
                b'-' | b'0'..=b'9' => {
                    let Some(end) = number_end(bytes, at) else { return at };
                    (Step::After, State::CommaOrEnd, end)
                }
                _ => {
                    let Some(end) = word_end(bytes, at) else { return at };
                    (Step::After, State::CommaOrEnd, end)
                }
            },
            Step::After => match (byte, object) {
                (b',', true) => (Step::Item, State::Key, at + 1),
                (b',', false) => (Step::Value, State::Value, at + 1),
                (b'}', true) | (b']', false) if levels.depth > floor + 1 => {
                    object = levels.leave();
                    (Step::After, State::CommaOrEnd, at + 1)
                }
                _ => return at,
            },
        };
    }
}

/// The byte after the number that begins at `start`; `None` when the piece may cut it.
#[inline]
fn number_end(bytes: &[u8], start: usize) -> Option<usize> {
    let mut at = start + 1;
    while is_number_byte(*bytes.get(at)?) {
        at += 1;
    }
    Some(at)
}

/// The byte after `true`, `false` or `null`; `None` for anything else.
#[inline]
fn word_end(bytes: &[u8], start: usize) -> Option<usize> {
    let rest = bytes.get(start..)?;
    match rest.first_chunk::<4>()? {
        b"true" | b"null" => Some(start + 4),
        b"fals" if rest.get(4) == Some(&b'e') => Some(start + 5),
        _ => None,
    }
}
