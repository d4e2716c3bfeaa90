//! A client of the older revisions that is asked something by a server, in a call of its own.

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::rc::Rc;
use std::time::Duration;

use serde_json::{Value, json};
use strait_engine::io::runtime::{sleep, spawn_guarded};
use strait_engine::io::simulated::{Chance, say};

use super::{Client, shortened};
use crate::deed::{Ask, Deed, Matter, Reaction};
use crate::gateway::QUESTION_MS;
use crate::story::{count, markers};
use crate::upstream::Kind;
use crate::wire::Wire;

/// An error as clients may have them.
pub const REFUSED: i64 = -1;

/// A question that reaches its client within this can be answered in time, also by whoever takes as long as a client here
/// takes (`Reaction::Late`).
const ON_ITS_WAY: Duration = Duration::from_millis(QUESTION_MS / 2);

/// A call that a client means to make.
pub struct Plan {
    pub tool: &'static str,
    /// Of the server that has the tool.
    pub kind: Kind,
    pub deed: Deed,
    /// Sessions that upstreams had lost when it was made.
    pub losses: u64,
    /// The questions that reached the client.
    heard: RefCell<BTreeSet<String>>,
    /// One of them came so long after it was asked that its answer may have come too late.
    pub is_asked_late: Cell<bool>,
}

impl Plan {
    /// A question reaches its client: only once.
    pub fn hears(&self, key: &str) -> bool {
        self.heard.borrow_mut().insert(key.to_owned())
    }
}

impl Client {
    pub(super) fn plan(&self, marker: &str, deed: Deed, chance: &mut Chance) -> Rc<Plan> {
        let tool = *chance.of(self.tools);
        let (kind, losses) = (self.kind_of(tool), self.story.losses.get());
        let (heard, is_asked_late) = Default::default();
        let plan = Rc::new(Plan { tool, kind, deed, losses, heard, is_asked_late });
        self.plans.borrow_mut().insert(marker.to_owned(), plan.clone());
        plan
    }

    /// Takes up a message that is a question; `false` when it is none.
    pub(super) fn is_asked(self: &Rc<Self>, data: &[u8]) -> bool {
        if self.is_modern() {
            return false;
        }
        let Ok(message) = serde_json::from_slice::<Value>(data) else { return false };
        let (Some(method), Some(id)) = (message["method"].as_str(), message.get("id")) else { return false };
        if method == "ping" {
            self.story.wrong(format!("client {} got a ping that is the gateway's to answer", self.number));
            return true;
        }
        let Some((marker, key, plan, ask)) = self.question(method, &message["params"], data) else {
            return true;
        };
        if !plan.hears(&key) {
            self.story.wrong(format!("client {} was asked {key} of {marker} again", self.number));
        }
        if self.story.since_asked(&marker, &key) > ON_ITS_WAY {
            plan.is_asked_late.set(true);
        }
        say(|| format!("client {} is asked {key} of {marker}: {:?}", self.number, ask.reaction));
        let (client, id, reaction, matter) = (self.clone(), id.clone(), ask.reaction, ask.matter);
        spawn_guarded("client's answer", async move {
            client.react(id, matter, reaction, marker, key).await;
        });
        true
    }

    /// Whose question this is, and whether it is the one that the server was meant to ask.
    pub(super) fn question(
        &self,
        method: &str,
        params: &Value,
        data: &[u8],
    ) -> Option<(String, String, Rc<Plan>, Ask)> {
        let wrong = |what: &str| {
            self.story.wrong(format!("client {} {what}: {}", self.number, shortened(data)));
            None
        };
        count(&self.story.tally.questions);
        let (Some(marker), Some(key)) = (markers(data).into_iter().next(), params["_meta"]["ask"].as_str())
        else {
            return wrong("was asked what belongs to no call");
        };
        let Some(plan) = self.plans.borrow().get(&marker).cloned() else {
            return wrong("was asked about a call of somebody else");
        };
        let Some(ask) = plan.deed.ask(key).cloned() else {
            return wrong("was asked what nobody asks in that call");
        };
        if ask.matter.method() != method || *params != ask.matter.params(&marker, key) {
            return wrong("was asked something else than its server said");
        }
        if !self.may_be_asked(ask.matter) {
            return wrong("was asked what it did not declare");
        }
        Some((marker, key.to_owned(), plan, ask))
    }

    async fn react(
        self: &Rc<Self>,
        id: Value,
        matter: Matter,
        reaction: Reaction,
        marker: String,
        key: String,
    ) {
        let result = matter.answer(&marker, &key);
        let answer = json!({"jsonrpc": "2.0", "id": id, "result": result});
        match reaction {
            Reaction::Answer => self.respond(&answer).await,
            Reaction::Late { ms } => {
                sleep(Duration::from_millis(ms)).await;
                self.respond(&answer).await;
            }
            Reaction::Twice => {
                self.respond(&answer).await;
                let again = json!({"jsonrpc": "2.0", "id": id, "result": {"again": marker}});
                self.respond(&again).await;
            }
            Reaction::Wrongly => {
                let other = json!({"jsonrpc": "2.0", "id": 1_000_000_007, "result": {"for": "mk-nobody-x"}});
                self.respond(&other).await;
                let named =
                    json!({"jsonrpc": "2.0", "id": format!("no {id}"), "result": {"for": "mk-nobody-x"}});
                self.respond(&named).await;
                self.respond(&answer).await;
            }
            Reaction::Error => {
                let error = json!({"code": REFUSED, "message": format!("{key} of {marker}")});
                self.respond(&json!({"jsonrpc": "2.0", "id": id, "error": error})).await;
            }
            Reaction::Never => {}
        }
    }

    /// Posts a response, on a connection of its own.
    async fn respond(self: &Rc<Self>, response: &Value) {
        let Ok(mut wire) = Wire::connect(self.gateway).await else {
            self.excused("cannot connect to answer");
            return;
        };
        if !wire.send(&self.post(&response.to_string(), &[])).await {
            self.excused("cannot send an answer");
            return;
        }
        let heard = self.hear(&mut wire).await;
        let is_late = self.has_ended.get() && (heard.status == Some(404) || self.wired.borrow().is_some());
        if heard.status != Some(202) && !is_late {
            self.excused(&format!("an answer was answered with {:?}", heard.status));
        }
    }
}
