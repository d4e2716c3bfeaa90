//! Simulated MCP servers of both eras: they do what the calls themselves ask for (`call.rs`), ask their clients
//! (`asking.rs`), and keep the sessions and streams that the older revisions have (`session.rs`).

mod asking;
mod call;
mod session;

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::rc::Rc;

use serde_json::{Value, json};
use strait_engine::io::runtime::spawn_guarded;
use strait_engine::io::simulated::Chance;
use strait_engine::io::tcp::{Listener, Stop};
use tokio::sync::mpsc;

use crate::story::Story;
use crate::wire::{self, Head, Wire};
use asking::Question;
use call::Call;
use session::Session;

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

impl Kind {
    pub fn draw(chance: &mut Chance) -> Kind {
        *chance.of(&[Kind::Modern, Kind::Modern, Kind::Legacy, Kind::Legacy, Kind::Sessionless])
    }
}

/// One server.
pub struct Upstream {
    pub name: &'static str,
    pub address: SocketAddr,
    pub kind: Kind,
    /// It says what belongs to no call: on streams of sessions, or to those who listen.
    offers_streams: bool,
    /// How long its lists may be kept.
    ttl_ms: u64,
    story: Rc<Story>,
    sessions: RefCell<BTreeMap<String, Session>>,
    next_session: Cell<u64>,
    /// Calls that met a lost session.
    turned_away: RefCell<BTreeSet<String>>,
    /// Calls under way, by session and id.
    calls: RefCell<BTreeMap<(String, String), Rc<Call>>>,
    /// Answers whose streams broke before them, by the event that they follow.
    broken: RefCell<BTreeMap<String, String>>,
    /// Those who listen to it, by the ids of their listens.
    listens: RefCell<Vec<(Value, mpsc::UnboundedSender<String>)>>,
    /// How often its lists have changed.
    edition: Cell<u64>,
    /// All that was ever asked, by the id it was asked under.
    questions: RefCell<BTreeMap<String, Rc<Question>>>,
}

/// The server hangs up.
pub struct HangUp;

impl Upstream {
    /// Starts a server.
    pub fn start(story: &Rc<Story>, name: &'static str, address: SocketAddr, kind: Kind) -> Rc<Upstream> {
        let mut chance = story.chance(name);
        let upstream = Rc::new(Upstream {
            name,
            address,
            kind,
            offers_streams: kind != Kind::Sessionless && chance.percent(60),
            ttl_ms: *chance.of(&[0, 300_000]),
            story: story.clone(),
            sessions: RefCell::default(),
            next_session: Cell::new(1),
            turned_away: RefCell::default(),
            calls: RefCell::default(),
            broken: RefCell::default(),
            listens: RefCell::default(),
            edition: Cell::new(0),
            questions: RefCell::default(),
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

    async fn serve(self: Rc<Self>, mut wire: Wire) {
        while let Some(head) = wire.head().await {
            let Some(body) = wire.body(&head).await else { return };
            if self.answer(&mut wire, &head, &body).await.is_err() {
                return;
            }
        }
    }

    async fn answer(&self, wire: &mut Wire, head: &Head, body: &[u8]) -> Result<(), HangUp> {
        let session = head.field("mcp-session-id").map(str::to_owned);
        if head.first.starts_with("GET ") {
            return self.stand(wire, session, head.field("last-event-id")).await;
        }
        if head.first.starts_with("DELETE ") {
            let known = session.and_then(|id| self.sessions.borrow_mut().remove(&id));
            return self.say(wire, wire::answer(if known.is_some() { 200 } else { 404 }, &[], b"")).await;
        }
        let Ok(message) = serde_json::from_slice::<Value>(body) else {
            let text = String::from_utf8_lossy(body);
            self.story.wrong(format!("{} was sent what is no JSON: {text:?}", self.name));
            return Err(HangUp);
        };
        let method = message["method"].as_str().unwrap_or("");
        if self.kind == Kind::Legacy && !matches!(method, "initialize" | "server/discover") {
            let known = session.as_ref().is_some_and(|id| self.sessions.borrow().contains_key(id));
            if !known {
                let status = if session.is_some() { 404 } else { 400 };
                return self.say(wire, wire::answer(status, &[JSON], NO_SESSION)).await;
            }
        }
        let id = &message["id"];
        let tools = if self.offers_streams { json!({"listChanged": true}) } else { json!({}) };
        match (method, self.kind) {
            ("server/discover", Kind::Modern) => {
                let result = json!({"resultType": "complete", "supportedVersions": ["2026-07-28"],
                    "capabilities": {"tools": tools}, "ttlMs": self.ttl_ms, "cacheScope": "public"});
                self.result(wire, id, result, &[]).await
            }
            ("server/discover", _) => self.say(wire, wire::answer(400, &[JSON], NO_SESSION)).await,
            ("initialize", Kind::Legacy | Kind::Sessionless) => {
                let capabilities = message["params"]["capabilities"].clone();
                let result = json!({"protocolVersion": "2025-11-25", "capabilities": {"tools": tools},
                    "serverInfo": {"name": self.name, "version": "1"}});
                let fresh = (self.kind == Kind::Legacy).then(|| self.open_session(capabilities));
                let fields: Vec<(&str, &str)> =
                    fresh.iter().map(|id| ("Mcp-Session-Id", id.as_str())).collect();
                self.result(wire, id, result, &fields).await
            }
            ("tools/list", _) => {
                let tool = |name: &str| json!({"name": name, "inputSchema": {"type": "object"}});
                let mut tools = vec![tool("do"), tool("redo")];
                if self.edition.get() > 0 {
                    tools.push(tool(&format!("v{}", self.edition.get())));
                }
                let mut result = json!({"tools": tools});
                if self.kind == Kind::Modern {
                    result["resultType"] = json!("complete");
                    result["ttlMs"] = json!(self.ttl_ms);
                    result["cacheScope"] = json!("private");
                }
                self.result(wire, id, result, &[]).await
            }
            ("tools/call", _) => self.call(wire, &message, session).await,
            ("subscriptions/listen", Kind::Modern) if self.offers_streams => {
                self.listen(wire, &message).await
            }
            ("", Kind::Legacy | Kind::Sessionless) if !id.is_null() => {
                self.is_answered(&message, body, session.as_deref());
                self.say(wire, wire::answer(202, &[], b"")).await
            }
            ("notifications/cancelled", _) => {
                self.is_cancelled(&message, session);
                self.say(wire, wire::answer(202, &[], b"")).await
            }
            _ if id.is_null() => self.say(wire, wire::answer(202, &[], b"")).await,
            _ => {
                let status = if self.kind == Kind::Modern { 404 } else { 200 };
                let error = json!({"jsonrpc": "2.0", "id": id, "error": {"code": -32601, "message": "Method not found"}});
                self.say(wire, wire::answer(status, &[JSON], error.to_string().as_bytes())).await
            }
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
