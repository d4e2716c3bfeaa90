//! The greeting: which era a peer speaks, who it is, and which tools it shows. Blocking and cold, over a
//! socket of its own; [`Wire`] is public because whoever measures over blocking sockets needs the same.
//!
//! The decision: `auto` asks `server/discover` first and takes any answer that only a modern peer gives
//! for a yes (protocol digest, section 2.9); everything else is tried with `initialize`.

use std::io::{Read, Write};
use std::time::Instant;

use serde_json::{Value, json};
use strait_protocol::http1::{Body, ContentType, parse_reply, write};
use strait_protocol::mcp::{Method, Revision, codes, header};
use strait_protocol::sse;

use super::patience::is_pause;
use super::tls::Stream;
use super::{Call, Era, Patience, Target, Template};

/// Which era the user wants.
#[derive(Clone, Copy, PartialEq, Eq, Debug, serde::Serialize, serde::Deserialize)]
pub enum EraChoice {
    Auto,
    Modern,
    Legacy,
}

/// A tool as a list shows it.
#[derive(Clone, Debug)]
pub struct Tool {
    pub name: String,
    /// Annotated `readOnlyHint: true`.
    pub read_only: bool,
    pub schema: Value,
}

/// A peer that was greeted.
#[derive(Clone, Debug)]
pub struct Peer {
    pub era: Era,
    /// Its name and version, as it gave them.
    pub server: String,
}

/// Why there is no conversation: the layer at fault, and what was found there.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Unreached {
    /// TCP: nobody listens, or the way is closed.
    Connect(String),
    /// The connection broke or fell silent.
    Transport(String),
    /// Not HTTP, or not a message.
    Malformed(String),
    /// 401 or 403.
    NotAuthorised(u16),
    /// Another status.
    Status(u16, String),
    /// A JSON-RPC error.
    Refused(String),
    /// Whoever asked wants to know no more.
    Interrupted,
}

impl Unreached {
    /// The layer at fault, in one word.
    pub const fn layer(&self) -> &'static str {
        match self {
            Unreached::Connect(_) => "tcp",
            Unreached::Transport(_) => "transport",
            Unreached::Malformed(_) | Unreached::NotAuthorised(_) | Unreached::Status(..) => "http",
            Unreached::Refused(_) => "mcp",
            Unreached::Interrupted => "caller",
        }
    }
}

impl std::fmt::Display for Unreached {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Unreached::Connect(why) => write!(f, "no TCP connection: {why}"),
            Unreached::Transport(why) => write!(f, "the connection failed: {why}"),
            Unreached::Malformed(why) => write!(f, "no MCP answer: {why}"),
            Unreached::NotAuthorised(status) => write!(f, "HTTP status {status}: not authorised"),
            Unreached::Status(status, text) if text.is_empty() => write!(f, "HTTP status {status}"),
            Unreached::Status(status, text) => write!(f, "HTTP status {status}: {text}"),
            Unreached::Refused(why) => write!(f, "refused: {why}"),
            Unreached::Interrupted => f.write_str("interrupted"),
        }
    }
}

/// Most pages of `tools/list` that are asked for.
const PAGES_MAX: usize = 50;
/// Largest answer of a greeting; a page of a list may be long.
const ANSWER_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Finds the era and opens a session where there is one.
pub fn greet(target: &Target, choice: EraChoice, patience: Patience<'_>) -> Result<Peer, Unreached> {
    let mut wire = Wire::connect(target, patience)?;
    if choice != EraChoice::Legacy {
        let answer = wire.ask(target, &Era::Modern, &Call::plain(Method::ServerDiscover))?;
        match answer.modern(choice == EraChoice::Modern) {
            Modern::Yes => return Ok(Peer { era: Era::Modern, server: answer.server() }),
            Modern::No => {}
            Modern::Fault(fault) => return Err(fault),
        }
    }
    wire.initialize(target)
}

impl Peer {
    /// Opens one more session, for a connection of its own; a modern peer needs none.
    pub fn again(&self, target: &Target, patience: Patience<'_>) -> Result<Era, Unreached> {
        match &self.era {
            Era::Modern => Ok(Era::Modern),
            Era::Legacy { .. } => Ok(Wire::connect(target, patience)?.initialize(target)?.era),
        }
    }

    /// Tools, page by page, until `enough` says so.
    pub fn tools(
        &self,
        target: &Target,
        patience: Patience<'_>,
        enough: impl Fn(&[Tool]) -> bool,
    ) -> Result<Vec<Tool>, Unreached> {
        let mut wire = Wire::connect(target, patience)?;
        let (mut tools, mut cursor) = (Vec::new(), None);
        for _ in 0..PAGES_MAX {
            let answer = wire.list(target, &self.era, cursor.as_deref())?;
            let result = answer.result()?;
            tools.extend(result["tools"].as_array().into_iter().flatten().filter_map(tool));
            cursor = result["nextCursor"].as_str().map(str::to_owned);
            if cursor.is_none() || enough(&tools) {
                break;
            }
        }
        Ok(tools)
    }
}

impl Peer {
    /// Makes each call once and says which were answered without an error.
    pub fn try_out(
        &self,
        target: &Target,
        patience: Patience<'_>,
        calls: &[Call<'_>],
    ) -> Result<Vec<bool>, Unreached> {
        let mut wire = Wire::connect(target, patience)?;
        let mut is_well = |call: &Call<'_>| {
            let answer = wire.ask(target, &self.era, call)?;
            Ok(answer.result().is_ok_and(|result| result["isError"] != true))
        };
        calls.iter().map(&mut is_well).collect()
    }
}

/// Ends a session, as far as the server will have it; there is nothing to do about it if not.
pub fn leave(target: &Target, era: &Era, patience: Patience<'_>) {
    let Era::Legacy { revision, session: Some(session) } = era else { return };
    let mut bytes = Vec::new();
    let mut head = write::request(&mut bytes, b"DELETE", target.path.as_bytes())
        .header("Host", target.authority.as_bytes());
    for (name, value) in target.headers() {
        head = head.named(name.as_bytes(), value);
    }
    let head = head
        .header(header::PROTOCOL_VERSION, revision.as_str().as_bytes())
        .header(header::SESSION_ID, session);
    if head.finish().is_ok() {
        let _ = Wire::connect(target, patience).and_then(|mut wire| wire.exchange(target, &bytes));
    }
}

fn tool(value: &Value) -> Option<Tool> {
    Some(Tool {
        name: value["name"].as_str()?.to_owned(),
        read_only: value["annotations"]["readOnlyHint"] == true,
        schema: value["inputSchema"].clone(),
    })
}

/// One connection, one exchange at a time, made anew when the other side has closed it.
pub struct Wire<'a> {
    stream: Stream,
    patience: Patience<'a>,
    keep_alive: bool,
}

/// One answer, read whole.
struct Answer {
    status: u16,
    session: Option<Vec<u8>>,
    /// The message that answers, if the body holds one.
    message: Option<Value>,
}

impl<'a> Wire<'a> {
    pub fn connect(target: &Target, patience: Patience<'a>) -> Result<Wire<'a>, Unreached> {
        Ok(Wire { stream: patience.dial(target)?, patience, keep_alive: true })
    }

    fn initialize(&mut self, target: &Target) -> Result<Peer, Unreached> {
        let hello = json!({
            "jsonrpc": "2.0", "id": 1, "method": "initialize",
            "params": {
                "protocolVersion": Revision::LATEST_LEGACY.as_str(),
                "capabilities": {},
                "clientInfo": { "name": "strait-load", "version": env!("CARGO_PKG_VERSION") },
            },
        });
        let answer = self.post(target, None, &hello)?;
        let result = answer.result()?;
        let version = result["protocolVersion"].as_str().unwrap_or_default();
        let Some(revision) = Revision::parse(version.as_bytes()).filter(|revision| !revision.is_modern())
        else {
            let why = format!("`initialize` was answered with revision `{version}`, which is not known here");
            return Err(Unreached::Refused(why));
        };
        let (server, session) = (answer.server(), answer.session);
        let era = Era::Legacy { revision, session };
        let ready = json!({ "jsonrpc": "2.0", "method": "notifications/initialized" });
        self.post(target, Some(&era), &ready)?.accepted()?;
        Ok(Peer { era, server })
    }

    fn list(&mut self, target: &Target, era: &Era, cursor: Option<&str>) -> Result<Answer, Unreached> {
        let Some(cursor) = cursor else { return self.ask(target, era, &Call::plain(Method::ToolsList)) };
        let mut params = json!({ "cursor": cursor });
        if era.is_modern() {
            params["_meta"] = json!({
                "io.modelcontextprotocol/protocolVersion": era.revision().as_str(),
                "io.modelcontextprotocol/clientCapabilities": {},
            });
        }
        let message = json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/list", "params": params });
        self.post(target, Some(era), &message)
    }

    fn ask(&mut self, target: &Target, era: &Era, call: &Call<'_>) -> Result<Answer, Unreached> {
        let template = Template::build(target, era, call);
        let template = template.map_err(|fault| Unreached::Malformed(fault.to_string()))?;
        self.exchange(target, template.bytes())
    }

    /// A message that no template is for.
    fn post(&mut self, target: &Target, era: Option<&Era>, message: &Value) -> Result<Answer, Unreached> {
        let body = message.to_string().into_bytes();
        let mut bytes = Vec::new();
        let mut head = write::request(&mut bytes, b"POST", target.path.as_bytes())
            .header("Host", target.authority.as_bytes());
        for (name, value) in target.headers() {
            head = head.named(name.as_bytes(), value);
        }
        head = head
            .header("Content-Type", b"application/json")
            .header("Accept", b"application/json, text/event-stream");
        if let Some(era) = era {
            head = head.header(header::PROTOCOL_VERSION, era.revision().as_str().as_bytes());
        }
        match era {
            Some(Era::Modern) => {
                head = head.header(header::METHOD, message["method"].as_str().unwrap_or_default().as_bytes());
            }
            Some(Era::Legacy { session, .. }) => {
                head = head.header_if(header::SESSION_ID, session.as_deref());
            }
            None => {}
        }
        let finished = head.content_length(body.len() as u64).finish();
        finished.map_err(|fault| Unreached::Malformed(fault.to_string()))?;
        bytes.extend_from_slice(&body);
        self.exchange(target, &bytes)
    }

    fn exchange(&mut self, target: &Target, request: &[u8]) -> Result<Answer, Unreached> {
        if !self.keep_alive {
            self.stream = self.patience.dial(target)?;
        }
        let broken = |error: std::io::Error| Unreached::Transport(error.to_string());
        // For the whole answer: one that comes a byte at a time would outlive any pause between two of them.
        let until = Instant::now() + self.patience.timeout;
        let mut unsent = request;
        while !unsent.is_empty() {
            self.stream.socket().set_write_timeout(Some(self.patience.slice(until)?)).map_err(broken)?;
            match self.stream.write(unsent) {
                Ok(sent) => unsent = unsent.get(sent..).unwrap_or_default(),
                Err(error) if is_pause(&error) => {}
                Err(error) => return Err(broken(error)),
            }
        }
        let mut input = Vec::new();
        let mut more = |input: &mut Vec<u8>| -> Result<bool, Unreached> {
            let mut piece = [0; 16 * 1024];
            let read = loop {
                self.stream.socket().set_read_timeout(Some(self.patience.slice(until)?)).map_err(broken)?;
                match self.stream.read(&mut piece) {
                    Ok(read) => break read,
                    Err(error) if is_pause(&error) => {}
                    Err(error) => return Err(broken(error)),
                }
            };
            input.extend_from_slice(piece.get(..read).unwrap_or_default());
            match input.len() > ANSWER_BYTES_MAX {
                true => Err(Unreached::Malformed("an answer of more than 16 MiB".to_owned())),
                false => Ok(read > 0),
            }
        };
        let head = loop {
            match parse_reply(&input) {
                Ok(Some(head)) if head.is_interim() => {
                    input.drain(..head.head_bytes as usize);
                }
                Ok(Some(head)) => break head,
                Ok(None) if more(&mut input)? => {}
                Ok(None) if input.is_empty() => {
                    return Err(Unreached::Transport(
                        "the connection was closed without an answer".to_owned(),
                    ));
                }
                Ok(None) => return Err(Unreached::Malformed("the answer ended within its head".to_owned())),
                Err(fault) => return Err(Unreached::Malformed(fault.to_string())),
            }
        };
        let session = head.session_id.map(|span| span.of(&input).to_vec());
        input.drain(..head.head_bytes as usize);
        let (mut body, mut text, mut at) = (Body::of_reply(head.framing), Vec::new(), 0);
        let is_stream = head.content_type == ContentType::EventStream;
        let mut answering = Answering::default();
        while !body.is_done() {
            let rest = input.get(at..).unwrap_or_default();
            let step =
                body.next(rest).map_err(|_| Unreached::Malformed("a chunk that is none".to_owned()))?;
            let data = rest.get(step.data.clone()).unwrap_or_default();
            at += step.consumed;
            match is_stream {
                true => answering.feed(data)?,
                false => text.extend_from_slice(data),
            }
            // An event stream may stay open after the message that was waited for.
            if answering.found.is_some() {
                break;
            }
            if at >= input.len() && !step.done && !more(&mut input)? {
                match body.may_end_here() {
                    true => break,
                    false => return Err(Unreached::Transport("the answer was cut short".to_owned())),
                }
            }
        }
        self.keep_alive = head.keep_alive && body.is_done();
        let message = match is_stream {
            true => answering.found,
            false => serde_json::from_slice(&text).ok(),
        };
        Ok(Answer { status: head.status, session, message })
    }
}

/// The first response among the events of a stream, which is looked at once, as it comes.
#[derive(Default)]
struct Answering {
    reader: sse::Reader,
    event: Vec<u8>,
    found: Option<Value>,
}

impl Answering {
    fn feed(&mut self, mut rest: &[u8]) -> Result<(), Unreached> {
        while !rest.is_empty() && self.found.is_none() {
            let step = self.reader.push(rest, &mut self.event);
            let step = step.map_err(|fault| Unreached::Malformed(fault.to_string()))?;
            rest = rest.get(step.consumed..).unwrap_or_default();
            let message = step.event.and_then(|_| serde_json::from_slice::<Value>(&self.event).ok());
            self.found = message.filter(|message| message.get("method").is_none());
        }
        Ok(())
    }
}

/// What an answer to `server/discover` says about the era.
enum Modern {
    Yes,
    No,
    Fault(Unreached),
}

impl Answer {
    fn modern(&self, demanded: bool) -> Modern {
        let latest = Revision::LATEST.as_str();
        let message = self.message.as_ref();
        let error = message.and_then(|message| message["error"]["code"].as_i64());
        let versions = message.and_then(|message| message["result"]["supportedVersions"].as_array());
        match (self.status, error, versions) {
            (401 | 403, _, _) => Modern::Fault(Unreached::NotAuthorised(self.status)),
            (_, None, Some(versions)) if versions.iter().any(|version| version == latest) => Modern::Yes,
            // Only a modern peer knows these codes; it need not offer discovery.
            (_, Some(code), _)
                if codes::is_modern_only(code) && code != codes::UNSUPPORTED_PROTOCOL_VERSION =>
            {
                Modern::Yes
            }
            (404, Some(codes::METHOD_NOT_FOUND), _) => Modern::Yes,
            _ if demanded => Modern::Fault(self.unlike(&format!("a peer that speaks {latest}"))),
            _ => Modern::No,
        }
    }

    fn server(&self) -> String {
        let result = self.message.as_ref().map(|message| &message["result"]).unwrap_or(&Value::Null);
        let info = [&result["serverInfo"], &result["_meta"]["io.modelcontextprotocol/serverInfo"]];
        let info = info.into_iter().find(|info| info.is_object()).unwrap_or(&Value::Null);
        let word = |key: &str| info[key].as_str().unwrap_or_default().to_owned();
        format!("{} {}", word("name"), word("version")).trim().to_owned()
    }

    fn accepted(&self) -> Result<(), Unreached> {
        match self.status {
            200..300 => Ok(()),
            401 | 403 => Err(Unreached::NotAuthorised(self.status)),
            _ => Err(self.unlike("202")),
        }
    }

    fn result(&self) -> Result<&Value, Unreached> {
        self.accepted()?;
        let message = self.message.as_ref();
        match message.and_then(|message| message.get("result")) {
            Some(result) => Ok(result),
            None => Err(self.unlike("a result")),
        }
    }

    /// What was expected and what this is instead.
    fn unlike(&self, expected: &str) -> Unreached {
        let error = self.message.as_ref().and_then(|message| message.get("error"));
        let text = match error {
            Some(error) => {
                format!("expected {expected}, found error {} {}", error["code"], error["message"])
            }
            None => format!("expected {expected}"),
        };
        match (self.status, error) {
            (200..300, Some(_)) => Unreached::Refused(text),
            (200..300, None) => Unreached::Malformed(format!("{text}, found no JSON-RPC message")),
            _ => Unreached::Status(self.status, text),
        }
    }
}
