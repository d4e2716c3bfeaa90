//! Simulated MCP servers of both eras: they do what the calls themselves ask for, and keep the sessions that the older
//! revisions have.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use serde_json::{Value, json};
use strait_engine::io::runtime::{sleep, spawn_guarded};
use strait_engine::io::simulated::say;
use strait_engine::io::tcp::{Listener, Stop};

use crate::deed::{Deed, Ending};
use crate::story::{Story, count};
use crate::wire::{self, Head, Wire};

const JSON: (&str, &str) = ("Content-Type", "application/json");
const EVENTS: (&str, &str) = ("Content-Type", "text/event-stream");

/// What kind of server it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Modern,
    /// Of the older revisions, with sessions.
    Legacy,
    /// Of the older revisions, without.
    Sessionless,
}

/// One server.
pub struct Upstream {
    pub name: &'static str,
    pub address: SocketAddr,
    pub kind: Kind,
    story: Rc<Story>,
    sessions: RefCell<BTreeMap<String, Session>>,
    next_session: Cell<u64>,
    /// Calls that met a lost session.
    turned_away: RefCell<BTreeSet<String>>,
}

/// What a server knows of a session: whose calls came in it.
#[derive(Default)]
struct Session {
    principal: Option<String>,
}

/// The server hangs up.
struct HangUp;

impl Upstream {
    /// Starts a server.
    pub fn start(story: &Rc<Story>, name: &'static str, address: SocketAddr, kind: Kind) -> Rc<Upstream> {
        let upstream = Rc::new(Upstream {
            name,
            address,
            kind,
            story: story.clone(),
            sessions: RefCell::default(),
            next_session: Cell::new(1),
            turned_away: RefCell::default(),
        });
        let listener = Listener::bind(address).expect("the address is free");
        let serving = upstream.clone();
        spawn_guarded("upstream", async move {
            let stop = Stop::new();
            while let Some(Ok((stream, _))) = listener.accept(&stop).await {
                spawn_guarded("upstream's connection", serving.clone().serve(Wire::of(stream)));
            }
        });
        upstream
    }

    /// As after a restart: it knows nobody.
    pub fn forget_sessions(&self) {
        say(|| format!("{} forgets its sessions", self.name));
        self.sessions.borrow_mut().clear();
    }

    async fn serve(self: Rc<Self>, mut wire: Wire) {
        while let Some(head) = wire.head().await {
            let Some(body) = wire.body(&head).await else { return };
            if self.answer(&mut wire, &head, &body).await.is_err() {
                return;
            }
        }
    }

    async fn answer(&self, wire: &mut Wire, head: &Head, body: &[u8]) -> Result<(), HangUp> {
        if head.first.starts_with("GET ") {
            return self.say(wire, wire::answer(405, &[], b"")).await;
        }
        if head.first.starts_with("DELETE ") {
            let known = head.field("mcp-session-id").and_then(|id| self.sessions.borrow_mut().remove(id));
            return self.say(wire, wire::answer(if known.is_some() { 200 } else { 404 }, &[], b"")).await;
        }
        let Ok(message) = serde_json::from_slice::<Value>(body) else {
            self.story.wrong(format!(
                "{} was sent what is no JSON: {:?}",
                self.name,
                String::from_utf8_lossy(body)
            ));
            return Err(HangUp);
        };
        let method = message["method"].as_str().unwrap_or("");
        let session = head.field("mcp-session-id").map(str::to_owned);
        if self.kind == Kind::Legacy && !matches!(method, "initialize" | "server/discover") {
            let known = session.as_ref().is_some_and(|id| self.sessions.borrow().contains_key(id));
            if !known {
                let status = if session.is_some() { 404 } else { 400 };
                return self.say(wire, wire::answer(status, &[JSON], NO_SESSION)).await;
            }
        }
        let id = &message["id"];
        match (method, self.kind) {
            ("server/discover", Kind::Modern) => {
                let result = json!({"resultType": "complete", "supportedVersions": ["2026-07-28"],
                    "capabilities": {"tools": {}}, "ttlMs": 0, "cacheScope": "public"});
                self.result(wire, id, result, &[]).await
            }
            ("server/discover", _) => self.say(wire, wire::answer(400, &[JSON], NO_SESSION)).await,
            ("initialize", Kind::Legacy | Kind::Sessionless) => {
                let result = json!({"protocolVersion": "2025-11-25", "capabilities": {"tools": {}},
                    "serverInfo": {"name": self.name, "version": "1"}});
                let fresh = (self.kind == Kind::Legacy).then(|| self.open_session());
                let fields: Vec<(&str, &str)> =
                    fresh.iter().map(|id| ("Mcp-Session-Id", id.as_str())).collect();
                self.result(wire, id, result, &fields).await
            }
            ("tools/list", _) => {
                let tool = |name: &str| json!({"name": name, "inputSchema": {"type": "object"}});
                let mut result = json!({"tools": [tool("do"), tool("redo")]});
                self.complete(&mut result);
                self.result(wire, id, result, &[]).await
            }
            ("tools/call", _) => self.call(wire, &message, session).await,
            _ if id.is_null() => self.say(wire, wire::answer(202, &[], b"")).await,
            _ => {
                let status = if self.kind == Kind::Modern { 404 } else { 200 };
                let error = json!({"jsonrpc": "2.0", "id": id, "error": {"code": -32601, "message": "Method not found"}});
                self.say(wire, wire::answer(status, &[JSON], error.to_string().as_bytes())).await
            }
        }
    }

    /// Members that the modern revision asks for.
    fn complete(&self, result: &mut Value) {
        if self.kind == Kind::Modern {
            result["resultType"] = json!("complete");
            result["ttlMs"] = json!(0);
            result["cacheScope"] = json!("private");
        }
    }

    fn open_session(&self) -> String {
        let number = self.next_session.replace(self.next_session.get() + 1);
        let id = format!("{}-session-{number}", self.name);
        self.sessions.borrow_mut().insert(id.clone(), Session::default());
        id
    }

    async fn call(&self, wire: &mut Wire, message: &Value, session: Option<String>) -> Result<(), HangUp> {
        let arguments = &message["params"]["arguments"];
        let (Some(marker), Some(deed)) = (arguments["mk"].as_str(), Deed::of_json(&arguments["deed"])) else {
            self.story.wrong(format!("{} was sent a call that nobody made: {message}", self.name));
            return Err(HangUp);
        };
        self.belongs(session.as_deref(), marker);
        if deed.ending == Ending::Lost
            && let Some(id) = &session
            && self.turned_away.borrow_mut().insert(marker.to_owned())
        {
            self.sessions.borrow_mut().remove(id);
            count(&self.story.losses);
            return self.say(wire, wire::answer(404, &[JSON], NO_SESSION)).await;
        }
        self.story.carries_out(marker);
        sleep(Duration::from_millis(deed.wait_ms)).await;
        if deed.streams {
            self.streamed(wire, message, marker, &deed).await
        } else {
            self.whole(wire, message, marker, &deed).await
        }
    }

    /// The answer as one body.
    async fn whole(&self, wire: &mut Wire, message: &Value, marker: &str, deed: &Deed) -> Result<(), HangUp> {
        let body = self.last(message, marker, deed).into_bytes();
        match deed.ending {
            Ending::Close => Err(HangUp),
            Ending::Hang => self.hang(wire).await,
            Ending::Status => {
                self.say(wire, wire::answer(502, &[("Content-Type", "text/plain")], b"no")).await
            }
            Ending::Garbage => self.say(wire, wire::answer(200, &[JSON], b"}{ this is no message")).await,
            Ending::Cut => {
                let whole = wire::answer(200, &[JSON], &body);
                self.say(wire, whole[..whole.len() - body.len().div_ceil(2)].to_vec()).await?;
                Err(HangUp)
            }
            _ => self.say(wire, wire::answer(200, &[JSON], &body)).await,
        }
    }

    /// The answer as an event stream, behind what is said about the call.
    async fn streamed(
        &self,
        wire: &mut Wire,
        message: &Value,
        marker: &str,
        deed: &Deed,
    ) -> Result<(), HangUp> {
        if deed.ending == Ending::Status {
            return self.whole(wire, message, marker, deed).await;
        }
        self.say(wire, wire::chunked(&[EVENTS])).await?;
        for number in 1..=deed.notes {
            let token = &message["params"]["_meta"]["progressToken"];
            let note = if token.is_null() {
                json!({"jsonrpc": "2.0", "method": "notifications/message",
                    "params": {"level": "info", "data": marker}})
            } else {
                json!({"jsonrpc": "2.0", "method": "notifications/progress",
                    "params": {"progressToken": token, "progress": number, "message": marker}})
            };
            self.event(wire, &note.to_string()).await?;
            sleep(Duration::from_millis(deed.gap_ms)).await;
        }
        let last = self.last(message, marker, deed);
        match deed.ending {
            Ending::Close => return Err(HangUp),
            Ending::Hang => return self.hang(wire).await,
            Ending::Garbage => self.event(wire, "}{ this is no message").await?,
            Ending::Cut => {
                let event = wire::chunk(format!("data: {last}\n\n").as_bytes());
                self.say(wire, event[..event.len() / 2].to_vec()).await?;
                return Err(HangUp);
            }
            Ending::Twice => {
                self.event(wire, &last).await?;
                self.event(wire, &last).await?;
            }
            Ending::Stranger => {
                let other = json!({"jsonrpc": "2.0", "id": 987_654_321, "result": {"content": [], "for": "mk-nobody-x"}});
                self.event(wire, &other.to_string()).await?;
                self.event(wire, &last).await?;
            }
            _ => self.event(wire, &last).await?,
        }
        self.say(wire, wire::chunk(b"")).await
    }

    /// What ends a call, by its deed.
    fn last(&self, message: &Value, marker: &str, deed: &Deed) -> String {
        let id = match (deed.ending, message["id"].as_i64()) {
            (Ending::WrongId, Some(id)) => json!(id + 1_000_000),
            _ => message["id"].clone(),
        };
        if deed.ending == Ending::Error {
            let error = json!({"code": -32_050, "message": format!("as asked by {marker}")});
            return json!({"jsonrpc": "2.0", "id": id, "error": error}).to_string();
        }
        let padding = "p".repeat(deed.bytes as usize);
        let mut result = json!({"content": [{"type": "text", "text": format!("{marker} {padding}")}]});
        if self.kind == Kind::Modern {
            result["resultType"] = json!("complete");
        }
        json!({"jsonrpc": "2.0", "result": result, "id": id}).to_string()
    }

    /// Calls of one principal only come in a session.
    fn belongs(&self, session: Option<&str>, marker: &str) {
        let principal = marker.split('-').nth(1).unwrap_or("").to_owned();
        let mut sessions = self.sessions.borrow_mut();
        let Some(known) = session.and_then(|id| sessions.get_mut(id)) else { return };
        let first = known.principal.get_or_insert_with(|| principal.clone());
        if *first != principal {
            self.story.wrong(format!("{}: a session of {first} carries the call {marker}", self.name));
        }
    }

    /// Until the other side has had enough.
    async fn hang(&self, wire: &mut Wire) -> Result<(), HangUp> {
        let _ = wire.head().await;
        Err(HangUp)
    }

    async fn event(&self, wire: &mut Wire, data: &str) -> Result<(), HangUp> {
        self.say(wire, wire::chunk(format!("event: message\ndata: {data}\n\n").as_bytes())).await
    }

    async fn result(
        &self,
        wire: &mut Wire,
        id: &Value,
        result: Value,
        fields: &[(&str, &str)],
    ) -> Result<(), HangUp> {
        let body = json!({"jsonrpc": "2.0", "id": id, "result": result}).to_string();
        let fields: Vec<(&str, &str)> = [JSON].iter().chain(fields).copied().collect();
        self.say(wire, wire::answer(200, &fields, body.as_bytes())).await
    }

    async fn say(&self, wire: &mut Wire, bytes: Vec<u8>) -> Result<(), HangUp> {
        if wire.send(&bytes).await { Ok(()) } else { Err(HangUp) }
    }
}

const NO_SESSION: &[u8] =
    br#"{"jsonrpc":"2.0","error":{"code":-32000,"message":"Bad Request: no valid session"},"id":null}"#;
