//! HTTP/1.1 in both roles, as far as MCP needs it: heads in ([`parse_request`], [`parse_reply`]), bodies in
//! ([`Body`], [`Chunked`]), heads and chunks out ([`write`]).
//!
//! The decision: a head is accepted only when every reader would agree on it. httparse is the tokenizer; `head`
//! adds the rules it leaves open (line ends, folding, counts), `request` and `reply` add those about meaning. What we
//! send is always written from scratch by [`write`]; a received head is never passed on, so there is no list of
//! hop-by-hop headers to strip and none to forget.

mod body;
mod chunked;
mod fault;
mod head;
mod reply;
mod request;
#[cfg(test)]
mod tests;
pub mod write;

pub use body::{Body, BodyStep};
pub use chunked::{ChunkFault, Chunked};
pub use fault::HeadFault;
pub use head::{ContentType, Framing, Headers, worth_parsing};
pub use reply::{ReplyFraming, ReplyHead, parse_reply};
pub use request::{Accept, Method, RequestHead, parse_request};
