//! Simulated clients of both eras: what they ask, how they behave, and what they must get.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use serde_json::value::RawValue;
use serde_json::{Value, json};
use strait_engine::io::runtime::{sleep, spawn_guarded, timeout};
use strait_engine::io::simulated::{Chance, say};

use crate::deed::{Deed, Ending};
use crate::story::{Story, count};
use crate::wire::{self, Answer, Pace, Part, Wire};

/// Nothing a client waits for may take longer: the deadlines of upstreams, a handshake and an attempt to mend before.
const PATIENCE: Duration = Duration::from_secs(60);
const LEGACY: [&str; 3] = ["2025-03-26", "2025-06-18", "2025-11-25"];
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
    next_request: Cell<u64>,
    /// Of a client of the older revisions, once it has been greeted.
    session: RefCell<Option<Session>>,
}

#[derive(Clone)]
struct Session {
    id: String,
    revision: &'static str,
}

/// A request, and what may come back.
struct Asked {
    marker: String,
    id: String,
    token: Option<String>,
    deed: Option<Deed>,
    /// Sessions that upstreams had lost by then.
    losses: u64,
    slow: bool,
    half_closed: bool,
}

/// What came back.
#[derive(Default)]
struct Heard {
    status: Option<u16>,
    session: Option<String>,
    messages: Vec<Vec<u8>>,
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
        let client = Rc::new(Client {
            story: story.clone(),
            gateway,
            number,
            principal: if chance.percent(50) { "ann" } else { "sam" },
            path,
            tools,
            next_request: Cell::new(1),
            session: RefCell::default(),
        });
        spawn_guarded("client", async move {
            sleep(Duration::from_millis(chance.magnitude(1..3_000))).await;
            client.live(&mut chance).await;
            left.set(left.get() + 1);
        });
    }

    async fn live(self: &Rc<Self>, chance: &mut Chance) {
        if chance.percent(50) && !self.greet(chance).await {
            return;
        }
        let lanes = chance.within(1..4);
        let running = Rc::new(Cell::new(lanes));
        for lane in 0..lanes {
            let (client, running) = (self.clone(), running.clone());
            let chance = self.story.chance(&format!("client {} lane {lane}", self.number));
            spawn_guarded("client's lane", async move {
                client.lane(chance).await;
                running.set(running.get() - 1);
            });
        }
        while running.get() > 0 {
            sleep(Duration::from_millis(20)).await;
        }
        let session = self.session.borrow().clone();
        if let Some(session) = session
            && chance.percent(70)
        {
            self.end(&session).await;
        }
    }

    /// Opens a session; `false` when the weather did not let it.
    async fn greet(self: &Rc<Self>, chance: &mut Chance) -> bool {
        let revision = *chance.of(&LEGACY);
        let asked = self.asked(chance, None, Manner::default());
        let body = json!({"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": {"protocolVersion": revision,
            "capabilities": {}, "clientInfo": {"name": "simulated", "version": "1"}}});
        let body = body.to_string().replacen("\"id\":0", &format!("\"id\":{}", asked.id), 1);
        let Ok(mut wire) = Wire::connect(self.gateway).await else { return self.excused("cannot connect") };
        if !wire.send(&self.post(&body, &[])).await {
            return self.excused("cannot send initialize");
        }
        let heard = self.hear(&mut wire).await;
        let Some(id) = heard.session.clone() else {
            self.judge(&asked, &heard);
            return self.excused("no session");
        };
        self.judge(&asked, &heard);
        let session = Session { id, revision };
        let told = json!({"jsonrpc": "2.0", "method": "notifications/initialized"}).to_string();
        self.session.replace(Some(session));
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
                line = self.ask(wire, &mut chance).await;
            }
        }
    }

    /// Asks one thing; the connection, if it can be used again.
    async fn ask(self: &Rc<Self>, mut wire: Wire, chance: &mut Chance) -> Option<Wire> {
        let manner = Manner::draw(chance);
        let deed = chance.percent(85).then(|| Deed::draw(chance));
        let asked = self.asked(chance, deed, manner.clone());
        wire.pace = if manner.slow { Pace::slow(chance) } else { Pace::prompt() };
        let request = self.request(&asked, chance);
        say(|| format!("client {} asks {} ({:?}, {manner:?})", self.number, asked.marker, asked.deed));
        count(&self.story.tally.calls);
        if !wire.send(&request).await {
            // A connection that was idle may be closed; in calm weather only by its own half-close.
            self.excused(&format!("cannot send {}", asked.marker));
            return None;
        }
        if manner.half_closes {
            let _ = wire.stream.shutdown_write();
        }
        if let Some(after_ms) = manner.leaves_after_ms {
            let heard = timeout(Duration::from_millis(after_ms), self.hear(&mut wire)).await;
            let Ok(heard) = heard else {
                count(&self.story.tally.left);
                if chance.percent(50) {
                    wire.stream.abandon();
                }
                return None;
            };
            self.judge(&asked, &heard);
            return None;
        }
        let Ok(heard) = timeout(PATIENCE, self.hear(&mut wire)).await else {
            self.story
                .wrong(format!("client {}: {} has no end after {PATIENCE:?}", self.number, asked.marker));
            return None;
        };
        self.judge(&asked, &heard);
        let usable = heard.complete && !manner.half_closes && !wire.is_over;
        if usable && wire.has_unread() {
            self.story
                .wrong(format!("client {}: more came than the answer of {}", self.number, asked.marker));
        }
        usable.then_some(wire)
    }

    /// Everything that comes in answer to one request.
    async fn hear(self: &Rc<Self>, wire: &mut Wire) -> Heard {
        let mut heard = Heard::default();
        let Some(mut answer) = Answer::begin(wire).await else { return heard };
        heard.status = Some(answer.status);
        heard.session = answer.head.field("mcp-session-id").map(str::to_owned);
        loop {
            match answer.next(wire).await {
                Part::Message(data) if data.is_empty() => {}
                Part::Message(data) => {
                    say(|| format!("client {} hears {}", self.number, shortened(&data)));
                    heard.messages.push(data);
                }
                Part::End => {
                    heard.complete = true;
                    wire.is_over |= !answer.keeps_connection();
                    return heard;
                }
                Part::Cut => return heard,
            }
        }
    }

    fn asked(&self, chance: &mut Chance, deed: Option<Deed>, manner: Manner) -> Asked {
        let number = self.next_request.replace(self.next_request.get() + 1);
        let marker = format!("mk-{}-{}-{number}-x", self.principal, self.number);
        let token = (deed.is_some() && chance.percent(60)).then(|| odd_id(chance, number + 500));
        Asked {
            marker,
            id: odd_id(chance, number),
            token,
            deed,
            losses: self.story.losses.get(),
            slow: manner.slow,
            half_closed: manner.half_closes,
        }
    }

    /// The bytes of a request: a call, or a list.
    fn request(&self, asked: &Asked, chance: &mut Chance) -> Vec<u8> {
        let mut params = match &asked.deed {
            Some(deed) => {
                let name = *chance.of(self.tools);
                json!({"name": name, "arguments": {"mk": asked.marker, "deed": deed.to_json()}})
            }
            None => json!({}),
        };
        let method = if asked.deed.is_some() { "tools/call" } else { "tools/list" };
        let session = self.session.borrow().clone();
        if session.is_none() {
            params["_meta"]["io.modelcontextprotocol/protocolVersion"] = json!(MODERN);
            params["_meta"]["io.modelcontextprotocol/clientCapabilities"] = json!({});
        }
        if asked.token.is_some() {
            params["_meta"]["progressToken"] = json!("@token");
        }
        let name = params["name"].as_str().map(str::to_owned);
        let body = json!({"jsonrpc": "2.0", "id": "@id", "method": method, "params": params}).to_string();
        // Ids and tokens are written as nobody would write them: they must come back so.
        let body = body.replacen("\"@id\"", &asked.id, 1);
        let body = body.replacen("\"@token\"", asked.token.as_deref().unwrap_or(""), 1);
        let mut fields = vec![];
        match &session {
            Some(_) => {}
            None => {
                fields.extend([("MCP-Protocol-Version", MODERN), ("Mcp-Method", method)]);
                fields.extend(name.as_deref().map(|name| ("Mcp-Name", name)));
            }
        }
        self.post(&body, &fields)
    }

    fn post(&self, body: &str, fields: &[(&str, &str)]) -> Vec<u8> {
        let bearer = format!("Bearer key-{}", self.principal);
        let session = self.session.borrow();
        let mut all = vec![("Authorization", bearer.as_str())];
        if let Some(session) = &*session {
            all.push(("Mcp-Session-Id", session.id.as_str()));
            all.push(("MCP-Protocol-Version", session.revision));
        }
        all.extend_from_slice(fields);
        wire::request("POST", self.path, &all, body.as_bytes())
    }

    fn bare(&self, verb: &str, fields: &[(&str, &str)]) -> Vec<u8> {
        let bearer = format!("Bearer key-{}", self.principal);
        let mut all = vec![("Authorization", bearer.as_str())];
        all.extend_from_slice(fields);
        wire::request(verb, self.path, &all, b"")
    }

    /// Whether what was heard is what must be heard.
    fn judge(&self, asked: &Asked, heard: &Heard) {
        let story = &self.story;
        let wrong = |what: String| story.wrong(format!("client {}, {}: {what}", self.number, asked.marker));
        let mut responses = 0;
        let mut notes = 0;
        for data in &heard.messages {
            story.look_for_strangers(data, &asked.marker, &format!("client {}", self.number));
            let Ok(message) = serde_json::from_slice::<BTreeMap<String, Box<RawValue>>>(data) else {
                wrong(format!("was sent what is no JSON object: {}", shortened(data)));
                continue;
            };
            if responses > 0 {
                wrong(format!("was sent more behind its answer: {}", shortened(data)));
            }
            match (message.get("method"), message.get("id")) {
                (Some(method), None) => {
                    notes += 1;
                    self.judge_note(asked, method.get(), message.get("params").map(|params| params.get()));
                }
                (Some(_), Some(_)) => {
                    wrong(format!("was asked, though it declared nothing: {}", shortened(data)))
                }
                (None, id) => {
                    responses += 1;
                    let id = id.map_or("nothing", |id| id.get());
                    if id != asked.id {
                        wrong(format!("was answered with the id {id} instead of {}", asked.id));
                    }
                    self.judge_response(asked, heard, &message);
                }
            }
        }
        if responses == 0 && heard.complete && !matches!(heard.status, Some(202)) {
            wrong(format!("got no answer, with status {:?}", heard.status));
        }
        if let Some(status) = heard.status
            && status != 200
        {
            count(&story.tally.refused);
            let may_be_lost = status == 404 && !story.is_calm;
            if status != 503 && !may_be_lost {
                wrong(format!(
                    "got status {status}: {:?}",
                    heard.messages.first().map(|data| shortened(data))
                ));
            }
        }
        if !heard.complete {
            count(&story.tally.cut);
            let is_large = asked.deed.as_ref().is_some_and(|deed| deed.bytes > 15_000);
            let may_be_cut = is_large
                && (asked.slow || asked.deed.as_ref().is_some_and(|deed| !deed.ending.is_answered()));
            if story.is_calm && !may_be_cut && !asked.half_closed {
                wrong("was cut off in calm weather".to_owned());
            }
        }
        if let Some(deed) = &asked.deed {
            let as_planned = story.is_calm && responses > 0 && deed.streams && asked.token.is_some();
            if as_planned && deed.ending == Ending::Answer && !asked.half_closed && notes != deed.notes {
                wrong(format!("heard {notes} of {} notes", deed.notes));
            }
        }
    }

    fn judge_note(&self, asked: &Asked, method: &str, params: Option<&str>) {
        count(&self.story.tally.notes);
        let params: BTreeMap<String, Box<RawValue>> =
            params.and_then(|params| serde_json::from_str(params).ok()).unwrap_or_default();
        match method {
            "\"notifications/progress\"" => {
                let token = params.get("progressToken").map(|token| token.get().to_owned());
                if token != asked.token {
                    self.story.wrong(format!(
                        "{}: progress of token {token:?} instead of {:?}",
                        asked.marker, asked.token
                    ));
                }
            }
            "\"notifications/message\"" => {}
            other => self.story.wrong(format!("{}: was sent {other} on its own stream", asked.marker)),
        }
    }

    fn judge_response(&self, asked: &Asked, heard: &Heard, message: &BTreeMap<String, Box<RawValue>>) {
        let story = &self.story;
        let wrong = |what: String| story.wrong(format!("client {}, {}: {what}", self.number, asked.marker));
        let is_result = message.contains_key("result");
        count(if is_result { &story.tally.results } else { &story.tally.errors });
        if is_result == message.contains_key("error") {
            wrong("an answer is either a result or an error".to_owned());
        }
        let Some(deed) = &asked.deed else {
            if !is_result && story.is_calm {
                wrong(format!("a list was answered with an error: {:?}", message.get("error")));
            }
            return;
        };
        let body = message.get("result").or(message.get("error")).map_or("", |body| body.get());
        let error: Value = serde_json::from_str(body).unwrap_or_default();
        let lost_twice = story.losses.get() >= asked.losses + 2;
        let excused = !story.is_calm || lost_twice || asked.half_closed;
        if is_result && !body.contains(&asked.marker) {
            wrong(format!("the result is not its own: {}", shortened(body.as_bytes())));
        }
        match deed.ending {
            Ending::Error => {
                let as_asked = error["code"] == -32_050;
                if is_result || (!as_asked && !excused) {
                    wrong(format!("wanted the upstream's error, got {}", shortened(body.as_bytes())));
                }
            }
            ending if ending.is_answered() => {
                if !is_result && !excused {
                    wrong(format!(
                        "wanted a result ({ending:?}), got {} {}",
                        heard.status.unwrap_or(0),
                        shortened(body.as_bytes())
                    ));
                }
            }
            ending => {
                if is_result && !ending.is_doubtful() {
                    wrong(format!("got a result, where the upstream does this: {ending:?}"));
                }
            }
        }
    }
}

/// How a client treats an exchange.
#[derive(Clone, Debug, Default)]
struct Manner {
    slow: bool,
    half_closes: bool,
    leaves_after_ms: Option<u64>,
}

impl Manner {
    fn draw(chance: &mut Chance) -> Manner {
        Manner {
            slow: chance.percent(8),
            half_closes: chance.percent(4),
            leaves_after_ms: chance.percent(10).then(|| chance.magnitude(1..1_500)),
        }
    }
}

/// A way of writing an id or a token that no program would choose.
fn odd_id(chance: &mut Chance, number: u64) -> String {
    match chance.within(0..7) {
        0 => format!("{}", number + 9_007_199_254_740_993),
        1 => format!("-{number}"),
        2 => format!("\"n\\u00e9{number}\\/\""),
        3 => format!("\"é{number} \\\" \\\\ \""),
        4 => format!("\"{number}\""),
        _ => number.to_string(),
    }
}

fn shortened(data: &[u8]) -> String {
    let text = String::from_utf8_lossy(data);
    match text.char_indices().nth(220) {
        Some((at, _)) => format!("{}… ({} bytes)", &text[..at], data.len()),
        None => text.into_owned(),
    }
}
