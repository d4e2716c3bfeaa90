//! Answers that need no upstream: discovery, the handshake, ping, and lists.
//!
//! What is declared is what upstreams of the server declare and this gateway serves. A kind that exists is declared
//! even where the caller sees nothing of it: lists may change, and what is not declared is not asked for again.
//!
//! A list is the pre-rendered fragments whose bit is set in the caller's view, in the catalog's order,
//! cut into pages ([`cursor`]).

use std::rc::Rc;

use strait_protocol::decimal;
use strait_protocol::jsonrpc::{Message, append_string};
use strait_protocol::mcp::{Revision, meta};
use strait_table::{Kind, View};

use super::arrive::Place;
use super::decode::Call;
use super::refusal::Refusal;
use super::resolve::Local;
use super::{Incoming, cursor};
use crate::core::{Adopted, Core};
use crate::io::buffer::Buf;
use crate::limits::{PAGE_BYTES_MAX, PAGE_ITEMS_MAX};
use crate::upstream::dialect::{OUR_INFO, append_server};

/// The facts an answer is made of.
pub struct Asking<'a> {
    pub core: &'a Rc<Core>,
    pub adopted: &'a Rc<Adopted>,
    pub incoming: &'a Incoming<'a>,
    pub place: &'a Place,
    pub call: &'a Call,
    pub message: &'a Message,
    pub view: &'a View,
}

/// The whole JSON-RPC answer.
pub fn answer(asking: &Asking<'_>, local: Local) -> Result<Buf, Refusal> {
    let mut buf = Buf::new();
    let out = buf.vec();
    out.extend_from_slice(b"{\"jsonrpc\":\"2.0\",\"id\":");
    out.extend_from_slice(asking.message.id.map_or(&b"null"[..], |id| id.of(asking.incoming.body)));
    out.extend_from_slice(b",\"result\":{");
    match local {
        Local::Ping | Local::SetLevel(_) | Local::Unsubscribe => {}
        Local::Initialize => initialize(asking, out),
        Local::Discover => discover(asking, out),
        Local::List(kind) => list(asking, kind, out)?,
        Local::Tasks => {}
        Local::Completion => out.extend_from_slice(b"\"completion\":{\"values\":[]},"),
    }
    if asking.call.revision.is_modern() {
        modern_members(asking, local, out);
    }
    if out.last() == Some(&b',') {
        out.pop();
    }
    out.extend_from_slice(b"}}");
    Ok(buf)
}

fn initialize(asking: &Asking<'_>, out: &mut Vec<u8>) {
    out.extend_from_slice(b"\"protocolVersion\":\"");
    out.extend_from_slice(asking.call.revision.as_str().as_bytes());
    out.extend_from_slice(b"\",");
    capabilities(asking, out);
    out.extend_from_slice(b"\"serverInfo\":");
    out.extend_from_slice(OUR_INFO.as_bytes());
    out.push(b',');
    instructions(asking, out);
}

fn discover(asking: &Asking<'_>, out: &mut Vec<u8>) {
    out.extend_from_slice(b"\"supportedVersions\":[\"");
    out.extend_from_slice(Revision::V2026_07_28.as_str().as_bytes());
    out.extend_from_slice(b"\"],");
    capabilities(asking, out);
    instructions(asking, out);
}

fn capabilities(asking: &Asking<'_>, out: &mut Vec<u8>) {
    let Some(server) = asking.adopted.snapshot.bound().servers.get(asking.place.server) else { return };
    let can = &server.capabilities;
    out.extend_from_slice(b"\"capabilities\":{");
    let mut object = |name: &str, members: &[(&str, bool)]| {
        append_string(out, name.as_bytes());
        out.extend_from_slice(b":{");
        for (member, _) in members.iter().filter(|(_, holds)| *holds) {
            append_string(out, member.as_bytes());
            out.extend_from_slice(b":true,");
        }
        close(out);
    };
    // Whoever listens is told, on a listen or on the stream of its session.
    let list_changed = ("listChanged", true);
    for (name, has) in [("tools", can.tools), ("prompts", can.prompts)] {
        if has {
            object(name, &[list_changed]);
        }
    }
    if can.resources {
        object("resources", &[("subscribe", can.subscribe), list_changed]);
    }
    if can.completions {
        object("completions", &[]);
    }
    if can.logging && !asking.call.revision.is_modern() {
        object("logging", &[]);
    }
    // Older hosts know the extension `ui` as well.
    if can.core_tasks && asking.call.revision == Revision::V2025_11_25 {
        out.extend_from_slice(br#""tasks":{"list":{},"cancel":{},"requests":{"tools":{"call":{}}}},"#);
    }
    let tasks = (can.tasks || can.core_tasks) && asking.call.revision.is_modern();
    extensions(&[(meta::EXTENSION_TASKS, tasks), (meta::EXTENSION_UI, can.ui)], out);
    close(out);
}

/// Extensions that some upstream has and this gateway can route.
fn extensions(offered: &[(&str, bool)], out: &mut Vec<u8>) {
    let mut offered = offered.iter().filter(|(_, holds)| *holds).peekable();
    if offered.peek().is_none() {
        return;
    }
    out.extend_from_slice(b"\"extensions\":{");
    for (id, _) in offered {
        append_string(out, id.as_bytes());
        out.extend_from_slice(b":{},");
    }
    close(out);
}

/// Ends an object, and goes on with a comma.
fn close(out: &mut Vec<u8>) {
    if out.last() == Some(&b',') {
        out.pop();
    }
    out.extend_from_slice(b"},");
}

/// As configured, or what the upstreams say of which the caller sees something.
fn instructions(asking: &Asking<'_>, out: &mut Vec<u8>) {
    let Some(server) = asking.adopted.snapshot.bound().servers.get(asking.place.server) else { return };
    let mut text = server.instructions.as_str().to_owned();
    let shown =
        server.sections.iter().filter(|section| asking.view.shows(usize::from(section.upstream.to_native())));
    shown.for_each(|section| text.push_str(&section.text));
    if !text.is_empty() {
        out.extend_from_slice(b"\"instructions\":");
        append_string(out, text.as_bytes());
        out.push(b',');
    }
}

fn modern_members(asking: &Asking<'_>, local: Local, out: &mut Vec<u8>) {
    out.extend_from_slice(b"\"resultType\":\"complete\",");
    if let Some((ttl_ms, public)) = keeping(asking, local) {
        out.extend_from_slice(b"\"ttlMs\":");
        decimal::append(out, ttl_ms);
        let scope = if public { "public" } else { "private" };
        out.extend_from_slice(b",\"cacheScope\":");
        append_string(out, scope.as_bytes());
        out.push(b',');
    }
    out.extend_from_slice(b"\"_meta\":{");
    append_server(out);
    out.extend_from_slice(b"},");
}

/// How long an answer may be kept, and whether by anyone: what is left of the shortest time that an upstream gave to
/// its part of it.
fn keeping(asking: &Asking<'_>, local: Local) -> Option<(u64, bool)> {
    let server = asking.adopted.snapshot.bound().servers.get(asking.place.server)?;
    let (upstreams, public, kind) = match local {
        Local::Discover => (&server.upstreams, server.public, None),
        Local::List(kind) => {
            let shelf = server.shelf(kind);
            (&shelf.upstreams, shelf.public, Some(kind))
        }
        Local::Initialize
        | Local::Ping
        | Local::SetLevel(_)
        | Local::Unsubscribe
        | Local::Tasks
        | Local::Completion => {
            return None;
        }
    };
    let until = |upstream: usize| {
        let fresh_until = asking.adopted.fresh_until(upstream);
        kind.map_or(fresh_until.about, |kind| fresh_until.of(kind))
    };
    let until = upstreams.iter().map(|upstream| until(usize::from(upstream.to_native()))).min();
    Some((until.unwrap_or(0).saturating_sub(asking.core.clock.now_ms()), public))
}

/// Room for what follows the items of a page: its cursor, and the members of every answer. More of it is made when there is more.
const PAGE_ENDS_ROOM: usize = 1 << 10;

fn list(asking: &Asking<'_>, kind: Kind, out: &mut Vec<u8>) -> Result<(), Refusal> {
    let catalog = asking.adopted.snapshot.catalog();
    let list = cursor::List {
        catalog: &catalog.0,
        server: asking.adopted.server_digest(asking.place.server).ok_or(Refusal::NoSuchPath)?,
        kind,
        view: asking.view.kind(kind).digest(),
    };
    let from = match asking.message.cursor {
        None => 0,
        Some(cursor) => {
            let mut scratch = asking.core.scratch.borrow_mut();
            let text = cursor.read(asking.incoming.body, &mut scratch.text);
            list.read_cursor(&asking.core.seal, text).ok_or(Refusal::BadCursor)?
        }
    };
    out.push(b'"');
    out.extend_from_slice(
        match kind {
            Kind::Tool => "tools",
            Kind::Prompt => "prompts",
            Kind::Resource => "resources",
            Kind::Template => "resourceTemplates",
        }
        .as_bytes(),
    );
    out.extend_from_slice(b"\":[");
    let page_begins = out.len();
    let is_modern = asking.call.revision.is_modern();
    let fragments = &asking.adopted.snapshot.bound().fragments;
    let shelf = asking.adopted.shelf(asking.place.server, kind).ok_or(Refusal::NoSuchPath)?;
    let fragment = |index: usize| {
        let item = shelf.items.get(index)?;
        let fragment = if is_modern { item.modern_fragment } else { item.fragment };
        fragments.get(fragment.to_native() as usize)
    };
    let visible = || asking.view.kind(kind).visible_from(from).take(PAGE_ITEMS_MAX);
    // A list is the largest of our own answers: grown step by step, it would be copied once more than it must be.
    let bytes: usize = visible().filter_map(fragment).map(|fragment| fragment.len() + 1).sum();
    out.reserve(bytes.min(PAGE_BYTES_MAX) + PAGE_ENDS_ROOM);
    let mut next = None;
    for (shown, index) in asking.view.kind(kind).visible_from(from).enumerate() {
        if shown == PAGE_ITEMS_MAX || out.len() - page_begins > PAGE_BYTES_MAX {
            next = Some(index);
            break;
        }
        if let Some(fragment) = fragment(index) {
            if shown > 0 {
                out.push(b',');
            }
            out.extend_from_slice(fragment.as_bytes());
        }
    }
    out.extend_from_slice(b"],");
    if let Some(next) = next {
        out.extend_from_slice(b"\"nextCursor\":\"");
        list.append_cursor(&asking.core.seal, next, out);
        out.extend_from_slice(b"\",");
    }
    Ok(())
}
