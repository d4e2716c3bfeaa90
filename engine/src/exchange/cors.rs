//! Pages of browsers: what an answer says of itself so that a page of an allowed origin may read it, and the question that a browser
//! asks before.
//!
//! Only origins of the listener get that far ([`super::arrive`]); an answer to one names it, and nobody else. A request without an
//! origin, and so every program that is no browser, costs one branch.

use std::rc::Rc;

use strait_protocol::http1::write::{self, Head};

use super::Incoming;
use super::record::Record;
use super::respond::{Next, Sink};
use crate::core::Core;
use crate::io::buffer::Buf;

/// Headers that a page may read besides the few that it always may.
const SHOWN: &str = "Access-Control-Expose-Headers: Mcp-Session-Id, MCP-Protocol-Version, WWW-Authenticate, Retry-After\r\n\
                     Vary: Origin\r\n";
/// `*` speaks of no `Authorization`. Which `Mcp-Param` headers there are, only tools know.
const PREFLIGHT: &str = "Access-Control-Allow-Methods: POST, GET, DELETE\r\nAccess-Control-Allow-Headers: *, Authorization\r\n\
                         Access-Control-Max-Age: 600\r\n";

/// The same head, for whoever asked from an origin that may.
pub fn shown<'h>(head: Head<'h>, incoming: &Incoming<'_>, record: &Record) -> Head<'h> {
    match record.origin {
        None => head,
        Some(origin) => head.header("Access-Control-Allow-Origin", origin.of(incoming.bytes)).lines(SHOWN),
    }
}

/// What a browser asks before it sends what a page wants sent. Nobody is asked who it is.
pub async fn preflight(
    core: &Rc<Core>,
    incoming: &Incoming<'_>,
    sink: &mut Sink<'_>,
    record: &mut Record,
) -> Next {
    record.status(204);
    let close = !incoming.head.keep_alive || core.draining.get();
    let mut out = Buf::new();
    let head = shown(write::reply(out.vec(), 204), incoming, record).lines(PREFLIGHT);
    let head = if close { head.connection_close() } else { head };
    if head.finish().is_err() {
        return Next::Close;
    }
    record.sent(out.len());
    Next::after(sink.send(core, out).await, close)
}
