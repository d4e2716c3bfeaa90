//! Answers that need no upstream: discovery, the handshake, ping, and lists.
//!
//! What is declared is what upstreams of the server declare and this gateway serves. A kind that exists is declared
//! even where the caller sees nothing of it: lists may change, and what is not declared is not asked for again.
//!
//! A list is the pre-rendered fragments whose bit is set in the caller's view, in the catalog's order,
//! cut into pages. A cursor names the catalog it belongs to and where to go on; it grants nothing, the
//! view decides on every page.

use std::rc::Rc;

use strait_protocol::decimal;
use strait_protocol::jsonrpc::{Message, append_string};
use strait_protocol::mcp::{Revision, meta};
use strait_table::{Kind, View};

use super::Incoming;
use super::arrive::Place;
use super::decode::Call;
use super::refusal::Refusal;
use super::resolve::Local;
use crate::core::{Adopted, Core};
use crate::io::buffer::Buf;
use crate::limits::{PAGE_BYTES_MAX, PAGE_ITEMS_MAX};

/// Whether clients are told of changed lists, told of changed resources, sent log messages of their own level, and
/// served tasks. What is not served must not be declared.
const SERVES_LIST_CHANGED: bool = false;
const SERVES_SUBSCRIBE: bool = false;
const SERVES_LOGGING: bool = false;
const SERVES_TASKS: bool = false;

/// What a client may keep a list for, unless it is told of changes.
const LIST_TTL_MS: u64 = 0;

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
        Local::Ping => {}
        Local::Initialize => initialize(asking, out),
        Local::Discover => discover(asking, out),
        Local::List(kind) => list(asking, kind, out)?,
        Local::Completion => out.extend_from_slice(b"\"completion\":{\"values\":[]},"),
    }
    if asking.call.revision.is_modern() {
        modern_members(local, out);
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
    server_info(out);
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
    let list_changed = ("listChanged", SERVES_LIST_CHANGED);
    for (name, has) in [("tools", can.tools), ("prompts", can.prompts)] {
        if has {
            object(name, &[list_changed]);
        }
    }
    if can.resources {
        object("resources", &[("subscribe", can.subscribe && SERVES_SUBSCRIBE), list_changed]);
    }
    if can.completions {
        object("completions", &[]);
    }
    if can.logging && SERVES_LOGGING {
        object("logging", &[]);
    }
    // Older hosts know the extension `ui` as well.
    let tasks = can.tasks && SERVES_TASKS && asking.call.revision.is_modern();
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

fn server_info(out: &mut Vec<u8>) {
    out.extend_from_slice(
        concat!("{\"name\":\"strait\",\"version\":\"", env!("CARGO_PKG_VERSION"), "\"}").as_bytes(),
    );
}

fn modern_members(local: Local, out: &mut Vec<u8>) {
    out.extend_from_slice(b"\"resultType\":\"complete\",");
    if matches!(local, Local::Discover | Local::List(_)) {
        out.extend_from_slice(b"\"ttlMs\":");
        decimal::append(out, LIST_TTL_MS);
        // What is shown depends on who asks.
        out.extend_from_slice(b",\"cacheScope\":\"private\",");
    }
    out.extend_from_slice(b"\"_meta\":{\"io.modelcontextprotocol/serverInfo\":");
    server_info(out);
    out.extend_from_slice(b"},");
}

fn list(asking: &Asking<'_>, kind: Kind, out: &mut Vec<u8>) -> Result<(), Refusal> {
    let from = match asking.message.cursor {
        None => 0,
        Some(cursor) => {
            let mut scratch = asking.core.scratch.borrow_mut();
            let text = cursor.read(asking.incoming.body, &mut scratch.text);
            parse_cursor(text, asking.adopted).ok_or(Refusal::BadCursor)?
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
    let fragments = &asking.adopted.snapshot.bound().fragments;
    let shelf = asking.adopted.shelf(asking.place.server, kind).ok_or(Refusal::NoSuchPath)?;
    let mut next = None;
    for (shown, index) in asking.view.kind(kind).visible_from(from).enumerate() {
        if shown == PAGE_ITEMS_MAX || out.len() - page_begins > PAGE_BYTES_MAX {
            next = Some(index);
            break;
        }
        let fragment =
            shelf.items.get(index).and_then(|item| fragments.get(item.fragment.to_native() as usize));
        if let Some(fragment) = fragment {
            if shown > 0 {
                out.push(b',');
            }
            out.extend_from_slice(fragment.as_bytes());
        }
    }
    out.extend_from_slice(b"],");
    if let Some(next) = next {
        out.extend_from_slice(b"\"nextCursor\":\"");
        out.extend_from_slice(&asking.adopted.snapshot.catalog().short());
        out.push(b'-');
        decimal::append(out, next as u64);
        out.extend_from_slice(b"\",");
    }
    Ok(())
}

fn parse_cursor(text: &[u8], adopted: &Adopted) -> Option<usize> {
    let (catalog, offset) = text.split_at_checked(12)?;
    if catalog != adopted.snapshot.catalog().short() {
        return None;
    }
    decimal::parse(offset.strip_prefix(b"-")?).and_then(|offset| usize::try_from(offset).ok())
}
