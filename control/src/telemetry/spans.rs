//! Spans of an exchange: itself, its parts, and the asking of its upstream, in the words of OpenTelemetry's conventions for MCP.
//!
//! Nothing of what was asked or answered is in them: no argument, no result, nobody's name, and of a session a digest that lets nobody
//! in. Names are those of the table and of the catalog, looked up in the snapshot that decided.

use strait_engine::figures::labels::Outcome;
use strait_engine::trace::Traced;
use strait_protocol::http1;
use strait_protocol::mcp::Method;
use strait_table::Kind;
use strait_table::rules::ArchivedTransport;

use super::wire::{Attribute, Link, Span, SpanKind, Status, StatusCode};

/// The parts that an exchange has beside asking an upstream, in the order of what workers tell; that one is the fourth.
const UPSTREAM: usize = 3;
/// Flags of a span: whether it is known if its parent is of another process, and that it is.
const PARENT_IS_KNOWN: u32 = 0x100;
const PARENT_IS_REMOTE: u32 = 0x200;

/// Appends all spans of an exchange.
pub fn append(traced: &Traced, out: &mut Vec<Span>) {
    let names = Names::of(traced);
    let server = server(traced, &names);
    let began = traced.began_unix_ns;
    let mut from = began;
    for (index, (word, ns)) in strait_engine::figures::phases().zip(traced.phases).enumerate() {
        let until = from + ns;
        if index == UPSTREAM && traced.upstream.is_some() {
            out.push(asking(traced, &names, from, until));
        } else if ns > 0 {
            let mut span = child(traced, word.to_owned(), SpanKind::Internal, (from, until));
            span.span_id = derived(traced.own.span, index).to_vec();
            span.attributes.push(Attribute::text("strait.phase", word));
            out.push(span);
        }
        from = until;
    }
    out.push(server);
}

/// What the numbers mean.
struct Names<'t> {
    method: Option<&'static str>,
    kind: Option<Kind>,
    exposed: Option<&'t str>,
    bare: Option<&'t str>,
    upstream: Option<&'t str>,
    is_child: bool,
}

impl<'t> Names<'t> {
    fn of(traced: &'t Traced) -> Names<'t> {
        let rules = traced.snapshot.rules();
        let shelf = |server: usize, kind| Some(traced.snapshot.bound().servers.get(server)?.shelf(kind));
        let item = traced.item.zip(traced.server);
        let item = item.and_then(|((kind, index), server)| shelf(server, kind)?.items.get(index));
        let upstream = traced.upstream.and_then(|at| rules.upstreams.get(at));
        Names {
            method: (traced.method != Method::Unknown).then(|| traced.method.as_str()),
            kind: traced.item.map(|(kind, _)| kind),
            exposed: item.map(|item| item.exposed.as_str()),
            bare: item.map(|item| item.bare.as_str()),
            upstream: upstream.map(|upstream| upstream.name.as_str()),
            is_child: upstream
                .is_some_and(|upstream| !matches!(upstream.transport, ArchivedTransport::Http { .. })),
        }
    }

    /// `tools/call weather`: of what there are few.
    fn span(&self, traced: &Traced, name: Option<&str>) -> String {
        let method = self.method.unwrap_or_else(|| verb(traced.http));
        match name.filter(|_| matches!(self.kind, Some(Kind::Tool | Kind::Prompt))) {
            Some(name) => format!("{method} {name}"),
            None => method.to_owned(),
        }
    }

    /// What it is about, by the names of the conventions.
    fn subject(&self, name: Option<&str>, into: &mut Vec<Attribute>) {
        into.extend(self.method.map(|method| Attribute::text("mcp.method.name", method)));
        let (Some(kind), Some(name)) = (self.kind, name) else { return };
        into.push(match kind {
            Kind::Tool => Attribute::text("gen_ai.tool.name", name),
            Kind::Prompt => Attribute::text("gen_ai.prompt.name", name),
            // As the catalog has it: what a client puts into a template is an argument.
            Kind::Resource => Attribute::text("mcp.resource.uri", name),
            Kind::Template => Attribute::text("strait.resource.template", name),
        });
        if kind == Kind::Tool {
            into.push(Attribute::text("gen_ai.operation.name", "execute_tool"));
        }
    }
}

fn server(traced: &Traced, names: &Names<'_>) -> Span {
    let rules = traced.snapshot.rules();
    let mut attributes = Vec::with_capacity(20);
    names.subject(names.exposed, &mut attributes);
    let mut text = |key: &str, value: Option<&str>| {
        attributes.extend(value.map(|value| Attribute::text(key, value)));
    };
    text("mcp.protocol.version", traced.revision.map(|revision| revision.as_str()));
    text("mcp.session.id", traced.session.map(|session| format!("{session:016x}")).as_deref());
    text("jsonrpc.request.id", Some(traced.id.as_str()).filter(|id| !id.is_empty()));
    text("network.transport", Some("tcp"));
    text("network.protocol.name", Some("http"));
    text("http.request.method", Some(verb(traced.http)));
    text("error.type", error(traced));
    text("strait.generation", Some(&traced.snapshot.generation().to_string()));
    let server = traced.server.and_then(|at| rules.servers.get(at));
    text("strait.server", server.map(|server| server.name.as_str()));
    text("strait.upstream", names.upstream);
    text("strait.outcome", Some(traced.outcome.label()));
    text("strait.verdict", traced.verdict.map(|verdict| verdict.label()));
    let rule = traced.verdict.and_then(|verdict| verdict.rule());
    let rule = rule.and_then(|at| rules.policy.rules.get(at as usize));
    text("strait.rule", rule.map(|rule| rule.id.as_str()));
    let limit = traced.limit.and_then(|at| rules.limits.get(at));
    text("strait.limit", limit.map(|limit| limit.id.as_str()));
    for (key, number) in [
        ("http.response.status_code", u64::from(traced.status)),
        ("strait.request.bytes", traced.bytes_in),
        ("strait.response.bytes", traced.bytes_out),
        ("strait.upstream.wait_ns", traced.waited_ns),
        ("strait.worker", u64::from(traced.worker)),
    ] {
        attributes.push(Attribute::number(key, number as i64));
    }
    let link = |link: strait_protocol::trace::Parent| Link {
        trace_id: link.trace.to_vec(),
        span_id: link.span.to_vec(),
    };
    let flags = u32::from(traced.own.sampled) | PARENT_IS_KNOWN;
    Span {
        trace_id: traced.own.trace.to_vec(),
        span_id: traced.own.span.to_vec(),
        parent_span_id: traced.parent.map(|parent| parent.to_vec()).unwrap_or_default(),
        name: names.span(traced, names.exposed),
        kind: SpanKind::Server as i32,
        start_time_unix_nano: traced.began_unix_ns,
        end_time_unix_nano: traced.began_unix_ns + traced.total_ns,
        attributes,
        links: traced.link.map(link).into_iter().collect(),
        status: error(traced).map(|_| Status { code: StatusCode::Error as i32 }),
        flags: if traced.parent.is_some() { flags | PARENT_IS_REMOTE } else { flags },
    }
}

/// The upstream's side of the call is a child of this one.
fn asking(traced: &Traced, names: &Names<'_>, from: u64, until: u64) -> Span {
    let name = names.span(traced, names.bare);
    let mut span = child(traced, name, SpanKind::Client, (from, until));
    span.span_id = traced.asks.to_vec();
    names.subject(names.bare, &mut span.attributes);
    let upstream = names.upstream.unwrap_or("?");
    let transport = if names.is_child { "pipe" } else { "tcp" };
    span.attributes.extend([
        Attribute::text("strait.phase", "upstream"),
        Attribute::text("strait.upstream", upstream),
        Attribute::text("network.transport", transport),
    ]);
    let failed = traced.layer.map(|layer| layer.label());
    let failed = failed.or((traced.outcome == Outcome::Error).then_some(OTHER));
    if let Some(failed) = failed {
        span.attributes.push(Attribute::text("error.type", failed));
        span.status = Some(Status { code: StatusCode::Error as i32 });
    }
    span
}

fn child(traced: &Traced, name: String, kind: SpanKind, (from, until): (u64, u64)) -> Span {
    Span {
        trace_id: traced.own.trace.to_vec(),
        parent_span_id: traced.own.span.to_vec(),
        name,
        kind: kind as i32,
        start_time_unix_nano: from,
        end_time_unix_nano: until,
        flags: u32::from(traced.own.sampled) | PARENT_IS_KNOWN,
        ..Span::default()
    }
}

/// What the conventions call an error without a class of its own: the upstream's code is not looked at.
const OTHER: &str = "_OTHER";

fn error(traced: &Traced) -> Option<&'static str> {
    match traced.outcome {
        Outcome::Ok => None,
        Outcome::Error => Some(OTHER),
        Outcome::ClientGone => Some(traced.refusal.unwrap_or("client_gone")),
        _ => Some(traced.refusal.unwrap_or(OTHER)),
    }
}

/// Another id for each part, from the one that the worker drew.
fn derived(own: [u8; 8], index: usize) -> [u8; 8] {
    let odd = 0x9e37_79b9_7f4a_7c15_u64;
    let mixed = u64::from_be_bytes(own).wrapping_add(odd.wrapping_mul(index as u64 + 1));
    let mixed = (mixed ^ (mixed >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    (mixed ^ (mixed >> 32)).max(1).to_be_bytes()
}

fn verb(method: http1::Method) -> &'static str {
    match method {
        http1::Method::Get => "GET",
        http1::Method::Post => "POST",
        http1::Method::Delete => "DELETE",
        http1::Method::Options => "OPTIONS",
        http1::Method::Head => "HEAD",
        http1::Method::Other => "_OTHER",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_have_ids_of_their_own() {
        let ids: std::collections::BTreeSet<_> = (0..1_000u64)
            .flat_map(|own| (0..5).map(move |index| derived(own.to_be_bytes(), index)))
            .collect();
        assert_eq!(ids.len(), 5_000);
        assert!(!ids.contains(&[0; 8]));
    }
}
