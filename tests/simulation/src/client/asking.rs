//! One request of a client, from its bytes to the end of its answer.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use serde_json::value::RawValue;
use serde_json::{Value, json};
use strait_engine::io::runtime::{sleep, spawn_guarded, timeout};
use strait_engine::io::simulated::{Chance, now_ns, say};

use super::answering::Plan;
use super::{Client, Heard, MODERN};
use crate::deed::{Deed, Ending};
use crate::story::{count, markers};
use crate::wire::{Pace, Wire};

/// Nothing a client waits for may take longer: the deadlines of upstreams, a handshake and an attempt to mend before.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// A request, and what may come back.
#[derive(Clone)]
pub struct Asked {
    pub marker: String,
    pub id: String,
    pub token: Option<String>,
    /// `None`: it is no call.
    pub plan: Option<Rc<Plan>>,
    pub slow: bool,
    pub half_closed: bool,
    /// It was cancelled then, and the gateway has said that it knows.
    pub cancelled_ns: Rc<Cell<Option<u64>>>,
    /// What it brings back with it.
    pub input: Option<Input>,
}

impl Asked {
    fn method(&self) -> &'static str {
        if self.plan.is_some() { "tools/call" } else { "tools/list" }
    }

    /// Whether a message that its client was sent is about it: by the id it answers, or by the mark.
    pub fn is_meant(&self, data: &[u8]) -> bool {
        let message: BTreeMap<String, Box<RawValue>> = serde_json::from_slice(data).unwrap_or_default();
        match message.get("id").filter(|_| !message.contains_key("method")) {
            Some(id) => id.get() == self.id,
            None => markers(data).contains(&self.marker),
        }
    }
}

/// What a call is made again with.
#[derive(Clone, Debug)]
pub struct Input {
    pub responses: Value,
    pub state: String,
}

/// How a client treats an exchange.
#[derive(Clone, Debug, Default)]
pub struct Manner {
    pub slow: bool,
    pub half_closes: bool,
    pub leaves_after_ms: Option<u64>,
    pub cancels_after_ms: Option<u64>,
}

impl Manner {
    fn draw(chance: &mut Chance, has_session: bool) -> Manner {
        Manner {
            slow: chance.percent(8),
            half_closes: chance.percent(4),
            leaves_after_ms: chance.percent(10).then(|| chance.magnitude(1..1_500)),
            cancels_after_ms: (has_session && chance.percent(8)).then(|| chance.within(1..1_500)),
        }
    }
}

impl Client {
    /// Asks one thing; the connection, if it can be used again.
    pub(super) async fn ask(self: &Rc<Self>, wire: Wire, chance: &mut Chance) -> Option<Wire> {
        let manner = Manner::draw(chance, !self.is_modern());
        let number = self.next_request.replace(self.next_request.get() + 1);
        let marker = format!("mk-{}-{}-{number}-x", self.principal, self.number);
        let mut deed = Deed::draw(chance, !self.is_modern());
        if manner.cancels_after_ms.is_some() && chance.percent(60) {
            // Something that takes long enough to be cancelled.
            deed.ending = Ending::Hang;
        }
        let plan = chance.percent(85).then(|| self.plan(&marker, deed, chance));
        let mut asked = self.asked(marker, odd_id(chance, number), plan, manner.clone());
        if asked.plan.is_some() && chance.percent(60) {
            asked.token = Some(odd_id(chance, number + 500));
        }
        let (heard, wire) = self.exchange(wire, &asked, &manner, chance).await;
        let heard = heard?;
        match self.judge(&asked, &heard) {
            Some(wanted) => self.come_back(wire, asked, wanted, chance).await,
            None => wire,
        }
    }

    pub(super) fn asked(&self, marker: String, id: String, plan: Option<Rc<Plan>>, manner: Manner) -> Asked {
        let (slow, half_closed) = (manner.slow, manner.half_closes);
        Asked { marker, id, token: None, plan, slow, half_closed, cancelled_ns: Rc::default(), input: None }
    }

    /// Sends a request and hears its answer; nothing when it was left or could not be sent. The connection, if it can be
    /// used again.
    pub(super) async fn exchange(
        self: &Rc<Self>,
        mut wire: Wire,
        asked: &Asked,
        manner: &Manner,
        chance: &mut Chance,
    ) -> (Option<Heard>, Option<Wire>) {
        wire.pace = if manner.slow { Pace::slow(chance) } else { Pace::prompt() };
        let request = self.request(asked, self.principal);
        let deed = asked.plan.as_ref().map(|plan| &plan.deed);
        say(|| {
            format!("client {} asks {} as {} ({deed:?}, {manner:?})", self.number, asked.marker, asked.id)
        });
        count(&self.story.tally.calls);
        if manner.half_closes {
            self.story.goes(&asked.marker);
        }
        self.waits_for(asked);
        if !wire.send(&request).await {
            // A connection that was idle may be closed; in calm weather only by its own half-close.
            self.excused(&format!("cannot send {}", asked.marker));
            return (None, None);
        }
        if manner.half_closes {
            let _ = wire.stream.shutdown_write();
        }
        if let Some(after_ms) = manner.cancels_after_ms.filter(|_| asked.plan.is_some()) {
            self.cancel_later(asked, after_ms);
        }
        if self.wired.borrow().is_some() {
            let said = self.hear(&mut wire).await;
            let usable = said.complete && !manner.half_closes && !wire.is_over;
            return (self.is_answered_over(asked, &said).await, usable.then_some(wire));
        }
        let heard = RefCell::new(Heard::default());
        let leaves_after = manner.leaves_after_ms.map(Duration::from_millis);
        let in_time =
            timeout(leaves_after.unwrap_or(PATIENCE), self.hear_into(&mut wire, &heard)).await.is_ok();
        if !in_time && leaves_after.is_none() {
            self.story
                .wrong(format!("client {}: {} has no end after {PATIENCE:?}", self.number, asked.marker));
            return (None, None);
        }
        let heard = heard.into_inner();
        // What is large is not kept once it was sent.
        let is_kept = deed.is_some_and(|deed| deed.bytes < 60_000) && heard.last_id.is_some();
        if !heard.complete && is_kept && chance.percent(70) {
            wire.stream.abandon();
            drop(wire);
            sleep(Duration::from_millis(chance.magnitude(1..600))).await;
            let Some(heard) = self.resume(asked, heard).await else { return (None, None) };
            // What came then may say again that it goes on later.
            return (self.poll(asked, heard).await, None);
        }
        if heard.is_polled() {
            drop(wire);
            return (self.poll(asked, heard).await, None);
        }
        if !in_time {
            self.story.goes(&asked.marker);
            count(&self.story.tally.left);
            if chance.percent(50) {
                wire.stream.abandon();
            }
            return (None, None);
        }
        if leaves_after.is_some() {
            return (Some(heard), None);
        }
        let usable = heard.complete && !manner.half_closes && !wire.is_over;
        if usable && wire.has_unread() {
            self.story
                .wrong(format!("client {}: more came than the answer of {}", self.number, asked.marker));
        }
        (Some(heard), usable.then_some(wire))
    }

    fn cancel_later(self: &Rc<Self>, asked: &Asked, after_ms: u64) {
        let (client, id, known) = (self.clone(), asked.id.clone(), asked.cancelled_ns.clone());
        let marker = asked.marker.clone();
        spawn_guarded("client's cancellation", async move {
            sleep(Duration::from_millis(after_ms)).await;
            if !client.has_ended.get() {
                client.story.goes(&marker);
                client.cancel(&id, &known, after_ms).await;
            }
        });
    }

    /// Tells the gateway that the answer to a request is not wanted any more.
    async fn cancel(self: &Rc<Self>, id: &str, known: &Cell<Option<u64>>, after_ms: u64) {
        let body = format!(
            "{{\"method\":\"notifications/cancelled\",\"params\":{{\"requestId\":{id},\"reason\":\"r\"}},\"jsonrpc\":\"2.0\"}}"
        );
        count(&self.story.tally.cancelled);
        let Ok(mut wire) = Wire::connect(self.gateway).await else { return };
        known.set(Some(u64::MAX));
        if !wire.send(&self.post(&body, &[])).await {
            self.excused("cannot send a cancellation");
            return;
        }
        let heard = self.hear(&mut wire).await;
        // One that is sent too soon may overtake its call.
        if after_ms >= 700 {
            known.set(Some(now_ns()));
        }
        if heard.status != Some(202) && !self.has_ended.get() {
            self.excused(&format!("a cancellation was answered with {:?}", heard.status));
        }
    }

    /// The bytes of a request: a call, or a list.
    pub(super) fn request(&self, asked: &Asked, principal: &str) -> Vec<u8> {
        let mut fields = vec![];
        if self.is_modern() {
            fields.extend([("MCP-Protocol-Version", MODERN), ("Mcp-Method", asked.method())]);
            fields.extend(asked.plan.iter().map(|plan| ("Mcp-Name", plan.tool)));
        }
        self.post_as(principal, &self.message(asked), &fields)
    }

    /// Its message.
    pub(super) fn message(&self, asked: &Asked) -> String {
        let mut params = match &asked.plan {
            Some(plan) => {
                let mut can: Vec<&str> = self
                    .can
                    .iter()
                    .filter(|matter| self.may_be_asked(**matter))
                    .filter_map(|m| m.capability())
                    .collect();
                can.sort_unstable();
                json!({"name": plan.tool, "arguments": {"mk": asked.marker, "deed": plan.deed.to_json(), "can": can}})
            }
            None => json!({}),
        };
        let method = asked.method();
        if self.is_modern() {
            params["_meta"]["io.modelcontextprotocol/protocolVersion"] = json!(MODERN);
            params["_meta"]["io.modelcontextprotocol/clientCapabilities"] = self.capabilities();
        }
        if asked.token.is_some() {
            params["_meta"]["progressToken"] = json!("@token");
        }
        if let Some(input) = &asked.input {
            params["requestState"] = json!(input.state);
            if input.responses.as_object().is_some_and(|responses| !responses.is_empty()) {
                params["inputResponses"] = input.responses.clone();
            }
        }
        let body = json!({"jsonrpc": "2.0", "id": "@id", "method": method, "params": params}).to_string();
        // Ids and tokens are written as nobody would write them: they must come back so.
        let body = body.replacen("\"@id\"", &asked.id, 1);
        body.replacen("\"@token\"", asked.token.as_deref().unwrap_or(""), 1)
    }
}

/// A way of writing an id or a token that no program would choose.
pub fn odd_id(chance: &mut Chance, number: u64) -> String {
    match chance.within(0..7) {
        0 => format!("{}", number + 9_007_199_254_740_993),
        1 => format!("-{number}"),
        2 => format!("\"n\\u00e9{number}\\/\""),
        3 => format!("\"é{number} \\\" \\\\ \""),
        4 => format!("\"{number}\""),
        _ => number.to_string(),
    }
}
