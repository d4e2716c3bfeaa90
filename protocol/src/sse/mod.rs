//! `text/event-stream`, both ways: [`Reader`] takes upstream streams apart, [`write`](append_event) makes ours.

mod reader;
#[cfg(test)]
mod tests;
mod write;

pub use reader::{Event, EventKind, Reader, SseFault, Step};
pub use write::{append_comment, append_event, append_piece, append_retry};
