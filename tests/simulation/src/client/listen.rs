//! Clients that want to know when lists change: of 2026-07-28 over `subscriptions/listen`, older ones on the stream of
//! their session. Whoever asks again whenever told so never works with an old list.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use serde_json::json;
use serde_json::value::RawValue;
use strait_engine::io::runtime::{sleep, spawn_guarded};
use strait_engine::io::simulated::{Chance, say};
use tokio::sync::Notify;

use super::asking::{Manner, odd_id};
use super::{Client, MODERN, shortened};
use crate::story::count;
use crate::wire::{Answer, Part, Wire};

type Members = BTreeMap<String, Box<RawValue>>;

/// A listen that is open.
#[derive(Default)]
pub struct Listening {
    id: String,
    stop: Notify,
    pub changes: Cell<u64>,
    is_acknowledged: Cell<bool>,
    has_ended: Cell<bool>,
}

impl Client {
    /// Listens, on a connection of its own.
    pub(super) async fn listen(self: &Rc<Self>, chance: &mut Chance) -> Option<Rc<Listening>> {
        let number = self.next_request.replace(self.next_request.get() + 1);
        let id = odd_id(chance, number);
        let meta = json!({"io.modelcontextprotocol/protocolVersion": MODERN,
            "io.modelcontextprotocol/clientCapabilities": self.capabilities()});
        let params = json!({"_meta": meta, "notifications": {"toolsListChanged": true}});
        let body = json!({"jsonrpc": "2.0", "id": "@id", "method": "subscriptions/listen", "params": params});
        let body = body.to_string().replacen("\"@id\"", &id, 1);
        let fields = [("MCP-Protocol-Version", MODERN), ("Mcp-Method", "subscriptions/listen")];
        let Ok(mut wire) = Wire::connect(self.gateway).await else {
            self.excused("cannot connect to listen");
            return None;
        };
        if !wire.send(&self.post(&body, &fields)).await {
            self.excused("cannot send a listen");
            return None;
        }
        let answer = Answer::begin(&mut wire).await.filter(|answer| answer.status == 200);
        let Some(mut answer) = answer else {
            self.excused("its listen was refused");
            return None;
        };
        count(&self.story.tally.listens);
        let listening = Rc::new(Listening { id, ..Listening::default() });
        let (client, task) = (self.clone(), listening.clone());
        spawn_guarded("client's listen", async move {
            loop {
                let part = tokio::select! {
                    biased;
                    () = task.stop.notified() => break,
                    part = answer.next(&mut wire) => part,
                };
                match part {
                    Part::Message(data) => client.is_told(&task, &data),
                    Part::End | Part::Cut => {
                        client.excused("its listen ended");
                        break;
                    }
                }
            }
            task.has_ended.set(true);
        });
        while !listening.is_acknowledged.get() && !listening.has_ended.get() {
            sleep(Duration::from_millis(10)).await;
        }
        Some(listening)
    }

    fn is_told(&self, listening: &Listening, data: &[u8]) {
        say(|| format!("client {} is told {}", self.number, shortened(data)));
        let wrong = |what: &str| {
            self.story.wrong(format!("client {}, listening: {what}: {}", self.number, shortened(data)));
        };
        let message: Members = serde_json::from_slice(data).unwrap_or_default();
        let part = |of: &Members, name: &str| -> Members {
            of.get(name).and_then(|part| serde_json::from_str(part.get()).ok()).unwrap_or_default()
        };
        let meta = part(&part(&message, "params"), "_meta");
        let tag = meta.get("io.modelcontextprotocol/subscriptionId").map(|tag| tag.get());
        let method = message.get("method").map_or("", |method| method.get());
        if message.contains_key("id") {
            return wrong("an answer, which ends it");
        }
        if tag != Some(&listening.id) {
            wrong("another listen's message");
        }
        match (method, listening.is_acknowledged.replace(true)) {
            ("\"notifications/subscriptions/acknowledged\"", false) => {}
            ("\"notifications/tools/list_changed\"", true) => {
                count(&self.story.tally.list_changes);
                listening.changes.set(listening.changes.get() + 1);
            }
            _ => wrong("nobody asked for this"),
        }
    }

    /// Asks for the list whenever it is told of a change, until nobody changes any: then it must have the newest one.
    /// `told`: how often it was told so far.
    pub(super) async fn keep_list(self: &Rc<Self>, told: &dyn Fn() -> u64, mut chance: Chance) {
        let (mut known, mut seen) = (None, 0);
        loop {
            if known.is_none() || told() > seen {
                seen = told();
                known = self.list(&mut chance).await;
                if known.is_none() {
                    return;
                }
            }
            if self.story.is_settled() {
                break;
            }
            sleep(Duration::from_millis(100)).await;
        }
        for _ in 0..3 {
            let now = self.list(&mut chance).await;
            if now.is_none() || now == known {
                return;
            }
            // It may be on its way.
            sleep(Duration::from_secs(2)).await;
            // What is told while nobody reads is lost to who does not say where to go on.
            if told() == seen && !self.ear.has_gaps.get() {
                self.excused("its list changed, and it was not told");
                return;
            }
            (seen, known) = (told(), self.list(&mut chance).await);
        }
    }

    pub(super) fn stop_listening(&self, listening: &Listening) {
        listening.stop.notify_one();
    }

    /// The list of tools, as it is now.
    async fn list(self: &Rc<Self>, chance: &mut Chance) -> Option<String> {
        let Ok(wire) = Wire::connect(self.gateway).await else { return None };
        let number = self.next_request.replace(self.next_request.get() + 1);
        let marker = format!("mk-{}-{}-{number}-x", self.principal, self.number);
        let asked = self.asked(marker, odd_id(chance, number), None, Manner::default());
        let (heard, _) = self.exchange(wire, &asked, &Manner::default(), chance).await;
        let heard = heard?;
        self.judge(&asked, &heard);
        let message: Members = serde_json::from_slice(heard.messages.last()?).ok()?;
        Some(message.get("result")?.get().split("\"ttlMs\"").next()?.to_owned())
    }
}
