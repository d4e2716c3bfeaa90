//! A client of the older revisions that reads its session's stream: it loses its connection and comes back with or
//! without the last number it has, and takes its own stream over.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::time::Duration;

use serde_json::Value;
use strait_engine::io::runtime::{sleep, spawn_guarded};
use strait_engine::io::simulated::{Chance, say};
use tokio::sync::Notify;

use super::{Client, shortened};
use crate::story::count;
use crate::wire::{Answer, Part, Wire};

/// What a client hears outside of its calls.
#[derive(Default)]
pub struct Ear {
    /// Messages by their numbers.
    heard: RefCell<BTreeMap<u64, Vec<u8>>>,
    pub asides: RefCell<BTreeSet<String>>,
    /// Told changes of lists.
    pub changes: Cell<u64>,
    /// It came back without saying what it has: something may be missing.
    pub has_gaps: Cell<bool>,
    /// Nobody wants to hear any more.
    is_over: Cell<bool>,
    is_closed: Cell<bool>,
}

/// One connection that reads the stream.
#[derive(Default)]
struct Reading {
    stop: Notify,
    has_ended: Cell<bool>,
}

impl Client {
    /// Reads the session's stream until it is told to stop.
    pub(super) async fn hear_session(self: Rc<Self>, mut chance: Chance) {
        let mut before: Option<Rc<Reading>> = None;
        while !self.ear.is_over.get() && !self.has_ended.get() {
            let last = self.ear.heard.borrow().keys().next_back().copied();
            let after = match chance.within(0..10) {
                0 | 1 => None,
                2 | 3 => last.map(|last| chance.within(0..last + 1)),
                _ => last,
            };
            if after.is_none() && before.is_some() {
                self.ear.has_gaps.set(true);
            }
            let Some(reading) = self.read_session(after).await else { break };
            if let Some(before) = before.take() {
                self.must_end(&before, "was taken over").await;
            }
            let mut rest_ms = chance.magnitude(50..6_000);
            while rest_ms > 0 && !self.ear.is_over.get() && !reading.has_ended.get() {
                sleep(Duration::from_millis(rest_ms.min(50))).await;
                rest_ms = rest_ms.saturating_sub(50);
            }
            if self.ear.is_over.get() || chance.percent(60) {
                if !self.has_ended.get() {
                    reading.stop.notify_one();
                }
            } else {
                count(&self.story.tally.takeovers);
            }
            before = Some(reading);
        }
        if let Some(before) = before.take() {
            self.must_end(&before, "has an ended session").await;
        }
        self.ear.is_closed.set(true);
    }

    /// Stops hearing, when what is on its way has had time to arrive; `true` when nothing can have been missed.
    pub(super) async fn stop_hearing(&self) {
        sleep(Duration::from_millis(2_500)).await;
        let prefix = format!("mk-{}-{}-", self.principal, self.number);
        let said = self.story.asides_for(&prefix);
        let heard = self.ear.heard.borrow();
        let is_whole = self.story.is_calm && self.story.losses.get() == 0 && !self.ear.has_gaps.get();
        if is_whole && heard.keys().copied().ne(1..=heard.len() as u64) {
            let numbers: Vec<u64> = heard.keys().copied().collect();
            self.story.wrong(format!("client {} has heard {numbers:?} of its session", self.number));
        }
        let missed: Vec<String> = said.difference(&self.ear.asides.borrow()).cloned().collect();
        if is_whole && !missed.is_empty() && !self.ear.is_closed.get() {
            self.story.wrong(format!("client {} has not heard {missed:?}", self.number));
        }
    }

    pub(super) async fn close_ear(&self) {
        self.ear.is_over.set(true);
        while !self.ear.is_closed.get() {
            sleep(Duration::from_millis(50)).await;
        }
    }

    async fn must_end(&self, reading: &Reading, why: &str) {
        for _ in 0..100 {
            if reading.has_ended.get() {
                return;
            }
            sleep(Duration::from_millis(50)).await;
        }
        self.excused(&format!("a stream that {why} goes on"));
        reading.stop.notify_one();
    }

    /// Opens the stream, and reads it in a task of its own.
    async fn read_session(self: &Rc<Self>, after: Option<u64>) -> Option<Rc<Reading>> {
        let session = self.session.borrow().clone()?;
        let Ok(mut wire) = Wire::connect(self.gateway).await else {
            self.excused("cannot connect to read");
            return None;
        };
        let id = after.map(|after| format!("0-{after}"));
        let mut fields = vec![
            ("Mcp-Session-Id", session.id.as_str()),
            ("MCP-Protocol-Version", session.revision),
            ("Accept", "text/event-stream"),
        ];
        fields.extend(id.as_deref().map(|id| ("Last-Event-ID", id)));
        if !wire.send(&self.bare("GET", &fields)).await {
            self.excused("cannot send GET");
            return None;
        }
        let answer = Answer::begin(&mut wire).await;
        let Some(mut answer) = answer.filter(|answer| answer.status == 200) else {
            if !self.has_ended.get() {
                self.excused("its stream was refused");
            }
            return None;
        };
        count(&self.story.tally.streams);
        say(|| format!("client {} reads its stream after {after:?}", self.number));
        let (client, reading) = (self.clone(), Rc::<Reading>::default());
        let task = reading.clone();
        spawn_guarded("client's ear", async move {
            let mut expected = after.map(|after| after + 1);
            loop {
                let part = tokio::select! {
                    biased;
                    () = task.stop.notified() => break,
                    part = answer.next(&mut wire) => part,
                };
                match part {
                    Part::Message(data) if data.is_empty() => {}
                    Part::Message(data) => client.overhears(answer.last_id.as_deref(), &data, &mut expected),
                    Part::End => break,
                    Part::Cut => {
                        client.excused("its stream was cut");
                        break;
                    }
                }
            }
            task.has_ended.set(true);
        });
        Some(reading)
    }

    /// A message on the session's stream.
    fn overhears(self: &Rc<Self>, id: Option<&str>, data: &[u8], expected: &mut Option<u64>) {
        say(|| format!("client {} overhears {id:?} {}", self.number, shortened(data)));
        let wrong = |what: &str| {
            self.story.wrong(format!("client {}: {what}: {id:?} {}", self.number, shortened(data)));
        };
        let number = id.and_then(|id| id.strip_prefix("0-")?.parse::<u64>().ok());
        let Some(number) = number else { return wrong("an event of a session has no number") };
        if expected.is_some_and(|expected| expected != number) {
            wrong("an event is missing, or out of order");
        }
        *expected = Some(number + 1);
        if let Some(known) = self.ear.heard.borrow_mut().insert(number, data.to_vec()) {
            if known != data {
                wrong("a number means two events");
            }
            return;
        }
        let own = format!("mk-{}-{}-", self.principal, self.number);
        if crate::story::markers(data).iter().any(|marker| !marker.starts_with(&own)) {
            wrong("what belongs to somebody else");
        }
        if self.is_asked(data) {
            return;
        }
        let message: Value = serde_json::from_slice(data).unwrap_or_default();
        match message["method"].as_str() {
            Some("notifications/tools/list_changed") => {
                count(&self.story.tally.list_changes);
                self.ear.changes.set(self.ear.changes.get() + 1);
            }
            Some("notifications/message") => {
                count(&self.story.tally.asides);
                let aside = message["params"]["data"].as_str().unwrap_or("").to_owned();
                if !self.ear.asides.borrow_mut().insert(aside) {
                    wrong("the same was said again");
                }
            }
            _ => wrong("nobody says this"),
        }
    }
}
