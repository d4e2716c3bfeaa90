//! URIs between clients and upstreams: which upstream serves what a client asks for and under which URI, and what a
//! client is shown of the URIs in an upstream's results.
//!
//! Only a server some of whose upstreams use the same URIs shows any under another (`strait_table::uris`); everywhere
//! else nothing here touches a message. Where it does, a result is walked and written again: links may be more than
//! splices, and such a server is rare.

mod large;

use std::rc::Rc;

use strait_protocol::Span;
use strait_protocol::jsonrpc::{Elements, Members, append_string, string_at};
use strait_protocol::mcp::Method;
use strait_table::Kind;

use crate::core::{Adopted, Core};
use crate::io::buffer::Buf;
use crate::upstream::reply::scan;
use crate::upstream::{Event, Reply};

/// Who serves a URI.
pub struct Served {
    /// A resource, or the template that covers it.
    pub kind: Kind,
    pub index: usize,
    pub upstream: usize,
    /// What the upstream calls it, where a client is shown another.
    pub own: Option<Rc<str>>,
}

/// A resource by its exact URI, else by the first template that covers it.
pub fn served(adopted: &Adopted, server: usize, uri: &[u8]) -> Option<Served> {
    let resources = adopted.shelf(server, Kind::Resource)?;
    if let Some(index) = resources.find(uri) {
        let item = resources.items.get(index)?;
        let own = item.is_renamed().then(|| Rc::from(item.bare.as_str()));
        let upstream = usize::from(item.upstream.to_native());
        return Some(Served { kind: Kind::Resource, index, upstream, own });
    }
    // A template does not bring back what is quarantined.
    if adopted.snapshot.bound().servers.get(server)?.held(Kind::Resource, uri).is_some() {
        return None;
    }
    let uri = std::str::from_utf8(uri).ok()?;
    let templates = &adopted.shelf(server, Kind::Template)?.items;
    let (index, item) =
        templates.iter().enumerate().find(|(_, item)| strait_policy::glob::matches(&item.glob, uri))?;
    let own = item.covered_uri(uri).map(Rc::from);
    Some(Served { kind: Kind::Template, index, upstream: usize::from(item.upstream.to_native()), own })
}

/// How a client of the server is shown this URI of an upstream; `None` where it is the same.
pub fn shown(adopted: &Adopted, server: usize, upstream: usize, uri: &str) -> Option<String> {
    let bound = adopted.snapshot.bound().servers.get(server)?;
    let name = adopted.snapshot.rules().upstreams.get(upstream)?.name.as_str();
    bound.shown_uri(upstream, name, uri)
}

/// Makes the URIs of a final message, or of a piece of one, those that the client is shown.
pub fn run(core: &Core, reply: &Reply, event: &mut Event) {
    let Some(subject) = reply.subject() else { return };
    let servers = &subject.adopted.snapshot.bound().servers;
    let renaming = servers.get(subject.server).filter(|server| !server.renamed_uris.is_empty());
    let Some(server) = renaming else { return };
    let item = server.shelf(subject.kind).items.get(subject.index);
    let upstream = item.map(|item| usize::from(item.upstream.to_native()));
    let Some(upstream) = upstream.filter(|upstream| server.renames_uris_of(*upstream)) else { return };
    let show = |uri: &str| shown(&subject.adopted, subject.server, upstream, uri);
    let edited = match event {
        Event::Fragment { bytes, last } => {
            let mut kept = reply.half_uri.take();
            let piece = large::piece(&mut kept, bytes, *last, &show);
            reply.half_uri.set(kept);
            let mut edited = Buf::with_capacity(piece.len());
            edited.extend_from_slice(&piece);
            Some(Event::Fragment { bytes: edited, last: *last })
        }
        _ => edited(core, reply.method(), event, &show),
    };
    if let Some(edited) = edited {
        *event = edited;
    }
}

/// `None`: it stays as it is.
fn edited(
    core: &Core,
    method: Method,
    event: &Event,
    show: &dyn Fn(&str) -> Option<String>,
) -> Option<Event> {
    let Event::Message { envelope, last, .. } = event else { return None };
    let bytes = written(event.bytes(), edits(event.bytes(), envelope.result?, method, show))?;
    let envelope = scan(core, &bytes).ok()?;
    Some(Event::Message { bytes, from: 0, envelope, last: *last })
}

type Edits = Vec<(Span, String)>;

/// Where a result of this method speaks of resources, and what a client is shown there.
fn edits(bytes: &[u8], result: Span, method: Method, show: &dyn Fn(&str) -> Option<String>) -> Edits {
    let mut edits = Vec::new();
    let mut uri = |object: Span| {
        if let Some(place) = member(bytes, object, "uri")
            && let Some(said) = string_at(bytes, place)
            && let Some(shown) = show(&said)
        {
            edits.push((place, shown));
        }
    };
    let mut block = |block: Span| match member(bytes, block, "resource") {
        Some(resource) => uri(resource),
        None => uri(block),
    };
    match method {
        Method::ResourcesRead => elements(bytes, member(bytes, result, "contents")).for_each(block),
        Method::PromptsGet => {
            for message in elements(bytes, member(bytes, result, "messages")) {
                match member(bytes, message, "content") {
                    Some(content) if content.of(bytes).starts_with(b"[") => {
                        elements(bytes, Some(content)).for_each(&mut block);
                    }
                    Some(content) => block(content),
                    None => {}
                }
            }
        }
        _ => elements(bytes, member(bytes, result, "content")).for_each(block),
    }
    edits
}

/// `None` when there is nothing to edit.
fn written(bytes: &[u8], edits: Edits) -> Option<Buf> {
    if edits.is_empty() {
        return None;
    }
    let mut out = Buf::with_capacity(bytes.len() + edits.iter().map(|(_, text)| text.len()).sum::<usize>());
    let mut kept = 0;
    // A result is walked in the order in which it is written.
    for (place, shown) in edits {
        out.extend_from_slice(bytes.get(kept..place.start as usize)?);
        append_string(out.vec(), shown.as_bytes());
        kept = place.end() as usize;
    }
    out.extend_from_slice(bytes.get(kept..)?);
    Some(out)
}

fn member(bytes: &[u8], object: Span, key: &str) -> Option<Span> {
    Members::find(bytes, object, key).ok().flatten()
}

fn elements(bytes: &[u8], array: Option<Span>) -> impl Iterator<Item = Span> + '_ {
    array.into_iter().flat_map(|array| Elements::of(bytes, array)).map_while(Result::ok)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(method: Method, result: &str, expected: &str) {
        let show = |uri: &str| (uri == "note://a").then(|| "mcp+b://x".to_owned());
        let whole = Span::between(0, result.len());
        let edited = written(result.as_bytes(), edits(result.as_bytes(), whole, method, &show));
        let edited = edited.map_or(result.to_owned(), |bytes| String::from_utf8(bytes.to_vec()).unwrap());
        assert_eq!(edited, expected);
    }

    #[test]
    fn uris_are_shown_where_a_result_speaks_of_resources_and_nowhere_else() {
        check(
            Method::ResourcesRead,
            r#"{"contents":[ {"uri" : "note:\/\/a","text":"note://a"},{"uri":"note://b"}],"uri":"note://a"}"#,
            r#"{"contents":[ {"uri" : "mcp+b://x","text":"note://a"},{"uri":"note://b"}],"uri":"note://a"}"#,
        );
        check(
            Method::ToolsCall,
            r#"{"content":[{"type":"text","text":"note://a"},{"type":"resource_link","uri":"note://a"},
                {"type":"resource","resource":{"uri":"note://a"}}],"structuredContent":{"uri":"note://a"}}"#,
            r#"{"content":[{"type":"text","text":"note://a"},{"type":"resource_link","uri":"mcp+b://x"},
                {"type":"resource","resource":{"uri":"mcp+b://x"}}],"structuredContent":{"uri":"note://a"}}"#,
        );
        check(
            Method::PromptsGet,
            r#"{"messages":[{"content":{"type":"resource_link","uri":"note://a"}},
                {"content":[{"resource":{"uri":"note://a"}}, 7]}, 7]}"#,
            r#"{"messages":[{"content":{"type":"resource_link","uri":"mcp+b://x"}},
                {"content":[{"resource":{"uri":"mcp+b://x"}}, 7]}, 7]}"#,
        );
        check(Method::ToolsCall, r#"{"content":"note://a"}"#, r#"{"content":"note://a"}"#);
    }
}
