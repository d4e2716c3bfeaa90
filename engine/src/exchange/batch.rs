//! Several messages in one POST: only 2025-03-26 has that, within its sessions.
//!
//! Each message goes through the stages by itself, with a record of its own; all are carried out at the same time, and
//! their answers come on one event stream as they are there. A batch of notifications and responses is answered 202.

use std::rc::Rc;

use strait_protocol::Span;
use strait_protocol::jsonrpc::{Elements, Kind};
use strait_protocol::mcp::{Method, Revision};

use super::answer::Reads;
use super::decode::{self, Asked, Call};
use super::record::Record;
use super::refusal::Refusal;
use super::respond::{self, Sink};
use super::tell::{Said, To};
use super::{Ending, Incoming, arrive, identify, stream};
use crate::connection::standing::{Framing, Standing};
use crate::core::{Adopted, Core};
use crate::io::runtime;
use crate::limits::BATCH_MAX;
use crate::session::Session;
use crate::session::outlet::Outlet;

/// A batch that may be carried out.
pub struct Batch {
    session: Rc<Session>,
    parts: Vec<Span>,
}

/// The stream of its answers, which ends with the last of them.
pub struct Whole {
    core: Rc<Core>,
    session: Rc<Session>,
    pub outlet: Rc<Outlet>,
}

impl Drop for Whole {
    fn drop(&mut self) {
        self.core.over.end(&self.core, &self.session, &self.outlet);
    }
}

/// Looks whether a request is a batch. One where there must be none is left to the decoder, which refuses it.
pub fn of(incoming: &Incoming<'_>, session: Option<&Rc<Session>>) -> Result<Option<Batch>, Refusal> {
    let body = incoming.body;
    let blank = |byte: &u8| matches!(byte, b' ' | b'\t' | b'\r' | b'\n');
    let start = body.iter().position(|byte| !blank(byte)).unwrap_or(body.len());
    let Some(session) = session
        .filter(|session| body.get(start) == Some(&b'[') && session.id.revision == Revision::V2025_03_26)
    else {
        return Ok(None);
    };
    let end = body.iter().rposition(|byte| !blank(byte)).map_or(start, |last| last + 1);
    let mut parts = Vec::new();
    for part in Elements::of(body, Span::between(start, end)) {
        parts.push(part.map_err(|_| Refusal::Invalid("the batch is not a JSON array"))?);
        if parts.len() > BATCH_MAX {
            return Err(Refusal::Invalid("more than 64 messages in one batch"));
        }
    }
    if parts.is_empty() {
        return Err(Refusal::Invalid("an empty batch"));
    }
    Ok(Some(Batch { session: session.clone(), parts }))
}

const _: () = assert!(BATCH_MAX == 64, "the refusal says so");

/// Begins everything that the batch asks, and opens the stream of the answers.
pub async fn run(
    core: &Rc<Core>,
    adopted: &Rc<Adopted>,
    incoming: &Incoming<'_>,
    batch: Batch,
    sink: &mut Sink<'_>,
    record: &mut Record,
) -> Ending {
    let place = match core.stand() {
        Ok(place) => place,
        Err(full) => {
            return respond::refuse(core, adopted, incoming, &Refusal::Overloaded(full), sink, record)
                .await
                .into();
        }
    };
    let session = batch.session;
    // Without a place it is one that nobody can come back for.
    let kept = session.streams.begin();
    let (ids, outlet) = (kept.is_some(), kept.unwrap_or_else(Outlet::lossless));
    let whole = Rc::new(Whole { core: core.clone(), session: session.clone(), outlet: outlet.clone() });
    let reader = outlet.read(0);
    let mut asks = false;
    for part in batch.parts {
        let (body, left) = (part.of(incoming.body), incoming.left.clone());
        let part = Incoming { body, left, ..*incoming };
        let mut record = Record::begin(incoming.arrived_ns);
        record.is_watched(core, adopted, &part);
        let begun = begin(core, adopted, &part, &session, &whole, &mut record);
        let (said, is_asked) = match begun {
            Ok(begun) => begun,
            Err(refusal) => {
                record.refused(core, &refusal);
                record.settle_and_write(core, adopted, &part).await;
                continue;
            }
        };
        asks |= is_asked;
        runtime::spawn_guarded("message of a batch", said.carry_out(core.clone(), record));
    }
    drop(whole);
    if !asks {
        let close = !incoming.head.keep_alive || core.draining.get();
        return respond::empty(core, incoming, 202, close, sink, record).await.into();
    }
    let reads = Reads::of(adopted, record, (!ids).then_some(outlet));
    let stand = |framing| Standing::of(reader, Framing { answers: true, ..framing }, reads, place);
    stream::begin(core, incoming, b"", ids, stand, sink, record).await
}

/// One message, ready to be carried out, and whether it wants an answer.
fn begin(
    core: &Rc<Core>,
    adopted: &Rc<Adopted>,
    part: &Incoming<'_>,
    session: &Rc<Session>,
    whole: &Rc<Whole>,
    record: &mut Record,
) -> Result<(Said, bool), Refusal> {
    let place = arrive::run(part, adopted, record)?;
    let caller = identify::run(core, part, adopted, &place, record)?.at_once(adopted, record)?;
    let decoded = decode::run(core, part, Some(session.clone()), record);
    let decoded = decoded.and_then(|call| match &call.asked {
        _ if record.modern => Err(Refusal::Invalid("2026-07-28 has no batches")),
        Asked::Message(message) if message.method == Method::Initialize => {
            Err(Refusal::Invalid("`initialize` must not be part of a batch"))
        }
        _ => Ok(call),
    });
    record.modern = false;
    if let (Err(refusal), None) = (&decoded, record.id) {
        // Nobody could tell whether it wants an answer.
        let mut error = Vec::new();
        refusal.append_body(&mut error, None, false);
        whole.outlet.push(&error);
    }
    let is_asked = decoded.as_ref().map_or(true, is_request);
    let said = Said::new(part, adopted, place, caller, decoded, To::Batch(whole.clone()));
    Ok((said, is_asked))
}

fn is_request(call: &Call) -> bool {
    matches!(&call.asked, Asked::Message(message) if message.kind == Kind::Request)
}
