//! Everybody who is told something for longer than one answer takes: streams that stand open, and answers that are streams.
//!
//! Each says by itself whether it may still hear. It is asked before each of its events, and, so that a stream on which nothing is
//! said ends as well, by the task that looks after every edition ([`crate::changes::keep`]): whoever may not hear any more is woken.
//! A credential that ends by itself is looked for once a second, and only once the first of all has ended: nobody has a timer.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::future::poll_fn;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use super::standing::Tenant;
use crate::core::{Adopted, Core};
use crate::exchange::Incoming;
use crate::fold::Fold;
use crate::io::clock::{Clock, End};
use crate::io::signal::Signal;
use crate::io::tls::ClientCertificate;

/// A worker's. There are as many as answers that stand open and exchanges under way, which are bounded.
pub struct Audience {
    present: RefCell<HashMap<u64, Rc<Hearer>, Fold>>,
    last: Cell<u64>,
    /// When the first credential of somebody in it ends. That one may have gone.
    soonest: Cell<End>,
}

/// Somebody in it.
pub struct Hearer {
    who: Who,
    end: End,
    is_over: Cell<bool>,
    woken: Signal,
}

pub enum Who {
    /// Whoever a standing answer is for.
    Tenant(Rc<dyn Tenant>),
    /// Of a call that is being answered.
    Caller(Caller),
}

/// A caller, by its number, on its connection: until either is believed no more.
pub struct Caller {
    adopted: Rc<Adopted>,
    principal: u32,
    listener: u16,
    certificate: Option<Arc<ClientCertificate>>,
}

impl Caller {
    pub fn of(principal: u32, adopted: &Rc<Adopted>, incoming: &Incoming<'_>) -> Caller {
        let (listener, certificate) = (incoming.listener, incoming.certificate.cloned());
        Caller { adopted: adopted.clone(), principal, listener, certificate }
    }

    fn is_believed(&self, core: &Core) -> bool {
        !core.has_revoked(&self.adopted, self.principal)
            && core.outside(self.listener, self.certificate.as_deref()).is_none()
    }
}

/// A place in it, for as long as it is kept.
pub struct Ear {
    core: Rc<Core>,
    number: u64,
    hearer: Rc<Hearer>,
}

impl Default for Audience {
    fn default() -> Audience {
        Audience { present: RefCell::default(), last: Cell::new(0), soonest: Cell::new(End::NEVER) }
    }
}

impl Audience {
    pub fn all(&self) -> Vec<Rc<Hearer>> {
        self.present.borrow().values().cloned().collect()
    }

    /// Ends those whose credentials have ended by themselves.
    pub fn end_overdue(&self, clock: &Clock) {
        if !self.soonest.get().is_past(clock) {
            return;
        }
        let mut soonest = End::NEVER;
        for hearer in self.present.borrow().values() {
            match hearer.end.is_past(clock) {
                true => hearer.close(),
                false => soonest = soonest.or(hearer.end),
            }
        }
        self.soonest.set(soonest);
    }
}

impl Hearer {
    /// Ends it, if it may not hear any more.
    pub fn look_again(&self, core: &Rc<Core>) {
        let may_hear = match &self.who {
            Who::Tenant(tenant) => tenant.is_welcome(core),
            Who::Caller(caller) => caller.is_believed(core),
        };
        if !may_hear {
            self.close();
        }
    }

    fn close(&self) {
        self.is_over.set(true);
        self.woken.set();
    }
}

impl Ear {
    pub fn new(core: &Rc<Core>, who: Who) -> Ear {
        let number = core.audience.last.get() + 1;
        core.audience.last.set(number);
        let end = match &who {
            Who::Tenant(tenant) => tenant.end(),
            // A call that was let in is answered.
            Who::Caller(_) => End::NEVER,
        };
        core.audience.soonest.set(core.audience.soonest.get().or(end));
        let hearer = Rc::new(Hearer { who, end, is_over: Cell::new(false), woken: Signal::new() });
        core.audience.present.borrow_mut().insert(number, hearer.clone());
        Ear { core: core.clone(), number, hearer }
    }

    /// Ready once nothing may be heard any more.
    pub fn poll_over(&self, context: &mut Context<'_>) -> Poll<()> {
        while !self.hearer.is_over.get() {
            ready!(self.hearer.woken.poll_wait(context));
        }
        Poll::Ready(())
    }
}

/// What `said` comes to; `None` once `ear` may hear nothing any more.
pub async fn unless_over<T>(ear: &Ear, said: impl Future<Output = T>) -> Option<T> {
    let mut said = pin!(said);
    poll_fn(|context| match ear.poll_over(context) {
        Poll::Ready(()) => Poll::Ready(None),
        Poll::Pending => said.as_mut().poll(context).map(Some),
    })
    .await
}

impl Drop for Ear {
    fn drop(&mut self) {
        self.core.audience.present.borrow_mut().remove(&self.number);
    }
}
