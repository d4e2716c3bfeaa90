//! Large values that many functions hand on.
//!
//! An answer, the reading of it and the envelopes of its events have 200 to 500 bytes each, and between the socket
//! and the client they go through a dozen futures and `Result`s. Moved by value, each was copied up to twenty times
//! per exchange, which was most of what an exchange copied (`bench/budgets` counts it). A [`Pooled`] value stays
//! where it is and only its pointer moves. The boxes come back when a value is dropped, so that steady traffic
//! allocates nothing.

use std::cell::RefCell;
use std::ops::{Deref, DerefMut};
use std::rc::Rc;

use crate::limits::POOLED_AT_ONCE;

/// Boxes for values of one type, of one worker.
pub struct Pool<T>(Rc<Shelf<T>>);

struct Shelf<T> {
    free: RefCell<Vec<Box<Option<T>>>>,
    kept_max: usize,
}

impl<T> Pool<T> {
    /// A pool that keeps at most `kept_max` boxes when nobody uses them.
    pub fn new(kept_max: usize) -> Pool<T> {
        Pool(Rc::new(Shelf { free: RefCell::default(), kept_max }))
    }

    pub fn put(&self, value: T) -> Pooled<T> {
        let mut slot = self.0.slot();
        *slot = Some(value);
        Pooled { slot: Some(slot), shelf: self.0.clone() }
    }
}

impl<T> Shelf<T> {
    /// Boxes are made a few at a time, so that a worker has those of its usual traffic after its first exchange.
    fn slot(&self) -> Box<Option<T>> {
        let mut free = self.free.borrow_mut();
        if free.is_empty() {
            free.extend((0..POOLED_AT_ONCE.min(self.kept_max)).map(|_| Box::default()));
        }
        free.pop().unwrap_or_default()
    }
}

/// A value in a box of a [`Pool`].
pub struct Pooled<T> {
    slot: Option<Box<Option<T>>>,
    shelf: Rc<Shelf<T>>,
}

impl<T> Deref for Pooled<T> {
    type Target = T;

    fn deref(&self) -> &T {
        match self.slot.as_deref() {
            Some(Some(value)) => value,
            // Only `drop` takes it.
            _ => unreachable!("a pooled value was used after its end"),
        }
    }
}

impl<T> DerefMut for Pooled<T> {
    fn deref_mut(&mut self) -> &mut T {
        match self.slot.as_deref_mut() {
            Some(Some(value)) => value,
            _ => unreachable!("a pooled value was used after its end"),
        }
    }
}

impl<T> Drop for Pooled<T> {
    fn drop(&mut self) {
        let Some(mut slot) = self.slot.take() else { return };
        // Before the list is borrowed: what the value drops may end another value of this pool.
        *slot = None;
        let mut free = self.shelf.free.borrow_mut();
        if free.len() < self.shelf.kept_max {
            free.push(slot);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn boxes_come_back_and_values_are_dropped_at_once() {
        let pool: Pool<Rc<()>> = Pool::new(1);
        let witness = Rc::new(());
        let (one, two) = (pool.put(witness.clone()), pool.put(witness.clone()));
        assert_eq!(Rc::strong_count(&witness), 3);
        assert_eq!(pool.0.free.borrow().len(), 0);
        drop(one);
        assert_eq!(Rc::strong_count(&witness), 2);
        drop(two);
        assert_eq!(Rc::strong_count(&witness), 1);
        assert_eq!(pool.0.free.borrow().len(), 1, "no more than it may keep");
        assert!(Rc::ptr_eq(&pool.put(witness.clone()), &witness));
    }

    #[test]
    fn a_value_may_end_another_one_of_its_pool() {
        struct Chain(#[expect(dead_code)] Option<Pooled<Chain>>);
        let pool = Pool::new(2);
        let inner = pool.put(Chain(None));
        drop(pool.put(Chain(Some(inner))));
        assert_eq!(pool.0.free.borrow().len(), 2);
    }
}
