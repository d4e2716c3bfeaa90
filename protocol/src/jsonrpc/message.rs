//! What a decoded client message says, as facts and places. `Copy`, a few hundred bytes, borrowing nothing: it stays
//! true while the decoder reads the next message, as long as the body it speaks of is kept.

use super::text;
use crate::Span;
use crate::mcp::{Method, Names};

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    Request,
    Notification,
    Response,
}

/// A string of a message.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Text {
    /// In the original, quotes included: what a splice replaces.
    pub raw: Span,
    /// Bytes it has once unescaped.
    pub plain_bytes: u32,
}

impl Text {
    /// The bytes between the quotes, as written.
    pub fn inner(self) -> Span {
        Span { start: self.raw.start.saturating_add(1), len: self.raw.len.saturating_sub(2) }
    }

    /// Whether what is written is what is said.
    pub fn is_plain(self) -> bool {
        self.inner().len == self.plain_bytes
    }

    /// What the string says: a slice of the body when it holds no escape, else unescaped into `scratch`. Needs only
    /// the body, so it works long after the decoder went on to other messages.
    pub fn read<'a>(self, body: &'a [u8], scratch: &'a mut Vec<u8>) -> &'a [u8] {
        if self.is_plain() {
            return self.inner().of(body);
        }
        scratch.clear();
        text::unescape(self.inner().of(body), scratch);
        scratch
    }
}

/// One client message, accepted. Spans are offsets in the body given to [`super::Decoder::decode`].
#[derive(Clone, Copy, Debug)]
pub struct Message {
    pub kind: Kind,
    /// As written: a string with its quotes or an integer. Present in requests and responses.
    pub id: Option<Span>,
    /// `Unknown` in responses, too.
    pub method: Method,
    pub method_text: Option<Text>,
    /// Right after the `{` of the message, which is never empty: a new first member goes here, with a comma after it.
    pub open: u32,
    /// With its braces.
    pub params: Option<Span>,
    pub params_empty: bool,
    /// `params._meta`, with its braces.
    pub meta: Option<Span>,
    pub meta_empty: bool,

    // From `params`. Absent when missing, null, or of a type that the method does not read.
    pub name: Option<Text>,
    pub uri: Option<Text>,
    pub task_id: Option<Text>,
    /// With its braces.
    pub arguments: Option<Span>,
    pub cursor: Option<Text>,
    pub level: Option<Text>,
    /// `params.ref.name` of `completion/complete`.
    pub reference_name: Option<Text>,
    /// `params.ref.uri` of `completion/complete`.
    pub reference_uri: Option<Text>,
    /// `params.protocolVersion` of `initialize`.
    pub initialize_version: Option<Text>,
    /// `params.capabilities` of `initialize`.
    pub capabilities: Option<Span>,
    /// `params.clientInfo` of `initialize`.
    pub initialize_info: Option<Span>,
    /// `params.requestId` of `notifications/cancelled`, as written.
    pub request_id: Option<Span>,
    /// `params.progressToken` of `notifications/progress`, as written.
    pub reported_token: Option<Span>,
    /// `params.notifications` of `subscriptions/listen`, with its braces.
    pub subscriptions: Option<Span>,
    /// `params.inputResponses`: a retry of a call that required input.
    pub input_responses: Option<Span>,
    pub request_state: Option<Text>,
    /// `params.task` of a 2025-11-25 call.
    pub task: Option<Span>,

    // From `params._meta`.
    pub protocol_version: Option<Text>,
    pub client_capabilities: Option<Span>,
    pub client_info: Option<Span>,
    pub log_level: Option<Text>,
    /// As written: a string with its quotes or an integer.
    pub progress_token: Option<Span>,
    /// In messages of a server: the listen that this belongs to, as written.
    pub subscription_id: Option<Span>,
    pub traceparent: Option<Text>,

    // Of responses.
    pub result: Option<Span>,
    pub error: Option<Span>,
}

impl Message {
    /// The string that `Mcp-Name` must say (2026-07-28); None when the method mirrors none, or it is missing.
    pub fn mirrored_name(&self) -> Option<Text> {
        match self.method.mirrors() {
            Names::Name => self.name,
            Names::Uri => self.uri,
            Names::Task => self.task_id,
            Names::Nothing | Names::Reference => None,
        }
    }

    pub(super) fn new(open: u32) -> Message {
        Message {
            kind: Kind::Notification,
            id: None,
            method: Method::Unknown,
            method_text: None,
            open,
            params: None,
            params_empty: false,
            meta: None,
            meta_empty: false,
            name: None,
            uri: None,
            task_id: None,
            arguments: None,
            cursor: None,
            level: None,
            reference_name: None,
            reference_uri: None,
            initialize_version: None,
            capabilities: None,
            initialize_info: None,
            request_id: None,
            reported_token: None,
            subscriptions: None,
            input_responses: None,
            request_state: None,
            task: None,
            protocol_version: None,
            client_capabilities: None,
            client_info: None,
            log_level: None,
            progress_token: None,
            subscription_id: None,
            traceparent: None,
            result: None,
            error: None,
        }
    }
}
