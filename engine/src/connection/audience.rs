//! Everybody who is told something for longer than one answer takes: streams that stand open, and answers that are streams.
//!
//! Each says by itself whether it may still hear. It is asked before each of its events, and, so that a stream on which nothing is
//! said ends as well, by the task that looks after every edition ([`crate::changes::keep`]): whoever may not hear any more is woken.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::future::poll_fn;
use std::pin::pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use super::standing::Tenant;
use crate::core::{Adopted, Core};
use crate::fold::Fold;
use crate::io::signal::Signal;

/// A worker's. There are as many as answers that stand open and exchanges under way, which are bounded.
#[derive(Default)]
pub struct Audience {
    present: RefCell<HashMap<u64, Rc<Hearer>, Fold>>,
    last: Cell<u64>,
}

/// Somebody in it.
pub struct Hearer {
    who: Who,
    is_over: Cell<bool>,
    woken: Signal,
}

pub enum Who {
    /// Whoever a standing answer is for.
    Tenant(Rc<dyn Tenant>),
    /// A caller, by its number, of a call that is being answered: until it is revoked.
    Caller(Rc<Adopted>, u32),
}

/// A place in it, for as long as it is kept.
pub struct Ear {
    core: Rc<Core>,
    number: u64,
    hearer: Rc<Hearer>,
}

impl Audience {
    pub fn all(&self) -> Vec<Rc<Hearer>> {
        self.present.borrow().values().cloned().collect()
    }
}

impl Hearer {
    /// Ends it, if it may not hear any more.
    pub fn look_again(&self, core: &Rc<Core>) {
        let may_hear = match &self.who {
            Who::Tenant(tenant) => tenant.is_welcome(core),
            Who::Caller(adopted, principal) => !core.has_revoked(adopted, *principal),
        };
        if !may_hear {
            self.is_over.set(true);
            self.woken.set();
        }
    }
}

impl Ear {
    pub fn new(core: &Rc<Core>, who: Who) -> Ear {
        let number = core.audience.last.get() + 1;
        core.audience.last.set(number);
        let hearer = Rc::new(Hearer { who, is_over: Cell::new(false), woken: Signal::new() });
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
pub async fn unless_over<T>(ear: Option<&Ear>, said: impl Future<Output = T>) -> Option<T> {
    let mut said = pin!(said);
    poll_fn(|context| match ear.map(|ear| ear.poll_over(context)) {
        Some(Poll::Ready(())) => Poll::Ready(None),
        Some(Poll::Pending) | None => said.as_mut().poll(context).map(Some),
    })
    .await
}

impl Drop for Ear {
    fn drop(&mut self) {
        self.core.audience.present.borrow_mut().remove(&self.number);
    }
}
