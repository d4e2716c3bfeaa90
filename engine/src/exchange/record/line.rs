//! The words of a record: members of a line of the access log, and of a record of the audit log.

use std::io::Write;

use strait_policy::Verdict;
use strait_protocol::jsonrpc::append_string;
use strait_protocol::mcp::Method;
use strait_protocol::trace::Parent;
use strait_protocol::{decimal, http1};

use super::audited::Kind;
use super::{PHASES, Record, traced, word_of};
use crate::core::{Adopted, Core};
use crate::io::clock;

/// For whom facts are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// The access log.
    Line,
    /// The audit log: of an exchange, of one whose answer stands open, of a call that is about to be made.
    Exchange,
    StreamOpened,
    Intent,
}

impl Form {
    pub fn of(kind: Kind) -> Form {
        match kind {
            Kind::Exchange => Form::Exchange,
            Kind::StreamOpened => Form::StreamOpened,
        }
    }

    fn kind(self) -> Option<&'static str> {
        match self {
            Form::Line => None,
            Form::Exchange => Some("exchange"),
            Form::StreamOpened => Some("stream_opened"),
            Form::Intent => Some("intent"),
        }
    }

    fn end(self) -> &'static [u8] {
        match self {
            Form::Line => b"}}\n",
            _ => b"}}",
        }
    }
}

impl Record {
    /// Who asks what, as members of an access line: for the line of a stream's end, when the table may be another.
    pub fn who(&self, adopted: &Adopted, listener: usize) -> Box<[u8]> {
        let mut out = Vec::new();
        self.append_who(&mut out, adopted, listener, usize::MAX);
        out.into()
    }

    fn append_who(&self, out: &mut Vec<u8>, adopted: &Adopted, listener: usize, text_max: usize) {
        let append_text = |out: &mut Vec<u8>, name: &str, value: Option<&str>| {
            append_text(out, name, value.map(|text| cut(text, text_max)))
        };
        let rules = adopted.snapshot.rules();
        let principal = self.principal.and_then(|p| adopted.principal(p));
        append_text(out, "listener", rules.listeners.get(listener).map(|l| l.name.as_str()));
        append_text(out, "principal", principal.map(|p| p.id.as_str()));
        // For whom, and by which program, where that is more than the id says.
        let other = |text: &'_ str, id: &str| !text.is_empty() && text != id;
        append_text(out, "user", principal.filter(|p| other(&p.user, &p.id)).map(|p| p.user.as_str()));
        append_text(out, "agent", principal.filter(|p| other(&p.agent, &p.id)).map(|p| p.agent.as_str()));
        append_text(out, "server", self.server.and_then(|s| rules.servers.get(s)).map(|s| s.name.as_str()));
        match self.method {
            Method::Unknown => append_text(out, "http", Some(http_word(self.http))),
            method => append_text(out, "method", Some(method.as_str())),
        }
    }

    fn append_item(&self, out: &mut Vec<u8>, adopted: &Adopted, form: Form, text_max: usize) {
        let (Some((kind, index, upstream)), Some(server)) = (self.item, self.server) else { return };
        let rules = adopted.snapshot.rules();
        let cut = |text| cut(text, text_max);
        let upstream = rules.upstreams.get(usize::from(upstream)).map(|upstream| cut(upstream.name.as_str()));
        append_text(out, "upstream", upstream);
        let item = adopted.shelf(server, kind).and_then(|shelf| shelf.items.get(index));
        let bare = item.map(|item| cut(item.bare.as_str()));
        match (form, upstream, bare) {
            (Form::Line, _, bare) => append_text(out, word_of(kind), bare),
            // Nobody has to look at two members to know what was called.
            (_, Some(upstream), Some(bare)) => append_qualified(out, word_of(kind), upstream, bare),
            _ => {}
        }
        let variant = item.filter(|item| item.shape.is_some()).map(|item| cut(item.exposed.as_str()));
        append_text(out, "variant", variant);
    }

    /// `text_max`: longer texts are cut.
    pub(super) fn append(
        &self,
        out: &mut Vec<u8>,
        core: &Core,
        adopted: &Adopted,
        (listener, bytes_in): (usize, usize),
        (form, trace): (Form, Option<Parent>),
        text_max: usize,
    ) {
        let rules = adopted.snapshot.rules();
        stamp(out, adopted, form.kind());
        self.append_who(out, adopted, listener, text_max);
        self.append_item(out, adopted, form, text_max);
        let mut text = |name: &str, value: Option<&str>| append_text(out, name, value);
        text("verdict", self.verdict.map(Verdict::label));
        let rule = self.verdict.and_then(Verdict::rule);
        text("rule", rule.and_then(|r| rules.policy.rules.get(r as usize)).map(|r| r.id.as_str()));
        text("refused", self.refusal);
        text("limit", self.limit.and_then(|limit| rules.limits.get(limit)).map(|limit| limit.id.as_str()));
        if let Some(cost) = &self.cost {
            append_number(out, "cost_micro_usd", cost.micro_usd());
        }
        if let Some(peer) = self.peer {
            // Writing into a vector cannot fail, and allocates nothing once it has grown.
            let _ = write!(out, ",\"peer\":\"{peer}\"");
        }
        traced::append(out, trace);
        let mut number = |name: &str, value: u64| append_number(out, name, value);
        if form != Form::Intent {
            number("status", u64::from(self.status));
        }
        if form == Form::Line {
            number("worker", core.id as u64);
        }
        number("bytes_in", bytes_in as u64);
        number("bytes_out", self.bytes_out);
        out.extend_from_slice(b",\"ns\":{\"total\":");
        decimal::append(out, core.clock.now_ns().saturating_sub(self.began_ns));
        for (phase, name) in PHASES {
            out.extend_from_slice(b",\"");
            out.extend_from_slice(name.as_bytes());
            out.extend_from_slice(b"\":");
            decimal::append(out, self.phases[phase as usize]);
        }
        out.extend_from_slice(form.end());
    }
}

/// How every line begins: when, and under which table. A record of the audit log says what `kind` it is, too, and which catalog
/// the table was bound to.
pub fn stamp(out: &mut Vec<u8>, adopted: &Adopted, kind: Option<&str>) {
    clock::stamp(out);
    append_text(out, "kind", kind);
    out.extend_from_slice(b",\"generation\":\"");
    out.extend_from_slice(&adopted.generation);
    out.push(b'"');
    if kind.is_some() {
        out.extend_from_slice(b",\"catalog\":\"");
        out.extend_from_slice(&adopted.catalog);
        out.push(b'"');
    }
}

/// As much of a text as a record has room for.
fn cut(text: &str, bytes: usize) -> &str {
    text.get(..text.floor_char_boundary(bytes)).unwrap_or(text)
}

/// `upstream.name`.
fn append_qualified(out: &mut Vec<u8>, name: &str, upstream: &str, bare: &str) {
    append_text(out, name, Some(upstream));
    // What was appended ends with a quote, and what follows begins with one.
    out.pop();
    out.push(b'.');
    let from = out.len();
    append_string(out, bare.as_bytes());
    out.remove(from);
}

pub fn append_text(out: &mut Vec<u8>, name: &str, value: Option<&str>) {
    if let Some(value) = value {
        out.extend_from_slice(b",\"");
        out.extend_from_slice(name.as_bytes());
        out.extend_from_slice(b"\":");
        append_string(out, value.as_bytes());
    }
}

pub fn append_number(out: &mut Vec<u8>, name: &str, value: u64) {
    out.extend_from_slice(b",\"");
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b"\":");
    decimal::append(out, value);
}

fn http_word(method: http1::Method) -> &'static str {
    match method {
        http1::Method::Get => "GET",
        http1::Method::Post => "POST",
        http1::Method::Delete => "DELETE",
        http1::Method::Options => "OPTIONS",
        http1::Method::Head => "HEAD",
        http1::Method::Other => "other",
    }
}
