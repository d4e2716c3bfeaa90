//! JSON-RPC 2.0 under MCP's rules, in two readings and one way of writing.
//!
//! A client's message is small enough to hold and decides what happens, so [`Decoder`] reads it whole and refuses
//! whatever two parsers could read differently. An upstream's message may be larger than any buffer and decides
//! little, so [`Scanner`] reads it as it arrives and keeps only the envelope. Neither builds a tree: both answer with
//! spans into the original bytes, and [`Splices`] edits those bytes. [`Members`] and [`Elements`] walk an object or
//! an array of them for the cold side, [`Gaps`] takes members out of one.

mod decode;
mod decode_fault;
mod diagnose;
mod envelope;
mod envelope_fault;
mod error;
mod facts;
mod gaps;
mod guard;
mod members;
mod message;
mod number;
mod omit;
mod pick;
mod reading;
mod scanner;
mod skim;
mod splice;
#[cfg(test)]
mod tests;
mod text;
mod walk;

pub use decode::Decoder;
pub use decode_fault::{DecodeCause, DecodeFault};
pub use envelope::{Envelope, IdValue, Open, ResultType};
pub use envelope_fault::{EnvelopeCause, EnvelopeFault};
pub use error::{ErrorId, append_error};
pub use gaps::Gaps;
pub use guard::KeySketch;
pub use members::{Elements, Member, MemberFault, Members};
pub use message::{Kind, Message, Text};
pub use number::{EXPONENT_MAX, compare_numbers, is_integer};
pub use omit::OMITTED_MAX;
pub use pick::{PICKED_MAX, Paths, Picked, Picker};
pub use scanner::Scanner;
pub use splice::{SpliceFault, Splices};
pub use text::{Unescape, append_string, string_at, tight, unescape};
