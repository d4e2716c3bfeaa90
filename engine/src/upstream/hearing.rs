//! What an upstream of 2026-07-28 says of its own accord: it says it on a listen of ours.
//!
//! There is one for each conversation: one for all over HTTP, held by the worker that asks for the lists, and one at a
//! child. It asks for changes of lists, which make that worker ask again, and for the resources that somebody subscribes
//! to. When those become others, a listen with the new ones is opened before the old one is let go, so nothing is missed
//! between them. A listen that breaks is opened again, and since nobody knows what was said meanwhile, the lists are
//! asked for and whoever subscribed is told that the resource may have changed.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::time::Duration;

use strait_protocol::jsonrpc::{Elements, Envelope, Kind, Members, append_string, unescape};
use strait_protocol::mcp::{Method, Revision};
use tokio::sync::oneshot;

use super::dialect::Client;
use super::learn::NOBODY;
use super::subscribe::Route;
use super::topics::Refused;
use super::{Affinity, Era, Event, Order, Reply, Upstream, UpstreamFault, Whom, stdio};
use crate::changes::List;
use crate::core::{Core, InFlight};
use crate::fold::Fold;
use crate::handle::Reach;
use crate::io::runtime;
use crate::io::signal::Signal;
use crate::limits::{LISTEN_AGAIN_MS, LISTEN_OVERLAP_MS, LISTEN_SILENT_MS_MAX};

/// Our listens at an upstream, by conversation.
#[derive(Default)]
pub struct Hearings {
    on: RefCell<HashMap<Affinity, Rc<Hearing>, Fold>>,
}

/// What the server said to one resource.
type Answer = oneshot::Sender<Result<(), Refused>>;

/// One of them.
#[derive(Default)]
struct Hearing {
    /// Raised when other resources are wanted.
    changed: Signal,
    /// Raised when no edition names the upstream any more.
    stop: Signal,
    /// Who waits for a listen with this resource.
    waiting: RefCell<HashMap<Box<[u8]>, Answer>>,
}

impl Hearings {
    pub fn stop(&self) {
        self.on.borrow().values().for_each(|hearing| hearing.stop.set());
    }
}

/// Listens to an upstream's lists from now on, if it speaks of its own accord that way and nobody does yet. Not where
/// callers have children of their own: ours would be held open for it, and take the place of one of theirs.
pub fn hear(core: &Rc<Core>, upstream: &Rc<Upstream>) {
    let is_http = matches!(&**upstream.reach.borrow(), Reach::Http { .. });
    if upstream.known_era() == Some(Era::Modern) && (is_http || upstream.stdio.is_shared()) {
        begin(core, upstream, Affinity::NOBODY, Whom::of(NOBODY, None));
    }
}

/// Has a resource among those that are listened for, and waits until the server has said that it is.
pub async fn subscribe(
    core: &Rc<Core>,
    upstream: &Rc<Upstream>,
    route: &Route,
    uri: &[u8],
) -> Result<(), Refused> {
    let (tell, told) = oneshot::channel();
    let hearing = begin(core, upstream, route.of, route.whom.clone());
    hearing.waiting.borrow_mut().insert(uri.into(), tell);
    hearing.changed.set();
    told.await.unwrap_or(Err(Refused::NotOffered))
}

/// Other resources are wanted; `false` when there is no such listen.
pub fn unsubscribe(upstream: &Upstream, of: Affinity) -> bool {
    let on = upstream.hearings.on.borrow();
    on.get(&of).map(|hearing| hearing.changed.set()).is_some()
}

fn begin(core: &Rc<Core>, upstream: &Rc<Upstream>, of: Affinity, whom: Whom) -> Rc<Hearing> {
    let known = upstream.hearings.on.borrow().get(&of).cloned();
    known.unwrap_or_else(|| {
        let hearing = Rc::<Hearing>::default();
        upstream.hearings.on.borrow_mut().insert(of, hearing.clone());
        let on = On { core: core.clone(), upstream: upstream.clone(), of, whom, hearing: hearing.clone() };
        runtime::spawn_guarded("listen at an upstream", on.keep());
        hearing
    })
}

/// Longer and longer pauses.
pub struct Backoff {
    ms: u64,
}

impl Default for Backoff {
    fn default() -> Backoff {
        Backoff { ms: LISTEN_AGAIN_MS.0 }
    }
}

impl Backoff {
    pub async fn pause(&mut self, core: &Core) {
        // The clock's nanoseconds spread those who lost the same server at the same time.
        let jitter_ms = core.clock.now_ns() % (self.ms / 4);
        runtime::sleep(Duration::from_millis(self.ms + jitter_ms)).await;
        self.ms = (self.ms * 2).min(LISTEN_AGAIN_MS.1);
    }
}

/// A listen that is kept open.
struct On {
    core: Rc<Core>,
    upstream: Rc<Upstream>,
    of: Affinity,
    whom: Whom,
    hearing: Rc<Hearing>,
}

impl On {
    async fn keep(self) {
        tokio::select! {
            biased;
            () = self.reopen() => {}
            () = self.hearing.stop.wait() => {}
        }
    }

    /// Until the server says that it has no listens, or nobody wants one.
    async fn reopen(&self) {
        let mut again = Backoff::default();
        let mut current: Option<Standing> = None;
        let (mut was_open, mut held) = (false, Vec::new());
        loop {
            let began_ms = self.core.clock.coarse_ms();
            self.hearing.changed.clear();
            let wanted = self.wanted();
            if wanted.is_empty() && self.of != Affinity::NOBODY {
                return;
            }
            let line = self.open(&wanted);
            match line.begun().await {
                Begun::Taken(accepted) => {
                    let is_gap = was_open && current.as_ref().is_none_or(|line| line.0.is_over.get());
                    if let Some(old) = current.replace(line) {
                        old.retire();
                    }
                    was_open = true;
                    held = wanted;
                    self.settle(&held, &accepted);
                    if is_gap {
                        self.missed();
                    }
                }
                Begun::Refused => {
                    self.refuse(&Refused::NotOffered);
                    if current.is_none() {
                        return;
                    }
                }
                Begun::Broken(fault) => self.refuse(&fault.into()),
            }
            if let Some(line) = current.take_if(|line| line.0.is_over.get()) {
                drop(line);
            } else if let Some(line) = &current {
                if !self.stand(line, &held).await {
                    continue;
                }
                current = None;
            }
            if self.core.clock.coarse_ms().saturating_sub(began_ms) > LISTEN_AGAIN_MS.1 {
                again = Backoff::default();
            }
            tokio::select! {
                biased;
                () = again.pause(&self.core) => {}
                () = self.hearing.changed.wait() => {}
            }
        }
    }

    /// Until the listen is over, or `false`: until other resources are wanted.
    async fn stand(&self, line: &Standing, held: &[Box<[u8]>]) -> bool {
        loop {
            tokio::select! {
                biased;
                () = line.0.over.wait() => return true,
                () = self.hearing.changed.wait() => {}
            }
            // Several come together.
            runtime::sleep(Duration::from_millis(TOGETHER_MS)).await;
            if !self.hearing.waiting.borrow().is_empty() || self.wanted() != held {
                return line.0.is_over.get();
            }
        }
    }

    /// What somebody wants to hear of, in an order.
    fn wanted(&self) -> Vec<Box<[u8]>> {
        let topics = self.upstream.topics.of(self.of);
        let mut wanted: Vec<Box<[u8]>> = topics.iter().map(|topic| topic.uri.clone()).collect();
        wanted.sort_unstable();
        wanted
    }

    fn open(&self, wanted: &[Box<[u8]>]) -> Standing {
        let line = Rc::<Line>::default();
        let carrying = Carrying {
            core: self.core.clone(),
            upstream: self.upstream.clone(),
            of: self.of,
            whom: self.whom.clone(),
            line: line.clone(),
        };
        runtime::spawn_guarded("an open listen at an upstream", carrying.carry(self.request(wanted)));
        Standing(line)
    }

    /// Of the resources that a listen asked for, those that the server took are held; the others are not. What came
    /// while it was opened is for the next.
    fn settle(&self, asked: &[Box<[u8]>], accepted: &[Box<[u8]>]) {
        for topic in self.upstream.topics.of(self.of).iter().filter(|topic| asked.contains(&topic.uri)) {
            let is_taken = accepted.contains(&topic.uri);
            match self.hearing.waiting.borrow_mut().remove(&topic.uri) {
                Some(tell) => drop(tell.send(if is_taken { Ok(()) } else { Err(Refused::NotOffered) })),
                None if !is_taken => topic.lose(),
                None => {}
            }
        }
    }

    /// Whoever waits waits in vain.
    fn refuse(&self, why: &Refused) {
        for (_, tell) in self.hearing.waiting.borrow_mut().drain() {
            let _ = tell.send(Err(why.clone()));
        }
    }

    fn missed(&self) {
        if self.of == Affinity::NOBODY {
            self.upstream.relist.set();
        }
        self.upstream.topics.missed(&self.core, self.of);
    }

    fn request(&self, wanted: &[Box<[u8]>]) -> Vec<u8> {
        let mut body =
            br#"{"jsonrpc":"2.0","id":1,"method":"subscriptions/listen","params":{"notifications":{"#
                .to_vec();
        if self.of == Affinity::NOBODY {
            for list in List::ALL {
                body.extend_from_slice(format!("\"{}\":true,", list.key()).as_bytes());
            }
        }
        if !wanted.is_empty() {
            body.extend_from_slice(b"\"resourceSubscriptions\":[");
            for (at, uri) in wanted.iter().enumerate() {
                if at > 0 {
                    body.push(b',');
                }
                append_string(&mut body, uri);
            }
            body.extend_from_slice(b"],");
        }
        body.pop();
        body.extend_from_slice(b"}}}");
        body
    }
}

/// Resources that come within this are asked for together.
const TOGETHER_MS: u64 = 5;

impl Drop for On {
    fn drop(&mut self) {
        self.upstream.hearings.on.borrow_mut().remove(&self.of);
        self.refuse(&Refused::NotOffered);
        self.upstream.topics.lost(self.of);
    }
}

/// One listen, from its request to its end.
#[derive(Default)]
struct Line {
    begun: RefCell<Option<Begun>>,
    news: Signal,
    over: Signal,
    is_over: Cell<bool>,
    stop: Signal,
}

/// What the server said to it.
enum Begun {
    /// With these resources.
    Taken(Vec<Box<[u8]>>),
    Refused,
    Broken(UpstreamFault),
}

/// A listen that goes when this goes.
struct Standing(Rc<Line>);

impl Standing {
    async fn begun(&self) -> Begun {
        loop {
            if let Some(begun) = self.0.begun.take() {
                return begun;
            }
            self.0.news.wait().await;
        }
    }

    /// Another one stands in its place; what was said on this one before may still be on its way.
    fn retire(self) {
        runtime::spawn_guarded("end of a listen", async move {
            runtime::sleep(Duration::from_millis(LISTEN_OVERLAP_MS)).await;
            drop(self);
        });
    }
}

impl Drop for Standing {
    fn drop(&mut self) {
        self.0.stop.set();
    }
}

/// The task that reads a listen.
struct Carrying {
    core: Rc<Core>,
    upstream: Rc<Upstream>,
    of: Affinity,
    whom: Whom,
    line: Rc<Line>,
}

impl Carrying {
    async fn carry(self, body: Vec<u8>) {
        if let Err(fault) = self.hear(&body).await {
            self.say(Begun::Broken(fault));
        }
    }

    fn say(&self, begun: Begun) {
        self.line.begun.replace(Some(begun));
        self.line.news.set();
    }

    async fn hear(&self, body: &[u8]) -> Result<(), UpstreamFault> {
        let decoded = self.core.decoder.borrow_mut().decode(body).copied();
        let message = decoded.map_err(|fault| UpstreamFault::NotMcp(fault.message()))?;
        let order = Order {
            body,
            message: &message,
            bare: None,
            // What a request of 2026-07-28 has beside is added, as for any older client.
            client: Revision::LATEST_LEGACY,
            head: None,
            whom: self.whom.clone(),
            client_fd: None,
            under_way: None,
        };
        let is_child = matches!(&**self.upstream.reach.borrow(), Reach::Stdio { .. });
        if is_child {
            stdio::heard(&self.core, &self.upstream, self.of).await?;
        }
        let mut reply = super::call(&self.core, &self.upstream, &order, InFlight::uncounted()).await?;
        loop {
            // A connection may be dead without a sign: silence ends it, and it is opened again. A child tells.
            let silent_ms = if is_child { u64::from(u32::MAX) } else { LISTEN_SILENT_MS_MAX };
            reply.extend_deadline(self.core.clock.coarse_ms() + silent_ms);
            let event = tokio::select! {
                biased;
                event = next(&self.core, &mut reply, body) => event?,
                () = self.line.stop.wait() => {
                    reply.cancel(&self.core, "another listen has taken its place");
                    return Ok(());
                }
            };
            let Event::Message { envelope, last, .. } = &event else {
                self.say(Begun::Refused);
                return Ok(());
            };
            if *last {
                // One that was taken is over, and asked for again.
                self.say(Begun::Refused);
                return Ok(());
            }
            if envelope.kind() == Some(Kind::Notification) {
                self.told(event.bytes(), envelope);
            }
        }
    }

    fn told(&self, message: &[u8], envelope: &Envelope) {
        match envelope.method_known {
            Some(Method::NotifySubscriptionsAcknowledged) => self.say(Begun::Taken(taken(message, envelope))),
            Some(Method::NotifyResourcesUpdated) => {
                self.upstream.topics.heard(&self.core, message, envelope, |of| *of == self.of);
            }
            Some(method) => {
                if let Some(list) = List::of(method) {
                    self.upstream.lists_changed(&self.core, list.into());
                }
            }
            None => {}
        }
    }
}

impl Drop for Carrying {
    fn drop(&mut self) {
        if self.line.begun.borrow().is_none() {
            self.say(Begun::Broken(UpstreamFault::Closed { after_bytes: true }));
        }
        self.line.is_over.set(true);
        self.line.over.set();
    }
}

async fn next(core: &Rc<Core>, reply: &mut Reply, body: &[u8]) -> Result<Event, UpstreamFault> {
    let method = Method::SubscriptionsListen;
    let client = Client { id: b"1", token: None, modern: false, method, session: None, body };
    reply.next(core, &client).await
}

/// The resources that an acknowledgement names.
fn taken(message: &[u8], envelope: &Envelope) -> Vec<Box<[u8]>> {
    let find = |object, key| Members::find(message, object, key).ok().flatten();
    let accepted = envelope.params.and_then(|params| find(params, "notifications"));
    let Some(uris) = accepted.and_then(|accepted| find(accepted, "resourceSubscriptions")) else {
        return Vec::new();
    };
    let texts = Elements::of(message, uris).map_while(Result::ok).filter_map(|uri| {
        let inner = uri.of(message).strip_prefix(b"\"")?.strip_suffix(b"\"")?;
        let mut text = Vec::new();
        unescape(inner, &mut text);
        Some(text.into_boxed_slice())
    });
    texts.collect()
}
