//! From the tape of a parsed message to its facts: top level, `params`, `ref`, `_meta`, each object once. HOT.
//!
//! The decision: the id is known before anything else is judged, so that a refusal can echo it, and no object is left
//! before its keys were judged, so nothing read from it is used when one of them repeats. A parameter is read only for
//! the methods that take it; whether one is *missing* is the exchange's to say, in its own order.

use simd_json::{Node, StaticNode};

use super::guard::{Guard, Known, Objection};
use super::text::{skip_blanks, trim_blanks};
use super::walk::{Field, Walk};
use super::{DecodeCause, DecodeFault, Kind, Message, Text};
use crate::Span;
use crate::limits::ID_BYTES_MAX;
use crate::mcp::{Method, Names, meta};

static TOP_KEYS: Known<6> = Known::of(["jsonrpc", "id", "method", "params", "result", "error"]);
static PARAMS_KEYS: Known<17> = Known::of([
    "name",
    "uri",
    "taskId",
    "arguments",
    "cursor",
    "level",
    "ref",
    "protocolVersion",
    "capabilities",
    "clientInfo",
    "requestId",
    "progressToken",
    "notifications",
    "inputResponses",
    "requestState",
    "task",
    "_meta",
]);
static META_KEYS: Known<7> = Known::of([
    meta::PROTOCOL_VERSION,
    meta::CLIENT_CAPABILITIES,
    meta::CLIENT_INFO,
    meta::LOG_LEVEL,
    meta::SUBSCRIPTION_ID,
    meta::PROGRESS_TOKEN,
    meta::TRACEPARENT,
]);
static REFERENCE_KEYS: Known<3> = Known::of(["type", "name", "uri"]);

/// One message being read: the facts so far, and what is needed to find more.
pub(super) struct Reading<'t, 'de> {
    walk: Walk<'t, 'de>,
    guard: &'t mut Guard,
    message: &'t mut Message,
}

impl<'t, 'de> Reading<'t, 'de> {
    /// `message` becomes what it says.
    pub fn run(
        walk: Walk<'t, 'de>,
        guard: &'t mut Guard,
        message: &'t mut Message,
    ) -> Result<(), DecodeFault> {
        let original = walk.original;
        let open = skip_blanks(original, 0);
        let close = trim_blanks(original, original.len()).saturating_sub(1);
        let cause = match walk.nodes.first() {
            Some(Node::Object { .. }) => None,
            Some(Node::Array { .. }) => Some(DecodeCause::Batch),
            _ => Some(DecodeCause::NotAnObject),
        };
        if let Some(cause) = cause {
            return Err(DecodeFault { cause, at: open as u32, id: None });
        }
        *message = Message::new(open as u32 + 1);
        let mut reading = Reading { walk, guard, message };
        reading.top(close).map_err(|(cause, at)| DecodeFault { cause, at, id: reading.message.id })
    }

    fn top(&mut self, close: usize) -> Result<(), Objection> {
        let (mut version, mut id, mut method, mut params, mut result, mut error) =
            (None, None, None, None, None, None);
        self.guard.begin();
        for field in self.walk.fields(0, close) {
            let field = field.map_err(|()| (DecodeCause::Inconsistent, 0))?;
            self.guard.key(self.walk.original, field.key_raw, field.key_escaped, &TOP_KEYS, |_| {});
            match field.key {
                "jsonrpc" => version = Some(field),
                "id" if id.is_some() => return Err((DecodeCause::KeyRepeated, field.key_raw.start)),
                "id" => id = Some(field),
                "method" => method = Some(field),
                "params" => params = Some(field),
                "result" => result = Some(field),
                "error" => error = Some(field),
                _ => {}
            }
        }
        let id_outcome = id.map(|id| self.id(id)).transpose();
        self.message.id = id_outcome.as_ref().ok().copied().flatten();
        self.guard.judge(self.walk.original, &TOP_KEYS)?;
        id_outcome?;
        match version {
            Some(version) if self.walk.string(version.node) == Some("2.0") => {}
            Some(version) => return Err((DecodeCause::VersionInvalid, version.span.start)),
            None => return Err((DecodeCause::VersionInvalid, close as u32)),
        }
        if let Some(method) = method {
            self.method(method)?;
        }
        self.message.kind = match (method, result, error) {
            (None, None, None) => return Err((DecodeCause::Shapeless, close as u32)),
            (Some(_), Some(other), _) | (Some(_), None, Some(other)) => {
                return Err((DecodeCause::MethodWithResult, other.key_raw.start));
            }
            (None, Some(_), Some(error)) => return Err((DecodeCause::ResultWithError, error.key_raw.start)),
            (Some(_), None, None) if id.is_some() => Kind::Request,
            (Some(_), None, None) => Kind::Notification,
            (None, ..) if id.is_none() => return Err((DecodeCause::ResponseWithoutId, close as u32)),
            (None, ..) => Kind::Response,
        };
        if let Some(error) = error.filter(|error| !self.walk.is_object(error.node)) {
            return Err((DecodeCause::ErrorInvalid, error.span.start));
        }
        self.message.result = result.map(|field| field.span);
        self.message.error = error.map(|field| field.span);
        match params.filter(|_| self.message.kind != Kind::Response) {
            Some(params) => self.params(params),
            None => Ok(()),
        }
    }

    fn method(&mut self, field: Field<'de>) -> Result<(), Objection> {
        let method = self.walk.string(field.node).ok_or((DecodeCause::MethodInvalid, field.span.start))?;
        self.message.method = Method::from_bytes(method.as_bytes());
        self.message.method_text = self.name(field, "method")?;
        Ok(())
    }

    fn params(&mut self, field: Field<'de>) -> Result<(), Objection> {
        let close = self.object(field).ok_or((DecodeCause::ParamsInvalid, field.span.start))?;
        self.message.params = Some(field.span);
        self.message.params_empty = self.is_empty(field);
        let (method, names) = (self.message.method, self.message.method.names());
        let (mut meta, mut reference) = (None, None);
        self.guard.begin();
        for field in self.walk.fields(field.node, close) {
            let field = field.map_err(|()| (DecodeCause::Inconsistent, 0))?;
            self.guard.key(self.walk.original, field.key_raw, field.key_escaped, &PARAMS_KEYS, |_| {});
            match (field.key, method) {
                ("_meta", _) => meta = Some(field),
                ("name", _) if names == Names::Name => self.message.name = self.name(field, "name")?,
                ("uri", _) if names == Names::Uri => self.message.uri = self.name(field, "uri")?,
                ("taskId", _) if names == Names::Task => self.message.task_id = self.name(field, "taskId")?,
                ("ref", Method::CompletionComplete) => reference = Some(field),
                ("arguments", Method::ToolsCall | Method::PromptsGet) => {
                    self.message.arguments = self.optional_object(field, "arguments")?;
                }
                ("cursor", method) if method.is_list() => {
                    self.message.cursor = self.optional_text(field, "cursor")?
                }
                ("level", Method::LoggingSetLevel) => {
                    self.message.level = self.optional_text(field, "level")?
                }
                ("protocolVersion", Method::Initialize) => {
                    self.message.initialize_version = self.optional_text(field, "protocolVersion")?;
                }
                ("capabilities", Method::Initialize) => {
                    self.message.capabilities = self.optional_object(field, "capabilities")?;
                }
                ("clientInfo", Method::Initialize) => {
                    self.message.initialize_info = self.optional_object(field, "clientInfo")?;
                }
                ("requestId", Method::NotifyCancelled) => {
                    self.message.request_id = Some(self.token(field, "requestId")?)
                }
                ("progressToken", Method::NotifyProgress) => {
                    self.message.reported_token = Some(self.token(field, "progressToken")?);
                }
                ("notifications", Method::SubscriptionsListen) => {
                    self.message.subscriptions = self.optional_object(field, "notifications")?;
                }
                ("inputResponses", _) if method.may_require_input() || method == Method::TasksUpdate => {
                    self.message.input_responses = self.optional_object(field, "inputResponses")?;
                }
                ("requestState", _) if method.may_require_input() => {
                    self.message.request_state = self.optional_text(field, "requestState")?;
                }
                ("task", _) => {
                    self.message.task = Some(field.span).filter(|_| self.walk.is_object(field.node))
                }
                _ => {}
            }
        }
        self.guard.judge(self.walk.original, &PARAMS_KEYS)?;
        if let Some(reference) = reference {
            self.reference(reference)?;
        }
        meta.map_or(Ok(()), |meta| self.meta(meta))
    }

    fn reference(&mut self, field: Field<'de>) -> Result<(), Objection> {
        let close = self.object(field).ok_or((DecodeCause::MemberInvalid("ref"), field.span.start))?;
        self.guard.begin();
        for field in self.walk.fields(field.node, close) {
            let field = field.map_err(|()| (DecodeCause::Inconsistent, 0))?;
            self.guard.key(self.walk.original, field.key_raw, field.key_escaped, &REFERENCE_KEYS, |_| {});
            match field.key {
                "name" => self.message.reference_name = self.name(field, "ref.name")?,
                "uri" => self.message.reference_uri = self.name(field, "ref.uri")?,
                _ => {}
            }
        }
        self.guard.judge(self.walk.original, &REFERENCE_KEYS)
    }

    fn meta(&mut self, field: Field<'de>) -> Result<(), Objection> {
        let close = self.object(field).ok_or((DecodeCause::MetaInvalid, field.span.start))?;
        self.message.meta = Some(field.span);
        self.message.meta_empty = self.is_empty(field);
        self.guard.begin();
        for field in self.walk.fields(field.node, close) {
            let field = field.map_err(|()| (DecodeCause::Inconsistent, 0))?;
            self.guard.key(self.walk.original, field.key_raw, field.key_escaped, &META_KEYS, |_| {});
            match field.key {
                meta::PROTOCOL_VERSION => {
                    self.message.protocol_version = self.optional_text(field, meta::PROTOCOL_VERSION)?;
                }
                meta::CLIENT_CAPABILITIES => {
                    self.message.client_capabilities =
                        self.optional_object(field, meta::CLIENT_CAPABILITIES)?;
                }
                meta::CLIENT_INFO => {
                    self.message.client_info = self.optional_object(field, meta::CLIENT_INFO)?
                }
                meta::LOG_LEVEL => self.message.log_level = self.optional_text(field, meta::LOG_LEVEL)?,
                meta::PROGRESS_TOKEN => {
                    self.message.progress_token = Some(self.token(field, meta::PROGRESS_TOKEN)?)
                }
                meta::SUBSCRIPTION_ID => {
                    self.message.subscription_id = Some(self.token(field, meta::SUBSCRIPTION_ID)?)
                }
                meta::TRACEPARENT => self.message.traceparent = self.text(field),
                _ => {}
            }
        }
        self.guard.judge(self.walk.original, &META_KEYS)
    }

    fn id(&self, field: Field<'de>) -> Result<Span, Objection> {
        if !self.is_token(field) {
            return Err((DecodeCause::IdInvalid, field.span.start));
        }
        match field.span.len as usize > ID_BYTES_MAX {
            true => Err((DecodeCause::IdTooLong, field.span.start)),
            false => Ok(field.span),
        }
    }

    /// A string or an integer, bounded like an id.
    fn token(&self, field: Field<'de>, name: &'static str) -> Result<Span, Objection> {
        let bounded = field.span.len as usize <= ID_BYTES_MAX;
        (bounded && self.is_token(field))
            .then_some(field.span)
            .ok_or((DecodeCause::MemberInvalid(name), field.span.start))
    }

    fn is_token(&self, field: Field<'de>) -> bool {
        matches!(
            self.walk.nodes.get(field.node),
            Some(Node::String(_) | Node::Static(StaticNode::I64(_) | StaticNode::U64(_)))
        )
    }

    /// A string that says whom the message is about.
    fn name(&self, field: Field<'de>, name: &'static str) -> Result<Option<Text>, Objection> {
        if self.walk.string(field.node).is_some_and(|text| text.as_bytes().contains(&0)) {
            return Err((DecodeCause::NulInName, field.span.start));
        }
        self.optional_text(field, name)
    }

    fn optional_text(&self, field: Field<'de>, name: &'static str) -> Result<Option<Text>, Objection> {
        match self.text(field) {
            None if !self.is_null(field) => Err((DecodeCause::MemberInvalid(name), field.span.start)),
            text => Ok(text),
        }
    }

    fn optional_object(&self, field: Field<'de>, name: &'static str) -> Result<Option<Span>, Objection> {
        match self.walk.is_object(field.node) {
            true => Ok(Some(field.span)),
            false if self.is_null(field) => Ok(None),
            false => Err((DecodeCause::MemberInvalid(name), field.span.start)),
        }
    }

    fn text(&self, field: Field<'de>) -> Option<Text> {
        let plain_bytes = self.walk.string(field.node)?.len() as u32;
        Some(Text { raw: field.span, plain_bytes })
    }

    fn is_null(&self, field: Field<'de>) -> bool {
        matches!(self.walk.nodes.get(field.node), Some(Node::Static(StaticNode::Null)))
    }

    fn is_empty(&self, field: Field<'de>) -> bool {
        matches!(self.walk.nodes.get(field.node), Some(Node::Object { len: 0, .. }))
    }

    /// Where an object's closing brace is; None when the value is no object.
    fn object(&self, field: Field<'de>) -> Option<usize> {
        self.walk.is_object(field.node).then(|| field.span.end() as usize - 1)
    }
}
