//! Simulated clients of both eras: what they ask (`asking.rs`), how they answer what they are asked (`answering.rs`,
//! `comeback.rs`), what they hear
//! outside of calls (`ear.rs`, `listen.rs`), how they come back for the rest of an answer (`resume.rs`), how they ask for several
//! things at once (`batch.rs`) or are answered over HTTP+SSE (`wired.rs`), and what they must get (`judge.rs`).

mod answering;
mod asking;
mod batch;
mod comeback;
mod ear;
mod judge;
mod listen;
mod resume;
mod wired;

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use serde_json::json;
use strait_engine::io::runtime::{sleep, spawn_guarded};
use strait_engine::io::simulated::{Chance, say};

use crate::deed::Matter;
use crate::story::Story;
use crate::upstream::Kind;
use crate::wire::{self, Answer, Part, Wire};
use answering::Plan;
use asking::{Manner, odd_id};
use ear::Ear;
use wired::Wired;

/// The first has HTTP+SSE alone.
const LEGACY: [&str; 4] = ["2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25"];
const MODERN: &str = "2026-07-28";

/// One client: some lanes that ask one thing after the other, each on a connection of its own.
pub struct Client {
    story: Rc<Story>,
    gateway: SocketAddr,
    number: usize,
    principal: &'static str,
    /// The path of a server, and what its tools are called.
    path: &'static str,
    tools: &'static [&'static str],
    /// What a server may ask of it.
    can: Vec<Matter>,
    next_request: Cell<u64>,
    /// Of a client of the older revisions, once it has been greeted.
    session: RefCell<Option<Session>>,
    /// It has ended its session.
    has_ended: Cell<bool>,
    ear: Ear,
    /// Of a client of HTTP+SSE, what everything is said to it on.
    wired: RefCell<Option<Rc<Wired>>>,
    /// Every call that it made, by its mark.
    plans: RefCell<BTreeMap<String, Rc<Plan>>>,
}

#[derive(Clone)]
struct Session {
    id: String,
    revision: &'static str,
    /// Where messages are sent, over HTTP+SSE; then it has no id.
    post_at: Option<String>,
}

/// What came back.
#[derive(Default)]
struct Heard {
    status: Option<u16>,
    session: Option<String>,
    messages: Vec<Vec<u8>>,
    /// Where its stream goes on for who comes back.
    last_id: Option<String>,
    complete: bool,
}

impl Client {
    /// Starts a client that does all it is going to do and leaves; `left` counts those who have.
    pub fn start(story: &Rc<Story>, gateway: SocketAddr, number: usize, left: Rc<Cell<usize>>) {
        let mut chance = story.chance(&format!("client {number}"));
        let (path, tools): (_, &[_]) = if chance.percent(70) {
            ("/mcp", &["one__do", "two__do", "two__redo", "three__do"])
        } else {
            ("/one", &["do", "redo"])
        };
        let askable = [Matter::Sampling, Matter::Elicitation, Matter::Roots];
        let can = match chance.percent(70) {
            true => askable.into_iter().filter(|_| chance.percent(70)).collect(),
            false => Vec::new(),
        };
        let client = Rc::new(Client {
            story: story.clone(),
            gateway,
            number,
            principal: if chance.percent(50) { "ann" } else { "sam" },
            path,
            tools,
            can,
            next_request: Cell::new(1),
            session: RefCell::default(),
            has_ended: Cell::new(false),
            ear: Ear::default(),
            wired: RefCell::default(),
            plans: RefCell::default(),
        });
        spawn_guarded("client", async move {
            sleep(Duration::from_millis(chance.magnitude(1..3_000))).await;
            client.live(&mut chance).await;
            left.set(left.get() + 1);
        });
    }

    async fn live(self: &Rc<Self>, chance: &mut Chance) {
        if chance.percent(50) && !self.greet(chance).await {
            // Its stream may have been opened.
            return self.unplug().await;
        }
        let is_wired = self.wired.borrow().is_some();
        let hears = !self.is_modern() && !is_wired && chance.percent(50);
        if hears {
            let chance = self.story.chance(&format!("client {} ear", self.number));
            spawn_guarded("client's stream", self.clone().hear_session(chance));
        }
        let listening = match self.is_modern() && chance.percent(35) {
            true => self.listen(chance).await,
            false => None,
        };
        let lanes = chance.within(1..4);
        let running = Rc::new(Cell::new(lanes + 1));
        for lane in 0..lanes {
            let (client, running) = (self.clone(), running.clone());
            let chance = self.story.chance(&format!("client {} lane {lane}", self.number));
            spawn_guarded("client's lane", async move {
                client.lane(chance).await;
                running.set(running.get() - 1);
            });
        }
        let (client, over, listens) = (self.clone(), running.clone(), listening.clone());
        let list = self.story.chance(&format!("client {} list", self.number));
        spawn_guarded("client's list", async move {
            match listens {
                Some(listening) => client.keep_list(&|| listening.changes.get(), list).await,
                None if hears || is_wired => client.keep_list(&|| client.ear.changes.get(), list).await,
                None => {}
            }
            over.set(over.get() - 1);
        });
        while running.get() > 0 {
            sleep(Duration::from_millis(20)).await;
        }
        if let Some(listening) = listening {
            self.stop_listening(&listening);
        }
        if hears {
            self.stop_hearing().await;
        }
        let session = self.session.borrow().clone();
        if is_wired {
            self.unplug().await;
        } else if let Some(session) = session
            && chance.percent(70)
        {
            self.end(&session).await;
        }
        if hears {
            self.close_ear().await;
        }
    }

    /// Opens a session; `false` when the weather did not let it.
    async fn greet(self: &Rc<Self>, chance: &mut Chance) -> bool {
        let is_wired = chance.percent(25);
        // The handshake of HTTP+SSE may settle on a newer revision.
        let revision = if is_wired { *chance.of(&LEGACY) } else { *chance.of(&LEGACY[1..]) };
        if is_wired && !self.plug(revision, chance).await {
            return false;
        }
        let id = odd_id(chance, 0);
        let asked =
            self.asked(format!("mk-{}-{}-0-x", self.principal, self.number), id, None, Manner::default());
        let body = json!({"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": {"protocolVersion": revision,
            "capabilities": self.capabilities(), "clientInfo": {"name": "simulated", "version": "1"}}});
        let body = body.to_string().replacen("\"id\":0", &format!("\"id\":{}", asked.id), 1);
        let Ok(mut wire) = Wire::connect(self.gateway).await else { return self.excused("cannot connect") };
        self.waits_for(&asked);
        if !wire.send(&self.post(&body, &[])).await {
            return self.excused("cannot send initialize");
        }
        let heard = self.hear(&mut wire).await;
        if is_wired {
            let Some(heard) = self.is_answered_over(&asked, &heard).await else {
                return self.excused("its initialize was not taken");
            };
            self.judge(&asked, &heard);
            if !heard.complete {
                return self.excused("no answer to initialize");
            }
        } else {
            self.judge(&asked, &heard);
            let Some(id) = heard.session.clone() else { return self.excused("no session") };
            self.session.replace(Some(Session { id, revision, post_at: None }));
        }
        let told = json!({"jsonrpc": "2.0", "method": "notifications/initialized"}).to_string();
        if !wire.send(&self.post(&told, &[])).await {
            return self.excused("cannot send initialized");
        }
        let heard = self.hear(&mut wire).await;
        if heard.status != Some(202) {
            return self.excused("initialized was not accepted");
        }
        true
    }

    fn excused(&self, what: &str) -> bool {
        if self.story.is_calm {
            self.story.wrong(format!("client {} in calm weather: {what}", self.number));
        }
        false
    }

    async fn end(self: &Rc<Self>, session: &Session) {
        let Ok(mut wire) = Wire::connect(self.gateway).await else { return };
        let fields = [("Mcp-Session-Id", session.id.as_str())];
        self.has_ended.set(true);
        if !wire.send(&self.bare("DELETE", &fields)).await {
            return;
        }
        let heard = self.hear(&mut wire).await;
        if heard.status.is_none_or(|status| status >= 300) {
            self.excused(&format!("DELETE was answered with {:?}", heard.status));
        }
    }

    /// Asks one thing after the other.
    async fn lane(self: &Rc<Self>, mut chance: Chance) {
        let mut line: Option<Wire> = None;
        for _ in 0..chance.within(1..8) {
            if self.has_ended.get() {
                return;
            }
            if chance.percent(50) {
                sleep(Duration::from_millis(chance.magnitude(1..2_500))).await;
            }
            if line.is_none() || chance.percent(15) {
                match Wire::connect(self.gateway).await {
                    Ok(wire) => line = Some(wire),
                    Err(error) => {
                        self.excused(&format!("cannot connect: {error}"));
                        continue;
                    }
                }
            }
            if let Some(wire) = line.take() {
                let batches = self.has_batches() && chance.percent(30);
                line = match batches {
                    true => self.ask_many(wire, &mut chance).await,
                    false => self.ask(wire, &mut chance).await,
                };
            }
        }
    }

    /// Everything that comes in answer to one request.
    async fn hear(self: &Rc<Self>, wire: &mut Wire) -> Heard {
        let heard = RefCell::new(Heard::default());
        self.hear_into(wire, &heard).await;
        heard.into_inner()
    }

    /// The same, into what a client keeps that leaves before the end.
    async fn hear_into(self: &Rc<Self>, wire: &mut Wire, heard: &RefCell<Heard>) {
        let Some(mut answer) = Answer::begin(wire).await else { return };
        heard.borrow_mut().status = Some(answer.status);
        heard.borrow_mut().session = answer.head.field("mcp-session-id").map(str::to_owned);
        loop {
            let part = answer.next(wire).await;
            let mut heard = heard.borrow_mut();
            heard.last_id.clone_from(&answer.last_id);
            match part {
                Part::Message(data) if data.is_empty() => {}
                Part::Message(data) => {
                    say(|| format!("client {} hears {}", self.number, shortened(&data)));
                    if !self.is_asked(&data) {
                        heard.messages.push(data);
                    }
                }
                Part::End => {
                    heard.complete = true;
                    wire.is_over |= !answer.keeps_connection();
                    return;
                }
                Part::Cut => return,
            }
        }
    }

    fn capabilities(&self) -> serde_json::Value {
        let names = self.can.iter().filter_map(|matter| matter.capability());
        names.map(|name| (name.to_owned(), json!({}))).collect::<serde_json::Map<_, _>>().into()
    }

    /// Whether a server may ask it this, in its revision.
    fn may_be_asked(&self, matter: Matter) -> bool {
        let is_too_old = matter == Matter::Elicitation
            && self.session.borrow().as_ref().is_some_and(|session| session.revision < "2025-06-18");
        self.can.contains(&matter) && !is_too_old
    }

    fn is_modern(&self) -> bool {
        self.session.borrow().is_none()
    }

    /// What kind of server has this tool.
    fn kind_of(&self, tool: &str) -> Kind {
        let [one, two, three] = self.story.kinds;
        match tool.split_once("__").map_or("one", |(upstream, _)| upstream) {
            "two" => two,
            "three" => three,
            _ => one,
        }
    }

    fn post(&self, body: &str, fields: &[(&str, &str)]) -> Vec<u8> {
        self.post_as(self.principal, body, fields)
    }

    fn post_as(&self, principal: &str, body: &str, fields: &[(&str, &str)]) -> Vec<u8> {
        let bearer = format!("Bearer key-{principal}");
        let session = self.session.borrow();
        let mut all = vec![("Authorization", bearer.as_str())];
        if let Some(session) = session.as_ref().filter(|session| session.post_at.is_none()) {
            all.push(("Mcp-Session-Id", session.id.as_str()));
            all.push(("MCP-Protocol-Version", session.revision));
        }
        all.extend_from_slice(fields);
        let path = session.as_ref().and_then(|session| session.post_at.as_deref()).unwrap_or(self.path);
        wire::request("POST", path, &all, body.as_bytes())
    }

    fn bare(&self, verb: &str, fields: &[(&str, &str)]) -> Vec<u8> {
        let bearer = format!("Bearer key-{}", self.principal);
        let mut all = vec![("Authorization", bearer.as_str())];
        all.extend_from_slice(fields);
        wire::request(verb, self.path, &all, b"")
    }

    /// Several messages in one POST: that revision alone has it.
    fn has_batches(&self) -> bool {
        let session = self.session.borrow();
        session.as_ref().is_some_and(|session| session.revision == "2025-03-26" && session.post_at.is_none())
    }
}

fn shortened(data: &[u8]) -> String {
    let text = String::from_utf8_lossy(data);
    match text.char_indices().nth(220) {
        Some((at, _)) => format!("{}… ({} bytes)", &text[..at], data.len()),
        None => text.into_owned(),
    }
}
