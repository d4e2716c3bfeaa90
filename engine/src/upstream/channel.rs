//! A conversation that several calls share: a session with a legacy HTTP server, or a stdio child.
//!
//! Whatever arrives on it is told apart here. Answers belong to the call with their id, progress to the call with its
//! token. A server's own request belongs to the call it came with, or else to the only call under way, or else to the
//! client session that hears the channel; one that belongs to nobody is declined, and one that could be for several calls is refused. Notifications of no call go to the
//! channel's ears.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::{Rc, Weak};

use strait_protocol::decimal;
use strait_protocol::jsonrpc::{Envelope, IdValue, Kind, Members};
use strait_protocol::mcp::{Method, codes, meta};

use super::responder::{Responder, decline};
use super::settings::Settings;
use super::{Affinity, Event, Upstream, UpstreamFault};
use crate::changes::List;
use crate::core::Core;
use crate::io::buffer::Buf;
use crate::io::signal::{Queue, Signal};
use crate::limits::CHILD_QUEUE_MAX;
use crate::session::Session;

/// A call that waits for its answer.
pub struct Pending {
    pub id: i64,
    pub queue: Queue<Event>,
    pub cancel_when_dropped: bool,
    /// Its client gave a token; progress on any other call is nobody's.
    pub wants_progress: bool,
    /// Its client declared something that a server may ask of it.
    pub may_be_asked: bool,
    /// A first sign of an answer was seen.
    pub is_answered: Cell<bool>,
    /// Raised when an event was taken: whoever reads the answer waits for it when the queue is full.
    pub taken: Signal,
    /// Why the queue was closed before the last event.
    pub fault: Cell<Option<UpstreamFault>>,
}

impl Pending {
    pub fn new(id: i64) -> Pending {
        Pending::with_room(id, CHILD_QUEUE_MAX)
    }

    /// One whose queue holds so many events.
    pub fn with_room(id: i64, events: usize) -> Pending {
        Pending {
            id,
            queue: Queue::new(events),
            cancel_when_dropped: false,
            wants_progress: false,
            may_be_asked: false,
            is_answered: Cell::new(false),
            taken: Signal::new(),
            fault: Cell::new(None),
        }
    }

    /// No answer will come, for this reason.
    pub fn fail(&self, fault: UpstreamFault) {
        self.fault.set(Some(fault));
        self.queue.close();
    }

    /// Puts an event into the queue if another one still has room behind it: the answer must always have some.
    fn offer(&self, event: Event) -> bool {
        self.queue.room() > 1 && self.queue.push(event).is_ok()
    }
}

/// Who hears what belongs to no call.
pub enum Ear {
    /// A client of the older revisions, on this worker.
    Session(Weak<Session>),
    /// Whoever subscribed to resources in this conversation.
    Topics(Affinity),
}

/// What a channel knows of those who use it.
#[derive(Default)]
pub struct Channel {
    pending: RefCell<HashMap<i64, Rc<Pending>>>,
    ears: RefCell<Vec<Ear>>,
    pub settings: Settings,
}

impl Channel {
    pub fn len(&self) -> usize {
        self.pending.borrow().len()
    }

    pub fn is_busy(&self) -> bool {
        !self.pending.borrow().is_empty()
    }

    /// A call waits from now on.
    pub fn wait(&self, pending: Pending) -> Rc<Pending> {
        let pending = Rc::new(pending);
        self.join(pending.clone());
        pending
    }

    /// The same for one that may have waited elsewhere before.
    pub fn join(&self, pending: Rc<Pending>) {
        self.pending.borrow_mut().insert(pending.id, pending);
    }

    /// Nobody waits for this answer any more; `false` when it had come already.
    pub fn forget(&self, id: i64) -> bool {
        self.pending.borrow_mut().remove(&id).is_some()
    }

    /// The channel is over: whoever waits learns it.
    pub fn close(&self) {
        for pending in std::mem::take(&mut *self.pending.borrow_mut()).into_values() {
            pending.queue.close();
        }
    }

    /// The same, with the reason.
    pub fn fail(&self, fault: &UpstreamFault) {
        for pending in std::mem::take(&mut *self.pending.borrow_mut()).into_values() {
            pending.fail(fault.clone());
        }
    }

    /// Somebody listens to what belongs to no call.
    pub fn attach(&self, ear: Ear) {
        self.ears.borrow_mut().push(ear);
    }

    /// Somebody subscribes to resources in it.
    pub fn attach_topics(&self, of: Affinity) {
        let mut ears = self.ears.borrow_mut();
        if !ears.iter().any(|ear| matches!(ear, Ear::Topics(_))) {
            ears.push(Ear::Topics(of));
        }
    }

    /// Nobody does any more.
    pub fn detach_topics(&self) {
        self.ears.borrow_mut().retain(|ear| !matches!(ear, Ear::Topics(_)));
    }

    /// What was subscribed to in it, for somebody, if anything is.
    pub fn topics(&self) -> Option<Affinity> {
        self.ears.borrow().iter().find_map(|ear| match ear {
            Ear::Topics(of) => Some(*of),
            Ear::Session(_) => None,
        })
    }

    /// Something may have been said that nobody heard.
    pub fn missed(&self, core: &Rc<Core>, upstream: &Upstream) {
        if let Some(of) = self.topics() {
            upstream.topics.missed(core, of);
        }
    }

    /// Whether a client's session does.
    pub fn is_a_sessions(&self) -> bool {
        self.ears.borrow().iter().any(|ear| matches!(ear, Ear::Session(_)))
    }

    /// Whether anybody listens to what belongs to no call.
    pub fn is_heard(&self) -> bool {
        !self.ears.borrow().is_empty()
    }

    /// A whole message goes where it belongs. `envelope` says that it is one.
    pub fn heard(
        &self,
        core: &Rc<Core>,
        upstream: &Rc<Upstream>,
        responder: &Responder,
        message: &[u8],
        envelope: &Envelope,
    ) {
        match envelope.kind() {
            Some(Kind::Response) => {
                let IdValue::Integer(id) = envelope.id_value else { return };
                let waiting = self.pending.borrow_mut().remove(&id);
                if let Some(pending) = waiting {
                    let _ = pending.queue.push(event(core, message, envelope, true));
                    pending.queue.close();
                }
            }
            Some(Kind::Notification) => self.told(core, upstream, message, envelope),
            Some(Kind::Request) => self.asked(core, responder, message, envelope),
            None => {}
        }
    }

    fn told(&self, core: &Rc<Core>, upstream: &Rc<Upstream>, message: &[u8], envelope: &Envelope) {
        match envelope.method_known {
            Some(Method::NotifyProgress) => {
                let IdValue::Integer(id) = envelope.progress_token_value else { return };
                let pending = self.pending.borrow();
                if let Some(pending) = pending.get(&id).filter(|pending| pending.wants_progress) {
                    // A client slower than its server loses progress, not the answer.
                    pending.offer(event(core, message, envelope, false));
                }
            }
            Some(method) if let Some(list) = List::of(method) => upstream.lists_changed(core, list.into()),
            Some(Method::NotifyResourcesUpdated) => {
                if let Some(whose) = self.topics() {
                    upstream.topics.heard(core, message, envelope, |of| *of == whose);
                }
            }
            // Of a listen of ours at a child.
            Some(Method::NotifySubscriptionsAcknowledged) => {
                let pending = self.pending.borrow();
                if let Some(pending) = subscription(message, envelope).and_then(|id| pending.get(&id)) {
                    pending.offer(event(core, message, envelope, false));
                }
            }
            _ => self.tell_ears(core, upstream, message, envelope),
        }
    }

    /// What belongs to no call.
    fn tell_ears(&self, core: &Rc<Core>, upstream: &Rc<Upstream>, message: &[u8], envelope: &Envelope) {
        self.ears.borrow_mut().retain(|ear| match ear {
            Ear::Session(session) => match session.upgrade() {
                Some(session) => {
                    session.hear(core, upstream, message, envelope);
                    true
                }
                None => false,
            },
            Ear::Topics(_) => true,
        });
    }

    /// A request of the server's own that came outside any call's stream.
    fn asked(&self, core: &Rc<Core>, responder: &Responder, message: &[u8], envelope: &Envelope) {
        let Some(id) = envelope.id else { return };
        if envelope.method_known != Some(Method::Ping) {
            let calls = self.askable();
            if let [pending] = &calls[..]
                && pending.offer(event(core, message, envelope, false))
            {
                return;
            }
            if let Some(session) = self.only_session()
                && session.ask_standing(core, responder, message, envelope)
            {
                return;
            }
            if calls.len() > 1 {
                let why = "several calls are under way, and nothing says which of them this is for";
                return responder.refuse(core, id.of(message), codes::INTERNAL_ERROR, why);
            }
        }
        responder.send(core, decline(message, id, envelope.method_known));
    }

    /// Calls that may be asked, up to two: of more nobody can say either whose a question is.
    fn askable(&self) -> Vec<Rc<Pending>> {
        let pending = self.pending.borrow();
        pending.values().filter(|pending| pending.may_be_asked).take(2).cloned().collect()
    }

    fn only_session(&self) -> Option<Rc<Session>> {
        let ears = self.ears.borrow();
        let mut sessions = ears.iter().filter_map(|ear| match ear {
            Ear::Session(session) => session.upgrade(),
            Ear::Topics(_) => None,
        });
        let only = sessions.next()?;
        sessions.next().is_none().then_some(only)
    }
}

/// The number of the listen that a notification is for.
fn subscription(message: &[u8], envelope: &Envelope) -> Option<i64> {
    let find = |object, key: &str| Members::find(message, object, key).ok().flatten();
    let id = find(find(envelope.params?, "_meta")?, meta::SUBSCRIPTION_ID)?;
    decimal::parse(id.of(message))?.try_into().ok()
}

fn event(core: &Core, message: &[u8], envelope: &Envelope, last: bool) -> Event {
    let envelope = core.envelopes.put(*envelope);
    Event::Message { bytes: Buf::from(message), from: 0, envelope, last }
}
