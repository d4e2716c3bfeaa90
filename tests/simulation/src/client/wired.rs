//! A client of HTTP+SSE: everything is said to it on one stream, and it POSTs its messages to the URL that the stream
//! named first. What is said on the stream is dealt out to whom it is meant for, so that each request is judged like any
//! other; the session is the stream, and ends with it.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use serde_json::Value;
use strait_engine::io::runtime::{sleep, spawn_guarded, timeout};
use strait_engine::io::simulated::{Chance, now_ns, say};
use tokio::sync::Notify;

use super::asking::{Asked, PATIENCE};
use super::{Client, Heard, Session, shortened};
use crate::story::count;
use crate::wire::{Answer, Pace, Part, Wire};

/// A call that was cancelled, and has no answer by then, gets none: the longest that one takes.
const UNANSWERED_NS: u64 = 12_000_000_000;
/// The same, when the gateway has said that it knows.
const SILENT_NS: u64 = 1_000_000_000;
/// How often a client whose call was cancelled looks.
const LOOK: Duration = Duration::from_millis(200);

/// The stream.
#[derive(Default)]
pub struct Wired {
    waiting: RefCell<Vec<Rc<Waiting>>>,
    stop: Notify,
    /// Nothing more is said.
    is_over: Cell<bool>,
    /// It reads slowly.
    is_slow: bool,
}

/// A request whose answer comes on the stream.
struct Waiting {
    asked: Asked,
    heard: RefCell<Heard>,
    news: Notify,
    /// Nobody waits for it any more.
    is_left: Cell<bool>,
}

impl Client {
    /// Opens the stream; `false` when the weather did not let it.
    pub(super) async fn plug(self: &Rc<Self>, revision: &'static str, chance: &mut Chance) -> bool {
        let Ok(mut wire) = Wire::connect(self.gateway).await else { return self.excused("cannot connect") };
        let is_slow = chance.percent(10);
        let request = self.bare("GET", &[("Accept", "text/event-stream")]);
        let request = String::from_utf8_lossy(&request).replacen(self.path, &format!("{}/sse", self.path), 1);
        if !wire.send(request.as_bytes()).await {
            return self.excused("cannot open its stream");
        }
        let answer = Answer::begin(&mut wire).await.filter(|answer| answer.status == 200);
        let Some(mut answer) = answer else { return self.excused("its stream was refused") };
        let Part::Message(url) = answer.next(&mut wire).await else {
            return self.excused("its stream names no URL");
        };
        count(&self.story.tally.wired);
        if is_slow {
            wire.pace = Pace::slow(chance);
        }
        let post_at = Some(String::from_utf8_lossy(&url).into_owned());
        say(|| format!("client {} is told to post at {post_at:?}, {revision}", self.number));
        self.session.replace(Some(Session { id: String::new(), revision, post_at }));
        let wired = Rc::new(Wired { is_slow, ..Wired::default() });
        self.wired.replace(Some(wired.clone()));
        let client = self.clone();
        spawn_guarded("client's wire", async move {
            loop {
                let part = tokio::select! {
                    biased;
                    () = wired.stop.notified() => break,
                    part = answer.next(&mut wire) => part,
                };
                match part {
                    Part::Message(data) if data.is_empty() => {}
                    Part::Message(data) => client.is_said(&wired, data),
                    Part::End | Part::Cut => {
                        client.excused("its wire ended");
                        break;
                    }
                }
            }
            client.has_ended.set(true);
            wired.is_over.set(true);
            wired.waiting.borrow().iter().for_each(|waiting| waiting.news.notify_one());
        });
        true
    }

    /// Something on the stream: about a request of its own, or about none.
    fn is_said(self: &Rc<Self>, wired: &Wired, data: Vec<u8>) {
        say(|| format!("client {} hears on its wire {}", self.number, shortened(&data)));
        if self.is_asked(&data) {
            return;
        }
        let wrong = |what: &str| {
            self.story.wrong(format!("client {}, wired: {what}: {}", self.number, shortened(&data)))
        };
        let message: Value = serde_json::from_slice(&data).unwrap_or_default();
        let said = message["params"]["data"].as_str().unwrap_or("");
        if message["method"] == "notifications/tools/list_changed" {
            count(&self.story.tally.list_changes);
            return self.ear.changes.set(self.ear.changes.get() + 1);
        }
        if said.contains(" aside ") {
            count(&self.story.tally.asides);
            if !said.starts_with(&format!("mk-{}-{}-", self.principal, self.number)) {
                wrong("what belongs to somebody else");
            }
            if !self.ear.asides.borrow_mut().insert(said.to_owned()) {
                wrong("the same was said again");
            }
            return;
        }
        let waiting = wired.waiting.borrow().iter().find(|waiting| waiting.asked.is_meant(&data)).cloned();
        let Some(waiting) = waiting else { return wrong("nobody waits for this") };
        let mut heard = waiting.heard.borrow_mut();
        if heard.complete {
            return wrong("more came behind its answer");
        }
        let is_late = waiting
            .asked
            .cancelled_ns
            .get()
            .is_some_and(|at_ns| now_ns() > at_ns.saturating_add(2 * SILENT_NS));
        if waiting.is_left.get() && is_late && self.story.is_calm && !wired.is_slow {
            wrong("it was cancelled long ago");
        }
        heard.complete = message.get("method").is_none();
        heard.messages.push(data);
        waiting.news.notify_one();
    }

    /// To be said before a request is sent: what is said about it may come before its POST is answered.
    pub(super) fn waits_for(&self, asked: &Asked) {
        if let Some(wired) = &*self.wired.borrow() {
            let heard = RefCell::new(Heard { status: Some(200), ..Heard::default() });
            let waiting =
                Waiting { asked: asked.clone(), heard, news: Notify::new(), is_left: Cell::new(false) };
            wired.waiting.borrow_mut().push(Rc::new(waiting));
        }
    }

    /// Whether it reads slowly what is said about this request.
    pub(super) fn reads_slowly(&self, asked: &Asked) -> bool {
        asked.slow || self.wired.borrow().as_ref().is_some_and(|wired| wired.is_slow)
    }

    /// What was said about a request whose POST was answered with `said`; nothing when it was not taken.
    pub(super) async fn is_answered_over(self: &Rc<Self>, asked: &Asked, said: &Heard) -> Option<Heard> {
        let wired = self.wired.borrow().clone()?;
        let waiting = wired.waiting.borrow().iter().find(|waiting| waiting.asked.id == asked.id).cloned()?;
        if said.status != Some(202) {
            self.story.goes(&asked.marker);
            if !asked.half_closed && !self.has_ended.get() {
                self.excused(&format!("{} was answered with {:?}", asked.marker, said.status));
            }
            return None;
        }
        let began_ns = now_ns();
        let is_over = || {
            let silent_ns = asked.cancelled_ns.get().map(|at_ns| now_ns().saturating_sub(at_ns));
            let waited_ns = now_ns() - began_ns;
            let is_known = silent_ns.is_some_and(|silent_ns| silent_ns > SILENT_NS);
            is_known || (silent_ns.is_some() && waited_ns > UNANSWERED_NS)
        };
        while !waiting.heard.borrow().complete && !wired.is_over.get() {
            let _ = timeout(LOOK, waiting.news.notified()).await;
            if is_over() {
                waiting.is_left.set(true);
                return None;
            }
            if now_ns() - began_ns > PATIENCE.as_nanos() as u64 {
                self.story
                    .wrong(format!("client {}: {} has no end after {PATIENCE:?}", self.number, asked.marker));
                return None;
            }
        }
        let mut heard = waiting.heard.borrow_mut();
        let complete = heard.complete;
        Some(Heard {
            messages: std::mem::take(&mut heard.messages),
            status: Some(200),
            complete,
            ..Heard::default()
        })
    }

    /// Closes the stream, when what is on its way has had time to arrive.
    pub(super) async fn unplug(&self) {
        let Some(wired) = self.wired.borrow().clone() else { return };
        sleep(Duration::from_millis(2_500)).await;
        let said = self.story.asides_for(&format!("mk-{}-{}-", self.principal, self.number));
        let missed: Vec<String> = said.difference(&self.ear.asides.borrow()).cloned().collect();
        let is_whole = self.story.is_calm && self.story.losses.get() == 0 && !wired.is_slow;
        if is_whole && !wired.is_over.get() && !missed.is_empty() {
            self.story.wrong(format!("client {} has not heard {missed:?}", self.number));
        }
        self.has_ended.set(true);
        wired.stop.notify_one();
    }
}
