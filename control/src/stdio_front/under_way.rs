//! The requests of the client that are under way: by id, so that a cancellation finds its request, and counted, so
//! that there are never too many.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;

use strait_protocol::jsonrpc::unescape;
use tokio::sync::Notify;
use tokio::task::AbortHandle;

use super::trouble::Trouble;
use crate::limits::FRONT_REQUESTS_MAX;

/// An id as it is meant: two spellings of one string are one id.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Id(Vec<u8>);

impl Id {
    /// From an id as written.
    pub fn of(raw: &[u8]) -> Id {
        let Some(inner) = raw.strip_prefix(b"\"").and_then(|rest| rest.strip_suffix(b"\"")) else {
            return Id(raw.to_vec());
        };
        // The quote keeps "1" apart from 1.
        let mut text = vec![b'"'];
        unescape(inner, &mut text);
        Id(text)
    }
}

/// By whose rules a request is cancelled.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Era {
    Modern,
    Legacy,
}

/// What a request's task shares with whoever cancels it.
#[derive(Clone)]
pub struct Ticket {
    pub era: Era,
    /// Goes on until it is cancelled: `subscriptions/listen`.
    pub endless: bool,
    /// The gateway may have seen it.
    pub sent: Rc<Cell<bool>>,
    /// The client wants no answer any more.
    pub cancelled: Rc<Cell<bool>>,
}

struct Entry {
    ids: Vec<Id>,
    ticket: Ticket,
    task: Option<AbortHandle>,
}

#[derive(Default)]
pub struct UnderWay {
    serials: RefCell<HashMap<Id, u64>>,
    entries: RefCell<HashMap<u64, Entry>>,
    last: Cell<u64>,
    changed: Notify,
}

/// A request's place; it is free again when this is dropped.
pub struct Place {
    under_way: Rc<UnderWay>,
    serial: u64,
    pub ticket: Ticket,
}

/// What there was to cancel.
pub enum Cancelled {
    /// No request has that id.
    Unknown,
    /// It ends without the gateway being told.
    Ended,
    /// The gateway must be told.
    Tell,
}

impl UnderWay {
    pub fn enter(self: &Rc<Self>, ids: Vec<Id>, era: Era, endless: bool) -> Result<Place, Trouble> {
        if self.entries.borrow().len() >= FRONT_REQUESTS_MAX {
            return Err(Trouble::Full("requests at once"));
        }
        if ids.iter().any(|id| self.serials.borrow().contains_key(id)) {
            return Err(Trouble::IdInUse);
        }
        let serial = self.last.get() + 1;
        self.last.set(serial);
        let ticket = Ticket { era, endless, sent: Rc::default(), cancelled: Rc::default() };
        self.serials.borrow_mut().extend(ids.iter().map(|id| (id.clone(), serial)));
        self.entries.borrow_mut().insert(serial, Entry { ids, ticket: ticket.clone(), task: None });
        Ok(Place { under_way: self.clone(), serial, ticket })
    }

    /// The task that ends when its request is cancelled.
    pub fn started(&self, serial: u64, task: AbortHandle) {
        if let Some(entry) = self.entries.borrow_mut().get_mut(&serial) {
            entry.task = Some(task);
        }
    }

    pub fn cancel(&self, id: &Id) -> Cancelled {
        let Some(serial) = self.serials.borrow().get(id).copied() else { return Cancelled::Unknown };
        let Some(ticket) = self.entries.borrow().get(&serial).map(|entry| entry.ticket.clone()) else {
            return Cancelled::Unknown;
        };
        ticket.cancelled.set(true);
        if ticket.era == Era::Legacy && ticket.sent.get() {
            return Cancelled::Tell;
        }
        self.abort(serial);
        Cancelled::Ended
    }

    /// Ends what would never end by itself.
    pub fn end_endless(&self) {
        let endless = |(serial, entry): (&u64, &Entry)| entry.ticket.endless.then_some(*serial);
        let all: Vec<u64> = self.entries.borrow().iter().filter_map(endless).collect();
        all.into_iter().for_each(|serial| self.abort(serial));
    }

    /// Waits until nothing is under way.
    pub async fn empty(&self) {
        loop {
            let changed = self.changed.notified();
            if self.entries.borrow().is_empty() {
                return;
            }
            changed.await;
        }
    }

    fn abort(&self, serial: u64) {
        if let Some(task) = self.remove(serial).and_then(|entry| entry.task) {
            task.abort();
        }
    }

    fn remove(&self, serial: u64) -> Option<Entry> {
        let entry = self.entries.borrow_mut().remove(&serial)?;
        let mut serials = self.serials.borrow_mut();
        for id in &entry.ids {
            serials.remove(id);
        }
        self.changed.notify_one();
        Some(entry)
    }
}

impl Place {
    pub fn serial(&self) -> u64 {
        self.serial
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.under_way.remove(self.serial);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_what_it_means() {
        assert_eq!(Id::of(br#""a""#), Id::of(br#""\u0061""#));
        assert_ne!(Id::of(b"1"), Id::of(br#""1""#));
    }

    #[test]
    fn ids_are_free_again_and_never_shared() {
        let under_way = Rc::new(UnderWay::default());
        let id = Id::of(b"1");
        let place = under_way.enter(vec![id.clone()], Era::Modern, false).unwrap();
        assert!(matches!(under_way.enter(vec![id.clone()], Era::Modern, false), Err(Trouble::IdInUse)));
        assert!(matches!(under_way.cancel(&id), Cancelled::Ended));
        // A cancelled request's id may be used before its task has noticed.
        let second = under_way.enter(vec![id.clone()], Era::Legacy, false).unwrap();
        drop(place);
        assert!(matches!(under_way.enter(vec![id.clone()], Era::Modern, false), Err(Trouble::IdInUse)));
        second.ticket.sent.set(true);
        assert!(matches!(under_way.cancel(&id), Cancelled::Tell));
        drop(second);
        assert!(matches!(under_way.cancel(&id), Cancelled::Unknown));
    }

    #[test]
    fn there_are_never_too_many() {
        let under_way = Rc::new(UnderWay::default());
        let enter = |n: usize| under_way.enter(vec![Id::of(n.to_string().as_bytes())], Era::Modern, false);
        let all: Vec<Place> = (0..FRONT_REQUESTS_MAX).map(|n| enter(n).ok().unwrap()).collect();
        assert!(matches!(enter(FRONT_REQUESTS_MAX), Err(Trouble::Full(_))));
        drop(all);
        assert!(enter(0).is_ok());
    }
}
