//! A record on its way into the audit log.
//!
//! It is handed over once, before the last bytes of the answer leave, and at the latest when the exchange is over
//! ([`Record::write`](super::Record::write)). Where the log's terms ask for it, the exchange waits here: for room, for the disk to have
//! the record, and with `intent` before the call is made at all. The terms are those of the rule that decided, under the table that
//! the exchange holds.

use std::rc::Rc;

use aws_lc_rs::digest::{Context, SHA256, digest};
use strait_protocol::Span;
use strait_protocol::trace::Parent;
use strait_table::audit::{ArchivedAudit, Durability, Payload, WhenFull};

use super::line::{Form, stamp};
use super::{Incoming, Record};
use crate::audit::desk::{AtFault, Put, Terms};
use crate::audit::ring::Part;
use crate::core::{Adopted, Core};
use crate::exchange::refusal::Refusal;
use crate::io::runtime;
use crate::limits::{AUDIT_FACTS_BYTES_MAX, AUDIT_PAYLOAD_BYTES_MAX, AUDIT_TEXT_BYTES_MAX};
use crate::trace;

/// What kind of record an exchange leaves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Kind {
    #[default]
    Exchange,
    /// Of one whose answer stands open; its end has another.
    StreamOpened,
}

/// How far a record is on its way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Way {
    #[default]
    Here,
    /// It has a number, and its exchange waits until the disk has it.
    Waits(u64),
    Gone,
}

/// An answer that is sent piece by piece.
pub(super) struct Pieces {
    sha256: Context,
    bytes: u64,
}

/// What the client is sent, or was: an exchange with nothing to keep has none.
pub type Sent<'a> = Option<&'a [u8]>;

impl Record {
    /// The answer of this exchange stands open.
    pub fn stands(&mut self) {
        self.kind = Kind::StreamOpened;
    }

    /// Where in the body the call's arguments are.
    pub fn arguments(&mut self, arguments: Option<Span>) {
        self.arguments = arguments;
    }

    /// A piece of an answer that is too large to hold: the log keeps the digest of the whole message.
    pub fn piece(&mut self, adopted: &Adopted, piece: &[u8]) {
        if self.terms(adopted).payload == Payload::None {
            return;
        }
        let pieces =
            self.pieces.get_or_insert_with(|| Box::new(Pieces { sha256: Context::new(&SHA256), bytes: 0 }));
        pieces.sha256.update(piece);
        pieces.bytes += piece.len() as u64;
    }

    /// Whether the call has to wait for the log before it is made, or is not to be made.
    pub fn is_held_up(&self, core: &Core, adopted: &Adopted) -> bool {
        let terms = self.terms(adopted);
        terms.durability == Durability::Intent && self.item.is_some()
            || terms.when_full == WhenFull::Refuse && core.audit.is_behind()
    }

    /// Waits until the disk has it that this call is about to be made.
    pub async fn intends(
        &mut self,
        core: &Rc<Core>,
        adopted: &Adopted,
        incoming: &Incoming<'_>,
        arguments: Option<Span>,
    ) -> Result<(), Refusal> {
        let terms = self.terms(adopted);
        if terms.when_full == WhenFull::Refuse && core.audit.is_behind() {
            return Err(Refusal::Unrecorded);
        }
        if terms.durability != Durability::Intent || self.item.is_none() {
            return Ok(());
        }
        let said = arguments.map(|span| span.of(incoming.body));
        loop {
            let facts = self.facts(core, adopted, incoming, Form::Intent);
            let mut digest = NO_DIGEST;
            let said_part = part(terms.payload, said, &mut digest);
            let put = core.audit.put(&facts, terms, (said_part, None));
            let bytes = facts.len();
            core.audit.give_back(facts);
            let waited = match put {
                Put::There(n) => {
                    return core
                        .audit
                        .committed(n, terms.when_full)
                        .await
                        .or_else(|AtFault| terms.gives_up());
                }
                Put::Lost => return Ok(()),
                Put::NoRoom => core.audit.room(bytes + room_for(said, None), terms.when_full).await,
            };
            waited.or_else(|AtFault| terms.gives_up())?;
        }
    }

    /// Hands the record over. `false`: its exchange has to wait, with [`Record::settle`].
    pub fn tell(&mut self, core: &Core, adopted: &Adopted, incoming: &Incoming<'_>, sent: Sent<'_>) -> bool {
        match self.way {
            Way::Gone => return true,
            Way::Waits(_) => return false,
            Way::Here => {}
        }
        self.peer = Some(incoming.peer);
        let terms = self.terms(adopted);
        let facts = self.facts(core, adopted, incoming, Form::of(self.kind));
        let put = {
            let kept = self.item.is_some() || self.asked.is_some();
            let (arguments, sent) = match kept {
                true => (self.said(incoming), sent),
                false => (None, None),
            };
            let (mut one, mut other) = (NO_DIGEST, NO_DIGEST);
            let arguments = part(terms.payload, arguments, &mut one);
            let result = match &self.pieces {
                Some(pieces) if kept && sent.is_none() => {
                    other.copy_from_slice(pieces.sha256.clone().finish().as_ref());
                    Some(Part::Digest(pieces.bytes, &other))
                }
                _ => part(terms.payload, sent, &mut other),
            };
            core.audit.put(&facts, terms, (arguments, result))
        };
        core.audit.give_back(facts);
        self.way = match put {
            Put::There(n) if terms.waits() => Way::Waits(n),
            Put::There(_) | Put::Lost => Way::Gone,
            Put::NoRoom => Way::Here,
        };
        self.way == Way::Gone
    }

    /// Hands the record over, when there is room for it, and waits until the disk has it, where that is asked for.
    pub async fn settle(
        &mut self,
        core: &Core,
        adopted: &Adopted,
        incoming: &Incoming<'_>,
        sent: Sent<'_>,
    ) -> Result<(), Refusal> {
        let terms = self.terms(adopted);
        while !self.tell(core, adopted, incoming, sent) {
            let waited = match self.way {
                Way::Waits(n) => {
                    self.way = Way::Gone;
                    core.audit.committed(n, terms.when_full).await
                }
                _ => {
                    let bytes = AUDIT_FACTS_BYTES_MAX + room_for(self.said(incoming), sent);
                    core.audit.room(bytes, terms.when_full).await
                }
            };
            if waited.is_err() {
                // It is not tried again: whoever is told so has been told.
                return terms.gives_up();
            }
        }
        Ok(())
    }

    /// At the end of an exchange that did not come to an answer: nobody is left to wait.
    pub(super) fn tell_late(&mut self, core: &Rc<Core>, adopted: &Adopted, incoming: &Incoming<'_>) {
        if self.way != Way::Here {
            return;
        }
        let terms = self.terms(adopted);
        self.way = Way::Gone;
        let facts = self.facts(core, adopted, incoming, Form::of(self.kind));
        late(core, facts, terms.when_full);
    }

    fn terms(&self, adopted: &Adopted) -> Terms {
        let rules = adopted.snapshot.rules();
        // A table without one cannot come to a process that has one; should it, nothing of a call is kept.
        let Some(audit) = rules.audit.as_ref() else {
            return Terms {
                payload: Payload::None,
                durability: Durability::Async,
                when_full: WhenFull::Block,
            };
        };
        Terms::of(audit, self.verdict.and_then(strait_policy::Verdict::rule), adopted)
    }

    /// The arguments of the call as policy read them.
    fn said<'a>(&'a self, incoming: &'a Incoming<'_>) -> Option<&'a [u8]> {
        let body = self.edited.as_deref().map_or(incoming.body, crate::exchange::shape::Edited::body);
        self.arguments.map(|span| span.of(body))
    }

    /// What happened, in a buffer of the desk's.
    fn facts(&self, core: &Core, adopted: &Adopted, incoming: &Incoming<'_>, form: Form) -> Vec<u8> {
        let listener = usize::from(incoming.listener);
        let bytes_in = incoming.bytes.len() + incoming.body.len();
        let trace = match &self.trace {
            Some(trace) => Some(trace.own()),
            // Nothing is traced here, and the client may trace all the same.
            None => trace::parent(incoming),
        };
        self.facts_of(core, adopted, listener, bytes_in, (form, trace))
    }

    fn facts_of(
        &self,
        core: &Core,
        adopted: &Adopted,
        listener: usize,
        bytes_in: usize,
        (form, trace): (Form, Option<Parent>),
    ) -> Vec<u8> {
        let mut facts = core.audit.text();
        self.append(&mut facts, core, adopted, (listener, bytes_in), (form, trace), usize::MAX);
        if facts.len() > AUDIT_FACTS_BYTES_MAX {
            facts.clear();
            self.append(&mut facts, core, adopted, (listener, bytes_in), (form, trace), AUDIT_TEXT_BYTES_MAX);
        }
        facts
    }

    /// At the end of an exchange: hands the record over, if that was not done before its answer left, and counts it.
    pub async fn settle_and_write(mut self, core: &Rc<Core>, adopted: &Adopted, incoming: &Incoming<'_>) {
        if core.audit.is_on() && !self.tell(core, adopted, incoming, None) {
            // What it was about is over.
            let _ = Box::pin(self.settle(core, adopted, incoming, None)).await;
        }
        self.write(core, adopted, incoming);
    }

    /// Of a request that could not be read.
    pub async fn settle_unread(&mut self, core: &Rc<Core>, adopted: &Adopted, listener: u16, status: u16) {
        self.status = status;
        let terms = Terms { payload: Payload::None, ..self.terms(adopted) };
        while self.way == Way::Here {
            let facts = self.facts_of(core, adopted, usize::from(listener), 0, (Form::Exchange, None));
            let put = core.audit.put(&facts, terms, (None, None));
            let bytes = facts.len();
            core.audit.give_back(facts);
            let waited = match put {
                Put::There(n) if terms.waits() => {
                    self.way = Way::Gone;
                    core.audit.committed(n, terms.when_full).await
                }
                Put::There(_) | Put::Lost => return self.way = Way::Gone,
                Put::NoRoom => core.audit.room(bytes, terms.when_full).await,
            };
            if waited.is_err() {
                // It is refused already.
                self.way = Way::Gone;
            }
        }
    }
}

impl Terms {
    fn of(audit: &ArchivedAudit, rule: Option<u32>, adopted: &Adopted) -> Terms {
        let rule = rule.and_then(|rule| adopted.snapshot.rules().policy.rules.get(rule as usize));
        let (payload, durability) = audit.terms(rule.map(|rule| &rule.audit));
        Terms { payload, durability, when_full: audit.when_full.into() }
    }

    /// The log takes nothing, and nobody is to wait until it does.
    fn gives_up(self) -> Result<(), Refusal> {
        match self.when_full {
            WhenFull::Refuse => Err(Refusal::Unrecorded),
            WhenFull::Block | WhenFull::Drop => Ok(()),
        }
    }
}

/// What of a payload goes to the writer: itself, or in `digest` what stands for it.
fn part<'a>(payload: Payload, bytes: Option<&'a [u8]>, sha256: &'a mut [u8; 32]) -> Option<Part<'a>> {
    let bytes = bytes.filter(|_| payload != Payload::None)?;
    if bytes.len() <= AUDIT_PAYLOAD_BYTES_MAX {
        return Some(Part::Whole(bytes));
    }
    sha256.copy_from_slice(digest(&SHA256, bytes).as_ref());
    Some(Part::Digest(bytes.len() as u64, sha256))
}

const NO_DIGEST: [u8; 32] = [0; 32];

fn room_for(arguments: Option<&[u8]>, result: Option<&[u8]>) -> usize {
    arguments.map_or(0, <[u8]>::len).min(AUDIT_PAYLOAD_BYTES_MAX)
        + result.map_or(0, <[u8]>::len).min(AUDIT_PAYLOAD_BYTES_MAX)
}

/// The record of a stream that is over: whoever read it has gone, and nobody can wait with it.
pub(super) fn stream_ended(core: &Rc<Core>, adopted: &Adopted, append: impl FnOnce(&mut Vec<u8>)) {
    let when_full = adopted.snapshot.rules().audit.as_ref();
    let when_full = when_full.map_or(WhenFull::Block, |audit| audit.when_full.into());
    let mut facts = core.audit.text();
    stamp(&mut facts, adopted, Some("stream_ended"));
    append(&mut facts);
    facts.push(b'}');
    late(core, facts, when_full);
}

/// Puts facts on their way, from a task of their own if there is no room yet.
fn late(core: &Rc<Core>, facts: Vec<u8>, when_full: WhenFull) {
    let terms = Terms { payload: Payload::None, durability: Durability::Async, when_full };
    let put = core.audit.put(&facts, terms, (None, None));
    if put != Put::NoRoom || !core.audit.may_be_late() {
        return core.audit.give_back(facts);
    }
    let core = core.clone();
    runtime::spawn_guarded("record of what is over", async move {
        // It waits for as long as the log is at fault: it is one of few.
        while core.audit.put(&facts, terms, (None, None)) == Put::NoRoom {
            let _ = core.audit.room(facts.len(), WhenFull::Block).await;
        }
        core.audit.was_late();
    });
}
