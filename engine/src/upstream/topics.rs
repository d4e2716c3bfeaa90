//! Resources of an upstream that somebody wants to hear of: clients' sessions and listens, and other workers.
//!
//! A [`Topic`] is one resource in one conversation, however many want it: it is subscribed to when the first one comes and
//! let go when the last one has gone. Whoever wants it holds an [`Interest`], and whatever ends the holder (DELETE, a
//! lost connection, expiry) ends the interest. A task of the topic's own asks the server, and asks again when a
//! conversation was lost; after a gap everybody is told that the resource may have changed. How it asks is
//! [`super::subscribe`].

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::{Rc, Weak};
use std::sync::Arc;

use strait_protocol::jsonrpc::{Envelope, append_string, unescape};
use strait_protocol::mcp::Method;
use tokio::sync::{Notify, Semaphore, SemaphorePermit};

use super::hearing::Backoff;
use super::subscribe::{self, Route};
use super::{Affinity, Upstream, UpstreamFault};
use crate::core::Core;
use crate::fold::Fold;
use crate::io::runtime;
use crate::io::signal::Signal;
use crate::limits::{SETTINGS_MAX, SUBSCRIBES_AT_ONCE, TOPICS_MAX};

/// Who is told that a resource changed.
pub trait Hearer {
    /// `known_as`: the URI that this hearer knows the resource by.
    fn updated(&self, core: &Rc<Core>, update: &Update<'_>, known_as: &[u8]);

    /// Nobody will tell it any more.
    fn over(&self) {}
}

/// A server's `notifications/resources/updated`.
pub struct Update<'a> {
    pub message: &'a [u8],
    pub envelope: &'a Envelope,
}

/// Why somebody is not told of a resource.
#[derive(Clone, Debug)]
pub enum Refused {
    Fault(UpstreamFault),
    /// The server's own `error`, as written.
    Error(Arc<[u8]>),
    /// It takes no subscription to it, or has no way to tell.
    NotOffered,
}

/// One resource in one conversation.
pub struct Topic {
    pub of: Affinity,
    /// As the server calls it.
    pub uri: Box<[u8]>,
    hearers: RefCell<Vec<Heard>>,
    last: Cell<u64>,
    state: RefCell<State>,
    settled: Notify,
    /// Wakes its task: it was lost, or the last hearer has gone.
    pub news: Signal,
    is_lost: Cell<bool>,
}

/// One who is told of a topic.
struct Heard {
    serial: u64,
    by: Weak<dyn Hearer>,
    known_as: Box<[u8]>,
}

#[derive(Debug)]
enum State {
    Asking,
    Held,
    Refused(Refused),
}

/// Somebody's part in a topic, until it is dropped.
pub struct Interest {
    topic: Rc<Topic>,
    serial: u64,
}

/// The topics of one conversation.
type ByUri = HashMap<Box<[u8]>, Rc<Topic>>;

/// The topics of an upstream on this worker.
pub struct Topics {
    open: RefCell<HashMap<Affinity, ByUri, Fold>>,
    count: Cell<usize>,
    turns: Semaphore,
}

impl Default for Topics {
    fn default() -> Topics {
        let turns = Semaphore::new(SUBSCRIBES_AT_ONCE);
        Topics { open: RefCell::default(), count: Cell::new(0), turns }
    }
}

/// Wants to hear of a resource from now on. Whether that will be is told by [`Interest::settled`].
pub fn join(
    core: &Rc<Core>,
    upstream: &Rc<Upstream>,
    route: Route,
    uri: &[u8],
    hearer: Weak<dyn Hearer>,
    known_as: &[u8],
) -> Result<Interest, UpstreamFault> {
    let topics = &upstream.topics;
    let known = topics.open.borrow().get(&route.of).and_then(|of| of.get(uri).cloned());
    let topic = match known {
        Some(topic) => topic,
        None => {
            let topic = topics.add(route.of, uri)?;
            let keeping = Keeping { core: core.clone(), upstream: upstream.clone(), topic: topic.clone() };
            runtime::spawn_guarded("subscription at an upstream", keeping.keep(route));
            topic
        }
    };
    let serial = topic.last.get() + 1;
    topic.last.set(serial);
    topic.hearers.borrow_mut().push(Heard { serial, by: hearer, known_as: known_as.into() });
    Ok(Interest { topic, serial })
}

impl Interest {
    /// Waits until the server has said yes or no.
    pub async fn settled(&self) -> Result<(), Refused> {
        loop {
            let settled = self.topic.settled.notified();
            match &*self.topic.state.borrow() {
                State::Asking => {}
                State::Held => return Ok(()),
                State::Refused(why) => return Err(why.clone()),
            }
            settled.await;
        }
    }
}

impl Interest {
    /// Tells everybody that the resource may have changed.
    pub fn missed(&self, core: &Rc<Core>) {
        self.topic.missed(core);
    }
}

impl Drop for Interest {
    fn drop(&mut self) {
        let mut hearers = self.topic.hearers.borrow_mut();
        hearers.retain(|heard| heard.serial != self.serial);
        if hearers.is_empty() {
            self.topic.news.set();
        }
    }
}

impl Topic {
    fn is_deserted(&self) -> bool {
        self.hearers.borrow().is_empty()
    }

    fn settle(&self, state: State) {
        self.state.replace(state);
        self.settled.notify_waiters();
    }

    /// Tells everybody.
    pub fn updated(&self, core: &Rc<Core>, update: &Update<'_>) {
        // None of them is borrowed while it is told: it may let go.
        let told = |heard: &Heard| Some((heard.by.upgrade()?, heard.known_as.clone()));
        let hearers: Vec<_> = self.hearers.borrow().iter().filter_map(told).collect();
        for (hearer, known_as) in hearers {
            hearer.updated(core, update, &known_as);
        }
    }

    /// Something may have been missed: whoever wants to know reads it again.
    fn missed(&self, core: &Rc<Core>) {
        let mut message = Vec::new();
        message.extend_from_slice(b"{\"jsonrpc\":\"2.0\",\"method\":\"");
        message.extend_from_slice(Method::NotifyResourcesUpdated.as_str().as_bytes());
        message.extend_from_slice(b"\",\"params\":{\"uri\":");
        append_string(&mut message, &self.uri);
        message.extend_from_slice(b"}}");
        if let Some(envelope) = subscribe::read(&message) {
            self.updated(core, &Update { message: &message, envelope: &envelope });
        }
    }

    /// What was held is no more: the conversation was lost.
    pub fn lose(&self) {
        self.is_lost.set(true);
        self.news.set();
    }
}

impl Topics {
    fn add(&self, of: Affinity, uri: &[u8]) -> Result<Rc<Topic>, UpstreamFault> {
        let mut open = self.open.borrow_mut();
        let topics = open.entry(of).or_default();
        if topics.len() >= SETTINGS_MAX || self.count.get() >= TOPICS_MAX {
            return Err(UpstreamFault::Busy { limit: SETTINGS_MAX });
        }
        let topic = Rc::new(Topic {
            of,
            uri: uri.into(),
            hearers: RefCell::default(),
            last: Cell::new(0),
            state: RefCell::new(State::Asking),
            settled: Notify::new(),
            news: Signal::new(),
            is_lost: Cell::new(false),
        });
        topics.insert(uri.into(), topic.clone());
        self.count.set(self.count.get() + 1);
        Ok(topic)
    }

    /// A turn to ask the server: many come at once.
    pub async fn turn(&self) -> Option<SemaphorePermit<'_>> {
        self.turns.acquire().await.ok()
    }

    /// `true` when it was the last one of its conversation.
    fn remove(&self, topic: &Rc<Topic>) -> bool {
        let mut open = self.open.borrow_mut();
        let Some(topics) = open.get_mut(&topic.of) else { return false };
        if topics.get(&topic.uri).is_some_and(|known| Rc::ptr_eq(known, topic)) {
            topics.remove(&topic.uri);
            self.count.set(self.count.get() - 1);
        }
        let is_last = topics.is_empty();
        if is_last {
            open.remove(&topic.of);
        }
        is_last
    }

    pub fn count(&self) -> usize {
        self.count.get()
    }

    /// The topics of a conversation that somebody wants.
    pub fn of(&self, of: Affinity) -> Vec<Rc<Topic>> {
        let open = self.open.borrow();
        let topics = open.get(&of).into_iter().flat_map(HashMap::values);
        topics.filter(|topic| !topic.is_deserted()).cloned().collect()
    }

    /// A server says that a resource changed: to those who want to hear of it, or of what it is a part of, in the
    /// conversations `of` that it was said in.
    pub fn heard(
        &self,
        core: &Rc<Core>,
        message: &[u8],
        envelope: &Envelope,
        of: impl Fn(&Affinity) -> bool,
    ) {
        let Some(uri) = envelope.uri.and_then(|uri| uri.of(message).strip_prefix(b"\"")?.strip_suffix(b"\""))
        else {
            return;
        };
        let mut text = Vec::new();
        unescape(uri, &mut text);
        let mut meant = Vec::new();
        for (_, topics) in self.open.borrow().iter().filter(|(whose, _)| of(whose)) {
            match topics.get(text.as_slice()) {
                Some(topic) => meant.push(topic.clone()),
                None => meant.extend(topics.values().filter(|topic| is_part(&text, &topic.uri)).cloned()),
            }
        }
        let update = Update { message, envelope };
        meant.iter().for_each(|topic| topic.updated(core, &update));
    }

    /// A conversation is over, and what was subscribed in it.
    pub fn lost(&self, of: Affinity) {
        self.of(of).iter().for_each(|topic| topic.lose());
    }

    /// A conversation goes on after a gap.
    pub fn missed(&self, core: &Rc<Core>, of: Affinity) {
        for topic in self.of(of) {
            let is_held = matches!(*topic.state.borrow(), State::Held);
            if is_held {
                topic.missed(core);
            }
        }
    }
}

/// Whether a server may mean this one when it speaks of the other: `file:///a/b` is a part of `file:///a`.
fn is_part(uri: &[u8], whole: &[u8]) -> bool {
    let Some(rest) = uri.strip_prefix(whole) else { return false };
    whole.ends_with(b"/") || matches!(rest.first(), Some(b'/' | b'?' | b'#'))
}

/// The task of a topic.
struct Keeping {
    core: Rc<Core>,
    upstream: Rc<Upstream>,
    topic: Rc<Topic>,
}

impl Keeping {
    async fn keep(self, route: Route) {
        let Keeping { core, upstream, topic } = &self;
        let mut way = subscribe::Way::new(core, upstream, topic, route);
        let mut was_held = false;
        let mut again = Backoff::default();
        while !topic.is_deserted() {
            topic.is_lost.set(false);
            match way.subscribe().await {
                Ok(()) => {
                    topic.settle(State::Held);
                    if was_held {
                        topic.missed(core);
                    }
                    (was_held, again) = (true, Backoff::default());
                    while !topic.is_deserted() && !topic.is_lost.get() {
                        way.hear().await;
                    }
                }
                // What was held once and cannot be reached now is asked for again, until nobody wants it.
                Err(Refused::Fault(_)) if was_held && upstream.is_current.get() => {
                    tokio::select! {
                        biased;
                        () = again.pause(core) => {}
                        () = topic.news.wait() => {}
                    }
                }
                Err(why) => {
                    topic.settle(State::Refused(why));
                    return;
                }
            }
            if topic.is_deserted() {
                // Whoever comes meanwhile waits for it to be asked for again.
                topic.settle(State::Asking);
                way.unsubscribe().await;
            }
        }
    }
}

impl Drop for Keeping {
    fn drop(&mut self) {
        let is_last = self.upstream.topics.remove(&self.topic);
        if matches!(*self.topic.state.borrow(), State::Asking) {
            self.topic.settle(State::Refused(Refused::NotOffered));
        }
        if is_last {
            subscribe::fall_silent(&self.upstream, self.topic.of);
        }
        let hearers = self.topic.hearers.take();
        hearers.iter().filter_map(|heard| heard.by.upgrade()).for_each(|hearer| hearer.over());
    }
}
