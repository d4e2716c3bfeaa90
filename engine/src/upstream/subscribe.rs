//! How a resource of an upstream is subscribed to, whatever the upstream speaks and whoever keeps its conversation.
//!
//! Each conversation has a worker that owns it, and the subscription is made there: with `resources/subscribe` in a
//! conversation of the older revisions, with the listen of [`super::hearing`] at a server of 2026-07-28. Other workers
//! ask the owner through the mailbox, once per resource, and are told what it hears for as long as they hold the answer.

use std::rc::{Rc, Weak};
use std::sync::Arc;

use strait_protocol::jsonrpc::{Envelope, Scanner, append_string};
use strait_protocol::mcp::Method;

use super::ask::ask;
use super::hearing;
use super::learn::{self, NOBODY};
use super::topics::{self, Hearer, Refused, Topic, Update};
use super::{Affinity, Era, Upstream, UpstreamFault, Whom, http, stdio};
use crate::core::Core;
use crate::edition::Wiring;
use crate::handle::Reach;
use crate::io::buffer::Buf;
use crate::io::mailbox::{ReplyRx, ReplyTx, reply};
use crate::io::signal::Queue;
use crate::limits::UPDATES_MAX;
use crate::worker::Parcel;

/// The conversation in which somebody's subscriptions are made, and which worker has it.
pub struct Route {
    pub owner: usize,
    pub of: Affinity,
    pub whom: Whom,
}

/// Finds the conversation.
pub async fn route(core: &Rc<Core>, upstream: &Rc<Upstream>, whom: Whom) -> Result<Route, UpstreamFault> {
    let reach = upstream.reach.borrow().clone();
    match &*reach {
        Reach::Unreachable(why) => Err(UpstreamFault::Unreachable(why.clone())),
        Reach::Stdio { .. } => {
            let whom = upstream.stdio.sharer(whom);
            let (owner, of) =
                (upstream.stdio.owner(core, upstream, &whom), upstream.stdio.affinity(&whom, whom.declared));
            Ok(Route { owner, of, whom })
        }
        Reach::Http { endpoints } => {
            if upstream.known_era().is_none() {
                http::greet(core, upstream, endpoints).await?;
            }
            // A modern server knows no sessions: one listen serves everybody.
            Ok(match upstream.known_era() {
                Some(Era::Modern) => Route {
                    owner: learn::asker(core, upstream),
                    of: Affinity::NOBODY,
                    whom: Whom::of(NOBODY, None),
                },
                _ => Route { owner: core.id, of: Affinity::of(&whom, whom.declared), whom },
            })
        }
    }
}

/// How the task of a topic asks for it.
pub struct Way<'t> {
    core: &'t Rc<Core>,
    upstream: &'t Rc<Upstream>,
    topic: &'t Rc<Topic>,
    route: Route,
    /// What another worker hears.
    line: Option<ReplyRx<Said>>,
}

/// One resource that a worker wants to hear of from the one that owns the conversation.
pub struct Wanted {
    upstream: Arc<Wiring>,
    whom: Whom,
    uri: Vec<u8>,
    answer: ReplyTx<Said>,
}

/// What the owner says.
pub enum Said {
    Held,
    Refused(Refused),
    Updated(Buf),
}

impl<'t> Way<'t> {
    pub fn new(
        core: &'t Rc<Core>,
        upstream: &'t Rc<Upstream>,
        topic: &'t Rc<Topic>,
        route: Route,
    ) -> Way<'t> {
        Way { core, upstream, topic, route, line: None }
    }

    /// Asks until there is an answer.
    pub async fn subscribe(&mut self) -> Result<(), Refused> {
        if self.upstream.is_retired.get() {
            return Err(UpstreamFault::Unreachable("no longer configured".to_owned()).into());
        }
        if self.route.owner != self.core.id {
            return self.ask_owner().await;
        }
        let is_child = match &**self.upstream.reach.borrow() {
            Reach::Unreachable(why) => return Err(UpstreamFault::Unreachable(why.clone()).into()),
            Reach::Http { .. } => false,
            Reach::Stdio { .. } => true,
        };
        let era = match is_child {
            true => Some(stdio::heard(self.core, self.upstream, self.topic.of).await?.era()),
            false => self.upstream.known_era(),
        };
        match era {
            Some(Era::Modern) => {
                hearing::subscribe(self.core, self.upstream, &self.route, &self.topic.uri).await
            }
            _ => self.ask(is_child).await,
        }
    }

    async fn ask(&self, is_child: bool) -> Result<(), Refused> {
        let _turn = self.upstream.topics.turn().await;
        let Way { core, upstream, topic, route, .. } = self;
        if !is_child {
            let whose = http::session::Whose { affinity: topic.of, client: route.whom.session };
            let has_stream = Box::pin(http::session::heard(core, upstream, whose)).await?;
            // A session's client may still be told in the answers to its calls; a listen's has no other way.
            if !has_stream && route.whom.session.is_none() {
                return Err(Refused::NotOffered);
            }
        }
        let answered =
            ask(core, upstream, route.whom.clone(), Method::ResourcesSubscribe, &uri_member(&topic.uri))
                .await?;
        match answered.envelope.error {
            Some(error) => Err(Refused::Error(error.of(answered.bytes()).into())),
            None => Ok(()),
        }
    }

    async fn ask_owner(&mut self) -> Result<(), Refused> {
        let (answer, mut line) = reply();
        let wanted = Wanted {
            upstream: self.upstream.wiring(),
            whom: self.route.whom.clone(),
            uri: self.topic.uri.to_vec(),
            answer,
        };
        if self.core.post.send(self.route.owner, Parcel::Wanted(Box::new(wanted))).is_err() {
            return Err(UpstreamFault::Busy { limit: crate::io::mailbox::MAILBOX_PARCELS }.into());
        }
        match line.recv().await {
            Some(Said::Held) => {
                self.line = Some(line);
                Ok(())
            }
            Some(Said::Refused(why)) => Err(why),
            Some(Said::Updated(_)) | None => Err(UpstreamFault::Closed { after_bytes: false }.into()),
        }
    }

    /// Waits for whatever concerns the topic.
    pub async fn hear(&mut self) {
        let Some(line) = &mut self.line else { return self.topic.news.wait().await };
        let said = tokio::select! {
            biased;
            () = self.topic.news.wait() => return,
            said = line.recv() => said,
        };
        match said {
            Some(Said::Updated(mut message)) => {
                message.arrive();
                if let Some(envelope) = read(&message) {
                    self.topic.updated(self.core, &Update { message: &message, envelope: &envelope });
                }
            }
            _ => {
                self.line = None;
                self.topic.lose();
            }
        }
    }

    /// Nobody wants it any more.
    pub async fn unsubscribe(&mut self) {
        if self.line.take().is_some() || self.route.owner != self.core.id {
            return;
        }
        let Way { core, upstream, topic, route, .. } = self;
        if hearing::unsubscribe(upstream, topic.of) {
            return;
        }
        let is_over = route.whom.session.is_some_and(|serial| core.sessions.borrow().find(serial).is_none());
        let is_live = match &**upstream.reach.borrow() {
            Reach::Unreachable(_) => false,
            Reach::Http { .. } => http::session::is_live(upstream, topic.of),
            Reach::Stdio { .. } => upstream.stdio.running(&topic.of).is_some(),
        };
        if is_live && !is_over {
            let uri = uri_member(&topic.uri);
            // Whatever it says: what comes of it is heard by nobody.
            let _ = ask(core, upstream, route.whom.clone(), Method::ResourcesUnsubscribe, &uri).await;
        }
    }
}

fn uri_member(uri: &[u8]) -> Vec<u8> {
    let mut member = b"\"uri\":".to_vec();
    append_string(&mut member, uri);
    member
}

/// Nothing of a conversation is wanted any more.
pub fn fall_silent(upstream: &Upstream, of: Affinity) {
    http::session::unheard(upstream, of);
    if let Some(child) = upstream.stdio.running(&of) {
        child.channel.detach_topics();
    }
}

/// A message of ours, or of another worker.
pub fn read(message: &[u8]) -> Option<Envelope> {
    let mut scanner = Scanner::new();
    scanner.feed(message).and_then(|()| scanner.finish()).ok().copied()
}

/// The owner's side of [`Wanted`]: another worker hears of a resource for as long as it listens.
struct Relay {
    updates: Queue<Buf>,
}

impl Hearer for Relay {
    /// One that waits says it already.
    fn updated(&self, _core: &Rc<Core>, update: &Update<'_>, _known_as: &[u8]) {
        let _ = self.updates.push(Buf::from(update.message));
    }

    fn over(&self) {
        self.updates.close();
    }
}

/// Tells another worker what it wants to hear.
pub async fn receive(core: Rc<Core>, wanted: Box<Wanted>) {
    let upstream = core.upstreams.open(&wanted.upstream);
    let relay: Rc<Relay> = Rc::new(Relay { updates: Queue::new(UPDATES_MAX) });
    let hearer: Rc<dyn Hearer> = relay.clone();
    let hearer: Weak<dyn Hearer> = Rc::downgrade(&hearer);
    let joined = match route(&core, &upstream, wanted.whom.clone()).await {
        Ok(route) if route.owner == core.id => {
            topics::join(&core, &upstream, route, &wanted.uri, hearer, b"")
        }
        Ok(_) => Err(UpstreamFault::Unreachable("its conversations have moved to another worker".to_owned())),
        Err(fault) => Err(fault),
    };
    let interest = match joined {
        Ok(interest) => interest,
        Err(fault) => return drop(wanted.answer.send(Said::Refused(fault.into())).await),
    };
    let settled = tokio::select! {
        biased;
        settled = interest.settled() => settled,
        () = wanted.answer.closed() => return,
    };
    let said = settled.map_or_else(Said::Refused, |()| Said::Held);
    if wanted.answer.send(said).await.is_err() {
        return;
    }
    loop {
        let update = tokio::select! {
            biased;
            () = wanted.answer.closed() => return,
            update = relay.updates.pop() => update,
        };
        let Some(mut update) = update else { return };
        update.depart();
        if wanted.answer.send(Said::Updated(update)).await.is_err() {
            return;
        }
    }
}

impl From<UpstreamFault> for Refused {
    fn from(fault: UpstreamFault) -> Refused {
        Refused::Fault(fault)
    }
}
