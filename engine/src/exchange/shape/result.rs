//! What a shape drops, taken out of an answer: out of structured content, and out of text that is JSON, whichever way the
//! result comes. Other text is not looked into: what a server writes in words is the server's.
//!
//! The decision: an answer is looked at whole, and refused where it cannot be: larger than [`SHAPED_RESULT_BYTES_MAX`],
//! nested deeper than a walk goes, or no JSON. What stays keeps its bytes; a text that loses something is written anew.

use std::rc::Rc;

use strait_protocol::Span;
use strait_protocol::jsonrpc::{Elements, Gaps, Members, append_string, unescape};
use strait_table::shape::{ArchivedShape, Met, Reach};

use crate::core::Core;
use crate::exchange::{respond, tell};
use crate::io::buffer::Buf;
use crate::limits::{SHAPED_LISTS_MAX, SHAPED_RESULT_BYTES_MAX};
use crate::upstream::dialect::Client;
use crate::upstream::reply::scan;
use crate::upstream::{Event, Reply, UpstreamFault};

/// The next event of an answer that may lose something.
pub async fn next(core: &Rc<Core>, reply: &mut Reply, client: &Client<'_>) -> Result<Event, UpstreamFault> {
    let mut gathered = Buf::empty();
    loop {
        let event = respond::delivered(core, reply, client).await?;
        let event = match event {
            Event::Fragment { bytes, last } => {
                tell::gather(core, &mut gathered, &bytes, SHAPED_RESULT_BYTES_MAX)?;
                if !last {
                    continue;
                }
                Event::Ready { bytes: std::mem::take(&mut gathered), last }
            }
            event if event.is_last() => event,
            event => return Ok(event),
        };
        let shape = reply.drops().ok_or(UpstreamFault::NotMcp("its tool has lost its shape".to_owned()))?;
        return stripped(core, shape, event);
    }
}

/// A final message without what is dropped.
fn stripped(core: &Core, shape: &ArchivedShape, event: Event) -> Result<Event, UpstreamFault> {
    if event.bytes().len() > SHAPED_RESULT_BYTES_MAX {
        return Err(UpstreamFault::TooLarge { limit: SHAPED_RESULT_BYTES_MAX });
    }
    let left = without_drops(shape, event.bytes());
    let left = left.map_err(|unread| UpstreamFault::NotMcp(unread.words().to_owned()))?;
    let Some(bytes) = left else { return Ok(event) };
    Ok(match event {
        Event::Message { last, .. } => {
            let envelope = scan(core, &bytes)?;
            Event::Message { bytes, from: 0, envelope, last }
        }
        event => Event::Ready { bytes, last: event.is_last() },
    })
}

/// A message without what is dropped; `None`: it stays as it is.
pub(super) fn without_drops(shape: &ArchivedShape, message: &[u8]) -> Result<Option<Buf>, Unread> {
    let mut cutter = Cutter::of(shape, message);
    cutter.message()?;
    Ok(cutter.finish())
}

/// Why an answer cannot be looked at.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Unread {
    NotJson,
    TooDeep,
}

impl Unread {
    fn words(self) -> &'static str {
        match self {
            Unread::NotJson => "its result cannot be looked at: it is no JSON",
            Unread::TooDeep => "its result cannot be looked at: lists in it are nested too deeply",
        }
    }
}

/// Writes a message anew without what is dropped, in one pass.
struct Cutter<'a> {
    shape: &'a ArchivedShape,
    bytes: &'a [u8],
    out: Buf,
    /// How far the bytes are written or left out.
    done: usize,
}

impl<'a> Cutter<'a> {
    fn of(shape: &'a ArchivedShape, bytes: &'a [u8]) -> Cutter<'a> {
        Cutter { shape, bytes, out: Buf::empty(), done: 0 }
    }

    /// `None`: nothing was taken out.
    fn finish(mut self) -> Option<Buf> {
        if self.done == 0 {
            return None;
        }
        self.write(self.bytes.len());
        Some(self.out)
    }

    /// Writes what stands before `to`.
    fn write(&mut self, to: usize) {
        if self.done == 0 {
            self.out = Buf::with_capacity(self.bytes.len());
        }
        self.out.extend_from_slice(self.bytes.get(self.done..to).unwrap_or_default());
    }

    fn cut(&mut self, gap: Option<Span>) {
        if let Some(gap) = gap {
            self.write(gap.start as usize);
            self.done = gap.end() as usize;
        }
    }

    fn message(&mut self) -> Result<(), Unread> {
        for member in Members::of_all(self.bytes) {
            let member = member.map_err(|_| Unread::NotJson)?;
            if member.key_is(self.bytes, "result") {
                self.result(member.value, true)?;
            }
        }
        Ok(())
    }

    /// A tool's result; the state of a task has the result of its call inside.
    fn result(&mut self, result: Span, may_be_task: bool) -> Result<(), Unread> {
        if !self.begins(result, b'{') {
            return Ok(());
        }
        for member in Members::of(self.bytes, result) {
            let member = member.map_err(|_| Unread::NotJson)?;
            if member.key_is(self.bytes, "structuredContent") {
                self.value(member.value, &self.shape.outermost(), 0)?;
            } else if member.key_is(self.bytes, "content") && self.begins(member.value, b'[') {
                for block in Elements::of(self.bytes, member.value) {
                    self.block(block.map_err(|_| Unread::NotJson)?, true)?;
                }
            } else if may_be_task && member.key_is(self.bytes, "result") {
                self.result(member.value, false)?;
            }
        }
        Ok(())
    }

    /// A block of content: its text, or that of the resource in it.
    fn block(&mut self, block: Span, may_embed: bool) -> Result<(), Unread> {
        if !self.begins(block, b'{') {
            return Ok(());
        }
        for member in Members::of(self.bytes, block) {
            let member = member.map_err(|_| Unread::NotJson)?;
            if member.key_is(self.bytes, "text") {
                self.text(member.value)?;
            } else if may_embed && member.key_is(self.bytes, "resource") {
                self.block(member.value, false)?;
            }
        }
        Ok(())
    }

    /// A string that may be JSON.
    fn text(&mut self, place: Span) -> Result<(), Unread> {
        let inside = place.of(self.bytes).strip_prefix(b"\"").and_then(|raw| raw.strip_suffix(b"\""));
        let mut text = Vec::new();
        let is_sound = inside.is_some_and(|inside| unescape(inside, &mut text));
        let json = text.trim_ascii();
        if !is_sound || !matches!(json.first(), Some(b'{' | b'[')) {
            return Ok(());
        }
        let mut cutter = Cutter::of(self.shape, json);
        match cutter.value(Span::between(0, json.len()), &self.shape.outermost(), 0) {
            Ok(()) => {}
            Err(Unread::NotJson) => return Ok(()),
            Err(Unread::TooDeep) => return Err(Unread::TooDeep),
        }
        if let Some(said) = cutter.finish() {
            self.write(place.start as usize);
            append_string(self.out.vec(), &said);
            self.done = place.end() as usize;
        }
        Ok(())
    }

    /// A value inside a result, from `reach` on. `lists`: those around it; objects are as many as a path has keys.
    fn value(&mut self, value: Span, reach: &Reach, lists: usize) -> Result<(), Unread> {
        match value.of(self.bytes).first() {
            Some(b'{') => self.object(value, reach, lists),
            Some(b'[') if lists == SHAPED_LISTS_MAX => Err(Unread::TooDeep),
            Some(b'[') => {
                let reach = self.shape.elements(reach);
                for element in Elements::of(self.bytes, value) {
                    self.value(element.map_err(|_| Unread::NotJson)?, &reach, lists + 1)?;
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn object(&mut self, object: Span, reach: &Reach, lists: usize) -> Result<(), Unread> {
        let bytes = self.bytes;
        let mut gaps = Gaps::default();
        for member in Members::of(bytes, object) {
            let member = member.map_err(|_| Unread::NotJson)?;
            let whole = Span::between(member.key.start as usize, member.value.end() as usize);
            match self.shape.met(reach, |key| member.key_is(bytes, key)) {
                Met::Goes(_) => gaps.goes(whole),
                Met::Below(reach) => {
                    self.cut(gaps.stays(whole));
                    self.value(member.value, &reach, lists)?;
                }
                Met::Stays => self.cut(gaps.stays(whole)),
            }
        }
        self.cut(gaps.finish());
        Ok(())
    }

    fn begins(&self, value: Span, with: u8) -> bool {
        value.of(self.bytes).first() == Some(&with)
    }
}
