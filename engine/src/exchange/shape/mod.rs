//! A call of a tool that has a shape: what its shape forbids is refused, what it fixes or gives by default is spliced into
//! the arguments, and everything else goes on byte for byte. What its shape drops is taken out of the answer ([`result`]).
//!
//! The decision: the edited message is decoded again, and from there on it *is* the call: policy, detectors, a call that is
//! made again for its input, all see what the upstream gets. Only the answer's id and token are the client's. Objects on the
//! way to an argument are guarded ([`Decoder::member`]), so that the server cannot read another one than was looked at.

pub mod result;
#[cfg(test)]
mod tests;

use std::rc::Rc;

use strait_protocol::Span;
use strait_protocol::jsonrpc::{Decoder, Members, Message, Splices, append_string};
use strait_protocol::limits::SPLICES_MAX;
use strait_protocol::mcp::Revision;
use strait_table::shape::{ARGUMENTS_MAX, ArchivedArgument, ArchivedSaid};

use super::Incoming;
use super::arrive::Place;
use super::decode::{Asked, Call};
use super::refusal::Refusal;
use super::resolve::{Item, Target};
use crate::core::{Adopted, Core, Scratch};
use crate::io::buffer::Buf;
use crate::pooled::Pooled;

/// What a shape makes of a call. Only [`run`] makes one.
pub struct Shaped {
    /// `None`: the call is what the client sent.
    edited: Option<Pooled<Edited>>,
}

/// A call as the upstream is to have it.
pub struct Edited {
    body: Buf,
    call: Call,
}

impl Shaped {
    pub fn edited(&self) -> Option<&Edited> {
        self.edited.as_deref()
    }

    pub fn into_edited(self) -> Option<Pooled<Edited>> {
        self.edited
    }
}

impl Edited {
    /// The request that the call is in.
    pub fn incoming<'a>(&'a self, said: &'a Incoming<'_>) -> Incoming<'a> {
        said.with_body(&self.body)
    }

    pub fn call(&self) -> &Call {
        &self.call
    }

    pub fn body(&self) -> &[u8] {
        &self.body
    }
}

pub fn run(
    core: &Rc<Core>,
    adopted: &Adopted,
    incoming: &Incoming<'_>,
    place: &Place,
    call: &Call,
    target: &Target,
) -> Result<Shaped, Refusal> {
    let (Target::Upstream(Item { shape: Some(shape), .. }), Asked::Message(message)) = (target, &call.asked)
    else {
        return Ok(Shaped { edited: None });
    };
    let server = adopted.snapshot.rules().servers.get(place.server);
    let shape = server.and_then(|server| server.shapes.get(usize::from(*shape)));
    let shape = shape.ok_or(Refusal::Internal("a tool has a shape that is not there"))?;
    let (mut scratch, mut decoder) = (core.scratch.borrow_mut(), core.decoder.borrow_mut());
    let Scratch { splices, text, .. } = &mut *scratch;
    splices.clear();
    text.clear();
    let body = incoming.body;
    let begins_task = call.revision == Revision::V2025_11_25 && message.task.is_some();
    let mut shaper = Shaper { decoder: &mut decoder, body, splices, added: text, as_result: !begins_task };
    let Some(edited) = shaper.edited(message, &shape.arguments)? else {
        return Ok(Shaped { edited: None });
    };
    let message = *decoder.decode(&edited).map_err(Refusal::Decode)?;
    let call = Call { asked: Asked::Message(message), ..call.clone() };
    Ok(Shaped { edited: Some(core.edits.put(Edited { body: edited, call })) })
}

/// Whether results of a tool with this shape lose something.
pub fn drops(adopted: &Adopted, server: usize, shape: u16) -> bool {
    let server = adopted.snapshot.rules().servers.get(server);
    let shape = server.and_then(|server| server.shapes.get(usize::from(shape)));
    shape.is_none_or(|shape| !shape.drops.is_empty())
}

const UNFIT: Refusal = Refusal::Internal("a call cannot be edited as its shape wants");

// Each argument is in at most one object that needs a splice.
const _: () = assert!(ARGUMENTS_MAX < SPLICES_MAX);

struct Shaper<'a> {
    decoder: &'a mut Decoder,
    body: &'a [u8],
    splices: &'a mut Splices,
    /// Members for the objects being walked, each object's behind those of the one it is in.
    added: &'a mut Vec<u8>,
    /// Else it would begin a task of 2025-11-25, and have no result that a model could read.
    as_result: bool,
}

impl Shaper<'_> {
    /// The body as the upstream is to have it; `None`: as it is.
    fn edited(&mut self, message: &Message, arguments: &[ArchivedArgument]) -> Result<Option<Buf>, Refusal> {
        self.arguments(message, arguments)?;
        if self.splices.is_empty() {
            return Ok(None);
        }
        let bytes = self.body.len().saturating_add_signed(self.splices.delta() as isize);
        let mut edited = Buf::with_capacity(bytes);
        self.splices.write(self.body, edited.vec()).map_err(|_| UNFIT)?;
        Ok(Some(edited))
    }

    fn arguments(&mut self, message: &Message, arguments: &[ArchivedArgument]) -> Result<(), Refusal> {
        if let Some(object) = message.arguments {
            return self.object(object, arguments, 0);
        }
        let params = message.params.ok_or(Refusal::Params("`params` is missing"))?;
        let said = self.decoder.member(self.body, params, "arguments").map_err(Refusal::Decode)?;
        if said.is_some_and(|said| said.of(self.body) != b"null") {
            return Err(Refusal::Params("`params.arguments` must be an object"));
        }
        self.all_absent(arguments, 0, 0)?;
        if self.added.is_empty() {
            return Ok(());
        }
        let (old, key, comma): (Span, &[u8], &[u8]) = match said {
            Some(null) => (null, b"", b""),
            None => (Span { start: params.start + 1, len: 0 }, b"\"arguments\":", b","),
        };
        let added = &*self.added;
        let write = |out: &mut Vec<u8>| {
            [key, b"{", added, b"}", comma].into_iter().for_each(|part| out.extend_from_slice(part))
        };
        self.splices.replace_with(old, write).map_err(|_| UNFIT)
    }

    /// An object that has these arguments from their key `depth` on, which is at most
    /// [`strait_table::shape::PATH_KEYS_MAX`].
    fn object(&mut self, object: Span, arguments: &[ArchivedArgument], depth: usize) -> Result<(), Refusal> {
        let from = self.added.len();
        for inside in together(arguments, depth) {
            let Some((first, key)) = first(inside, depth) else { continue };
            let said = self.decoder.member(self.body, object, key).map_err(Refusal::Decode)?;
            match said {
                None => self.absent(inside, depth, from)?,
                Some(said) if first.path.len() == depth + 1 => self.said(first, said)?,
                Some(said) if said.of(self.body).starts_with(b"{") => self.object(said, inside, depth + 1)?,
                Some(_) => return Err(self.refuse(first, depth, "must be an object")),
            }
        }
        if self.added.len() > from {
            let is_empty = Members::of(self.body, object).next().is_none();
            if !is_empty {
                self.added.push(b',');
            }
            let added = self.added.get(from..).unwrap_or_default();
            self.splices.insert(object.start + 1, added).map_err(|_| UNFIT)?;
            self.added.truncate(from);
        }
        Ok(())
    }

    fn said(&self, argument: &ArchivedArgument, said: Span) -> Result<(), Refusal> {
        let depth = argument.path.len().saturating_sub(1);
        match &argument.said {
            ArchivedSaid::Fixed(_) | ArchivedSaid::Hidden => {
                Err(self.refuse(argument, depth, "is not one of this tool's: leave it out"))
            }
            ArchivedSaid::Narrowed(narrowed) if narrowed.admits(said.of(self.body)) => Ok(()),
            ArchivedSaid::Narrowed(narrowed) => Err(self.refuse(argument, depth, &narrowed.words())),
        }
    }

    fn all_absent(
        &mut self,
        arguments: &[ArchivedArgument],
        depth: usize,
        from: usize,
    ) -> Result<(), Refusal> {
        together(arguments, depth).try_for_each(|inside| self.absent(inside, depth, from))
    }

    /// Adds what an argument, or an object with several, is when the caller does not say. The members of the same object
    /// begin at `from`.
    fn absent(&mut self, inside: &[ArchivedArgument], depth: usize, from: usize) -> Result<(), Refusal> {
        let Some((first, key)) = first(inside, depth) else { return Ok(()) };
        let before = self.added.len();
        if before > from {
            self.added.push(b',');
        }
        append_string(self.added, key.as_bytes());
        self.added.push(b':');
        if first.path.len() > depth + 1 {
            self.added.push(b'{');
            let within = self.added.len();
            self.all_absent(inside, depth + 1, within)?;
            match self.added.len() > within {
                true => self.added.push(b'}'),
                false => self.added.truncate(before),
            }
            return Ok(());
        }
        let value = match &first.said {
            ArchivedSaid::Fixed(value) => Some(value),
            ArchivedSaid::Hidden => None,
            ArchivedSaid::Narrowed(narrowed) if narrowed.required => {
                return Err(self.refuse(first, depth, "must be there"));
            }
            ArchivedSaid::Narrowed(narrowed) => narrowed.default.as_ref(),
        };
        match value {
            Some(value) => self.added.extend_from_slice(value.as_bytes()),
            None => self.added.truncate(before),
        }
        Ok(())
    }

    /// Names the argument up to its key `depth`, and what is wrong.
    fn refuse(&self, argument: &ArchivedArgument, depth: usize, what: &str) -> Refusal {
        let mut text = String::from("argument `");
        for (at, key) in argument.path.iter().take(depth + 1).enumerate() {
            text.push_str(if at == 0 { "" } else { "." });
            text.push_str(key);
        }
        text.push_str("` ");
        text.push_str(what);
        Refusal::Argument { text, as_result: self.as_result }
    }
}

/// Arguments that have their key `depth` in common.
fn together(arguments: &[ArchivedArgument], depth: usize) -> impl Iterator<Item = &[ArchivedArgument]> {
    arguments.chunk_by(move |one, other| one.path.get(depth) == other.path.get(depth))
}

fn first(inside: &[ArchivedArgument], depth: usize) -> Option<(&ArchivedArgument, &str)> {
    let first = inside.first()?;
    Some((first, first.path.get(depth)?.as_str()))
}
