//! How a server's own request is answered: from any task of the worker, long after the event that brought it.

use std::rc::Rc;

use strait_protocol::Span;
use strait_protocol::jsonrpc::{ErrorId, append_error};
use strait_protocol::mcp::{Method, codes};

use super::stdio::child::Child;
use super::stdio::elsewhere;
use super::{Upstream, http};
use crate::core::Core;
use crate::io::buffer::Buf;

/// Where the answer goes.
#[derive(Clone)]
pub enum Responder {
    /// A POST of its own, on the session that asked.
    Http { upstream: Rc<Upstream>, session: Rc<http::Session> },
    /// A line.
    Child(Rc<Child>),
    /// A line, by the worker that owns the child.
    Elsewhere(elsewhere::Way),
}

impl Responder {
    /// Sends a whole JSON-RPC response. It leaves with the next turn; a server that is gone does not get it.
    pub fn send(&self, core: &Rc<Core>, response: Buf) {
        match self {
            Responder::Http { upstream, session } => session.respond(core, upstream, response),
            Responder::Child(child) => child.say(response),
            Responder::Elsewhere(way) => way.send(core, response),
        }
    }

    /// Passes on how far the client is with its answer.
    pub fn progress(&self, core: &Rc<Core>, notification: Buf) {
        match self {
            Responder::Http { upstream, session } => session.progress(core, upstream, notification),
            Responder::Child(_) | Responder::Elsewhere(_) => self.send(core, notification),
        }
    }

    /// Answers with the client's `result` or `error`, as written. `id` is the server's own, as written.
    pub fn answer(&self, core: &Rc<Core>, id: &[u8], outcome: Result<&[u8], &[u8]>) {
        let (key, value) = match outcome {
            Ok(result) => (&b",\"result\":"[..], result),
            Err(error) => (&b",\"error\":"[..], error),
        };
        let mut out = Buf::with_capacity(value.len() + id.len() + 64);
        for part in [b"{\"jsonrpc\":\"2.0\",\"id\":", id, key, value, b"}"] {
            out.extend_from_slice(part);
        }
        self.send(core, out);
    }

    /// Says no, with a reason.
    pub fn refuse(&self, core: &Rc<Core>, id: &[u8], code: i64, why: &str) {
        let mut out = Buf::new();
        append_error(out.vec(), ErrorId::Raw(id), code, why, None);
        self.send(core, out);
    }
}

/// The answer to a request that no client is asked: a ping gets its pong, anything else was never declared.
pub fn decline(message: &[u8], id: Span, method: Option<Method>) -> Buf {
    let mut out = Buf::new();
    let id = id.of(message);
    if method == Some(Method::Ping) {
        out.extend_from_slice(b"{\"jsonrpc\":\"2.0\",\"id\":");
        out.extend_from_slice(id);
        out.extend_from_slice(b",\"result\":{}}");
    } else {
        let why = "the client declared no such capability";
        append_error(out.vec(), ErrorId::Raw(id), codes::METHOD_NOT_FOUND, why, None);
    }
    out
}
