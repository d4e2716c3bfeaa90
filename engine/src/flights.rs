//! Questions to control that are under way, each asked once: whoever has the same question meanwhile waits with whoever asked.
//!
//! A question is nobody's: it goes on when those who wait for it leave. How many there may be, and for how long, is for whoever
//! asks; what becomes of one that nobody answers is [`Flights::land`]ed as well.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

use crate::fold::Fold;
use crate::io::signal::Signal;

/// By a hash of what is asked: `I` says what that is, `T` what comes of it.
pub struct Flights<I, T>(RefCell<UnderWay<I, T>>);

type UnderWay<I, T> = HashMap<u64, Rc<Flight<I, T>>, Fold>;

/// A question that has no answer yet, and everybody who waits for it.
pub struct Flight<I, T> {
    pub about: I,
    outcome: RefCell<Option<T>>,
    waiting: RefCell<Vec<Rc<Signal>>>,
}

impl<I, T> Default for Flights<I, T> {
    fn default() -> Flights<I, T> {
        Flights(RefCell::default())
    }
}

impl<I, T: Clone> Flights<I, T> {
    pub fn count(&self) -> usize {
        self.0.borrow().len()
    }

    /// The question that is under way, if it is this one.
    pub fn find(&self, hash: u64, is_it: impl Fn(&I) -> bool) -> Option<Rc<Flight<I, T>>> {
        self.0.borrow().get(&hash).filter(|flight| is_it(&flight.about)).cloned()
    }

    /// One that was asked just now.
    pub fn begin(&self, hash: u64, about: I) -> Rc<Flight<I, T>> {
        let flight = Rc::new(Flight { about, outcome: RefCell::default(), waiting: RefCell::default() });
        self.0.borrow_mut().insert(hash, flight.clone());
        flight
    }

    /// What came of it, for everybody who waits.
    pub fn land(&self, hash: u64, flight: &Rc<Flight<I, T>>, outcome: T) {
        flight.outcome.replace(Some(outcome));
        let mut under_way = self.0.borrow_mut();
        if under_way.get(&hash).is_some_and(|other| Rc::ptr_eq(other, flight)) {
            under_way.remove(&hash);
        }
        drop(under_way);
        flight.waiting.take().iter().for_each(|signal| signal.set());
    }
}

impl<I, T: Clone> Flight<I, T> {
    pub async fn outcome(&self) -> T {
        let signal = Rc::new(Signal::new());
        self.waiting.borrow_mut().push(signal.clone());
        loop {
            if let Some(outcome) = &*self.outcome.borrow() {
                return outcome.clone();
            }
            signal.wait().await;
        }
    }
}
