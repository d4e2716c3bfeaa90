//! What a server of the older revisions knows of a session: whose calls came in it, what its client declared, and the
//! stream on which it says what belongs to no call.

use serde_json::{Value, json};
use strait_engine::io::simulated::say;
use tokio::sync::mpsc;

use super::{EVENTS, HangUp, JSON, Kind, NO_SESSION, Upstream};
use crate::wire::{self, Wire};

#[derive(Default)]
pub struct Session {
    principal: Option<String>,
    pub capabilities: Value,
    /// To whoever reads its stream.
    aside: Option<mpsc::UnboundedSender<String>>,
}

impl Upstream {
    /// As after a restart: it knows nobody.
    pub fn forget_sessions(&self) {
        say(|| format!("{} forgets its sessions", self.name));
        self.sessions.borrow_mut().clear();
    }

    /// Sessions that carried somebody's calls.
    pub fn sessions_of_clients(&self) -> usize {
        self.sessions.borrow().values().filter(|session| session.principal.is_some()).count()
    }

    pub(super) fn open_session(&self, capabilities: Value) -> String {
        let number = self.next_session.replace(self.next_session.get() + 1);
        let id = format!("{}-session-{number}", self.name);
        self.sessions.borrow_mut().insert(id.clone(), Session { capabilities, ..Session::default() });
        id
    }

    /// Calls of one principal only come in a session, and it declared what their client did.
    pub(super) fn belongs(&self, session: Option<&str>, marker: &str, can: &Value) {
        let principal = marker.split('-').nth(1).unwrap_or("").to_owned();
        let mut sessions = self.sessions.borrow_mut();
        let Some(known) = session.and_then(|id| sessions.get_mut(id)) else { return };
        let first = known.principal.get_or_insert_with(|| principal.clone());
        if *first != principal {
            self.story.wrong(format!("{}: a session of {first} carries the call {marker}", self.name));
        }
        self.declares(&known.capabilities, marker, can);
    }

    /// What is declared for a client is what it declared.
    pub(super) fn declares(&self, declared: &Value, marker: &str, can: &Value) {
        let mut names: Vec<&str> =
            declared.as_object().into_iter().flatten().map(|(name, _)| name.as_str()).collect();
        names.sort_unstable();
        let mut wanted: Vec<&str> = can.as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        wanted.sort_unstable();
        if names != wanted {
            self.story.wrong(format!("{}: {marker} declared {wanted:?}, was told {names:?}", self.name));
        }
    }

    /// Says something on the session's own stream; `false` when it has none.
    pub(super) fn say_aside(&self, session: Option<&str>, message: &str) -> bool {
        let sessions = self.sessions.borrow();
        let aside = session.and_then(|id| sessions.get(id)?.aside.as_ref());
        aside.is_some_and(|aside| aside.send(message.to_owned()).is_ok())
    }

    /// Messages of no call, in a session that has a stream for them.
    pub(super) fn say_asides(&self, session: Option<&str>, marker: &str, count: u64) {
        for number in 0..count {
            let data = format!("{marker} aside {number}");
            let note = json!({"jsonrpc": "2.0", "method": "notifications/message",
                "params": {"level": "info", "data": data}});
            if self.say_aside(session, &note.to_string()) {
                self.story.says_aside(&data);
            }
        }
    }

    /// Its lists change, and whoever listens is told.
    pub fn change_lists(&self) {
        self.edition.set(self.edition.get() + 1);
        say(|| format!("{} has another list: {}", self.name, self.edition.get()));
        let told = json!({"jsonrpc": "2.0", "method": "notifications/tools/list_changed"}).to_string();
        for session in self.sessions.borrow().values() {
            let _ = session.aside.as_ref().map(|aside| aside.send(told.clone()));
        }
        self.listens.borrow_mut().retain(|(id, listen)| {
            let meta = json!({"io.modelcontextprotocol/subscriptionId": id});
            let told = json!({"jsonrpc": "2.0", "method": "notifications/tools/list_changed", "params": {"_meta": meta}});
            listen.send(told.to_string()).is_ok()
        });
    }

    /// `subscriptions/listen` of 2026-07-28.
    pub(super) async fn listen(&self, wire: &mut Wire, message: &Value) -> Result<(), HangUp> {
        let (sender, mut said) = mpsc::unbounded_channel();
        let meta = json!({"io.modelcontextprotocol/subscriptionId": message["id"]});
        self.listens.borrow_mut().push((message["id"].clone(), sender));
        self.say(wire, wire::chunked(&[EVENTS])).await?;
        let taken = json!({"jsonrpc": "2.0", "method": "notifications/subscriptions/acknowledged",
            "params": {"_meta": meta, "notifications": {"toolsListChanged": true}}});
        self.event(wire, &taken.to_string()).await?;
        self.pass_on(wire, &mut said).await
    }

    /// What follows an event on a stream that broke.
    async fn resume(&self, wire: &mut Wire, after: &str) -> Result<(), HangUp> {
        let Some(last) = self.broken.borrow_mut().remove(after) else {
            return self.say(wire, wire::answer(400, &[JSON], NO_SESSION)).await;
        };
        self.say(wire, wire::chunked(&[EVENTS])).await?;
        self.event(wire, &last).await?;
        self.say(wire, wire::chunk(b"")).await
    }

    /// The answer to GET: a stream that stands open.
    pub(super) async fn stand(
        &self,
        wire: &mut Wire,
        session: Option<String>,
        after: Option<&str>,
    ) -> Result<(), HangUp> {
        if self.kind != Kind::Legacy || !self.offers_streams {
            return self.say(wire, wire::answer(405, &[], b"")).await;
        }
        if let Some(after) = after {
            return self.resume(wire, after).await;
        }
        let (sender, mut said) = mpsc::unbounded_channel();
        {
            let mut sessions = self.sessions.borrow_mut();
            if let Some(session) = session.and_then(|id| sessions.get_mut(&id)) {
                session.aside = Some(sender);
            } else {
                drop(sender);
            }
        }
        if said.is_closed() {
            return self.say(wire, wire::answer(404, &[JSON], NO_SESSION)).await;
        }
        self.say(wire, wire::chunked(&[EVENTS])).await?;
        self.pass_on(wire, &mut said).await
    }

    async fn pass_on(
        &self,
        wire: &mut Wire,
        said: &mut mpsc::UnboundedReceiver<String>,
    ) -> Result<(), HangUp> {
        loop {
            let message = tokio::select! {
                biased;
                () = wire.ended() => return Err(HangUp),
                message = said.recv() => message,
            };
            match message {
                Some(message) => self.event(wire, &message).await?,
                // Another stream took its place, or the session is over.
                None => return self.say(wire, wire::chunk(b"")).await,
            }
        }
    }
}
